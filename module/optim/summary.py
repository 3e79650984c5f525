"""Looking inside: how sensitive a model's parameters are, and how much noise that brings them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .sensitivity import mean_sensitivities
from .sharding import is_sharded, local, sharding_of

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
QUANTILE_ELEMENTS = 2**14


@dataclass(frozen=True)
class TensorSummary:
    """One parameter tensor's sensitivities, as averaged over steps (the paper's S̃), and the noise they bring.

    Sensitivities are magnitudes here, |S̃|, whatever the optimizer averages: PATS's signed products may cancel from step
    to step, so that their averages are smaller than the averages of |θ ⊙ g| that SAGE keeps. `mean` and `std` are over
    the tensor's elements, `quantiles` those of `QUANTILES`, over an even sample of some ten thousand elements (of a
    sharded tensor, of this rank's).

    The rest is about σ, the noise's standard deviation, and None where there is no noise. `share_with_noise` is the
    share of elements whose σ is not zero; `share_perturbed`, p times that, the expected share of elements that get
    noise in a step. `mean_noise_scale` is the mean σ and `noise_quantiles` the quantiles of σ, of the elements whose σ
    is not zero, in the parameters' units; all zero where there is none.
    """

    elements: int
    mean: float
    std: float
    quantiles: tuple[float, ...]
    share_with_noise: float | None = None
    share_perturbed: float | None = None
    mean_noise_scale: float | None = None
    noise_quantiles: tuple[float, ...] | None = None


class Sensitive(NamedTuple):
    """A parameter that has sensitivities: its name, their averages of its shape, and the options of its group."""

    name: str
    param: Tensor
    average: Tensor
    group: dict[str, Any]


NoiseScales = Callable[[Tensor, Tensor, int, dict[str, Any]], "Tensor | None"]
"""From averages, their mean and elements over the whole tensor, and the group: each element's σ, or None for none."""


def summarize(sensitive: Sequence[Sensitive], noise_scales: NoiseScales) -> dict[str, TensorSummary]:
    """Summarize each tensor, by name; {} for none. Every rank must call it when parameters are sharded."""
    if not sensitive:
        return {}
    rows = [_statistics(one, noise_scales) for one in sensitive]
    values = torch.stack([row.to(rows[0].device) for row in rows]).tolist()
    return {one.name: _summary(one.param.numel(), row) for one, row in zip(sensitive, values, strict=True)}


def sample_magnitudes(sensitive: Sequence[Sensitive], size: int) -> Tensor:
    """Return |S̃| of some `size` elements, spread evenly over all: one-dimensional, float32, on the CPU."""
    flat = [local(one.average).flatten() for one in sensitive]
    stride = max(1, sum(map(len, flat)) // size)
    return torch.cat(
        [torch.empty(0, device="cpu"), *(values[::stride].float().abs().cpu() for values in flat if len(values))]
    )


def _statistics(one: Sensitive, noise_scales: NoiseScales) -> Tensor:
    """Means of |S̃|, of its square, of σ > 0, of the same times p, of σ; quantiles of |S̃|, and of σ above zero.

    What is about σ is NaN without noise.
    """
    average, elements = local(one.average).float(), one.param.numel()
    sharding = sharding_of(one.param) if is_sharded(one.param) else None

    def mean(values: Tensor) -> Tensor:
        return mean_sensitivities([values.double()], [elements], sharding)[0]

    scales = noise_scales(average, mean(average).float(), elements, one.group)
    means = [mean(average.abs()), mean(average.double() ** 2)]
    if scales is None:
        means += [means[0].new_tensor(math.nan)] * 3
        noise = average.new_full((len(QUANTILES),), math.nan)
    else:
        share = mean(scales > 0)
        means += [share, one.group["noise_p"] * share, mean(scales)]
        noise = _quantiles(_sample(scales), positive=True)
    return torch.cat([torch.stack(means), _quantiles(_sample(average).abs()).double(), noise.double()])


def _sample(values: Tensor) -> Tensor:
    """An even sample of some `QUANTILE_ELEMENTS`."""
    return values.flatten()[:: max(1, values.numel() // QUANTILE_ELEMENTS)]


def _quantiles(sample: Tensor, positive: bool = False) -> Tensor:
    """`QUANTILES` of a sample, or of what is positive in it; NaN of an empty one: a rank whose shard is empty.

    Nothing is read back: what does not count is NaN, which `nanquantile` passes over.
    """
    if not len(sample):
        sample = sample.new_full((1,), math.nan)
    if positive:
        sample = torch.where(sample > 0, sample, math.nan)
    return sample.nanquantile(sample.new_tensor(QUANTILES))


def _summary(elements: int, row: list[float]) -> TensorSummary:
    mean, square, with_noise, perturbed, scale, *quantiles = row
    summary = TensorSummary(
        elements=elements,
        mean=mean,
        std=math.sqrt(max(square - mean**2, 0.0)),
        quantiles=tuple(quantiles[: len(QUANTILES)]),
    )
    if math.isnan(with_noise):
        return summary
    return replace(
        summary,
        share_with_noise=with_noise,
        share_perturbed=perturbed,
        mean_noise_scale=scale / with_noise if with_noise else 0.0,
        noise_quantiles=tuple(0.0 if math.isnan(one) else one for one in quantiles[len(QUANTILES) :]),
    )
