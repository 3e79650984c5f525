"""How the model runs on several processes: whole on each (DDP), or sharded over all of them (FSDP2); or on one.

An update sees the same rows however many processes share them: each computes the gradients of its part of every
forward pass, weighted so that torch's mean over processes is the gradient of all rows.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from data_utils.errors import StoppedError
from module.optim.param_groups import LAYER_STACKS
from module.optim.sharding import is_sharded, local, sharded_like, whole
from mt_dnn.distributed import Ranks
from mt_dnn.model import MTDNN


class Parallel:
    """A model on one process; the base of the others.

    Attributes:
        model: the model itself, for evaluation, its parameters and its state.
        forward: called in training in the model's place.
        ranks: the processes.
    """

    def __init__(self, model: MTDNN, ranks: Ranks) -> None:
        self.model = model
        self.forward: nn.Module = model
        self.ranks = ranks

    def accumulating(self) -> AbstractContextManager[None]:
        """Forward and backward passes in this block leave their gradients where they are; a later one adds all up."""
        return contextlib.nullcontext()

    def state_dict(self) -> dict[str, Tensor]:
        """The model's tensors, see `gathered`."""
        return self.gathered(self.model.state_dict())

    def gathered(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors on the first process, nothing on the others. All processes must ask at once.

        Shards come together one tensor at a time, on the host: a device may not have room for all of them.
        """
        found = {}
        for name, value in tensors.items():
            gathered = whole(value)
            if self.ranks.first:
                found[name] = gathered.cpu() if is_sharded(value) else gathered
        return found

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up whole tensors by name; RuntimeError where names or shapes are others."""
        own = self.model.state_dict()
        for name in state.keys() & own.keys():
            if state[name].shape != own[name].shape:  # sharding would cut it without a word
                raise RuntimeError(f"{name} has shape {tuple(state[name].shape)}, the model's {tuple(own[name].shape)}")
        self.model.load_state_dict(
            {name: sharded_like(v, own[name]) if name in own else v for name, v in state.items()}
        )

    @torch.no_grad()
    def check_finite(self) -> None:
        """Raise `StoppedError` for weights that are not finite: nobody could go on from them."""
        parts = [part for p in self.model.parameters() if (part := local(p.detach())).numel()]
        largest = torch.stack(torch._foreach_norm(parts, math.inf)).max().item() if parts else 0.0
        if self.ranks.any(not math.isfinite(largest)):
            raise StoppedError(
                "weights are no longer finite, and were not saved; the last checkpoint stands. "
                "Try a lower --learning_rate, or less noise"
            )

    def check_replicas(self) -> None:
        """Compare the weights of all processes; nothing to compare where each is held once."""


class Replicated(Parallel):
    """The whole model on every process, through torch's DistributedDataParallel."""

    def __init__(self, model: MTDNN, ranks: Ranks) -> None:
        super().__init__(model, ranks)
        self.forward = _Replica(model)

    def accumulating(self) -> AbstractContextManager[None]:
        """See `Parallel`."""
        return self.forward.no_sync()  # type: ignore[operator]

    @torch.no_grad()
    def check_replicas(self) -> None:
        """Raise `StoppedError` unless all processes have the same weights, to the last bit.

        A sum over the bits of each tensor is compared: one pass over memory and a few bytes between processes.
        """
        named = list(self.model.named_parameters())
        sums = torch.stack([p.detach().contiguous().view(torch.int32).sum(dtype=torch.int64) for _, p in named])
        least, most = sums.clone(), sums.clone()
        dist.all_reduce(least, dist.ReduceOp.MIN)
        dist.all_reduce(most, dist.ReduceOp.MAX)
        differing = (least != most).nonzero().flatten().tolist()
        if differing:
            raise StoppedError(
                f"the processes no longer have the same weights: {len(differing)} of {len(named)} tensors differ, the "
                f"first is {named[differing[0]][0]}. A device computes wrongly, or a tensor was changed on one process "
                "only; go on from the last checkpoint with --resume"
            )


class _Replica(DistributedDataParallel):
    """DDP for a model whose heads take turns.

    It looks for unused parameters even where there is one head only: with that, DDP never regroups its buckets after
    the first update, so a resumed run adds up in the same order as one that never stopped.
    """

    def __init__(self, model: MTDNN) -> None:
        super().__init__(model, find_unused_parameters=True)
        self.broadcast_buffers = False  # none of them changes; as an argument it is deprecated, with a warning
        self._quiet = True

    def forward(self, task: str, inputs: dict[str, Tensor]) -> Tensor:
        """The model's output; the first time without the warning that no parameter was unused."""
        with _without_stderr() if self._quiet else contextlib.nullcontext():
            self._quiet = False
            return super().forward(task, inputs)


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Drop what C++ code writes to standard error, which Python's filters do not see."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class Sharded(Parallel):
    """Parameters, gradients and optimizer state shared out over the processes, through torch's FSDP2."""

    def __init__(self, model: MTDNN, ranks: Ranks, device: torch.device) -> None:
        from torch.distributed.fsdp import fully_shard

        super().__init__(model, ranks)
        self._mesh = dist.init_device_mesh(device.type, (ranks.size,))
        for layer in encoder_layers(model):
            fully_shard(layer, mesh=self._mesh)
        fully_shard(model, mesh=self._mesh)

    @contextlib.contextmanager
    def accumulating(self) -> Iterator[None]:
        """See `Parallel`."""
        self.model.set_requires_gradient_sync(False)  # type: ignore[operator]
        try:
            yield
        finally:
            self.model.set_requires_gradient_sync(True)  # type: ignore[operator]


def encoder_layers(model: MTDNN) -> Iterator[nn.Module]:
    """The layers of the encoder's stack: what FSDP gathers one by one."""
    for name, module in model.encoder.named_modules():
        if isinstance(module, nn.ModuleList) and re.search(LAYER_STACKS, name):
            yield from module


def parallel(model: MTDNN, ranks: Ranks, device: torch.device, *, fsdp: bool) -> Parallel:
    """Spread a model over the processes. Afterwards its parameters may be others: make the optimizer after this."""
    if fsdp:
        return Sharded(model, ranks, device)  # which moves each process its shard, and never the whole
    model.to(device)
    return Replicated(model, ranks) if ranks.size > 1 else Parallel(model, ranks)
