"""The types of objectives; the package says what an objective is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from data_utils.task_def import TaskDef
from mt_dnn.batching import Batch

Forward = Callable[[str, dict[str, Tensor]], Tensor]
"""A model: from a task's name and the encoder's inputs to the logits of its head, as `MTDNN.forward`."""

Criterion = Callable[[TaskDef, Tensor, Batch], Tensor]
"""From task, logits and batch to the loss, (): the sum over the batch's units, times the task's `loss_weight`."""

Objective = Callable[[Forward, TaskDef, Batch], Iterator[Tensor]]
"""From model, task and batch to the terms to minimise, each () and a sum over the batch's units."""
