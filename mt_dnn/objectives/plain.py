"""Plain fine-tuning: the task's criterion against its labels, times the task's weight."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from data_utils.task_def import TaskDef
from module.losses import LOSSES
from mt_dnn.batching import Batch
from mt_dnn.objectives.objective import Criterion, Forward, Objective


def criterion(task: TaskDef, logits: Tensor, batch: Batch) -> Tensor:
    """The task's loss of a batch's logits, times its `loss_weight`; (), the sum over the batch's units."""
    return LOSSES[task.loss](logits, batch.targets).sum() * task.loss_weight


def task_loss(forward: Forward, task: TaskDef, batch: Batch, criterion: Criterion = criterion) -> Tensor:
    """The criterion on the batch: one forward pass."""
    return criterion(task, forward(task.name, batch.inputs), batch)


@dataclass(frozen=True)
class Plain(Objective):
    """The objective of plain fine-tuning: one term, `task_loss`.

    Attributes:
        criterion: what stands for the task's loss; with a teacher `mt_dnn.objectives.distill.Distillation`.
    """

    criterion: Criterion = criterion

    def __call__(self, forward: Forward, task: TaskDef, batch: Batch) -> Iterator[Tensor]:
        """See `Objective`."""
        yield task_loss(forward, task, batch, self.criterion)
