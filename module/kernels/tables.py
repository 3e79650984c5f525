"""The tables that tell a launch what to do: blocks, spans, addresses, partial sums. Their rows are in `blocks.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from .noise import PAIR_DISTANCE

ROLES = 4  # rows of addresses before the averages: parameter, gradient, counter, narrow copy


class Shape(NamedTuple):
    """What a launch's tables depend on, but for the addresses.

    For each tensor: first and one past the last local element in the whole tensor, position of its first element among
    all elements of the optimizer, and elements of the whole tensor.
    """

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    positions: tuple[int, ...]
    sizes: tuple[int, ...]
    averages: int


class Window(NamedTuple):
    """Adjacent programs that one launch runs."""

    first: int
    programs: int


class Tables:
    """Device tables of one list of tensors, written once but for the addresses.

    Args:
        shape: what to cover.
        block: elements a program works on; a multiple of twice the noise's `PAIR_DISTANCE`.
        window: elements after which a window of whole tensors ends.
        device: where the tensors are.
    """

    def __init__(self, shape: Shape, *, block: int, window: int, device: torch.device) -> None:
        if block % (2 * PAIR_DISTANCE.value):
            raise ValueError(f"Invalid block: {block}; it must be a multiple of {2 * PAIR_DISTANCE.value}")
        tensors = len(shape.sizes)
        starts, ends = np.array(shape.starts), np.array(shape.ends)
        first_block, last_block = starts // block, -(-ends // block)
        counts = np.where(ends > starts, last_block - first_block, 0)
        first_program = np.concatenate([[0], np.cumsum(counts)])
        tensor = np.repeat(np.arange(tensors), counts)
        in_tensor = np.arange(len(tensor)) - first_program[tensor] + first_block[tensor]
        spans = np.stack([starts, ends, first_program[:-1], counts, shape.positions, shape.sizes])
        self.block = block
        self.tensors = tensors
        self.programs = len(tensor)
        self.most_partials = int(counts.max(initial=0))
        self.windows = _windows(ends - starts, first_program, window)
        self.blocks = torch.from_numpy(np.stack([tensor, in_tensor], axis=1).astype(np.int32)).to(device)
        self.spans = torch.from_numpy(spans.astype(np.int64)).to(device)
        self.partials = torch.zeros(max(self.programs, 1), dtype=torch.float32, device=device)
        self.addresses = torch.zeros((ROLES + shape.averages, tensors), dtype=torch.int64, device=device)
        # The same spans for when there is one sum a tensor: added up over ranks, or of very many partial sums.
        spans[2], spans[3] = np.arange(tensors), 1
        self.spans_of_sums = torch.from_numpy(spans.astype(np.int64)).to(device)
        self.captured = False
        self._written: list[Sequence[int]] = [[]] * (ROLES + shape.averages)
        self._cells = [list(row.unbind()) for row in self.addresses]

    def write_addresses(self, rows: Sequence[Sequence[int]]) -> None:
        """Bring the table of addresses up to date, without a copy from the host's memory.

        The addresses travel as arguments of a kernel (a foreach addition), so that a CUDA graph replays them: what is
        captured once must be written by each replay and, as replays overwrite it, by each later step too.
        """
        if self.addresses.is_cuda and torch.cuda.is_current_stream_capturing():
            self.captured = True
        changed = [i for i, row in enumerate(rows) if self.captured or row != self._written[i]]
        if not changed:
            return
        cells = [cell for i in changed for cell in self._cells[i]]
        torch._foreach_zero_(cells)
        torch._foreach_add_(cells, [address for i in changed for address in rows[i]])
        for i in changed:
            self._written[i] = rows[i]


def _windows(sizes: np.ndarray, first_program: np.ndarray, window: int) -> list[Window]:
    """Cut the tensors into runs of at most `window` elements, or of one tensor that is larger."""
    windows, begin, elements = [], 0, 0
    for i, size in enumerate(sizes):
        if elements and elements + size > window:
            windows.append(Window(int(first_program[begin]), int(first_program[i] - first_program[begin])))
            begin, elements = i, 0
        elements += int(size)
    windows.append(Window(int(first_program[begin]), int(first_program[-1] - first_program[begin])))
    return [one for one in windows if one.programs]
