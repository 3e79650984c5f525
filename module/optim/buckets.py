"""Aligned tensor lists, which the mathematics works on, and their splitting and widening."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from module.optim.sharding import Region, Sharding, local, region_of, sharded_like

# Elements that one call of the mathematics works on. On a CPU the lists and their temporaries stay in cache from one
# operation to the next; on a GPU they are as large as saves launches, but bound the memory of the temporaries.
CPU_BUCKET_ELEMENTS = 2**17
DEVICE_BUCKET_ELEMENTS = 2**25


def bucket_limit(device: torch.device) -> int:
    """Return how many elements a bucket on this device should hold at most."""
    return CPU_BUCKET_ELEMENTS if device.type == "cpu" else DEVICE_BUCKET_ELEMENTS


def arithmetic_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return what a parameter's update is computed in: float32, or float64 for a float64 parameter."""
    if not dtype.is_floating_point:
        raise RuntimeError(f"only real floating-point parameters can be optimized, got {dtype}")
    return torch.float64 if dtype == torch.float64 else torch.float32


@dataclass
class Bucket:
    """Aligned lists over parameters of one group.

    `state` has a list for each name, `counters` the step counts. `positions` are where the parameters' first elements
    stand among all elements of the optimizer, `sizes` the elements of the whole tensors. Sharded parameters are here
    with the local shard, which begins at the `starts`-th element of the whole, or is the box in `regions` where it is
    no span of the whole. `limit` is how many elements it should hold at most. `step` is `t`, counted from 1 for the
    first update; it is 0 where the steps may differ and are counted on the device. `means` are PATS's s̄, where there is
    noise. `grad_factor` multiplies the gradients.
    """

    step: int
    limit: int
    sharding: Sharding | None = None
    params: list[Tensor] = field(default_factory=list)
    grads: list[Tensor] = field(default_factory=list)
    counters: list[Tensor] = field(default_factory=list)
    state: dict[str, list[Tensor]] = field(default_factory=dict)
    positions: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    regions: list[Region | None] = field(default_factory=list)
    means: list[Tensor] = field(default_factory=list)
    grad_factor: float | Tensor | None = None
    elements: int = 0

    def add(self, param: Tensor, grad: Tensor, state: dict[str, Tensor], position: int, size: int) -> None:
        """Append one parameter, whose first element stands at `position`, with the state that it needs."""
        if self.sharding is not None:
            region = region_of(param)
            param, grad = local(param), local(sharded_like(grad, param))
            state = {name: local(value) for name, value in state.items()}
            self.regions.append(region if region.start is None else None)
            self.starts.append(region.start or 0)
        else:
            self.regions.append(None)
            self.starts.append(0)
        self.params.append(param)
        self.grads.append(grad)
        self.counters.append(state["step"])
        for name, values in self.state.items():
            values.append(state[name])
        self.positions.append(position)
        self.sizes.append(size)
        self.elements += size

    def pieces(self) -> Iterator[Bucket]:
        """Cut a single large tensor into slices of bucket size; anything else stays whole."""
        limit = self.limit
        tensors = [*self.params, *self.grads, *(values[0] for values in self.state.values())]
        whole = len(self.params) > 1 or self.params[0].numel() <= limit or self.regions != [None]
        if whole or not all(tensor.is_contiguous() for tensor in tensors):
            yield self
            return
        params, grads = (torch.split(tensor.view(-1), limit) for tensor in (self.params[0], self.grads[0]))
        state = {name: torch.split(values[0].view(-1), limit) for name, values in self.state.items()}
        for i, (param, grad) in enumerate(zip(params, grads, strict=True)):
            yield Bucket(
                step=self.step,
                limit=limit,
                params=[param],
                grads=[grad],
                state={name: [slices[i]] for name, slices in state.items()},
                positions=self.positions,
                sizes=self.sizes,
                starts=[self.starts[0] + i * limit],
                regions=self.regions,
                means=self.means,
                grad_factor=self.grad_factor,
                elements=param.numel(),
            )

    def working(self) -> Bucket:
        """Return the lists that the mathematics may change: in the arithmetic's dtype, gradients scaled.

        They are the bucket's own tensors where those will do; `store` brings the others home.
        """
        dtype = arithmetic_dtype(self.params[0].dtype)
        self.grads = _in_dtype(self.grads, dtype)
        if self.grad_factor is not None:
            self.grads, self.grad_factor = list(torch._foreach_mul(self.grads, self.grad_factor)), None
        state = {name: _in_dtype(values, dtype) for name, values in self.state.items()}
        params = state.pop("master_param", None) or _in_dtype(self.params, dtype)
        return replace(self, params=params, state=state)

    def store(self, working: Bucket) -> None:
        """Round what was computed in working copies into the tensors that they are copies of."""
        pairs = [(self.params, working.params), *((self.state[name], values) for name, values in working.state.items())]
        for stored, computed in pairs:
            if stored[0] is not computed[0]:
                torch._foreach_copy_(stored, computed)


def _in_dtype(tensors: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Return the tensors themselves where the first has the dtype already: tensors of a bucket have one dtype."""
    return tensors if tensors[0].dtype == dtype else [tensor.to(dtype) for tensor in tensors]
