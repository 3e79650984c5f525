"""Training criteria by MT-DNN's names. Each returns one loss per row, so that batches of any size weigh rows alike."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Softmax cross-entropy. `logits` (rows, n_class), `labels` (rows,) class ids; returns (rows,)."""
    return F.cross_entropy(logits.float(), labels, reduction="none")


def mean_squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Squared error. `logits` (rows, 1), `labels` (rows,) values; returns (rows,)."""
    return F.mse_loss(logits.float().squeeze(-1), labels, reduction="none")


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "CeCriterion": cross_entropy,
    "MseCriterion": mean_squared_error,
}
