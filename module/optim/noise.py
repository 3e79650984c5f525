"""Keyed Bernoulli-Gaussian noise: a function of a key, never a draw from a global random stream.

PATS adds `z ⊙ n` scaled element by element, with `z ~ Bernoulli(p)` and `n ~ N(0, 1)` (paper, Eq. 5). The key of an
element is (seed, step, position), `position` counting the elements of all the optimizer's tensors in their order. So
the noise is equal on every rank and after a resume, does not depend on how tensors are grouped or sharded, differs
between steps and tensors, and leaves the streams of dropout and data order alone.

Here is the noise of the list-wise backend. The kernels, Triton's and Numba's, draw theirs from Philox, keyed likewise:
other numbers of the same distribution.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

BLOCK = 2**16
"""Positions drawn at once on a CPU. Part of the noise's definition: a change alters every run."""

LEAST_SHARE = 1e-3
"""Smallest p that single precision serves."""

Span = tuple[int, int]
"""First position and number of elements."""


def noise_key(seed: int, step: int, place: int) -> int:
    """Return a 63-bit key, the same on every rank and in every process; `place` is a block or a tensor."""
    packed = struct.pack("<3q", seed, step, place)
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little") >> 1


class Draws(NamedTuple):
    """The elements of a span whose z is 1: their places in it, sorted, and their n; both one-dimensional."""

    places: Tensor
    values: Tensor


def keyed_noise(
    spans: Sequence[Span], p: float, *, seed: int, step: int, dtype: torch.dtype, device: torch.device
) -> list[Tensor]:
    """Return `z ⊙ n` over each span: a standard normal with probability `p`, 0 < `p` <= 1, else zero.

    The results are dense and one-dimensional, of float32 or float64 `dtype`. On a CPU an element's noise depends on
    seed, step, its position, `p` and dtype alone, on other devices on where its span starts too; never on thread
    counts or the global generators.
    """
    if device.type != "cpu":
        return [_dense_noise(start, size, p, seed, step, dtype, device) for start, size in spans]
    drawn = keyed_draws(spans, p, seed=seed, step=step, dtype=dtype)
    zeros = [torch.zeros(size, dtype=dtype, device="cpu") for _, size in spans]
    return [noise.scatter_(0, *draws) for noise, draws in zip(zeros, drawn, strict=True)]


def _dense_noise(
    start: int, size: int, p: float, seed: int, step: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Draw every element and mask, as a GPU does fastest. Reads nothing back to the host."""
    generator = torch.Generator(device).manual_seed(noise_key(seed, step, start))
    noise = torch.empty(size, dtype=dtype, device=device).normal_(generator=generator)
    return noise if p == 1 else noise.mul_(torch.empty_like(noise).uniform_(generator=generator) < p)


def keyed_draws(spans: Sequence[Span], p: float, *, seed: int, step: int, dtype: torch.dtype) -> list[Draws]:
    """Return `keyed_noise` of a CPU, but only where it is not masked: the share `p` of the elements.

    With the paper's p four fifths of the work on σ fall away.
    """
    drawn = []
    # Parameters mostly stand in the order of their positions: what is adjacent is drawn in one go.
    for start, sizes in _runs(spans):
        ends = np.cumsum(sizes)
        places, values = _draw(start, int(ends[-1]), p, seed, step, dtype)
        cuts = [0, *np.searchsorted(places, ends).tolist()]
        for size, end, low, high in zip(sizes, ends, cuts, cuts[1:], strict=False):
            own = places[low:high] if end == size else places[low:high] - (end - size)
            drawn.append(Draws(torch.from_numpy(own), torch.from_numpy(values[low:high])))
    return drawn


def _runs(spans: Sequence[Span]) -> list[tuple[int, list[int]]]:
    """Spans that follow one another, as the first position and the sizes."""
    runs: list[tuple[int, list[int]]] = []
    end = None
    for start, size in spans:
        if start == end:
            runs[-1][1].append(size)
        else:
            runs.append((start, [size]))
        end = start + size
    return runs


def _draw(
    start: int, size: int, p: float, seed: int, step: int, dtype: torch.dtype
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.floating]]:
    """Places in a span where z = 1, and the normals there, from the blocks that it lies in."""
    parts = []
    for block in range(start // BLOCK, -(-(start + size) // BLOCK)):
        first = block * BLOCK - start  # of the block, counted from the start of the span
        places, values = _block(seed, step, block, p, dtype)
        if first < 0 or first + BLOCK > size:
            low, high = np.searchsorted(places, (-first, size - first))
            places, values = places[low:high], values[low:high]
        parts.append((places + first, values))
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0, np.float64 if dtype == torch.float64 else np.float32)
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([places for places, _ in parts]), np.concatenate([values for _, values in parts])


@lru_cache(maxsize=4)  # a block may lie across several spans; numbers per block, not per tensor
def _block(
    seed: int, step: int, block: int, p: float, dtype: torch.dtype
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.floating]]:
    """Sorted indices within the block where z = 1, and the normals there."""
    key = noise_key(seed, step, block)
    positions = np.arange(BLOCK) if p == 1 else _bernoulli_positions(np.random.Generator(np.random.SFC64(key)), p)
    # torch's CPU generator keeps the low 32 bits of a seed only. The positions carry the whole key, and come from a
    # generator of another kind, so the two streams are independent.
    values = torch.empty(len(positions), dtype=dtype, device="cpu").normal_(
        generator=torch.Generator().manual_seed(key)
    )
    return positions, values.numpy()


def _bernoulli_positions(generator: np.random.Generator, p: float) -> npt.NDArray[np.int64]:
    """Return the sorted indices in [0, BLOCK) whose Bernoulli(`p`) trial succeeds, 0 < `p` < 1.

    The gaps between successes are geometric, P(gap > k) = (1 - p)^k, and so is floor(log(u) / log(1 - p)) + 1 for u
    uniform in (0, 1]. Drawing the gaps costs `BLOCK * p` draws instead of `BLOCK`.
    """
    mean, deviation = BLOCK * p, math.sqrt(BLOCK * p * (1 - p))
    count = int(mean + 6 * deviation) + 8  # passes the end in one go but for once in a billion times
    dtype = np.float32 if p > LEAST_SHARE else np.float64  # 24 bits of u give gaps of up to 16 / p, in fine steps
    last, parts = -1, []
    while last < BLOCK:
        gaps = generator.random(count, dtype=dtype)
        np.log(np.subtract(1, gaps, out=gaps), out=gaps)
        gaps *= dtype(1 / math.log1p(-p))
        if p <= LEAST_SHARE:  # a gap may exceed what int64 counts; past the end is past the end
            np.minimum(gaps, BLOCK, out=gaps)
        positions = gaps.astype(np.int64)
        positions += 1
        positions[0] += last
        parts.append(torch.from_numpy(positions).cumsum(0).numpy())  # three times as fast as numpy's
        last = int(parts[-1][-1])
    drawn = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return drawn[: int(np.searchsorted(drawn, BLOCK))]
