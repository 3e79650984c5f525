"""PATS, Perturbation According To Sensitivity (EMNLP 2022): Algorithm 1 on Adamax, and the same on AdamW.

The paper's symbols: Θ, θ a parameter tensor with N elements; G, g its gradient; S̃ (here `sensitivity`) the moving
average of the sensitivities with rate β; s̄ its mean over the tensor; λ `noise_lambda`; γ `noise_gamma`; p `noise_p`;
ε `noise_eps`; R, r the noise intensity; Q ⊙ Z the noise added. α is the learning rate.

The paper contradicts itself twice, so there are four readings of it:
- What a sensitivity is: θ ⊙ g with its sign (Algorithm 1, line 7), or |θ ⊙ g| (Eq. 1): `sensitivity`.
- What r is: the noise's variance (the text after Eq. 4: σ = √r), or its standard deviation (Algorithm 1's N(0, R), as
  `torch.normal(0, R)` reads it): `noise_form`.
The default is "signed" and "variance", the algorithm as printed with the text's σ: the one reading in which the paper's
λ and γ both have an effect and training works (docs/optimizers.md has the measurements).
"""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from .adamax import ListAdamax
from .adamw import ListAdamW
from .base import Group, SensitivityOptimizer, TwoAverageOptimizer
from .buckets import Bucket, Gradients, Lists
from .hyperparameters import Hyperparameters, full_signature, hyperparameter
from .noise import Draws, keyed_draws, keyed_noise
from .sensitivity import TINY, mean_sensitivities, sensitivity_
from .twins import note_draw

if TYPE_CHECKING:
    from .backends import Launcher


@dataclass(frozen=True, kw_only=True)
class PATSConfig(Hyperparameters):
    """PATS."""

    noise_lambda: float = hyperparameter(
        2e-6,
        symbol="λ",
        flag="pats_lambda",
        within="[0, ∞)",
        help="base noise; 0 switches PATS off, at no cost",
    )
    noise_gamma: float = hyperparameter(
        2e-3,
        symbol="γ",
        flag="pats_gamma",
        within="[0, ∞)",
        help="margin: elements with s̄/S below it, the sensitive ones, get no noise",
    )
    noise_p: float = hyperparameter(
        0.2,
        symbol="p",
        flag="pats_p",
        within="[0, 1]",
        help="probability that an element gets its noise in a step; 0 switches PATS off",
    )
    noise_eps: float = hyperparameter(
        1e-8,
        symbol="ε",
        flag="pats_eps",
        within="(0, ∞)",
        help="bounds the noise of elements with next to no sensitivity",
    )
    sensitivity_beta: float = hyperparameter(
        0.75, symbol="β", flag="pats_beta", within="[0, 1)", help="decay of the average sensitivity"
    )
    sensitivity: str = hyperparameter(
        "signed",
        symbol="s",
        flag="pats_sensitivity",
        choices=("signed", "magnitude"),
        help="a sensitivity with its sign (Algorithm 1) or without (Eq. 1)",
    )
    noise_form: str = hyperparameter(
        "variance",
        symbol="σ(r)",
        flag="pats_noise_form",
        choices=("variance", "std"),
        help="r is the noise's variance (the paper's text) or its standard deviation",
    )
    noise_schedule: str = hyperparameter(
        "constant",
        symbol="",
        flag="pats_noise_schedule",
        choices=("constant", "lr"),
        help="σ as in the paper, or (ours) times rate / peak rate, so that the noise ends with the training",
    )

    @property
    def acts(self) -> bool:
        """Whether there is any noise."""
        return self.noise_lambda > 0 and self.noise_p > 0


ROUNDING = 1e-6
"""The part by which a schedule's highest rate may miss its peak."""

READING = ("noise_gamma", "noise_eps", "sensitivity", "noise_form")
"""The options that σ depends on, beside λ."""


