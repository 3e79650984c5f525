"""Which rows of which task make each update: an epoch's plan as a pure function of seed and epoch.

Nothing is drawn while training, so a run is resumed by its epoch and position alone. Every epoch cuts its updates anew,
an update holds rows of one task, and no task is left out of an epoch.

A new sampler is a function like `shuffled` and a line in `SAMPLERS`; what it must be told is a flag of
`SamplingConfig`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mt_dnn.flags import option
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
        return with_all([names[i] for i in drawn], names, rng)

    return order


def main_task(ratio: float) -> Order:
    """MT-DNN's `--ratio`: the first task whole, and `ratio` times as many updates of the others.

    The others' updates are drawn without repetition, so there are at most all of them.
    """

    def order(updates: dict[str, int], rng: np.random.Generator) -> list[str]:
        (main, count), *others = updates.items()
        names = [name for name, _ in others]
        pool = [name for name, own in others for _ in range(own)]
        size = max(len(names), int(min(len(pool), count * ratio)))
        drawn = [pool[i] for i in rng.choice(len(pool), size=size, replace=False)]
        sequence = [main] * count + with_all(drawn, names, rng)
        return [sequence[i] for i in rng.permutation(len(sequence))]

    return order


def with_all(drawn: list[str], names: list[str], rng: np.random.Generator) -> list[str]:
    """The same tasks, at least as many as `names`; each that was not drawn takes a place of the most frequent one."""
    for name in names:
        if name not in drawn:
            ((most, _),) = Counter(drawn).most_common(1)
            place = rng.choice([i for i, task in enumerate(drawn) if task == most])
            drawn = [*drawn[:place], name, *drawn[place + 1 :]]
    return drawn


TEMPERATURE, MAIN_TASK = "temperature", "main_task"
"""Samplers that need a flag of their own."""

SAMPLERS: dict[str, Callable[[SamplingConfig], Order]] = {
    "mtdnn": lambda config: shuffled,
    "proportional": lambda config: by_weight(1.0),
    "sqrt": lambda config: by_weight(0.5),
    "uniform": lambda config: by_weight(0.0),
    "round_robin": lambda config: round_robin,
    TEMPERATURE: lambda config: by_weight(1 / (config.sampler_temperature or 1.0)),
    MAIN_TASK: lambda config: main_task(config.ratio or 0.0),
}
STEADY = frozenset({"mtdnn", "round_robin"})
"""Samplers that give each task as many updates in every epoch; the others draw."""


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """Shares of the tasks."""

    sampler: str = option("mtdnn", choices=tuple(SAMPLERS), help="how updates are divided among tasks")
    sampler_temperature: float | None = option(
        None, help="--sampler temperature: draws by size ** (1 / T); 1 is proportional, larger is more even"
    )
    ratio: float | None = option(
        None, help="--sampler main_task: updates of the other tasks for each of the first task's; at most all of them"
    )
    max_rows_per_task: int | None = option(
        None, help="at most so many rows of a task an epoch, drawn anew each epoch; none: all"
    )

    def problems(self) -> list[str]:
        """What is wrong with these values, a line each."""
        bad = []
        for name, sampler in {"sampler_temperature": TEMPERATURE, "ratio": MAIN_TASK}.items():
            value, runs = getattr(self, name), self.sampler == sampler
            bad += [f"--sampler {sampler} needs --{name}"] * (runs and value is None)
            if value is not None and not runs:
                bad.append(f"--{name} would have no effect: it needs --sampler {sampler}, which is {self.sampler}")
        if self.sampler_temperature is not None and not self.sampler_temperature >= 1:
            bad.append(f"--sampler_temperature must be at least 1, got {self.sampler_temperature}")
        bad += [f"--ratio must be > 0, got {self.ratio}"] * (self.ratio is not None and not self.ratio > 0)
        if self.max_rows_per_task is not None and self.max_rows_per_task < 1:
            bad.append(f"--max_rows_per_task must be at least 1, got {self.max_rows_per_task}")
        return bad

    @property
    def label(self) -> str:
        """The sampler and its setting, in words."""
        value = self.sampler_temperature if self.sampler == TEMPERATURE else self.ratio
        return self.sampler if value is None else f"{self.sampler} {value:g}"


class MultiTaskSampler:
    """Plans epochs over several tasks.

    Args:
        rows: number of training rows of each task; the order of the tasks is that of `--train_datasets`.
        rows_per_update: rows of a full update; the last one of a pass over a task may be smaller.
        config: which sampler, and its settings.
        seed: the run's seed.
    """

    def __init__(self, rows: Mapping[str, int], rows_per_update: int, config: SamplingConfig, seed: int) -> None:
        self.rows = dict(rows)
        self.rows_per_update = rows_per_update
        self.order = SAMPLERS[config.sampler](config)
        self.seed = seed
        most = config.max_rows_per_task
        self.taken = {task: count if most is None else min(count, most) for task, count in self.rows.items()}
        self.updates = {task: -(-count // rows_per_update) for task, count in self.taken.items()}
        self._length = len(self._tasks(0))

    def __len__(self) -> int:
        """Updates in an epoch, the same in every epoch."""
        return self._length

    def epoch(self, epoch: int) -> list[Draw]:
        """The updates of an epoch (counted from 0), in order."""
        streams = {task: self._updates_of(task, epoch) for task in self.rows}
        return [Draw(task, next(streams[task])) for task in self._tasks(epoch)]

    def _tasks(self, epoch: int) -> list[str]:
        """The task of each update of an epoch."""
        return self.order(self.updates, np.random.default_rng(stream_seed(self.seed, "tasks", epoch)))

    def _updates_of(self, task: str, epoch: int) -> Iterator[np.ndarray]:
        """Pass after pass over a task's rows (or so many of them as are taken), each in an order of its own; no end."""
        passes = 0
        while True:
            order = np.random.default_rng(stream_seed(self.seed, "rows", task, epoch, passes))
            permutation = order.permutation(self.rows[task])[: self.taken[task]]
            for start in range(0, len(permutation), self.rows_per_update):
                yield permutation[start : start + self.rows_per_update]
            passes += 1
