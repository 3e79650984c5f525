"""Philox4x32-10 (Salmon et al. 2011) in integers of NumPy, and the noise that the kernels make of it."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

MASK = np.uint64(0xFFFFFFFF)
M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)  # multipliers
W0, W1 = 0x9E3779B9, 0xBB67AE85  # Weyl increments of the key
DISTANCE = 1024


def philox(counter: list[np.ndarray], key: int) -> list[np.ndarray]:
    """Return four words for each counter of four words; all are 32 bits in uint64 arrays."""
    c0, c1, c2, c3 = counter
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        product0, product1 = M0 * c0, M1 * c2
        high0, low0 = product0 >> np.uint64(32), product0 & MASK
        high1, low1 = product1 >> np.uint64(32), product1 & MASK
        c0, c1, c2, c3 = high1 ^ c1 ^ np.uint64(k0), low1, high0 ^ c3 ^ np.uint64(k1), low0
        k0, k1 = (k0 + W0) & 0xFFFFFFFF, (k1 + W1) & 0xFFFFFFFF
    return [c0, c1, c2, c3]


def uniform(words: np.ndarray) -> np.ndarray:
    """Return numbers in [0, 1]: 31 bits, as Triton folds the sign bit of a word, rounded to float32's 24."""
    signed = words.astype(np.uint32).view(np.int32)
    return np.where(signed < 0, -signed - 1, signed).astype(np.float32) * np.float32(4.6566127342e-10)


def philox_noise(shape: tuple[int, ...], p: float, *, seed: int, step: int, position: int) -> Tensor:
    """Return `z ⊙ n` of one tensor, float64: words 0 and 1 give two normals, words 2 and 3 two Bernoulli trials."""
    elements = np.arange(math.prod(shape))
    pair = (elements // (2 * DISTANCE)) * DISTANCE + elements % DISTANCE
    second = (elements // DISTANCE) % 2 == 1
    counter = [pair, np.full_like(pair, step), np.full_like(pair, position % 2**32), np.full_like(pair, position >> 32)]
    a, b, c, d = (uniform(words) for words in philox([word.astype(np.uint64) for word in counter], seed))
    radius = np.sqrt(-2 * np.log(np.maximum(a, np.float32(1e-7)).astype(np.float64)))
    angle = 2 * math.pi * b.astype(np.float64)
    normal = radius * np.where(second, np.sin(angle), np.cos(angle))
    return torch.from_numpy(np.where(np.where(second, d, c) < np.float32(p), normal, 0.0)).view(shape)