def perturb_(
    params: list[Tensor],
    sensitivities: list[Tensor],
    means: list[Tensor],
    noises: list[Tensor],
    sizes: list[int],
    *,
    scale: float,
    noise_gamma: float,
    noise_eps: float,
    sensitivity: str,
    noise_form: str,
) -> None:
    """Add each element's own noise in place (Eq. 5, Algorithm 1 lines 11 to 14); the lists are aligned.

    `sensitivities` are S̃ after this step's update, `means` their means s̄ over whole tensors, `noises` standard normals
    where z = 1 and zero elsewhere, `sizes` the N of each whole tensor. `scale` is `lambda_factor`, times the rate's
    share of its peak where the noise follows it. `sensitivity` and `noise_form` choose the reading.
    """
    scales = unit_scales(
        sensitivities,
        means,
        sizes,
        noise_gamma=noise_gamma,
        noise_eps=noise_eps,
        sensitivity=sensitivity,
        noise_form=noise_form,
    )
    torch._foreach_addcmul_(params, scales, noises, scale)  # θ ← θ + σ ⊙ n ⊙ z


def perturb_some_(
    params: list[Tensor],
    sensitivities: list[Tensor],
    means: list[Tensor],
    draws: list[Draws],
    sizes: list[int],
    **options: Any,
) -> None:
    """Do what `perturb_` does, to the last bit, with the elements alone that have z = 1: for a CPU.

    Parameters and sensitivities are contiguous. `options` are those of `perturb_`.
    """
    places = [draw.places for draw in draws]
    flat, averages = ([tensor.view(-1) for tensor in tensors] for tensors in (params, sensitivities))
    chosen = [tensor.index_select(0, at) for tensor, at in zip(flat, places, strict=True)]
    their = [tensor.index_select(0, at) for tensor, at in zip(averages, places, strict=True)]
    perturb_(chosen, their, means, [draw.values for draw in draws], sizes, **options)
    for tensor, at, values in zip(flat, places, chosen, strict=True):
        tensor.scatter_(0, at, values)


def unit_scales(
    sensitivities: list[Tensor],
    means: list[Tensor],
    sizes: list[int],
    *,
    noise_gamma: float,
    noise_eps: float,
    sensitivity: str,
    noise_form: str,
) -> list[Tensor]:
    """Return each element's σ for λ = 1: the root of r (Eq. 4), or r itself, as `noise_form` has it."""
    if sensitivity == "signed":
        ratios = signed_ratios(sensitivities, means, sizes, noise_eps)
    else:
        ratios = magnitude_ratios(sensitivities, means, noise_eps)
    torch._foreach_sub_(ratios, noise_gamma)
    torch._foreach_clamp_min_(ratios, 0.0)  # r / λ = max(ratio - γ, 0), Eq. 4
    if noise_form == "variance":
        _sqrt_(ratios)
    return ratios


def _sqrt_(tensors: list[Tensor]) -> None:
    """Take roots in place; on a CPU with NumPy, whose root is exact and takes a tenth of the time of torch's."""
    if tensors[0].device.type == "cpu" and type(tensors[0]) is Tensor:  # of those that wrap others NumPy sees nothing
        for tensor in tensors:
            array = tensor.numpy()
            np.sqrt(array, out=array)
    else:
        torch._foreach_sqrt_(tensors)


def signed_ratios(sensitivities: list[Tensor], means: list[Tensor], sizes: list[int], eps: float) -> list[Tensor]:
    """Return Algorithm 1's `sum(S̃) / (N S̃ + ε)` (line 11), as `sign(S̃) s̄ / (|S̃| + ε/N)`.

    That is the same but where ε decides: the printed denominator is zero where S̃ is -ε/N, and makes the ratio of a
    zero S̃ sum(S̃)/ε; here it is zero, so that an element which the loss does not depend on is left alone. Elements
    whose sign is not the sum's have a negative ratio, and so no noise.
    """
    denominators = torch._foreach_abs(sensitivities)
    torch._foreach_add_(denominators, [max(eps / max(size, 1), TINY) for size in sizes])
    ratios = torch._foreach_sign(sensitivities)
    torch._foreach_mul_(ratios, means)
    torch._foreach_div_(ratios, denominators)
    return list(ratios)


def magnitude_ratios(sensitivities: list[Tensor], means: list[Tensor], eps: float) -> list[Tensor]:
    """Return Eq. 4's `s̄ / (S̃ + ε)`."""
    return list(torch._foreach_div(means, torch._foreach_add(sensitivities, max(eps, TINY))))


