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
            if not placement.is_replicate():  # is_shard() is False for the strided shards of FSDP2 over TP
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


def is_sharded(tensor: Any) -> bool:
    """Whether this is a `DTensor`."""
    distributed = sys.modules.get("torch.distributed.tensor")
    return distributed is not None and isinstance(tensor, distributed.DTensor)


def local(tensor: Tensor) -> Tensor:
    """Return the shard of this rank, sharing its memory, or the tensor itself where it is not sharded."""
    return tensor.to_local() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def whole(tensor: Any) -> Any:
    """Return what all ranks hold together, or what is no `DTensor` itself. Every rank of the mesh must call it."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def sharding_of(param: Any) -> Sharding:
    """Return how a parameter is sharded; RuntimeError for partial sums, and for shards that are no boxes."""
    reason = None
    if any(placement.is_partial() for placement in param.placements):
        reason = "it is a partial sum"
    elif _is_interleaved(param):
        reason = "its shards are not boxes of the whole"
    if reason is not None:
        raise RuntimeError(f"a parameter with placements {param.placements} cannot be optimized: {reason}")
    return Sharding(param.device_mesh, tuple(param.placements))


def _is_interleaved(param: Any) -> bool:
    """Whether a rank holds several pieces of a dimension.

    A strided shard makes `split_factor` pieces, and leaves a rank one of them where later dimensions of the mesh share
    these out: FSDP2 over tensor parallelism.
    """
    spread = [(getattr(one, "dim", None), getattr(one, "split_factor", 1)) for one in param.placements]
    for i, (dim, pieces) in enumerate(spread):
        later = (param.device_mesh.size(j) for j in range(i + 1, len(spread)) if spread[j][0] == dim)
        if pieces not in (1, math.prod(later)):
            return True
    return False


def region_of(param: Any) -> Region:
    """Return where this rank's shard lies, by the description that distributed checkpoints are written from.

    Looked up where it is known from an earlier step: torch takes as long over it as a small parameter's whole update.
    """
    mesh = param.device_mesh
    key = (param.shape, mesh, tuple(mesh.get_coordinate() or ()), param.placements)
    if key not in _REGIONS:
        (chunk,) = param.__create_chunk_list__()
        if math.prod(chunk.sizes) != local(param).numel():  # rows that do not divide evenly, FSDP2 over TP
            raise RuntimeError(f"torch places {tuple(chunk.sizes)} here, the shard is {tuple(local(param).shape)}")
        _REGIONS[key] = Region(tuple(param.shape), tuple(chunk.offsets), tuple(chunk.sizes))
    return _REGIONS[key]


_REGIONS: dict[Any, Region] = {}  # one for each shape and layout that the process has seen


def shards_are_spans(param: Any) -> bool:
    """Whether every rank holds elements that follow one another in the whole: the same answer on all ranks."""
    cut = [getattr(one, "dim", 0) for one in param.placements if not one.is_replicate()]
    return not cut or math.prod(param.shape[: max(cut)]) <= 1


def sharded_like(tensor: Any, param: Any) -> Any:
    """Return a gradient or an average with the parameter's placements.

    What is whole on every rank is cut without communication: state that was saved without shards.
    """
    if not is_sharded(param):
        return tensor
    if not is_sharded(tensor):
        distribute = sys.modules["torch.distributed.tensor"].distribute_tensor
        return distribute(tensor, param.device_mesh, param.placements, src_data_rank=None)
    return tensor if tensor.placements == param.placements else tensor.redistribute(placements=param.placements)
