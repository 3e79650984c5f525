"""Training criteria by MT-DNN's names.

Each takes a head's logits and its kind's targets, and returns one loss a unit (a row, or a word), so that batches of
any size weigh units alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from torch import Tensor
from torch.nn import functional as F

from .divergences import wide

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
    return F.cross_entropy(option_scores(logits, targets, -math.inf), targets["label"], reduction="none")


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
    scores = place_scores(logits, targets, -math.inf)
    start, end = (
        F.cross_entropy(scores[:, i], targets[name], reduction="none") for i, name in enumerate(("start", "end"))
    )
    return (start + end) / 2


def option_scores(logits: Tensor, targets: Targets, gap: float) -> Tensor:
    """The scores (sequences, 1) of options by row, (rows, most) in float32, `gap` where a row has no option."""
    options = targets["options"]
    return wide(logits).squeeze(-1)[options.clamp(min=0)].masked_fill(options < 0, gap)


def place_scores(logits: Tensor, targets: Targets, gap: float) -> Tensor:
    """The scores (rows, longest, 2) of places as (rows, 2, longest) in float32, `gap` beyond a row's end."""
    return wide(logits).transpose(1, 2).masked_fill(~targets["inside"].unsqueeze(1), gap)


LOSSES: dict[str, Callable[[Tensor, Targets], Tensor]] = {
    "CeCriterion": cross_entropy,
    "MseCriterion": mean_squared_error,
    "RankCeCriterion": ranking_cross_entropy,
    "SeqCeCriterion": token_cross_entropy,
    "SpanCeCriterion": span_cross_entropy,
}
