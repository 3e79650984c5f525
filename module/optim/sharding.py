"""What the optimizers need to know of sharded `DTensor` parameters (FSDP2, tensor parallelism).

State is sharded like its parameter, and everything but PATS's mean s̄ is elementwise, so each rank updates its local
shard. Nothing is imported from `torch.distributed` unless a parameter comes from there.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


class Sharding(NamedTuple):
    """How parameters are spread over ranks: `placements` has one entry a dimension of the mesh."""

    mesh: DeviceMesh
    placements: tuple[Any, ...]

    def sum_over_shards(self, sums: Tensor) -> None:
        """Add up, in place, what each rank has summed over its shard. Every rank of the mesh must call it."""
        for dimension, placement in enumerate(self.placements):
            if placement.is_shard():
                torch.distributed.all_reduce(sums, group=self.mesh.get_group(dimension))


class Region(NamedTuple):
    """A local shard as part of the whole tensor: a box of `sizes` at `offsets` in a tensor of `shape`."""

    shape: tuple[int, ...]
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def start(self) -> int | None:
        """Place of its first element, row by row, when its elements follow one another there; else None."""
        if math.prod(self.sizes) == 0:
            return 0
        split = [size != whole for size, whole in zip(self.sizes, self.shape, strict=True)]
        last = max((i for i, cut in enumerate(split) if cut), default=0)
        if any(size > 1 for size in self.sizes[:last]):
            return None
        return sum(offset * math.prod(self.shape[i + 1 :]) for i, offset in enumerate(self.offsets))

    def of(self, whole: Tensor) -> Tensor:
        """Cut the region out of a flat whole tensor; returns it flat."""
        box = tuple(slice(start, start + size) for start, size in zip(self.offsets, self.sizes, strict=True))
        return whole.view(self.shape)[box].flatten()


def is_sharded(tensor: Tensor) -> bool:
    """Whether this is a `DTensor`."""
    distributed = sys.modules.get("torch.distributed.tensor")
    return distributed is not None and isinstance(tensor, distributed.DTensor)


def local(tensor: Tensor) -> Tensor:
    """Return the shard of this rank, sharing its memory, or the tensor itself where it is not sharded."""
    return tensor.to_local() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def sharding_of(param: Any) -> Sharding:
    """Return how a parameter is sharded; RuntimeError for one that holds partial sums."""
    if any(placement.is_partial() for placement in param.placements):
        raise RuntimeError(f"a parameter with placements {param.placements} cannot be optimized: it is a partial sum")
    return Sharding(param.device_mesh, tuple(param.placements))


def region_of(param: Any) -> Region:
    """Return where this rank's shard lies, by the description that distributed checkpoints are written from."""
    (chunk,) = param.__create_chunk_list__()
    return Region(tuple(param.shape), tuple(chunk.offsets), tuple(chunk.sizes))


def sharded_like(grad: Any, param: Any) -> Tensor:
    """Return the gradient with the parameter's placements."""
    same = grad.placements == param.placements
    aligned: Tensor = grad if same else grad.redistribute(placements=param.placements)
    return aligned