def lambda_factor(noise_lambda: float, noise_form: str) -> float:
    """Return what λ multiplies σ by: its root where r is the noise's variance, else λ."""
    return math.sqrt(noise_lambda) if noise_form == "variance" else noise_lambda


def peak_rate(group: Group) -> float | Tensor:
    """Return the peak learning rate as a group notes it: `max_lr` (OneCycleLR, or you), else `initial_lr`.

    torch's schedulers note `initial_lr`, which is the peak for those that never go above it: not for CyclicLR, say.

    Raises:
        RuntimeError: there is neither, or the rate is above it: the noise would silently not follow the rate. Rates
            that are kept on a GPU are not read back for this.
    """
    peak: float | Tensor | None = group.get("max_lr", group.get("initial_lr"))
    if peak is None:
        raise RuntimeError(
            "noise_schedule='lr' needs the peak rate, which torch's schedulers note in the group as 'initial_lr': make "
            "the scheduler before the first step, or set group['initial_lr'] yourself"
        )
    lr = group["lr"]
    on_host = not any(isinstance(rate, Tensor) and rate.device.type != "cpu" for rate in (lr, peak))
    if on_host and float(lr) > (1 + ROUNDING) * float(peak):
        raise RuntimeError(
            f"noise_schedule='lr': the learning rate {float(lr):g} is above its peak as the group notes it, "
            f"{float(peak):g}; set group['max_lr'] to the highest rate of your schedule"
        )
    return peak


def rate_share(group: Group) -> float:
    """Return the learning rate as a share of its peak, at most 1: what `noise_schedule="lr"` multiplies σ by."""
    return min(1.0, float(group["lr"]) / max(float(peak_rate(group)), TINY))


def noise_scale(group: Group) -> float:
    """Return what a group multiplies the σ of λ = 1 by in this step."""
    share = rate_share(group) if group["noise_schedule"] == "lr" else 1.0
    return share * lambda_factor(group["noise_lambda"], group["noise_form"])


def _on_cpu_in_one_piece(lists: Lists) -> bool:
    """Whether elements can be picked by their places: no GPU, no shards that are boxes, nothing transposed."""
    if lists.params[0].device.type != "cpu" or any(lists.regions):
        return False
    return all(tensor.is_contiguous() for tensor in [*lists.params, *lists.state["sensitivity"]])


def _plain_int(seed: Any) -> Any:
    """An integer of NumPy or torch as Python's own, which a state dict can hold; anything else as it is."""
    try:
        return operator.index(seed)
    except TypeError:
        return seed


