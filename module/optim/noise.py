"""Keyed Bernoulli-Gaussian noise: a function of a key, never a draw from a global random stream.

PATS adds `z ⊙ n` scaled element by element, with `z ~ Bernoulli(p)` and `n ~ N(0, 1)` (paper, Eq. 5). The key is made
from the run's seed, the parameter's step and its index, so the noise is equal on every rank and after a resume, differs
between steps and tensors, and leaves the streams of dropout and data order alone.
"""

from __future__ import annotations

import hashlib
import math
import struct

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def noise_key(seed: int, step: int, tensor_index: int) -> int:
    """Return the 63-bit key of one tensor's noise at one step (the same on every rank, in every process)."""
    packed = struct.pack("<3q", seed, step, tensor_index)
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little") >> 1


def keyed_noise(like: Tensor, p: float, key: int) -> Tensor:
    """Return `z ⊙ n`: a standard normal with probability `p`, 0 < `p` <= 1, else zero, independently by element.

    `like` gives shape and device. The result is dense and contiguous, float64 for a float64 tensor and float32 for any
    other, and depends on shape, device type, `p` and `key` alone: not on thread counts, nor on the global generators.
    """
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    if like.device.type != "cpu" or p == 1:
        return _dense_noise(like, p, key, dtype)
    positions = torch.from_numpy(_bernoulli_positions(like.numel(), p, key))
    # torch's CPU generator keeps the low 32 bits of a seed only. The positions carry the whole key, and come from a
    # generator of another kind, so the two streams are independent.
    values = torch.empty(positions.numel(), dtype=dtype).normal_(generator=torch.Generator().manual_seed(key))
    return torch.zeros(like.numel(), dtype=dtype).index_copy_(0, positions, values).view(like.shape)


def _dense_noise(like: Tensor, p: float, key: int, dtype: torch.dtype) -> Tensor:
    """Draw every element and mask: what a GPU does fastest, and what `p` = 1 needs. Reads nothing back to the host."""
    generator = torch.Generator(like.device).manual_seed(key)
    noise = torch.empty(like.shape, dtype=dtype, device=like.device).normal_(generator=generator)
    if p < 1:
        noise.mul_(torch.empty_like(noise).uniform_(generator=generator) < p)
    return noise


def _bernoulli_positions(size: int, p: float, key: int) -> npt.NDArray[np.int64]:
    """Return the sorted indices in [0, size) whose Bernoulli(`p`) trial succeeds, 0 < `p` < 1.

    The gaps between successes are geometric, P(gap > k) = (1 - p)^k, and so is floor(E / -log(1 - p)) + 1 for E
    exponential with mean 1. Drawing the gaps costs `size * p` draws instead of `size`.
    """
    generator = np.random.Generator(np.random.SFC64(key))
    mean, deviation = size * p, math.sqrt(size * p * (1 - p))
    count = int(mean + 6 * deviation) + 8  # passes the end in one go but for once in a billion times
    last, parts = -1, []
    while last < size:
        gaps = generator.standard_exponential(count)
        gaps *= -1 / math.log1p(-p)
        # Tiny p: a gap may exceed what int64 counts. Past the end is past the end.
        positions = np.minimum(gaps, size, out=gaps).astype(np.int64)
        positions += 1
        positions[0] += last
        np.cumsum(positions, out=positions)
        parts.append(positions)
        last = int(positions[-1])
    drawn = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return drawn[: int(np.searchsorted(drawn, size))]
