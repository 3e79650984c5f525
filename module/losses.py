"""Training criteria by MT-DNN's names.

Each takes a head's logits and its kind's targets, and returns one loss a unit (a row, or a word), so that batches of
any size weigh units alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor
from torch.nn import functional as F

Targets = Mapping[str, Tensor]
"""What is right, by name; each loss says what it needs."""

UNSCORED = -100
"""The label of tokens that have no loss; see `data_utils.kinds.kind`."""


def cross_entropy(logits: Tensor, targets: Targets) -> Tensor:
    """Softmax cross-entropy. `logits` (rows, classes), `label` (rows,) class ids; returns (rows,)."""
    return F.cross_entropy(logits.float(), targets["label"], reduction="none")


def mean_squared_error(logits: Tensor, targets: Targets) -> Tensor:
    """Squared error. `logits` (rows, 1), `label` (rows,) values; returns (rows,)."""
    return F.mse_loss(logits.float().squeeze(-1), targets["label"], reduction="none")


def ranking_cross_entropy(logits: Tensor, targets: Targets) -> Tensor:
    """Softmax cross-entropy over the options of each row.

    Args:
        logits: (sequences, 1), an option's score each.
        targets: `options` (rows, most), the sequences of each row, -1 for none; `label` (rows,), the best one's place.

    Returns:
        (rows,).
    """
    options = targets["options"]
    scores = logits.float().squeeze(-1)[options.clamp(min=0)].masked_fill(options < 0, float("-inf"))
    return F.cross_entropy(scores, targets["label"], reduction="none")


def token_cross_entropy(logits: Tensor, targets: Targets) -> Tensor:
    """Softmax cross-entropy of each word.

    Args:
        logits: (sequences, longest, tags).
        targets: `label` (sequences, longest), tag ids, `UNSCORED` for tokens that stand for no word.

    Returns:
        (sequences * longest,), zero where there is no word: the sum is over words.
    """
    return F.cross_entropy(
        logits.float().flatten(0, 1), targets["label"].flatten(), ignore_index=UNSCORED, reduction="none"
    )


def span_cross_entropy(logits: Tensor, targets: Targets) -> Tensor:
    """Softmax cross-entropy over the tokens of each window: the mean of the answer's first token's and last token's.

    Args:
        logits: (rows, longest, 2).
        targets: `start` and `end` (rows,), the right tokens; `inside` (rows, longest), false beyond a row's end.

    Returns:
        (rows,).
    """
    scores = logits.float().masked_fill(~targets["inside"].unsqueeze(-1), float("-inf"))
    start, end = (
        F.cross_entropy(scores[..., i], targets[name], reduction="none") for i, name in enumerate(("start", "end"))
    )
    return (start + end) / 2


LOSSES: dict[str, Callable[[Tensor, Targets], Tensor]] = {
    "CeCriterion": cross_entropy,
    "MseCriterion": mean_squared_error,
    "RankCeCriterion": ranking_cross_entropy,
    "SeqCeCriterion": token_cross_entropy,
    "SpanCeCriterion": span_cross_entropy,
}