class _Perturbed(SensitivityOptimizer, TwoAverageOptimizer):
    """Sensitivity before and noise after the step of the base that follows in the method resolution order."""

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        seed: int = 0,
        backend: str = "auto",
        capturable: bool = False,
        state_dtype: str = "float32",
        master_weights: bool = False,
        **pats: Any,
    ) -> None:
        base = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        how = {"backend": backend, "capturable": capturable, "state_dtype": state_dtype}
        own = {**asdict(PATSConfig(**pats)), "seed": _plain_int(seed), "perturb": True}
        super().__init__(params, {**base, **own, **how, "master_weights": master_weights})

    def _check(self, options: Mapping[str, Any]) -> None:
        super()._check(options)
        PATSConfig.check(options)
        if not (isinstance(options["seed"], int) and 0 <= options["seed"] < 2**63):
            raise ValueError(f"Invalid seed: {options['seed']!r}; it must be an int from 0 to 2**63 - 1")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load as `ListOptimizer` does; warns of averages of another reading, as before November 2026.

        Such averages are magnitudes. Taken for signed ones they would steer the noise for some ten steps.
        """
        for saved, own in zip(state_dict["param_groups"], self.param_groups, strict=False):
            if "noise_form" in saved and "sensitivity" not in saved and own["sensitivity"] != "magnitude":
                form = saved["noise_form"]
                warnings.warn(
                    "the state dict is of a version of PATS that averaged |θ·g| whatever the paper's Algorithm 1 says; "
                    f"to go on with it, make the optimizer with sensitivity='magnitude', noise_form={form!r}",
                    stacklevel=2,
                )
                break
        super().load_state_dict(state_dict)

    @staticmethod
    def _perturbs(group: Group) -> bool:
        """Say whether there is noise at all; without it a step is exactly the base step, and costs no more."""
        return bool(group["perturb"]) and group["noise_lambda"] > 0 and group["noise_p"] > 0

    def _state_names(self, group: Group) -> tuple[str, ...]:
        names = super()._state_names(group)
        return (*names, "sensitivity") if self._perturbs(group) else names

    def _buckets(self, number: int, group: Group, position: int) -> list[Bucket]:
        PATSConfig.check(group)  # who changes a group midway is told, and not given another reading
        if self._perturbs(group):
            note_draw(self, group["seed"])
        return super()._buckets(number, group, position)

    def _prepare(self, lists: Lists, group: Group) -> None:
        if not self._perturbs(group):
            return
        signed = group["sensitivity"] == "signed"
        for piece in lists.pieces():
            working = piece.working()
            averages = working.state["sensitivity"]
            sensitivity_(averages, working.params, working.grads, beta=group["sensitivity_beta"], signed=signed)
            piece.store(working)
        averages = lists.state["sensitivity"]
        lists.means = mean_sensitivities(averages, lists.sizes, lists.sharding, finite=True)

    def _update(self, lists: Lists, group: Group) -> None:
        super()._update(lists, group)
        if not self._perturbs(group):
            return
        how = {"seed": group["seed"], "step": lists.step, "dtype": lists.params[0].dtype}
        averages, options = lists.state["sensitivity"], {name: group[name] for name in READING}
        options |= {"scale": noise_scale(group)}
        if _on_cpu_in_one_piece(lists):
            draws = keyed_draws(lists.spans, group["noise_p"], **how)
            perturb_some_(lists.params, averages, lists.means, draws, lists.sizes, **options)
        else:
            noises = self._noises(lists, group["noise_p"], how)
            perturb_(lists.params, averages, lists.means, noises, lists.sizes, **options)

    @staticmethod
    def _noises(lists: Lists, p: float, how: dict[str, Any]) -> list[Tensor]:
        """Draw each parameter's `z ⊙ n`; for a shard that is no span, the whole tensor's, and cut."""
        noises = keyed_noise(lists.spans, p, device=lists.params[0].device, **how)
        if any(lists.regions):
            noises = [region.of(one) if region else one for region, one in zip(lists.regions, noises, strict=True)]
        return [noise.view_as(param) for noise, param in zip(noises, lists.params, strict=True)]

    def _noise_scales(self, average: Tensor, mean: Tensor, size: int, group: Group) -> Tensor | None:
        if not self._perturbs(group):
            return None
        reading = {name: group[name] for name in READING}
        return unit_scales([average], [mean], [size], **reading)[0] * noise_scale(group)

    def _launch(self, kernels: Launcher, bucket: Bucket, gradients: Gradients, group: Group) -> None:
        if not self._perturbs(group):
            super()._launch(kernels, bucket, gradients, group)
            return
        peak = peak_rate(group) if group["noise_schedule"] == "lr" else None
        if isinstance(peak, Tensor) and peak.device != bucket.device:
            peak = float(peak)
        kernels.descend_with_noise(self.kernel, bucket, gradients, group, self.averages, peak)


# Every function takes one.
_Perturbed.__init__.__signature__ = full_signature(_Perturbed.__init__, PATSConfig)  # type: ignore[attr-defined]


class PATSAdamax(_Perturbed, ListAdamax):
    """PATS on Adamax, the paper's optimizer; the defaults are the paper's values.

    `lr`, `betas`, `eps`, the decoupled `weight_decay`, `backend`, `capturable`, `state_dtype` and `master_weights` are
    those of `AdamaxW`. `seed` keys the noise. The other arguments are the fields of `PATSConfig`, which has their
    defaults, ranges and meanings. All can be set per group.
    Groups with `perturb` False, and all with `noise_lambda` or `noise_p` 0, get the plain step: see
    `encoder_param_groups`. With bf16 parameters noise below half a unit in the last place is rounded away, unless they
    have master weights. Raises ValueError for values out of range, TypeError for arguments that there are not.
    """


class PATSAdamW(_Perturbed, ListAdamW):
    """PATS on AdamW: the same perturbation after `torch.optim.AdamW`'s step. Arguments as for `PATSAdamax`."""
