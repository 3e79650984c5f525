"""Adamax (Kingma and Ba 2014, Algorithm 2) with decoupled weight decay, over tensor lists."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from .base import TwoAverageOptimizer


def adamax_(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_infs: list[Tensor],
    *,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> None:
    """Do one Adamax step in place; the lists are aligned.

    `m ← β1 m + (1-β1) g`; `u ← max(β2 u, |g| + eps)`; `θ ← θ - lr/(1-β1^t) · m/u`, after `θ ← θ - lr·wd·θ`. The order
    of operations is torch's, for results equal to the last bit.
    """
    beta1, beta2 = betas
    if weight_decay != 0:
        torch._foreach_mul_(params, 1 - lr * weight_decay)
    torch._foreach_lerp_(exp_avgs, grads, 1 - beta1)
    update_exp_infs_(exp_infs, grads, beta2=beta2, eps=eps)
    step_size = (lr / (1 - beta1**step)) * -1
    torch._foreach_addcdiv_(params, exp_avgs, exp_infs, step_size)


def update_exp_infs_(exp_infs: list[Tensor], grads: list[Tensor], *, beta2: float, eps: float) -> None:
    """Fold `|g| + eps` into the weighted infinity norms in place: `u ← max(β2 u, |g| + eps)`."""
    torch._foreach_mul_(exp_infs, beta2)
    norms = torch._foreach_abs(grads)
    torch._foreach_add_(norms, eps)
    torch._foreach_maximum_(exp_infs, norms)


class ListAdamax(TwoAverageOptimizer):
    """The base of `AdamaxW` and `PATSAdamax`: the step, without a constructor of its own."""

    averages = ("exp_avg", "exp_inf")
    rule = staticmethod(adamax_)
    kernel = "adamax"


class AdamaxW(ListAdamax):
    """Adamax with decoupled weight decay; with `weight_decay` 0 equal to `torch.optim.Adamax` to the last bit.

    Arguments are those of `torch.optim.Adamax`. `weight_decay` shrinks the parameters by `lr·wd` a step instead of
    adding to the gradient (as AdamW does to Adam). `backend`, `capturable`, `state_dtype` and `master_weights` are
    explained at `ListOptimizer`. Raises ValueError for values out of range.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        backend: str = "auto",
        capturable: bool = False,
        state_dtype: str = "float32",
        master_weights: bool = False,
    ) -> None:
        base = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        how = {"backend": backend, "capturable": capturable, "state_dtype": state_dtype}
        super().__init__(params, {**base, **how, "master_weights": master_weights})
