"""AdamW (Loshchilov and Hutter 2019, Algorithm 2): one tensor, in the paper's symbols."""

from __future__ import annotations

import torch
from torch import Tensor


class AdamW:
    """State of one tensor: `t`, `m`, `v`. `lr` may be changed between steps."""

    def __init__(self, *, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float) -> None:
        self.lr, self.beta1, self.beta2, self.eps, self.weight_decay = lr, beta1, beta2, eps, weight_decay
        self.t = 0
        self.m = self.v = torch.zeros((), dtype=torch.float64)

    def step(self, theta: Tensor, g: Tensor) -> Tensor:
        """Return θ after one more step."""
        self.t += 1
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.v = self.beta2 * self.v + (1 - self.beta2) * g**2
        m_hat = self.m / (1 - self.beta1**self.t)
        v_hat = self.v / (1 - self.beta2**self.t)
        theta = theta - self.lr * self.weight_decay * theta
        return theta - self.lr * m_hat / (v_hat.sqrt() + self.eps)
