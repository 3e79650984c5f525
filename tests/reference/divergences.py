"""Divergences of two softmaxes in float64, one unit at a time, as sums over probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Scores = Sequence[float]


def softmax(scores: Scores) -> list[float]:
    weights = [math.exp(score - max(scores)) for score in scores]
    return [weight / sum(weights) for weight in weights]


def kl(p: Scores, q: Scores) -> float:
    """KL(P||Q) of probabilities, of which those of 0 count nothing."""
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a)


def log_odds(p: float) -> float:
    """MT-DNN's, with an epsilon of 1e-6."""
    return -math.log(1 / (p + 1e-6) - 1 + 1e-6)


def ns_kl(p: Scores, q: Scores) -> float:
    return 2 * sum(a * (log_odds(a) - log_odds(b)) for a, b in zip(p, q, strict=True))


def jensen_shannon(p: Scores, q: Scores) -> float:
    m = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    return (kl(p, m) + kl(q, m)) / 2


def squared_hellinger(p: Scores, q: Scores) -> float:
    return 1 - sum(math.sqrt(a * b) for a, b in zip(p, q, strict=True))


OF_PROBABILITIES: dict[str, Callable[[Scores, Scores], float]] = {
    "KlCriterion": lambda p, q: kl(q, p),
    "SymKlCriterion": lambda p, q: kl(p, q) + kl(q, p),
    "NsKlCriterion": ns_kl,
    "NsSymKlCriterion": lambda p, q: ns_kl(p, q) + ns_kl(q, p),
    "JSCriterion": jensen_shannon,
    "HLCriterion": squared_hellinger,
}


def divergence(name: str, logits: Scores, target_logits: Scores) -> float:
    """The divergence of that name of two outputs."""
    if name == "MseCriterion":
        return sum((a - b) ** 2 for a, b in zip(logits, target_logits, strict=True)) / len(logits)
    return OF_PROBABILITIES[name](softmax(logits), softmax(target_logits))
