"""SAGE (Liang et al., ICLR 2022), the formulae of its authors' code: one tensor. I sensitivity, I_hat its average."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class SageAdamax:
    """State of one tensor: `m`, `u`, `I_hat`. `adapts` False leaves the factor out."""

    def __init__(
        self, *, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, beta0: float, adapts: bool
    ) -> None:
        self.lr, self.beta1, self.beta2, self.eps, self.weight_decay = lr, beta1, beta2, eps, weight_decay
        self.beta0, self.adapts = beta0, adapts
        self.m = self.u = self.I_hat = torch.zeros((), dtype=torch.float64)

    def step(self, theta: Tensor, g: Tensor) -> Tensor:
        """Return θ after one more step."""
        I = (theta * g).abs()  # noqa: E741
        self.I_hat = self.beta0 * self.I_hat + (1 - self.beta0) * I
        factor = (I - self.I_hat).abs() / (self.I_hat + self.eps**2) if self.adapts else 1.0
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.u = torch.maximum(self.beta2 * self.u, g.abs() + self.eps)
        d = self.m / (self.u + self.eps) + self.weight_decay * theta
        return theta - self.lr * factor * d


class SageAdamW:
    """State of one tensor: `t`, `m`, `v`, `I_hat`. `adapts` False leaves the factor out."""

    def __init__(
        self, *, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, beta0: float, adapts: bool
    ) -> None:
        self.lr, self.beta1, self.beta2, self.eps, self.weight_decay = lr, beta1, beta2, eps, weight_decay
        self.beta0, self.adapts = beta0, adapts
        self.t = 0
        self.m = self.v = self.I_hat = torch.zeros((), dtype=torch.float64)

    def step(self, theta: Tensor, g: Tensor) -> Tensor:
        """Return θ after one more step."""
        self.t += 1
        I = (theta * g).abs()  # noqa: E741
        self.I_hat = self.beta0 * self.I_hat + (1 - self.beta0) * I
        I_hat = self.I_hat / (1 - self.beta0**self.t)
        factor = (I - I_hat).abs() / (I_hat + self.eps**2) if self.adapts else 1.0
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.v = self.beta2 * self.v + (1 - self.beta2) * g**2
        rate = self.lr * math.sqrt(1 - self.beta2**self.t) / (1 - self.beta1**self.t)
        theta = theta - rate * factor * self.m / (self.v.sqrt() + self.eps)
        return theta - self.lr * self.weight_decay * theta
