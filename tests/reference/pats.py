"""PATS (EMNLP 2022), Algorithm 1, around any base step: one tensor, in the paper's symbols, noise given."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.reference.adamax import Adamax
from tests.reference.adamw import AdamW


class PATS:
    """State of one tensor: `S`, the moving average of its sensitivity, and the base's state.

    `form` says what the intensity r is: the noise's standard deviation ("std") or its variance ("variance").
    """

    def __init__(
        self, base: Adamax | AdamW, *, beta: float, lambda_: float, gamma: float, epsilon: float, form: str
    ) -> None:
        self.base, self.beta, self.lambda_, self.gamma, self.epsilon = base, beta, lambda_, gamma, epsilon
        self.form = form
        self.S = torch.zeros((), dtype=torch.float64)

    def sigma(self) -> Tensor:
        """Standard deviation of each element's noise, from the sensitivities as they are now."""
        N = self.S.numel()
        s_bar = self.S.sum() / N  # Eq. 3
        r = self.lambda_ * (s_bar / (self.S + self.epsilon) - self.gamma).clamp(min=0)  # Eq. 4
        return r if self.form == "std" else r.sqrt()

    def step(self, theta: Tensor, g: Tensor, z_n: Tensor) -> Tensor:
        """Return θ after one more step; `z_n` is z ⊙ n with z ~ Bernoulli(p), n ~ N(0, 1)."""
        s = (theta * g).abs()  # Eq. 1
        self.S = self.beta * self.S + (1 - self.beta) * s  # Eq. 2
        return self.base.step(theta, g) + self.sigma() * z_n  # Eq. 5; q = σ n
