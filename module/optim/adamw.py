"""AdamW (Loshchilov and Hutter 2019) over tensor lists: the base step of `PATSAdamW`.

For plain AdamW the registry takes `torch.optim.AdamW`, whose fused step is faster; this one equals its foreach step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .base import TwoAverageOptimizer


def adamw_(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    *,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> None:
    """Do one AdamW step in place; the lists are aligned.

    After `θ ← θ - lr·wd·θ`: `m ← β1 m + (1-β1) g`; `v ← β2 v + (1-β2) g²`;
    `θ ← θ - lr/(1-β1^t) · m / (√v/√(1-β2^t) + eps)`. The order of operations is torch's, for equality to the last bit.
    """
    beta1, beta2 = betas
    if weight_decay != 0:
        torch._foreach_mul_(params, 1 - lr * weight_decay)
    update_adam_moments_(exp_avgs, exp_avg_sqs, grads, betas=betas)
    denominators = torch._foreach_sqrt(exp_avg_sqs)
    torch._foreach_div_(denominators, (1 - beta2**step) ** 0.5)
    torch._foreach_add_(denominators, eps)
    step_size = (lr / (1 - beta1**step)) * -1
    torch._foreach_addcdiv_(params, exp_avgs, denominators, step_size)


def update_adam_moments_(
    exp_avgs: list[Tensor], exp_avg_sqs: list[Tensor], grads: list[Tensor], *, betas: tuple[float, float]
) -> None:
    """Fold the gradients into both of Adam's moments in place: `m ← β1 m + (1-β1) g`, `v ← β2 v + (1-β2) g²`."""
    beta1, beta2 = betas
    torch._foreach_lerp_(exp_avgs, grads, 1 - beta1)
    torch._foreach_mul_(exp_avg_sqs, beta2)
    torch._foreach_addcmul_(exp_avg_sqs, grads, grads, 1 - beta2)


class ListAdamW(TwoAverageOptimizer):
    """The base of `PATSAdamW`: `torch.optim.AdamW(foreach=True)` to the last bit, on this package's book-keeping."""

    averages = ("exp_avg", "exp_avg_sq")
    rule = staticmethod(adamw_)
    kernel = "adamw"
