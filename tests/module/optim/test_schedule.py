"""The linear schedule's rates are those of `transformers`."""

from __future__ import annotations

import pytest
import torch
from transformers import get_linear_schedule_with_warmup

from module.optim import AdamaxW, linear_schedule


def rates(schedule: torch.optim.lr_scheduler.LambdaLR, steps: int) -> list[float]:
    seen = []
    for _ in range(steps):
        seen.append(schedule.get_last_lr()[0])
        schedule.optimizer.step()
        schedule.step()
    return seen


@pytest.mark.parametrize(("warmup", "total"), [(0.0, 10), (0.1, 30), (0.1, 7), (0.5, 9), (0.9, 10), (0.1, 1)])
def test_equals_transformers(warmup: float, total: int) -> None:
    param = torch.nn.Parameter(torch.ones(1))
    ours = linear_schedule(AdamaxW([param], lr=0.3), warmup=warmup, total_steps=total)
    theirs = get_linear_schedule_with_warmup(AdamaxW([param], lr=0.3), int(warmup * total), total)
    seen = rates(ours, total + 3)
    assert seen == rates(theirs, total + 3)
    assert max(seen) <= 0.3 and seen[total:] == [0.0] * 3


@pytest.mark.parametrize(
    ("warmup", "total", "message"),
    [
        (1.0, 10, "Invalid warmup value: 1.0; it is a share of total_steps"),
        (-0.1, 10, "Invalid warmup value: -0.1"),
        (100, 1000, "Invalid warmup value: 100; it is a share of total_steps"),
        (0.1, 0, "Invalid total_steps value: 0"),
    ],
)
def test_bad_values(warmup: float, total: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        linear_schedule(AdamaxW([torch.nn.Parameter(torch.ones(1))]), warmup=warmup, total_steps=total)
