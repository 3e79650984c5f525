"""Aligned tensor lists, which the mathematics works on, and their splitting and widening."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .noise import Span
from .sharding import Region, Sharding, local, region_of, sharded_like

# Elements that one call of the mathematics works on. On a CPU the lists and their temporaries stay in cache from one
# operation to the next; on a GPU they are as large as saves launches, but bound the memory of the temporaries.
CPU_BUCKET_ELEMENTS = 2**19
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

    Each field is a list with an entry a parameter, `state` has such a list for each name of `state_dtypes`:
    - `params`, `grads`, `counters`: of sharded parameters the local shard; the counts of steps.
    - `places`: in the group; `positions`: where their first elements stand among all elements of the optimizer;
      `sizes`: elements of the whole tensors.
    - `starts`: where in the whole the local shard begins; `regions`: the box that it is, where it is no span.
    - `spans`: the positions whose noise is needed; `means`: PATS's s̄, once it is known.

    `step` is `t`, counted from 1 for the first update, and 0 for the kernels, which may update parameters of different
    steps. `limit` is how many elements it should hold at most. `grad_factor` multiplies the gradients.
    """

    step: int
    limit: int
    state_dtypes: dict[str, torch.dtype] = field(default_factory=dict)
    sharding: Sharding | None = None
    params: list[Tensor] = field(default_factory=list)
    grads: list[Tensor] = field(default_factory=list)
    counters: list[Tensor] = field(default_factory=list)
    state: dict[str, list[Tensor]] = field(default_factory=dict)
    places: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    regions: list[Region | None] = field(default_factory=list)
    means: list[Tensor] = field(default_factory=list)
    grad_factor: float | Tensor | None = None
    elements: int = 0

    def __post_init__(self) -> None:
        self.state = self.state or {name: [] for name in self.state_dtypes}

    def add(self, place: int, position: int, param: Tensor, grad: Tensor, state: dict[str, Tensor]) -> None:
        """Append one parameter: its place in the group, where its first element stands; state that it lacks is made."""
        for name, values in self.state.items():
            value, dtype = state.get(name), self.state_dtypes[name]
            if value is not None and (value.shape != param.shape or value.device != param.device):
                its, here = (f"{tuple(tensor.shape)} on {tensor.device}" for tensor in (value, param))
                raise RuntimeError(f"the state {name!r} is {its}, and its parameter {here}")
            if value is None or value.dtype is not dtype or (not self.step and not value.is_contiguous()):
                value = state[name] = _made_to_fit(name, value, param, dtype)
            values.append(local(value) if self.sharding else value)
        self.counters.append(state["step"])
        region, start, size = None, 0, param.numel()
        if self.sharding:
            region = region_of(param)
            param, grad = local(param), local(sharded_like(grad, param))
            region, start = (region, 0) if region.start is None else (None, region.start)
        self.params.append(param)
        self.grads.append(grad)
        self.places.append(place)
        self.positions.append(position)
        self.sizes.append(size)
        self.starts.append(start)
        self.spans.append((position + start, param.numel()) if region is None else (position, size))
        self.regions.append(region)
        self.elements += size

    def take(self, grads: list[Tensor | None]) -> bool:
        """Begin another step with these gradients of the group; False if the parameters' steps have come to differ."""
        self.grads = [grads[place] for place in self.places]  # type: ignore[misc]  # who has none has not changed
        if self.step:
            steps = {counter.item() for counter in self.counters}
            self.step = int(min(steps)) + 1
            return len(steps) == 1
        return True

    def drop(self) -> None:
        """Let go of what belongs to one step: gradients would stay in memory."""
        self.grads, self.means, self.grad_factor = [], [], None

    def pieces(self) -> Iterator[Bucket]:
        """Cut a single large tensor into slices of bucket size; anything else stays whole."""
        limit = self.limit
        whole = len(self.params) > 1 or self.params[0].numel() <= limit or self.regions != [None]
        tensors = [] if whole else [*self.params, *self.grads, *(values[0] for values in self.state.values())]
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
                sizes=self.sizes,
                spans=[(self.spans[0][0] + i * limit, param.numel())],
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


def _made_to_fit(name: str, value: Tensor | None, param: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a state tensor as it is needed: averages start at zero, a master copy at the parameter."""
    if value is not None:
        return value.to(dtype).contiguous()
    if name == "master_param":
        return param.detach().to(dtype)
    return torch.zeros_like(param, dtype=dtype, memory_format=torch.preserve_format)


def _in_dtype(tensors: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Return the tensors themselves where the first has the dtype already: tensors of a bucket have one dtype."""
    return tensors if tensors[0].dtype == dtype else [tensor.to(dtype) for tensor in tensors]
