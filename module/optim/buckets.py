"""What a step works on: buckets, the layout that stays from step to step, and the aligned tensor lists of one step.

A bucket has the tensors, and each step brings its `Gradients`. Kernels take the two as they are; for the mathematics
over lists they become `Lists`, which can be cut into pieces and widened to the arithmetic's dtype.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .noise import Span
from .sharding import Region, Sharding, local, region_of, sharded_like

# Elements that one call of the mathematics works on. On a CPU the lists and their temporaries stay in cache from one
# operation to the next; on a GPU they are as large as saves launches, but bound the memory of the temporaries.
CPU_BUCKET_ELEMENTS = 2**19
DEVICE_BUCKET_ELEMENTS = 2**25


PRETRAINED = "pretrained"
"""The name of state that starts as the parameter itself, and stays: what RecAdam pulls to."""

COPIES = ("master_param", PRETRAINED)
"""State that starts as a copy of the parameter."""

Factor = float | Tensor | None
"""What multiplies all gradients of a step, None for nothing."""


def bucket_limit(device: torch.device) -> int:
    """Return how many elements a bucket on this device should hold at most."""
    return CPU_BUCKET_ELEMENTS if device.type == "cpu" else DEVICE_BUCKET_ELEMENTS


def arithmetic_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return what a parameter's update is computed in: float32, or float64 for a float64 parameter."""
    if not dtype.is_floating_point:
        raise RuntimeError(f"only real floating-point parameters can be optimized, got {dtype}")
    return torch.float64 if dtype == torch.float64 else torch.float32


class Gradients(NamedTuple):
    """What a step brings to a bucket: a gradient a parameter, and what multiplies them all.

    Of sharded parameters they are the local shards, for the kernels they are contiguous. `found_inf` is None, or a
    0-dim float32 tensor on the parameters' device: if it is not zero the step must change nothing.
    """

    tensors: list[Tensor]
    factor: Factor
    found_inf: Tensor | None = None


@dataclass
class Bucket:
    """The layout of some parameters of one group, kept from step to step: which tensors, and where they belong.

    Each field is a list with an entry a parameter, `state` has such a list for each name of `state_dtypes`:
    - `params`, `counters`: of sharded parameters the local shard; the counts of steps.
    - `places`: in the group; `positions`: where their first elements stand among all elements of the optimizer;
      `sizes`: elements of the whole tensors.
    - `starts`: where in the whole the local shard begins; `regions`: the box that it is, where it is no span.
    - `spans`: the positions whose noise is needed.

    `backend` says what updates them: kernels of "triton" or "numba", each parameter by its own count of steps, or
    lists of tensors ("foreach"), which share one. Of those it should hold `limit` elements at most.
    """

    backend: str
    limit: int
    state_dtypes: dict[str, torch.dtype]
    sharding: Sharding | None = None
    params: list[Tensor] = field(default_factory=list)
    counters: list[Tensor] = field(default_factory=list)
    state: dict[str, list[Tensor]] = field(init=False)
    places: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    regions: list[Region | None] = field(default_factory=list)
    elements: int = 0

    def __post_init__(self) -> None:
        self.state = {name: [] for name in self.state_dtypes}

    @property
    def for_kernels(self) -> bool:
        """Whether kernels update the parameters, not lists."""
        return self.backend != "foreach"

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.params[0].device

    def has_room(self, elements: int) -> bool:
        """Whether so many more elements fit in; the kernels take any number."""
        return self.for_kernels or self.elements + elements <= self.limit

    def add(self, place: int, position: int, param: Tensor, state: dict[str, Tensor]) -> None:
        """Append one parameter: its place in the group, where its first element stands; state that it lacks is made."""
        for name, values in self.state.items():
            value, dtype = state.get(name), self.state_dtypes[name]
            if value is not None and (value.shape != param.shape or value.device != param.device):
                its, here = (f"{tuple(tensor.shape)} on {tensor.device}" for tensor in (value, param))
                raise RuntimeError(f"the state {name!r} is {its}, and its parameter {here}")
            if value is None or value.dtype is not dtype or (self.for_kernels and not value.is_contiguous()):
                value = state[name] = _made_to_fit(name, value, param, dtype)
            values.append(local(value) if self.sharding else value)
        self.counters.append(state["step"])
        region, start, size = None, 0, param.numel()
        if self.sharding:
            region = region_of(param)
            param = local(param)
            region, start = (region, 0) if region.start is None else (None, region.start)
        self.params.append(param)
        self.places.append(place)
        self.positions.append(position)
        self.sizes.append(size)
        self.starts.append(start)
        self.spans.append((position + start, param.numel()) if region is None else (position, size))
        self.regions.append(region)
        self.elements += size

    def tensors(self) -> list[Tensor]:
        """All tensors of the bucket."""
        return [tensor for tensors in (self.params, self.counters, *self.state.values()) for tensor in tensors]

    def with_tensors(self, tensors: list[Tensor]) -> Bucket:
        """Return a copy with these tensors, in the order of `tensors()`; with none, a bucket that keeps none alive."""
        copied, kinds = copy.copy(self), 2 + len(self.state)
        count = len(tensors) // kinds
        copied.params, copied.counters, *states = [tensors[kind * count : (kind + 1) * count] for kind in range(kinds)]
        copied.state = dict(zip(self.state, states, strict=True))
        return copied

    def in_step(self) -> bool:
        """Whether the parameters have taken equally many steps, where that matters: the lists have one count for all.

        Heads that take turns come to differ from what they share. Nothing is read back from a GPU.
        """
        return self.for_kernels or len({counter.item() for counter in self.counters}) == 1

    def gradients(self, group: dict[str, Any], factor: Factor, found_inf: Tensor | None = None) -> Gradients:
        """Take up the group's gradients for a step; a factor that lies on another device is read back."""
        members = group["params"]
        grads = [members[place].grad for place in self.places]
        if self.sharding:
            grads = [local(sharded_like(grad, members[i])) for i, grad in zip(self.places, grads, strict=True)]
        if self.for_kernels:
            grads = [grad.contiguous() for grad in grads]
        if self.backend == "numba":  # of another dtype only where a program has asked torch for that
            grads = _in_dtype(grads, torch.float32)
        if isinstance(factor, Tensor) and factor.device != self.device:
            factor = float(factor)
        if found_inf is not None:
            found_inf = found_inf.to(self.device, torch.float32)
        return Gradients(grads, factor, found_inf)

    def lists(self, gradients: Gradients) -> Lists:
        """The lists of the step that `counters` are about to count."""
        return Lists(
            step=int(self.counters[0].item()) + 1,
            limit=self.limit,
            params=self.params,
            grads=gradients.tensors,
            grad_factor=gradients.factor,
            state=self.state,
            sizes=self.sizes,
            spans=self.spans,
            regions=self.regions,
            sharding=self.sharding,
        )


