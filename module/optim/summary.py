"""Looking inside: how sensitive a model's parameters are, and how much noise that brings them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from module.optim.base import Group, ListOptimizer
from module.optim.sensitivity import mean_sensitivities
from module.optim.sharding import is_sharded, local, sharding_of

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
QUANTILE_ELEMENTS = 2**14


@dataclass(frozen=True)
class TensorSummary:
    """One parameter tensor's sensitivities, as averaged over steps (the paper's S̃), and the noise they bring.

    `std` is over the tensor's elements. `quantiles` are those of `QUANTILES`, over an even sample of some ten thousand
    elements (of a sharded tensor, of this rank's). `share_perturbed` is the expected share of elements that get noise
    in a step: p times the share whose intensity is not zero. `mean_noise_scale` is the mean standard deviation of the
    noise where there is any, in the parameters' units. Both are None where there is no noise.
    """

    elements: int
    mean: float
    std: float
    quantiles: tuple[float, ...]
    share_perturbed: float | None = None
    mean_noise_scale: float | None = None


class SensitivityOptimizer(ListOptimizer):
    """Base of the optimizers that keep sensitivities."""

    @torch.no_grad()
    def sensitivity_summary(self) -> dict[str, TensorSummary]:
        """Summarize each tensor that has sensitivities, by name or, where the groups have none, by `group.place`.

        It costs a few passes over them and one read-back from the device: nothing beside a hundred steps. Empty before
        the first step. Every rank must call it when parameters are sharded.
        """
        sensitive = self._sensitive()
        if not sensitive:
            return {}
        rows = [self._statistics(param, group) for _, param, group in sensitive]
        values = torch.stack([row.to(rows[0].device) for row in rows]).tolist()
        return {name: _summary(param.numel(), row) for (name, param, _), row in zip(sensitive, values, strict=True)}

    @torch.no_grad()
    def sensitivity_sample(self, size: int = 2**16) -> Tensor:
        """Return some `size` sensitivities, spread evenly over all elements: for a histogram, as the paper's Figure 2.

        One-dimensional, float32, on the CPU; of sharded tensors this rank's. Empty before the first step.
        """
        flat = [local(self.state[param]["sensitivity"]).flatten() for _, param, _ in self._sensitive()]
        stride = max(1, sum(map(len, flat)) // size)
        return torch.cat(
            [torch.empty(0, device="cpu"), *(values[::stride].float().cpu() for values in flat if len(values))]
        )

    def _noise_scales(self, average: Tensor, mean: Tensor, group: Group) -> Tensor | None:
        """Return each element's σ, None where sensitivities bring no noise; `mean` is over the whole tensor."""
        return None

    def _sensitive(self) -> list[tuple[str, Tensor, Group]]:
        # "names" are `encoder_param_groups`'s, "param_names" are torch's own, which all groups must have or none.
        return [
            (names[i] if names else f"{number}.{i}", param, group)
            for number, group in enumerate(self.param_groups)
            for names in [group.get("names") or group.get("param_names")]
            for i, param in enumerate(group["params"])
            if "sensitivity" in self.state.get(param, {}) and param.numel()
        ]

    def _statistics(self, param: Tensor, group: Group) -> Tensor:
        """Means of S̃, of its square, of z and of z σ (NaN without noise); then the quantiles."""
        average = local(self.state[param]["sensitivity"]).float()
        sharding = sharding_of(param) if is_sharded(param) else None

        def mean(values: Tensor) -> Tensor:
            return mean_sensitivities([values.double()], [param.numel()], sharding)[0]

        first = mean(average)
        scales = self._noise_scales(average, first.float(), group)
        means = [first, mean(average.double() ** 2)]
        if scales is None:
            means += [first.new_tensor(math.nan)] * 2
        else:
            means += [group["noise_p"] * mean(scales > 0), group["noise_p"] * mean(scales)]
        sample = average.flatten()[:: max(1, average.numel() // QUANTILE_ELEMENTS)]
        if not len(sample):  # a rank whose shard is empty
            sample = average.new_full((1,), math.nan)
        return torch.cat([torch.stack(means), sample.quantile(sample.new_tensor(QUANTILES)).double()])


def _summary(elements: int, row: list[float]) -> TensorSummary:
    mean, square, perturbed, noise, *quantiles = row
    noisy = not math.isnan(perturbed)
    return TensorSummary(
        elements=elements,
        mean=mean,
        std=math.sqrt(max(square - mean**2, 0.0)),
        quantiles=tuple(quantiles),
        share_perturbed=perturbed if noisy else None,
        mean_noise_scale=(noise / perturbed if perturbed else 0.0) if noisy else None,
    )
