"""Task heads: what turns the shared encoder's output into logits. The model half of a kind of task.

A further head is one class with the same members, registered in `HEADS` under its task type.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from .encoder import EncoderOutput

HEAD_STD = 0.02
"""Standard deviation of a new head's weights, as in BERT."""


class ClassificationHead(nn.Module):
    """Pooled first token -> dropout -> linear. Logits have shape (sequences, width).

    As in MT-DNN, which pools with a new pooler of its own (`--pooler new`) where ours is the checkpoint's.

    Args:
        hidden_size: of the encoder.
        width: numbers an output.
        dropout_p: before the linear layer.
        seed: of its weights.

    `losses` names the criteria of `losses.py` that fit the logits.
    """

    losses: ClassVar[tuple[str, ...]] = ("CeCriterion",)

    def __init__(self, hidden_size: int, width: int, dropout_p: float, seed: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout_p)
        self.linear = nn.utils.skip_init(nn.Linear, hidden_size, width)
        # A generator of its own: a head's start depends on the seed and its task, not on which other tasks there are.
        self.linear.weight.data.normal_(std=HEAD_STD, generator=torch.Generator().manual_seed(seed))
        self.linear.bias.data.zero_()

    def forward(self, encoded: EncoderOutput) -> Tensor:
        """Logits of shape (sequences, width)."""
        return self.linear(self.dropout(encoded.pooled))


class RegressionHead(ClassificationHead):
    """The same linear head with one output, read as a value: logits have shape (sequences, 1)."""

    losses = ("MseCriterion",)


class RankingHead(ClassificationHead):
    """The same linear head with one output an option, read as its score: logits have shape (sequences, 1)."""

    losses = ("RankCeCriterion",)


class TaggingHead(ClassificationHead):
    """States of all tokens -> dropout -> linear. Logits have shape (sequences, longest, width)."""

    losses = ("SeqCeCriterion",)

    def forward(self, encoded: EncoderOutput) -> Tensor:
        """Logits of shape (sequences, longest, width)."""
        # A linear layer's output of three dimensions is a view, whose gradient FSDP's hooks might miss.
        return self.linear(self.dropout(encoded.tokens)).clone()


class SpanHead(TaggingHead):
    """The same with two outputs a token: that the answer begins there, and that it ends there."""

    losses = ("SpanCeCriterion",)


HEADS: dict[str, type[ClassificationHead]] = {
    "Classification": ClassificationHead,
    "Regression": RegressionHead,
    "Ranking": RankingHead,
    "SeqenceLabeling": TaggingHead,
    "Span": SpanHead,
}
