"""How far apart two outputs for the same batch are, as a term to minimise."""

from __future__ import annotations

from torch import Tensor

from data_utils.task_def import TaskDef
from module.heads import HEADS
from mt_dnn.batching import Batch


def divergences(task: TaskDef) -> tuple[str, ...]:
    """The names of the divergences that fit the outputs of a task, the usual one first."""
    return HEADS[task.type_name].divergences


def divergence(task: TaskDef, name: str, logits: Tensor, target_logits: Tensor, batch: Batch) -> Tensor:
    """The divergence of that name times the task's `loss_weight`; (), the sum over the batch's units.

    Both are logits of the task's head for this batch.
    """
    values = HEADS[task.type_name].divergence(name, logits, target_logits, batch.targets)
    return values.sum() * task.loss_weight
