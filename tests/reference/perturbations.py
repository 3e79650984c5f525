"""Steps of SMART and FreeLB in float64: one text, (tokens, width), a token at a time."""

from __future__ import annotations

import torch
from torch import Tensor


def norm(values: Tensor, order: str) -> float:
    return values.abs().max().item() if order == "inf" else values.square().sum().sqrt().item()


def smart_step(
    delta: Tensor, gradient: Tensor, *, step_size: float, epsilon: float, order: str, by_token: bool
) -> Tensor:
    """Jiang et al. 2020, line 9 of Algorithm 1, along the normalised gradient: δ ← Π_ε(δ + η g/‖g‖)."""
    parts = [slice(i, i + 1) for i in range(len(delta))] if by_token else [slice(None)]
    delta = delta.clone()
    for part in parts:
        moved = delta[part] + step_size * gradient[part] / norm(gradient[part], order)
        if order == "inf":
            delta[part] = moved.clamp(-epsilon, epsilon)
        else:
            delta[part] = moved * min(1.0, epsilon / norm(moved, order))
    return delta


def freelb_step(delta: Tensor, gradient: Tensor, *, step_size: float, max_norm: float) -> Tensor:
    """Zhu et al. 2020, line 9 of Algorithm 1: δ ← Π_ε(δ + α g/‖g‖), norms over the whole text; `max_norm` 0: no Π."""
    moved = delta + step_size * gradient / norm(gradient, "l2")
    return moved * min(1.0, max_norm / norm(moved, "l2")) if max_norm else moved


def freelb_start(uniform: Tensor, magnitude: float) -> Tensor:
    """δ₀ from U(-1, 1), divided by the root of how many numbers the text has."""
    return uniform * magnitude / torch.tensor(uniform.numel(), dtype=torch.float64).sqrt()
