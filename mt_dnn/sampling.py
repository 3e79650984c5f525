"""Which rows of which task make each update: an epoch's plan as a pure function of seed and epoch.

Nothing is drawn while training, so a run is resumed by its epoch and position alone. Every epoch cuts its updates anew,
and an update holds rows of one task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from mt_dnn.seeding import stream_seed


class Draw(NamedTuple):
    """One update: a task's name and the indices of its rows, (rows,) int64."""

    task: str
    rows: np.ndarray


Order = Callable[[dict[str, int], np.random.Generator], list[str]]
"""From rows-per-update counts {task: updates an epoch} to the sequence of tasks of one epoch."""


def shuffled(updates: dict[str, int], rng: np.random.Generator) -> list[str]:
    """MT-DNN's way: every row of every task once an epoch, updates in random order."""
    sequence = [task for task, count in updates.items() for _ in range(count)]
    return [sequence[i] for i in rng.permutation(len(sequence))]


def round_robin(updates: dict[str, int], rng: np.random.Generator) -> list[str]:
    """The tasks in turn; a task that is through starts again, until the epoch has its number of updates."""
    names = list(updates)
    return [names[i % len(names)] for i in range(sum(updates.values()))]


def by_weight(power: float) -> Order:
    """Tasks drawn independently with probability proportional to (their number of updates) ** power."""

    def order(updates: dict[str, int], rng: np.random.Generator) -> list[str]:
        names = list(updates)
        weights = np.array([updates[name] for name in names], dtype=np.float64) ** power
        drawn = rng.choice(len(names), size=sum(updates.values()), p=weights / weights.sum())
        return [names[i] for i in drawn]

    return order


SAMPLERS: dict[str, Order] = {
    "mtdnn": shuffled,
    "proportional": by_weight(1.0),
    "sqrt": by_weight(0.5),
    "uniform": by_weight(0.0),
    "round_robin": round_robin,
}
STEADY = frozenset({"mtdnn", "round_robin"})
"""Samplers that give each task as many updates in every epoch; the others draw."""


class MultiTaskSampler:
    """Plans epochs over several tasks.

    Args:
        rows: number of training rows of each task.
        rows_per_update: rows of a full update; the last one of a pass over a task may be smaller.
        sampler: a key of `SAMPLERS`.
        seed: the run's seed.
    """

    def __init__(self, rows: Mapping[str, int], rows_per_update: int, sampler: str, seed: int) -> None:
        self.rows = dict(rows)
        self.rows_per_update = rows_per_update
        self.sampler = sampler
        self.seed = seed
        self.updates = {task: -(-count // rows_per_update) for task, count in self.rows.items()}

    def __len__(self) -> int:
        """Updates in an epoch, the same in every epoch."""
        return sum(self.updates.values())

    def epoch(self, epoch: int) -> list[Draw]:
        """The updates of an epoch (counted from 0), in order."""
        rng = np.random.default_rng(stream_seed(self.seed, "tasks", epoch))
        sequence = SAMPLERS[self.sampler](self.updates, rng)
        streams = {task: self._updates_of(task, epoch) for task in self.rows}
        return [Draw(task, next(streams[task])) for task in sequence]

    def _updates_of(self, task: str, epoch: int) -> Iterator[np.ndarray]:
        """Pass after pass over a task's rows, each in an order of its own; without end."""
        passes = 0
        while True:
            order = np.random.default_rng(stream_seed(self.seed, "rows", task, epoch, passes))
            permutation = order.permutation(self.rows[task])
            for start in range(0, len(permutation), self.rows_per_update):
                yield permutation[start : start + self.rows_per_update]
            passes += 1
