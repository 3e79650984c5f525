"""Dropout as a CPU draws it fast: 16 random bits an element, for the encoder's layers and for attention's weights.

torch draws a Bernoulli number an element, some 5 ns each; a fifth of a small encoder's update goes into that. Here 64
bits of torch's generator decide four elements. They come from the global stream as torch's own do, so a restored stream
gives the same masks again. A rate is rounded to a multiple of 2⁻¹⁶ (0.1 to 0.100006), and what is kept is scaled by
the rounded rate, so that expectations are exact. On other devices torch's dropout is used.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

ATTENTION = "sdpa_fast_dropout"
"""The name under which `transformers` knows `attention`."""

LEVELS = 2**16


def dropout_factors(like: Tensor, p: float) -> Tensor:
    """What dropout multiplies a CPU tensor of this shape and type with: 0 with probability `p`, else 1/(1-p)."""
    count, dropped = like.numel(), round(p * LEVELS)
    bits = torch.empty(-(-count // 4), dtype=torch.int64, device="cpu").random_(-(2**63), None)
    drawn = bits.view(torch.int16)[:count].view(like.shape)
    kept = torch.ge(drawn, dropped - LEVELS // 2, out=torch.empty(like.shape, dtype=like.dtype, device="cpu"))
    return kept.mul_(LEVELS / (LEVELS - dropped))


def _is_fast(values: Tensor, p: float) -> bool:
    return values.device.type == "cpu" and 0 < round(p * LEVELS) < LEVELS


class FastDropout(nn.Dropout):
    """`nn.Dropout`, with its masks drawn by `dropout_factors` on a CPU."""

    def forward(self, values: Tensor) -> Tensor:
        """The values, some of them zero in training."""
        if self.training and not self.inplace and _is_fast(values, self.p):
            return values * dropout_factors(values, self.p)
        return super().forward(values)


def probabilities(layer: nn.Module) -> dict[str, float]:
    """A layer's own probabilities of dropout by attribute, also those that it keeps as numbers, as Longformer does."""
    found = {"p": layer.p} if isinstance(layer, nn.Dropout) else {}
    kept = vars(layer).items()
    return found | {name: value for name, value in kept if name.endswith("dropout") and isinstance(value, float)}


def drops_out(model: nn.Module) -> bool:
    """Whether anything in a model drops out in training."""
    return any(p > 0 for layer in model.modules() for p in probabilities(layer).values())


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention as `transformers` asks for it: torch's, but with fast dropout on a CPU.

    There torch has no kernel with dropout either, and takes one step after the other, as is done here. All rows of a
    mask must allow something.

    Args:
        module: the layer that asks.
        query: (lines, heads, length, width), as `key` and `value`.
        key: see above.
        value: see above.
        attention_mask: (lines, 1, length, length), true where a token is seen; or None.
        dropout: the rate, 0 outside of training.
        scaling: of the scores; None: 1/√width.
        **kwargs: for torch's attention.

    Returns:
        (lines, length, heads, width), and no weights.
    """
    if not _is_fast(query, dropout) or (attention_mask is not None and attention_mask.dtype != torch.bool):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    scale = 1 / math.sqrt(query.shape[-1]) if scaling is None else scaling
    scores = torch.matmul(query * scale, key.transpose(-2, -1))
    if attention_mask is not None:  # as an addend: nothing to do for it in the backward pass
        hidden = torch.zeros(attention_mask.shape, dtype=scores.dtype, device="cpu")
        scores = scores.add_(hidden.masked_fill_(~attention_mask, -math.inf))
    weights = scores.softmax(-1)
    return torch.matmul(weights * dropout_factors(weights, dropout), value).transpose(1, 2).contiguous(), None


def use_fast_dropout(model: transformers.PreTrainedModel, *, in_attention: bool) -> None:
    """Draw the dropout of a model's layers fast.

    Args:
        model: its dropout layers become `FastDropout`.
        in_attention: whether its attention does likewise where it is torch's `sdpa`.
    """
    for layer in model.modules():
        if type(layer) is nn.Dropout:
            layer.__class__ = FastDropout
    if in_attention and model.config._attn_implementation == "sdpa":
        model.config._attn_implementation = ATTENTION


transformers.AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
