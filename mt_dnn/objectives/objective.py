"""The types of objectives; the package says what an objective is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

from torch import Tensor

from data_utils.task_def import TaskDef
from mt_dnn.batching import Batch

Forward = Callable[[str, dict[str, Tensor]], Tensor]
"""A model: from a task's name and the encoder's inputs to the logits of its head, as `MTDNN.forward`."""

Criterion = Callable[[TaskDef, Tensor, Batch], Tensor]
"""From task, logits and batch to the loss, (): the sum over the batch's units, times the task's `loss_weight`."""


class Objective(ABC):
    """From model, task and batch to the terms to minimise, each () and a sum over the batch's units.

    One with settings is a frozen dataclass.
    """

    @property
    def passes(self) -> int:
        """Forward passes over an update's rows, each with a backward pass: what an update costs."""
        return 1

    @property
    def terms(self) -> int:
        """How many terms it yields for every batch."""
        return 1

    @abstractmethod
    def __call__(self, forward: Forward, task: TaskDef, batch: Batch) -> Iterator[Tensor]:
        """The terms; each has had its backward pass when the next one is asked for."""
