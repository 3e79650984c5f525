"""Small parameter sets with gradients that depend on the step only, for tests that compare two optimizers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

SHAPES = ((7, 13), (1023,), (1,), (33, 20), (20,))


def toy_params(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    """The same values in every call."""
    generator = torch.Generator().manual_seed(5)
    return [nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in SHAPES]


def take_steps(optimizer: Optimizer, first: int, last: int, **how: Any) -> None:
    """Do the steps numbered `first` to `last`, each with gradients of its own; `how` as for `step`."""
    params = [param for group in optimizer.param_groups for param in group["params"]]
    for step in range(first, last + 1):
        generator = torch.Generator().manual_seed(step)
        for param in params:
            param.grad = torch.randn(param.shape, generator=generator).to(param)
        optimizer.step(**how)


def equal(left: list[nn.Parameter], right: list[nn.Parameter]) -> bool:
    """Whether two lists of tensors are equal to the last bit."""
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))
