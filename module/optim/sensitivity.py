"""Sensitivity of parameters, the one measure that PATS and SAGE share: how much the loss would change at zero.

Equation numbers are those of PATS (EMNLP 2022).
"""

from __future__ import annotations

import torch
from torch import Tensor


def sensitivity_(averages: list[Tensor], params: list[Tensor], grads: list[Tensor], *, beta: float) -> list[Tensor]:
    """Fold `s = |θ ⊙ g|` (Eq. 1) into its moving averages `S ← β S + (1-β) s` (Eq. 2), in place; return `s`.

    The lists are aligned, and tensors at the same place have the same shape. Call it before the update, and before
    weight decay: the sensitivity is that of the parameters which the gradient was taken at. No bias correction.
    """
    fresh = torch._foreach_mul(params, grads)
    torch._foreach_abs_(fresh)
    torch._foreach_lerp_(averages, fresh, 1 - beta)
    return list(fresh)
