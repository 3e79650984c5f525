"""NoisyTune (Wu et al., ACL 2022), Eq. 1: one tensor, noise given."""

from __future__ import annotations

from torch import Tensor


def noisytune(W: Tensor, uniform: Tensor, *, lambda_: float) -> Tensor:
    """Return W̃; `uniform` lies in [-1/2, 1/2)."""
    N = W.numel()
    std = ((W - W.mean()) ** 2).sum().div(N - 1).sqrt()
    return W + lambda_ * uniform * std