@dataclass
class Lists:
    """Aligned lists that the mathematics of one step works on: of a bucket, or of slices of one large tensor.

    `step` is `t`, counted from 1 for the first update. `grad_factor` multiplies the gradients. `means` are PATS's s̄,
    empty until they are known. The other fields are those of `Bucket`.
    """

    step: int
    limit: int
    params: list[Tensor]
    grads: list[Tensor]
    grad_factor: Factor
    state: dict[str, list[Tensor]]
    sizes: list[int]
    spans: list[Span]
    regions: list[Region | None]
    sharding: Sharding | None
    means: list[Tensor] = field(default_factory=list)

    def pieces(self) -> Iterator[Lists]:
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
            yield replace(
                self,
                params=[param],
                grads=[grad],
                state={name: [slices[i]] for name, slices in state.items()},
                spans=[(self.spans[0][0] + i * limit, param.numel())],
            )

    def working(self) -> Lists:
        """Return the lists that the mathematics may change: in the arithmetic's dtype, gradients scaled.

        They are these tensors themselves where those will do; `store` brings the others home.
        """
        dtype = arithmetic_dtype(self.params[0].dtype)
        self.grads = _in_dtype(self.grads, dtype)
        if self.grad_factor is not None:
            self.grads, self.grad_factor = list(torch._foreach_mul(self.grads, self.grad_factor)), None
        state = {name: _in_dtype(values, dtype) for name, values in self.state.items()}
        params = state.pop("master_param", None) or _in_dtype(self.params, dtype)
        return replace(self, params=params, state=state)

    def store(self, working: Lists) -> None:
        """Round what was computed in working copies into the tensors that they are copies of."""
        pairs = [(self.params, working.params), *((self.state[name], values) for name, values in working.state.items())]
        for stored, computed in pairs:
            if stored[0] is not computed[0]:
                torch._foreach_copy_(stored, computed)


def _made_to_fit(name: str, value: Tensor | None, param: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a state tensor as it is needed: averages start at zero, copies at the parameter."""
    if value is not None:
        return value.to(dtype).contiguous()
    if name in COPIES:
        return param.detach().to(dtype, copy=True)
    return torch.zeros_like(param, dtype=dtype, memory_format=torch.preserve_format)


def _in_dtype(tensors: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Return the tensors themselves where the first has the dtype already: tensors of a bucket have one dtype."""
    return tensors if tensors[0].dtype == dtype else [tensor.to(dtype) for tensor in tensors]
