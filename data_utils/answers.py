"""Answers to questions compared as SQuAD does it: exact match, and F1 over words."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

Compare = Callable[[str, str], float]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def words(answer: str) -> list[str]:
    """The words that count: in lower case, without ASCII punctuation, without articles."""
    return _ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split()


def exact(predicted: str, gold: str) -> float:
    """1 where the words are the same."""
    return float(words(predicted) == words(gold))


def word_f1(predicted: str, gold: str) -> float:
    """F1 of the words; where either has none, 1 if both have none."""
    ours, theirs = words(predicted), words(gold)
    if not ours or not theirs:
        return float(ours == theirs)
    shared = (Counter(ours) & Counter(theirs)).total()
    return 2 * shared / (len(ours) + len(theirs))


def best_agreements(compare: Compare, predicted: Sequence[str], gold: Sequence[Sequence[str]]) -> list[float]:
    """Of each question the best agreement with any of its answers.

    Answers without a word that counts are left out; a question without any is answered rightly by "".
    """
    return [
        max(compare(ours, right) for right in [answer for answer in answers if words(answer)] or [""])
        for ours, answers in zip(predicted, gold, strict=True)
    ]
