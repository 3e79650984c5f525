"""Adamax (Kingma and Ba 2014, Algorithm 2) with decoupled weight decay: one tensor, in the paper's symbols."""

from __future__ import annotations

import torch
from torch import Tensor


class Adamax:
    """State of one tensor: `t`, `m`, `u`. `lr` may be changed between steps."""

    def __init__(self, *, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float) -> None:
        self.lr, self.beta1, self.beta2, self.eps, self.weight_decay = lr, beta1, beta2, eps, weight_decay
        self.t = 0
        self.m = self.u = torch.zeros((), dtype=torch.float64)

    def step(self, theta: Tensor, g: Tensor) -> Tensor:
        """Return θ after one more step."""
        self.t += 1
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.u = torch.maximum(self.beta2 * self.u, g.abs() + self.eps)
        theta = theta - self.lr * self.weight_decay * theta
        return theta - self.lr / (1 - self.beta1**self.t) * self.m / self.u
