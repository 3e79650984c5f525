"""Where a run stands: what is counted while it trains, and kept in its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from mt_dnn.results import History


@dataclass
class Progress:
    """Where a run stands; saved in every checkpoint.

    Attributes:
        step: updates done.
        epoch: passes over the data done.
        position: updates done in the running pass.
        rows: training rows seen.
        train_seconds: time spent on updates.
        wall_seconds: time spent on updates and evaluations; both count earlier sessions of the run too.
        history: all evaluations.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    rows: int = 0
    train_seconds: float = 0.0
    wall_seconds: float = 0.0
    history: History = field(default_factory=History)


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
        """Take up what `state` gave."""
        self._sums = {k: torch.tensor(v[0], dtype=torch.float64, device=device) for k, v in state.items()}
        self._counts = {task: int(values[1]) for task, values in state.items()}
