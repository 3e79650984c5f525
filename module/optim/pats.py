"""PATS, Perturbation According To Sensitivity (EMNLP 2022): Algorithm 1 on Adamax, and the same on AdamW.

The paper's symbols: Θ, θ a parameter tensor with N elements; G, g its gradient; S̃ (here `sensitivity`) the moving
average of |θ ⊙ g| with rate β; s̄ its mean over the tensor; λ `noise_lambda`; γ `noise_gamma`; p `noise_p`; ε
`noise_eps`; R, r the noise intensity; Q ⊙ Z the noise added. α is the learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from module.optim.adamax import AdamaxW
from module.optim.adamw import ListAdamW
from module.optim.base import Group, ListOptimizer, TwoAverageOptimizer
from module.optim.buckets import Bucket
from module.optim.noise import keyed_noise
from module.optim.sensitivity import mean_sensitivities, sensitivity_
from module.optim.summary import SensitivityOptimizer

if TYPE_CHECKING:
    from module.kernels.launch import Kernels

NOISE_FORMS = ("std", "variance")


def perturb_(
    params: list[Tensor],
    sensitivities: list[Tensor],
    means: list[Tensor],
    noises: list[Tensor],
    *,
    noise_lambda: float,
    noise_gamma: float,
    noise_eps: float,
    noise_form: str,
) -> None:
    """Add each element's own noise in place (Eq. 5, Algorithm 1 lines 11 to 14); the lists are aligned.

    `sensitivities` are S̃ after this step's update, `means` their means s̄ over whole tensors, `noises` standard normals
    where z = 1 and zero elsewhere. `noise_form` says what the intensity r is: the noise's standard deviation ("std",
    what Algorithm 1's N(0, R) does as `torch.normal(0, R)`) or its variance ("variance", σ = √r as the text after Eq. 4
    has it).
    """
    scales = unit_scales(sensitivities, means, noise_gamma=noise_gamma, noise_eps=noise_eps, noise_form=noise_form)
    torch._foreach_addcmul_(params, scales, noises, lambda_factor(noise_lambda, noise_form))  # θ ← θ + σ ⊙ n ⊙ z


def unit_scales(
    sensitivities: list[Tensor], means: list[Tensor], *, noise_gamma: float, noise_eps: float, noise_form: str
) -> list[Tensor]:
    """Return each element's σ for λ = 1: r (Eq. 4) or its root, as `noise_form` has it."""
    ratios = torch._foreach_div(means, torch._foreach_add(sensitivities, noise_eps))  # s̄ / (s̄_j + ε)
    torch._foreach_sub_(ratios, noise_gamma)
    torch._foreach_clamp_min_(ratios, 0.0)  # r / λ = max(s̄ / (s̄_j + ε) - γ, 0), Eq. 4
    if noise_form == "variance":
        torch._foreach_sqrt_(ratios)
    return list(ratios)


def lambda_factor(noise_lambda: float, noise_form: str) -> float:
    """Return what λ multiplies σ by: λ, or its root where r is the noise's variance."""
    return math.sqrt(noise_lambda) if noise_form == "variance" else noise_lambda


