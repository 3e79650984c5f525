"""A full memory, of a GPU or of the CPU, as one message that says what to change."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from data_utils.errors import StoppedError

CPU_IS_FULL = "can't allocate memory"
"""In the words of torch's allocator for the CPU, whose error has no class of its own."""


@contextlib.contextmanager
def told_when_full(cure: str) -> Iterator[None]:
    """Raise `StoppedError` with `cure` where torch finds no more memory in the block.

    The process that it happens to tells it, whichever of a run's it is: the others only see that one is gone.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and CPU_IS_FULL not in str(error):
            raise
        where = "GPU" if isinstance(error, torch.OutOfMemoryError) else "CPU"
        said = str(error).strip().splitlines()[0]
        stopped = StoppedError(f"the {where}'s memory is full: {cure} ({said})")
        stopped.speaker = True
        raise stopped from error
