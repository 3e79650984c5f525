"""Where a run stands: what is counted while it trains, and kept in its checkpoints."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from mt_dnn.record.results import History


@dataclass
class Progress:
    """Where a run stands; saved in every checkpoint.

    Attributes:
        step: updates done, skipped ones included.
        epoch: passes over the data done.
        position: updates done in the running pass.
        rows: training rows seen.
        skipped: updates left out because a loss or gradient norm was not finite.
        skipped_in_a_row: how many of them since the last one that was applied.
        overflows: updates that float16's loss scaling left out while it looked for its scale.
        train_seconds: time spent on updates.
        save_seconds: time spent on checkpoints.
        wall_seconds: time spent on updates, evaluations and checkpoints; all three count earlier sessions of the run.
        history: all evaluations.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    rows: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    overflows: int = 0
    train_seconds: float = 0.0
    save_seconds: float = 0.0
    wall_seconds: float = 0.0
    history: History = field(default_factory=History)

    @property
    def applied(self) -> int:
        """Updates that changed the weights: what the learning rate's schedule counts, but with `--finite_check log`."""
        return self.step - self.skipped - self.overflows

    @property
    def samples_per_second(self) -> float:
        """Training rows a second, in updates."""
        return self.rows / max(self.train_seconds, 1e-9)

    @property
    def evaluated(self) -> int:
        """The update after which the last evaluation was; 0 before the first."""
        return self.history.evaluations[-1]["step"] if self.history.evaluations else 0

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: dict[str, Any], updates: int, tested: Collection[str]) -> Progress:
        """Take up what `state` gave.

        Args:
            state: as JSON gave it.
            updates: in an epoch.
            tested: names of the tasks that are evaluated.

        Raises:
            ValueError: it cannot be where a run of these tasks stood.
        """
        progress = cls(**{**state, "history": History(**state["history"])})
        for one in fields(cls):
            value = getattr(progress, one.name)
            if one.name != "history" and not (type(value).__name__ == one.type and 0 <= value < math.inf):
                raise ValueError(f"{one.name} is {value!r}")
        if progress.position >= updates or progress.step != progress.epoch * updates + progress.position:
            raise ValueError(f"update {progress.step} is not at position {progress.position} of epoch {progress.epoch}")
        if progress.applied < 0:
            raise ValueError(f"of {progress.step} updates {progress.skipped + progress.overflows} were skipped")
        progress.history.check(tested)
        # Each epoch ends with an evaluation; a run that is stopped right there makes up for it when it goes on.
        if (evaluations := len(progress.history.evaluations)) < progress.epoch - (progress.position == 0):
            raise ValueError(f"{evaluations} evaluations after {progress.epoch} epochs")
        return progress


class LossMeter:
    """Mean loss of each task since the last training event, summed on the device and read only when logged."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, task: str, loss: Tensor) -> None:
        """Take up one update's mean loss."""
        self._sums[task] = self._sums[task] + loss.double() if task in self._sums else loss.double()
        self._counts[task] = self._counts.get(task, 0) + 1

    def means(self) -> dict[str, float]:
        """Mean loss by task, in the order of names."""
        return {task: self._sums[task].item() / self._counts[task] for task in sorted(self._sums)}

    def clear(self) -> None:
        """Start anew."""
        self._sums.clear()
        self._counts.clear()

    def state(self) -> dict[str, list[float]]:
        """Sums and counts, as a checkpoint keeps them."""
        return {task: [self._sums[task].item(), self._counts[task]] for task in self._sums}

    def load(self, state: dict[str, list[float]], device: torch.device) -> None:
        """Take up what `state` gave; ValueError for sums that are not finite, and counts of nothing."""
        if bad := [task for task, (total, count) in state.items() if not (math.isfinite(total) and count >= 1)]:
            raise ValueError(f"losses of {', '.join(bad)} are {state}")
        self._sums = {k: torch.tensor(float(v[0]), dtype=torch.float64, device=device) for k, v in state.items()}
        self._counts = {task: int(values[1]) for task, values in state.items()}