class _Perturbed(SensitivityOptimizer, TwoAverageOptimizer):
    """Sensitivity before and noise after the step of the base that follows in the method resolution order."""

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        sensitivity_beta: float = 0.75,
        noise_lambda: float = 2e-6,
        noise_gamma: float = 2e-3,
        noise_p: float = 0.2,
        noise_eps: float = 1e-8,
        noise_form: str = "std",
        seed: int = 0,
        backend: str = "auto",
        capturable: bool = False,
        state_dtype: str = "float32",
        master_weights: bool = False,
    ) -> None:
        # Past the base class's constructor, which knows nothing of these options.
        base = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        how = {"backend": backend, "capturable": capturable, "state_dtype": state_dtype}
        noise = {"noise_lambda": noise_lambda, "noise_gamma": noise_gamma, "noise_p": noise_p, "noise_eps": noise_eps}
        own = {"sensitivity_beta": sensitivity_beta, "noise_form": noise_form, "seed": seed, "perturb": True}
        ListOptimizer.__init__(self, params, {**base, **noise, **own, **how, "master_weights": master_weights})

    def _check(self, options: Mapping[str, Any]) -> None:
        super()._check(options)
        if not 0.0 <= options["sensitivity_beta"] < 1.0:
            raise ValueError(f"Invalid sensitivity_beta value: {options['sensitivity_beta']}")
        for name in ("noise_lambda", "noise_gamma"):
            if not 0.0 <= options[name] < math.inf:
                raise ValueError(f"Invalid {name} value: {options[name]}")
        if not 0.0 <= options["noise_p"] <= 1.0:
            raise ValueError(f"Invalid noise_p value: {options['noise_p']}")
        if not options["noise_eps"] > 0.0:
            raise ValueError(f"Invalid noise_eps value: {options['noise_eps']}")
        if options["noise_form"] not in NOISE_FORMS:
            raise ValueError(f"Invalid noise_form: {options['noise_form']!r}; choose from {', '.join(NOISE_FORMS)}")
        if not (isinstance(options["seed"], int) and 0 <= options["seed"] < 2**63):
            raise ValueError(f"Invalid seed: {options['seed']!r}; it must be an integer from 0 to 2**63 - 1")

    @staticmethod
    def _perturbs(group: Group) -> bool:
        """Say whether there is noise at all; without it a step is exactly the base step, and costs no more."""
        return bool(group["perturb"]) and group["noise_lambda"] > 0 and group["noise_p"] > 0

    def _state_names(self, group: Group) -> tuple[str, ...]:
        names = super()._state_names(group)
        return (*names, "sensitivity") if self._perturbs(group) else names

    def _prepare(self, bucket: Bucket, group: Group) -> None:
        if not self._perturbs(group):
            return
        for piece in bucket.pieces():
            working = piece.working()
            averages = working.state["sensitivity"]
            sensitivity_(averages, working.params, working.grads, beta=group["sensitivity_beta"])
            piece.store(working)
        bucket.means = mean_sensitivities(bucket.state["sensitivity"], bucket.sizes, bucket.sharding)

    def _update(self, bucket: Bucket, group: Group) -> None:
        super()._update(bucket, group)
        if not self._perturbs(group):
            return
        perturb_(
            bucket.params,
            bucket.state["sensitivity"],
            bucket.means,
            self._noises(bucket, group),
            noise_lambda=group["noise_lambda"],
            noise_gamma=group["noise_gamma"],
            noise_eps=group["noise_eps"],
            noise_form=group["noise_form"],
        )

    @staticmethod
    def _noises(bucket: Bucket, group: Group) -> list[Tensor]:
        """Draw each parameter's `z ⊙ n`; for a shard that is no span, the whole tensor's, and cut."""
        first = bucket.params[0]
        how = {"seed": group["seed"], "step": bucket.step, "dtype": first.dtype, "device": first.device}
        noises = keyed_noise(bucket.spans, group["noise_p"], **how)
        if any(bucket.regions):
            noises = [region.of(one) if region else one for region, one in zip(bucket.regions, noises, strict=True)]
        # A view takes longer than a bias's whole arithmetic, and a bias needs none.
        return [
            noise if param.dim() == 1 else noise.view_as(param)
            for noise, param in zip(noises, bucket.params, strict=True)
        ]

    def _noise_scales(self, average: Tensor, mean: Tensor, group: Group) -> Tensor | None:
        if not self._perturbs(group):
            return None
        options = {name: group[name] for name in ("noise_gamma", "noise_eps", "noise_form")}
        return unit_scales([average], [mean], **options)[0] * lambda_factor(group["noise_lambda"], group["noise_form"])

    def _launch(self, kernels: Kernels, bucket: Bucket, group: Group) -> None:
        if self._perturbs(group):
            kernels.descend_with_noise(self.kernel, bucket, group, self.averages)
        else:
            super()._launch(kernels, bucket, group)


class PATSAdamax(_Perturbed, AdamaxW):
    """PATS on Adamax, the paper's optimizer; the defaults are the paper's values.

    `lr`, `betas`, `eps`, the decoupled `weight_decay`, `backend`, `capturable`, `state_dtype` and `master_weights` are
    those of `AdamaxW`. `sensitivity_beta` is β of Eq. 2; `noise_lambda`, `noise_gamma`, `noise_eps` are λ, γ and ε of
    Eq. 4; `noise_p` is the share of elements perturbed in a step, `noise_form` what Eq. 4's r means (see `perturb_`);
    `seed` keys the noise. All can be set per group.
    Groups with `perturb` False, and all with `noise_lambda` or `noise_p` 0, get the plain step: see
    `encoder_param_groups`. With bf16 parameters noise below half a unit in the last place is rounded away, unless they
    have master weights. Raises ValueError for values out of range.
    """


class PATSAdamW(_Perturbed, ListAdamW):
    """PATS on AdamW: the same perturbation after `torch.optim.AdamW`'s step. Arguments as for `PATSAdamax`."""
