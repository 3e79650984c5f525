"""The types of objectives; the package says what an objective is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor

from data_utils.task_def import TaskDef
from mt_dnn.batching import Batch

Forward = Callable[[str, dict[str, Tensor]], Tensor]
"""A model: from a task's name and the encoder's inputs to the logits of its head, as `MTDNN.forward`."""

Criterion = Callable[[TaskDef, Tensor, Batch], Tensor]
"""From task, logits and batch to the loss, (): the sum over the batch's units, times the task's `loss_weight`."""


class Setting(NamedTuple):
    """A run, as far as remarks on its objective depend on it.

    Attributes:
        tasks: those that are trained.
        encoder_drops_out: whether anything in the encoder drops out.
        model_drops_out: whether anything does, in the encoder or in a head.
        bf16: whether it computes in bfloat16.
    """

    tasks: Sequence[TaskDef]
    encoder_drops_out: bool
    model_drops_out: bool
    bf16: bool


class Objective(ABC):
    """From model, task and batch to the terms to minimise, each () and a sum over the batch's units.

    One with hyper-parameters is a frozen dataclass with these fields: `config`; `width`, of the word embeddings, where
    it perturbs them; `criterion`.
    """

    perturbs_embeddings: ClassVar[bool] = False
    """Whether it moves word embeddings, so that the encoder must have such; it is then built with their `width`."""
    follows_gradients: ClassVar[bool] = False
    """Whether it moves them along gradients, which vanish or overflow in float16."""
    task_keys: ClassVar[frozenset[str]] = frozenset()
    """Keys of a task's definition that have an effect with this objective alone."""

    @classmethod
    def task_problems(cls, tasks: Sequence[TaskDef]) -> list[str]:
        """Why tasks cannot be trained with it, a line each."""
        return []

    @property
    def passes(self) -> int:
        """Forward passes over an update's rows, each with a backward pass: what an update costs."""
        return 1

    @property
    def terms(self) -> int:
        """How many terms it yields for every batch."""
        return 1

    def remarks(self, setting: Setting) -> Iterator[tuple[str, str]]:
        """Lines for a run's plan: what each is about, such as `cost` or `note`, and its text."""
        if self.passes > 1:
            yield "cost", f"{self.passes} forward and backward passes an update, where plain fine-tuning has 1"

    @abstractmethod
    def __call__(self, forward: Forward, task: TaskDef, batch: Batch) -> Iterator[Tensor]:
        """The terms; each has had its backward pass when the next one is asked for."""
