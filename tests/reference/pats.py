"""PATS (EMNLP 2022), Algorithm 1, around any base step: one tensor, in the paper's symbols, noise given."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.reference.adamax import Adamax
from tests.reference.adamw import AdamW


class PATS:
    """State of one tensor: `S`, the moving average of its sensitivity, and the base's state.

    Args:
        sensitivity: "signed", Algorithm 1's line 7 and 11 as printed, or "magnitude", Eq. 1 and Eq. 4.
        form: what the intensity r is: the noise's standard deviation ("std") or its variance ("variance").
    """

    def __init__(
        self,
        base: Adamax | AdamW,
        *,
        beta: float,
        lambda_: float,
        gamma: float,
        epsilon: float,
        sensitivity: str,
        form: str,
    ) -> None:
        self.base, self.beta, self.lambda_, self.gamma, self.epsilon = base, beta, lambda_, gamma, epsilon
        self.sensitivity, self.form = sensitivity, form
        self.S = torch.zeros((), dtype=torch.float64)

    def sigma(self) -> Tensor:
        """Standard deviation of each element's noise, from the sensitivities as they are now."""
        N = self.S.numel()
        if self.sensitivity == "signed":
            # Line 11: sum(S) / (N S + ε), where ε goes away from zero on either side, and S = 0 gets no noise.
            printed = self.S.sum() / (N * self.S + self.S.sign() * self.epsilon)
            ratio = printed.where(self.S != 0, torch.zeros((), dtype=torch.float64))
        else:
            ratio = self.S.sum() / N / (self.S + self.epsilon)  # Eq. 3 in Eq. 4
        r = self.lambda_ * (ratio - self.gamma).clamp(min=0)
        return r if self.form == "std" else r.sqrt()

    def step(self, theta: Tensor, g: Tensor, z_n: Tensor, share: float = 1.0) -> Tensor:
        """Return θ after one more step; `z_n` is z ⊙ n with z ~ Bernoulli(p), n ~ N(0, 1).

        `share`: the learning rate's of its peak, where the noise follows it (ours, not the paper's).
        """
        s = theta * g if self.sensitivity == "signed" else (theta * g).abs()  # line 7; Eq. 1
        self.S = self.beta * self.S + (1 - self.beta) * s  # Eq. 2
        return self.base.step(theta, g) + share * self.sigma() * z_n  # Eq. 5; q = σ n
