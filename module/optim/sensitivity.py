"""Sensitivity of parameters, which PATS and SAGE are built on: how much the loss would change at zero.

Equation numbers are those of PATS (EMNLP 2022).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .sharding import Sharding

TINY = torch.finfo(torch.float32).tiny
"""The least that is added to a denominator, whatever ε: less would be zero in float32."""


def sensitivity_(
    averages: list[Tensor], params: list[Tensor], grads: list[Tensor], *, beta: float, signed: bool = False
) -> list[Tensor]:
    """Fold `s` into its moving averages `S ← β S + (1-β) s` (Eq. 2), in place; return `s`.

    `s` is |θ ⊙ g| (Eq. 1), or with `signed` θ ⊙ g as it is (PATS's Algorithm 1, line 7): the first-order change of the
    loss, up or down. The lists are aligned, and tensors at the same place have the same shape. Call it before the
    update, and before weight decay: the sensitivity is that of the parameters which the gradient was taken at. No bias
    correction.
    """
    fresh = torch._foreach_mul(params, grads)
    if not signed:
        torch._foreach_abs_(fresh)
    torch._foreach_lerp_(averages, fresh, 1 - beta)
    return list(fresh)


def mean_sensitivities(
    averages: list[Tensor], sizes: list[int], sharding: Sharding | None, *, finite: bool = False
) -> list[Tensor]:
    """Return s̄, the mean of each tensor (Eq. 3), as 0-dim tensors on the device.

    `averages` are float32 or float64, or narrower and summed up in float32. That will do for signed sensitivities too,
    which cancel down to a thousandth of their size: torch sums pairwise, and s̄ keeps four digits. Of sharded tensors
    `averages` are the local shards, `sizes` the elements of the whole: the sums are added up over the ranks, once for
    the whole list.

    With `finite` a mean that is not finite becomes zero, which brings no noise: else one NaN in a gradient would turn
    its whole tensor into NaN, through the mean.
    """
    wide = torch.float64 if averages[0].dtype == torch.float64 else torch.float32
    sums = torch.stack([average.sum(dtype=wide) for average in averages])
    if sharding is not None:
        sharding.sum_over_shards(sums)
    means = sums / sums.new_tensor(sizes).clamp_(min=1)
    if finite:
        means.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
    return list(means.unbind())
