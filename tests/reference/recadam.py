"""RecAdam (Chen et al., EMNLP 2020): one tensor, in the paper's symbols, on any base."""

from __future__ import annotations

import math

from torch import Tensor

from tests.reference.adamax import Adamax
from tests.reference.adamw import AdamW


class RecAdam:
    """State of one tensor: the base's, and `pretrained`, θ*, None before the first step. `lr` may be changed."""

    def __init__(self, base: Adamax | AdamW, *, fun: str, k: float, t0: float, gamma: float) -> None:
        self.base, self.fun, self.k, self.t0, self.gamma = base, fun, k, t0, gamma
        self.lr, self.weight_decay, base.weight_decay = base.lr, base.weight_decay, 0.0
        self.pretrained: Tensor | None = None

    def step(self, theta: Tensor, g: Tensor) -> Tensor:
        """Return θ after one more step."""
        if self.pretrained is None:
            self.pretrained = theta.clone()
        t = self.base.t + 1
        lambda_t = min(1, t / self.t0) if self.fun == "linear" else 1 / (1 + math.exp(-self.k * (t - self.t0)))
        theta = theta - self.lr * self.weight_decay * theta
        theta = theta - min(self.lr * (1 - lambda_t) * self.gamma, 1.0) * (theta - self.pretrained)
        self.base.lr = self.lr * lambda_t
        return self.base.step(theta, g)
