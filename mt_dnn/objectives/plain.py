"""Plain fine-tuning: the task's criterion against its labels, times the task's weight."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from data_utils.task_def import TaskDef
from module.losses import LOSSES
from mt_dnn.batching import Batch
from mt_dnn.objectives.objective import Forward, Objective


def criterion(task: TaskDef, logits: Tensor, batch: Batch) -> Tensor:
    """The task's loss of a batch's logits, times its `loss_weight`; (), the sum over the batch's units."""
    return LOSSES[task.loss](logits, batch.targets).sum() * task.loss_weight


def task_loss(forward: Forward, task: TaskDef, batch: Batch) -> Tensor:
    """The task's `criterion` on the batch: one forward pass."""
    return criterion(task, forward(task.name, batch.inputs), batch)


class Plain(Objective):
    """The objective of plain fine-tuning: one term, `task_loss`."""

    def __call__(self, forward: Forward, task: TaskDef, batch: Batch) -> Iterator[Tensor]:
        """See `Objective`."""
        yield task_loss(forward, task, batch)
