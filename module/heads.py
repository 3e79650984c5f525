"""Task heads: what turns the shared encoder's output into logits. The model half of a kind of task.

A further head is one class with the same members, registered in `HEADS` under its task type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from .divergences import DIVERGENCES, NO_CHOICE, wide
from .losses import UNSCORED, Targets, option_scores, place_scores

if TYPE_CHECKING:  # who only asks for flags need not load transformers
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

    `losses` names the criteria of `losses.py` that fit the logits, `divergences` those of `divergences.py`, the usual
    one first.
    """

    losses: ClassVar[tuple[str, ...]] = ("CeCriterion",)
    divergences: ClassVar[tuple[str, ...]] = tuple(DIVERGENCES)

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

    @staticmethod
    def rescaled(weights: Mapping[str, Tensor], factor: float, offset: float) -> dict[str, Tensor]:
        """The state of a head whose outputs are `factor` times those of the head with these weights, plus `offset`."""
        weight, bias = weights["linear.weight"], weights["linear.bias"]
        return {**weights, "linear.weight": weight * factor, "linear.bias": bias * factor + offset}

    @classmethod
    def divergence(cls, name: str, logits: Tensor, target_logits: Tensor, targets: Targets) -> Tensor:
        """How far apart two outputs for the same batch are.

        Args:
            name: one of `divergences`.
            logits: as `forward` gives them.
            target_logits: likewise.
            targets: the batch's, which say what the logits are for.

        Returns:
            One value for each of the units that the losses have, too.
        """
        return DIVERGENCES[name](cls.choices(logits, targets), cls.choices(target_logits, targets)).mean(-1)

    @staticmethod
    def choices(logits: Tensor, targets: Targets) -> Tensor:
        """The scores of what each unit chooses from, (units, choices made, choices), `NO_CHOICE` where there is none.

        A unit with no choice at all has a divergence of 0.
        """
        return wide(logits).unsqueeze(1)


class RegressionHead(ClassificationHead):
    """The same linear head with one output, read as a value: logits have shape (sequences, 1)."""

    losses = ("MseCriterion",)
    divergences = ("MseCriterion",)  # a softmax over one number is always 1


class RankingHead(ClassificationHead):
    """The same linear head with one output an option, read as its score: logits have shape (sequences, 1)."""

    losses = ("RankCeCriterion",)

    @staticmethod
    def choices(logits: Tensor, targets: Targets) -> Tensor:
        """A row chooses one of its options: (rows, 1, most)."""
        return option_scores(logits, targets, NO_CHOICE).unsqueeze(1)


class TaggingHead(ClassificationHead):
    """States of all tokens -> dropout -> linear. Logits have shape (sequences, longest, width)."""

    losses = ("SeqCeCriterion",)

    def forward(self, encoded: EncoderOutput) -> Tensor:
        """Logits of shape (sequences, longest, width)."""
        # A linear layer's output of three dimensions is a view, whose gradient FSDP's hooks might miss.
        return self.linear(self.dropout(encoded.tokens)).clone()

    @staticmethod
    def choices(logits: Tensor, targets: Targets) -> Tensor:
        """A word chooses a tag: (sequences * longest, 1, width), and tokens that are no words choose nothing."""
        no_word = targets["label"] == UNSCORED
        return wide(logits).masked_fill(no_word.unsqueeze(-1), NO_CHOICE).flatten(0, 1).unsqueeze(1)


class SpanHead(TaggingHead):
    """The same with two outputs a token: that the answer begins there, and that it ends there."""

    losses = ("SpanCeCriterion",)

    @staticmethod
    def choices(logits: Tensor, targets: Targets) -> Tensor:
        """A row chooses where the answer begins and where it ends: (rows, 2, longest)."""
        return place_scores(logits, targets, NO_CHOICE)


HEADS: dict[str, type[ClassificationHead]] = {
    "Classification": ClassificationHead,
    "Regression": RegressionHead,
    "Ranking": RankingHead,
    "SeqenceLabeling": TaggingHead,
    "Span": SpanHead,
}
