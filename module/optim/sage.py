"""SAGE (Liang et al., ICLR 2022): learning rates by sensitivity, on Adamax and on AdamW.

The formulae are those of the authors' public code, which PATS compares itself with; the two variants differ there in
more than their base (bias correction of the sensitivity average, where weight decay acts), and so they do here.
Symbols: I = |θ ⊙ g|, the sensitivity; Î its moving average with rate β0 `sensitivity_beta`; |I - Î| the local temporal
variation. The factor |I - Î| / (Î + eps²) is large where sensitivity is low but still moving.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from .adamax import update_exp_infs_
from .adamw import update_adam_moments_
from .base import Group, SensitivityOptimizer
from .buckets import Bucket, Gradients, Lists
from .hyperparameters import Hyperparameters, hyperparameter
from .sensitivity import TINY, sensitivity_

if TYPE_CHECKING:
    from .backends import Launcher


def sage_factors(fresh: list[Tensor], averages: list[Tensor], *, correction: float, eps: float) -> list[Tensor]:
    """Return `|I - Î'| / (Î' + eps²)` with `Î' = Î / correction`; the lists are aligned."""
    corrected = torch._foreach_div(averages, correction)
    factors = torch._foreach_sub(fresh, corrected)
    torch._foreach_abs_(factors)
    torch._foreach_add_(corrected, eps**2)
    torch._foreach_div_(factors, corrected)
    return list(factors)


@dataclass(frozen=True, kw_only=True)
class SAGEConfig(Hyperparameters):
    """SAGE."""

    sensitivity_beta: float = hyperparameter(
        0.75, symbol="β0", flag="sage_beta", within="[0, 1)", help="decay of the average sensitivity"
    )


class _Sage(SensitivityOptimizer):
    """What both variants share: options, state, and the factor on groups with `perturb`."""

    averages: ClassVar[tuple[str, str]]
    kernel: ClassVar[str]

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        sensitivity_beta: float = SAGEConfig.sensitivity_beta,
        backend: str = "auto",
        capturable: bool = False,
        state_dtype: str = "float32",
        master_weights: bool = False,
    ) -> None:
        base = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        how = {"backend": backend, "capturable": capturable, "state_dtype": state_dtype}
        own = {"sensitivity_beta": sensitivity_beta, "perturb": True}
        super().__init__(params, {**base, **own, **how, "master_weights": master_weights})

    def _check(self, options: Mapping[str, Any]) -> None:
        super()._check(options)
        if not options["eps"] ** 2 >= TINY:  # both of SAGE's denominators would be zero where nothing moves
            raise ValueError(f"Invalid epsilon value: {options['eps']}; its square must be a float32 above zero")
        SAGEConfig.check(options)

    def _state_names(self, group: Group) -> tuple[str, ...]:
        return (*self.averages, "sensitivity") if group["perturb"] else self.averages

    def _launch(self, kernels: Launcher, bucket: Bucket, gradients: Gradients, group: Group) -> None:
        kernels.descend_by_sensitivity(self.kernel, bucket, gradients, group, self.averages)

    def _factors(self, lists: Lists, group: Group, correction: float) -> list[Tensor] | None:
        """Fold in this step's sensitivity and return the factors; None for groups that get the base step."""
        if not group["perturb"]:
            return None
        averages = lists.state["sensitivity"]
        fresh = sensitivity_(averages, lists.params, lists.grads, beta=group["sensitivity_beta"])
        return sage_factors(fresh, averages, correction=correction, eps=group["eps"])


class SAGEAdamax(_Sage):
    """SAGE on Adamax, without bias corrections: `d = m/(u + eps) + wd·θ`, `θ ← θ - lr · |I - Î|/(Î + eps²) · d`.

    Groups with `perturb` False get the same step without the factor. `sensitivity_beta` is β0; the other arguments are
    those of `AdamaxW`. Raises ValueError for values out of range.
    """

    averages = ("exp_avg", "exp_inf")
    kernel = "sage_adamax"

    def _update(self, lists: Lists, group: Group) -> None:
        factors = self._factors(lists, group, correction=1.0)
        exp_avgs, exp_infs, eps = lists.state["exp_avg"], lists.state["exp_inf"], group["eps"]
        beta1, beta2 = group["betas"]
        torch._foreach_lerp_(exp_avgs, lists.grads, 1 - beta1)
        update_exp_infs_(exp_infs, lists.grads, beta2=beta2, eps=eps)
        directions = torch._foreach_div(exp_avgs, torch._foreach_add(exp_infs, eps))
        if group["weight_decay"] != 0:
            torch._foreach_add_(directions, lists.params, alpha=group["weight_decay"])
        if factors is not None:
            torch._foreach_mul_(directions, factors)
        torch._foreach_add_(lists.params, directions, alpha=-group["lr"])


class SAGEAdamW(_Sage):
    """SAGE on AdamW, with Î' = Î/(1-β0^t): `θ ← θ - lr·√(1-β2^t)/(1-β1^t) · |I - Î'|/(Î' + eps²) · m/(√v + eps)`.

    Then `θ ← θ - lr·wd·θ`, without the factor. Groups with `perturb` False get the same step without the factor. The
    first step moves only those: Î' is I then, and the factor zero. Arguments as for `SAGEAdamax`.
    """

    averages = ("exp_avg", "exp_avg_sq")
    kernel = "sage_adamw"

    def _update(self, lists: Lists, group: Group) -> None:
        factors = self._factors(lists, group, correction=1 - group["sensitivity_beta"] ** lists.step)
        exp_avgs, exp_avg_sqs, lr = lists.state["exp_avg"], lists.state["exp_avg_sq"], group["lr"]
        beta1, beta2 = group["betas"]
        update_adam_moments_(exp_avgs, exp_avg_sqs, lists.grads, betas=(beta1, beta2))
        denominators = torch._foreach_sqrt(exp_avg_sqs)
        torch._foreach_add_(denominators, group["eps"])
        directions = torch._foreach_div(exp_avgs, denominators)
        if factors is not None:
            torch._foreach_mul_(directions, factors)
        rate = lr * (1 - beta2**lists.step) ** 0.5 / (1 - beta1**lists.step)
        torch._foreach_add_(lists.params, directions, alpha=-rate)
        if group["weight_decay"] != 0:
            torch._foreach_mul_(lists.params, 1 - lr * group["weight_decay"])
