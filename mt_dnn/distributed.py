"""Several processes of one run, as `torchrun` starts them: who one is, and what all of them do together.

Code outside this module does not ask how many there are: on one process every method here does the plain thing.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from data_utils.errors import InputError, StoppedError

T = TypeVar("T")

PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others: the first one writes checkpoints and reads features while they wait."""

LOST = re.compile(r"gloo|nccl|connection (closed|reset|refused)|broken pipe|timed? ?out|TCPStore", re.IGNORECASE)


@dataclass(frozen=True)
class Ranks:
    """The processes of a run.

    Attributes:
        rank: which of them this one is, counted from 0.
        size: how many there are.
        local_rank: which of those on this machine this one is: its GPU's number.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks for all."""
        return self.rank == 0

    def sum_(self, values: Tensor) -> Tensor:
        """Add up a tensor over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether the flag is raised on any process."""
        return bool(self.sum_(torch.tensor(int(flag))).item()) if self.size > 1 else flag

    def all_gather(self, value: T) -> list[T]:
        """What each process has, in the order of ranks."""
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        dist.all_gather_object(values, value)
        return values  # type: ignore[return-value]

    def broadcast(self, value: T) -> T:
        """What the first process has."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Fail together: an `InputError` or `StoppedError` that the block raises on one process is raised on all.

        For blocks without communication; whoever fails would leave the others waiting in it.
        """
        failure: InputError | StoppedError | None = None
        try:
            yield
        except (InputError, StoppedError) as error:
            if self.size == 1:
                raise
            failure = error
        failures = [error for error in self.all_gather(failure) if error is not None]
        if failures:
            failures[0].shared = True
            raise failures[0]


ALONE = Ranks()
"""One process by itself."""


@contextlib.contextmanager
def session(*, gpus: bool) -> Iterator[Ranks]:
    """Join the other processes that `torchrun` has started, for as long as the block runs; alone without `torchrun`.

    Args:
        gpus: whether to use the GPUs that there are.

    Raises:
        InputError: fewer GPUs than processes on this machine; a part of what `torchrun` sets is missing.
        StoppedError: the processes could not meet, or another one was lost.
    """
    ranks = _ranks(os.environ)
    if ranks.size == 1:
        yield ALONE
        return
    _meet(ranks, torch.cuda.device_count() if gpus else 0)
    try:
        try:
            yield ranks
        except InputError:  # raised on all of them
            dist.destroy_process_group()
            raise
        dist.barrier()  # nobody leaves, and closes its connections, while another still talks
        dist.destroy_process_group()
    except RuntimeError as error:
        if isinstance(error, StoppedError) or not (isinstance(error, dist.DistError) or LOST.search(str(error))):
            raise
        stopped = StoppedError(
            "another process of this run is gone, so the others stopped, too; the last checkpoint stands: start all of "
            f"them again with --resume ({_first_line(error)})"
        )
        stopped.speaker = _first_to_say()  # the first process may be the one that is gone
        raise stopped from error


def _ranks(environment: Mapping[str, str]) -> Ranks:
    """Our place among the processes that `torchrun` has started; `InputError` where only a part of it is there."""
    size = environment.get("WORLD_SIZE", "1")
    if size == "1":
        return ALONE
    given = {name: environment.get(name, "not set") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    if not all(value.isdecimal() for value in given.values()):
        found = ", ".join(f"{name} is {value}" for name, value in given.items())
        raise InputError(
            f"{found}: several processes are started with torchrun, which sets all three; for one: unset WORLD_SIZE"
        )
    return Ranks(*(int(value) for value in given.values()))


def _meet(ranks: Ranks, gpus: int) -> None:
    here = int(os.environ.get("LOCAL_WORLD_SIZE", ranks.size))
    if 0 < gpus < here:
        raise InputError(
            f"torchrun --nproc_per_node {here}: there are {gpus} GPUs; start as many processes as there are GPUs, "
            "or use --device cpu"
        )
    if gpus:
        torch.cuda.set_device(ranks.local_rank)
    try:
        # Both, so that what is on the host can be compared without a detour over a GPU.
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        stopped = StoppedError(f"the processes of this run could not meet: {_first_line(error)}")
        stopped.speaker = ranks.local_rank == 0  # others may be waiting still
        raise stopped from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:300]


def _first_to_say() -> bool:
    """Whether no other process has said that one is gone; `torchrun` keeps the count, and without it all say so."""
    with contextlib.suppress(RuntimeError, KeyError, ValueError):
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = dist.TCPStore(address, port, is_master=False, timeout=timedelta(seconds=5))
        return store.add(f"said/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", 1) == 1
    return True
