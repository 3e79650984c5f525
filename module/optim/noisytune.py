"""NoisyTune (Wu et al., ACL 2022): noise on the pretrained weights, once, before fine-tuning. Not an optimizer."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from .noise import noise_key

NOISYTUNE_LAMBDA = 0.15
"""The paper's own choice of λ, and `--baseline noisytune`'s."""


@torch.no_grad()
def noisytune_(params: Iterable[Tensor], *, intensity: float = NOISYTUNE_LAMBDA, seed: int = 0) -> int:
    """Perturb tensors in place: `W ← W + U(-λ/2, λ/2) · std(W)` (Wu et al. 2022, Eq. 1), λ being `intensity`.

    Tensors of one element have no spread and are left alone. The noise is keyed by `seed` and a tensor's place in
    `params`; the global random streams are untouched. Returns how many tensors were perturbed. Raises ValueError for a
    negative or non-finite `intensity`.
    """
    if not 0.0 <= intensity < float("inf"):
        raise ValueError(f"Invalid intensity value: {intensity}")
    perturbed = 0
    for index, param in enumerate(params):
        if param.numel() < 2:
            continue
        generator = torch.Generator("cpu").manual_seed(noise_key(seed, 0, index))  # on the CPU: equal for every device
        wide = param.double() if param.dtype == torch.float64 else param.float()
        uniform = torch.empty(param.shape, dtype=wide.dtype, device="cpu").uniform_(-0.5, 0.5, generator=generator)
        param.copy_(wide + uniform.to(param.device) * (intensity * wide.std()))
        perturbed += 1
    return perturbed
