"""Linear warm-up and linear decay of the learning rate, the paper's schedule (Appendix A.2)."""

from __future__ import annotations

from functools import partial

from torch.optim.lr_scheduler import LambdaLR
from torch.optim.optimizer import Optimizer


def linear_factor(step: int, *, warmup_steps: int, total_steps: int) -> float:
    """Share of the peak rate for update `step`, counted from 0: up from 0 over `warmup_steps`, then down to 0."""
    if step < warmup_steps:
        return step / warmup_steps
    return max(0.0, (total_steps - step) / max(1, total_steps - warmup_steps))


def linear_schedule(optimizer: Optimizer, *, warmup: float, total_steps: int) -> LambdaLR:
    """A schedule to step once after every update; the rates of `transformers.get_linear_schedule_with_warmup`.

    `warmup` is a share of `total_steps`, not a number of steps. Raises ValueError when it is outside [0, 1) or
    `total_steps` is not positive.
    """
    if not 0.0 <= warmup < 1.0:
        raise ValueError(f"Invalid warmup value: {warmup}; it is a share of total_steps in [0, 1)")
    if total_steps < 1:
        raise ValueError(f"Invalid total_steps value: {total_steps}")
    warmup_steps = int(warmup * total_steps)
    # A partial and not a closure, so that the schedule can be pickled.
    return LambdaLR(optimizer, partial(linear_factor, warmup_steps=warmup_steps, total_steps=total_steps))
