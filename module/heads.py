"""Task heads: what turns the shared encoder's output into logits, and logits into predictions.

A further head is one class with the same four members, registered in `HEADS` under its task type.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from module.encoder import EncoderOutput

HEAD_STD = 0.02
"""Standard deviation of a new head's weights, as in BERT."""


class ClassificationHead(nn.Module):
    """Pooled first token -> dropout -> linear. Logits have shape (rows, n_class).

    As in MT-DNN, which pools with a new pooler of its own (`--pooler new`) where ours is the checkpoint's.

    `losses` names the criteria of `module.losses` that fit the logits.
    """

    losses: ClassVar[tuple[str, ...]] = ("CeCriterion",)

    def __init__(self, hidden_size: int, n_class: int, dropout_p: float, seed: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout_p)
        self.linear = nn.utils.skip_init(nn.Linear, hidden_size, n_class)
        # A generator of its own: a head's start depends on the seed and its task, not on which other tasks there are.
        self.linear.weight.data.normal_(std=HEAD_STD, generator=torch.Generator().manual_seed(seed))
        self.linear.bias.data.zero_()

    def forward(self, encoded: EncoderOutput) -> Tensor:
        """Logits of shape (rows, n_class)."""
        return self.linear(self.dropout(encoded.pooled))

    @staticmethod
    def predict(logits: Tensor) -> Tensor:
        """The most likely class of each row: (rows,) int64."""
        return logits.argmax(-1)


class RegressionHead(ClassificationHead):
    """The same linear head with one output, read as a value: logits have shape (rows, 1)."""

    losses = ("MseCriterion",)

    @staticmethod
    def predict(logits: Tensor) -> Tensor:
        """The value of each row: (rows,) float."""
        return logits.squeeze(-1)


HEADS: dict[str, type[ClassificationHead]] = {
    "Classification": ClassificationHead,
    "Regression": RegressionHead,
}
