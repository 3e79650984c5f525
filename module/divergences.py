"""How far apart two outputs of one head are, by MT-DNN's names.

SMART and R-Drop (`mt_dnn.objectives`) measure with these how much an output moves, and distillation how far a student
is from its teacher. P are the probabilities of `logits`, Q those of `target_logits`; both are softmaxes over the last
dimension. Gradients flow into both; whoever wants a fixed target detaches it.

The functions are the textbook's. MT-DNN's code differs in three of them: it lets no gradient flow into the distribution
that a divergence is measured from, so of two outputs that are close its `SymKlCriterion` has half the gradient; its
`JSCriterion` is KL(M||P) + KL(M||Q); and its `HLCriterion` has no gradient at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

NO_CHOICE = -1e4
"""The score of what cannot be chosen, such as a place beyond a text's end; both outputs have it in the same places.

Its probability is exactly 0. It is finite because 0 times an infinity is no number.
"""

TINY_ODDS = 1e-6
"""What keeps the odds of MT-DNN's `NsKlCriterion` finite."""


def kl(logits: Tensor, target_logits: Tensor) -> Tensor:
    """KL(Q||P) = sum of q (log q - log p). (..., choices) twice; returns (...)."""
    log_p, log_q = _log_softmax(logits), _log_softmax(target_logits)
    return (log_q.exp() * (log_q - log_p)).sum(-1)


def symmetric_kl(logits: Tensor, target_logits: Tensor) -> Tensor:
    """KL(Q||P) + KL(P||Q) = sum of (q - p)(log q - log p). (..., choices) twice; returns (...)."""
    log_p, log_q = _log_softmax(logits), _log_softmax(target_logits)
    return ((log_q.exp() - log_p.exp()) * (log_q - log_p)).sum(-1)


def log_odds_divergence(logits: Tensor, target_logits: Tensor) -> Tensor:
    """MT-DNN's `NsKlCriterion`: 2 times the sum of p (log-odds of p - log-odds of q), where log-odds are constants.

    Its source is MT-DNN's `stable_kl` alone. (..., choices) twice; returns (...).
    """
    p, q = (_log_softmax(scores).exp() for scores in (logits, target_logits))
    return 2 * (p * (_log_odds(p) - _log_odds(q))).sum(-1)


def symmetric_log_odds_divergence(logits: Tensor, target_logits: Tensor) -> Tensor:
    """MT-DNN's `NsSymKlCriterion`: `log_odds_divergence` both ways."""
    return log_odds_divergence(logits, target_logits) + log_odds_divergence(target_logits, logits)


def jensen_shannon(logits: Tensor, target_logits: Tensor) -> Tensor:
    """KL(P||M)/2 + KL(Q||M)/2 with M = (P + Q)/2, at most log 2. (..., choices) twice; returns (...)."""
    log_p, log_q = _log_softmax(logits), _log_softmax(target_logits)
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    return (log_p.exp() * (log_p - log_m) + log_q.exp() * (log_q - log_m)).sum(-1) / 2


def squared_hellinger(logits: Tensor, target_logits: Tensor) -> Tensor:
    """Half the sum of (√p - √q)², at most 1. (..., choices) twice; returns (...)."""
    root_p, root_q = ((_log_softmax(scores) / 2).exp() for scores in (logits, target_logits))
    return (root_p - root_q).square().sum(-1) / 2


def mean_squared_difference(logits: Tensor, target_logits: Tensor) -> Tensor:
    """The mean of (logit - target logit)² over what can be chosen. (..., choices) twice; returns (...)."""
    logits, target_logits = wide(logits), wide(target_logits)
    choices = (target_logits != NO_CHOICE).sum(-1).clamp(min=1)
    return (logits - target_logits).square().sum(-1) / choices


def wide(values: Tensor) -> Tensor:
    """The values in float32, or in float64 if they are."""
    return values if values.dtype is torch.float64 else values.float()


def _log_softmax(scores: Tensor) -> Tensor:
    return F.log_softmax(wide(scores), dim=-1)


def _log_odds(p: Tensor) -> Tensor:
    return -(1 / (p + TINY_ODDS) - 1 + TINY_ODDS).log().detach()


DIVERGENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "SymKlCriterion": symmetric_kl,
    "KlCriterion": kl,
    "NsKlCriterion": log_odds_divergence,
    "NsSymKlCriterion": symmetric_log_odds_divergence,
    "JSCriterion": jensen_shannon,
    "HLCriterion": squared_hellinger,
    "MseCriterion": mean_squared_difference,
}
"""Each takes logits and target logits, (..., choices) twice, and returns one value a unit, (...)."""
