"""The student's loss for one unit in float64: Hinton et al. 2015, section 2, as sums over probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tests.reference.divergences import softmax


def kl_to_teacher(student: Sequence[float], teacher: Sequence[float], temperature: float) -> float:
    """T² times the cross-entropy of the softened outputs, less the entropy of the teacher's."""
    p, q = (softmax([value / temperature for value in values]) for values in (student, teacher))
    return temperature**2 * (-sum(b * math.log(a) for a, b in zip(p, q, strict=True)) + sum(b * math.log(b) for b in q))


def squared_difference(student: Sequence[float], teacher: Sequence[float]) -> float:
    """The mean over the logits; a temperature would cancel out."""
    return sum((a - b) ** 2 for a, b in zip(student, teacher, strict=True)) / len(student)


def hard_loss(student: Sequence[float], label: int) -> float:
    """Cross-entropy against the label."""
    return -math.log(softmax(student)[label])
