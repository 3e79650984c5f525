"""Paired tests over seeds, and what may be said after them in plain words.

Two methods are compared by the differences of their scores at equal seeds, in points. If a method makes no difference,
each of these could as well have had the other sign: the share of all assignments of signs whose mean is at least as
far from zero is the exact p-value. With n pairs there are 2^n assignments, so that no p-value lies below 2/2^n.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

LEVEL = 0.05
"""The chance, over all comparisons of a table, that any of them is called better or worse when nothing is."""
CONFIDENCE = 0.95
SIGN_FLIPS = 99_999
"""All 2^n assignments of signs are tried up to n = 16; beyond, so many random ones."""
BOOTSTRAP_SAMPLES = 9_999
MIN_BOOTSTRAP_PAIRS = 5
"""Of normal differences, the intervals hold the true mean in 71 % of cases with 3 pairs, 83 % with 5, 90 % with 10."""
TESTS = ("permutation", "wilcoxon")
SUM_DECIMALS = 6
"""Sums that tie must tie, whatever their last bits are: scores move in steps, such as 100/277 points a row of RTE."""


class Verdict(str, Enum):
    """What a comparison with the baseline shows."""

    BETTER = "better"
    WORSE = "worse"
    NOT_DISTINGUISHABLE = "not distinguishable"
    TOO_FEW_SEEDS = "too few seeds to tell"


def paired_p(strata: Sequence[Floats], test: str) -> float:
    """The two-sided p-value of the hypothesis that no difference has a direction.

    Args:
        strata: differences at equal seeds, in points: one array for one task, or one a task to test all together.
        test: `permutation` compares the mean over strata of their mean differences; `wilcoxon` the sum of the ranks
            of all differences, with their signs.
    """
    if test == "wilcoxon":
        return _sign_flip_p(_signed_ranks(np.concatenate(strata)))
    return _sign_flip_p(np.concatenate([differences / max(len(differences), 1) for differences in strata]))


def direction(strata: Sequence[Floats], test: str) -> float:
    """Above zero where the differences, as the test sees them, speak for the method; below zero against it.

    Zero where mean and ranks of `wilcoxon` point to different sides, as one far seed can make them.
    """
    mean = float(mean_of_means(*strata))
    if test == "wilcoxon" and float(_signed_ranks(np.concatenate(strata)).sum()) * mean <= 0:
        return 0.0
    return mean


def _sign_flip_p(values: Floats) -> float:
    if len(values) < 2:  # either sign is as far from zero; SciPy refuses a single pair
        return 1.0
    result = stats.permutation_test(
        (values,),
        lambda x, axis: np.round(np.sum(x, axis=axis), SUM_DECIMALS),
        permutation_type="samples",  # of a single sample: flips signs
        vectorized=True,
        n_resamples=SIGN_FLIPS,
        batch=10_000,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def _signed_ranks(differences: Floats) -> Floats:
    """Wilcoxon's ranks, equal differences sharing theirs; zeros are left out, as he does.

    Flipping their signs gives his exact test, for equal differences too, where his tables no longer hold.
    """
    nonzero = differences[differences != 0]
    return np.sign(nonzero) * stats.rankdata(np.abs(nonzero))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: those below a level are significant together, at that level for all of them."""
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def smallest_p(pairs: int) -> float:
    """The p-value of the most extreme outcome that so many pairs can have."""
    return min(1.0, 2.0 ** (1 - pairs))


def could_tell(pairs: Sequence[int]) -> list[bool]:
    """Whether each of a table's comparisons, given their numbers of pairs, could be significant at all.

    It cannot if even the most extreme outcome of all of them together leaves its adjusted p-value above `LEVEL`.
    """
    return [p <= LEVEL for p in holm([smallest_p(n) for n in pairs])]


def seeds_needed(pairs_a_seed: Sequence[int]) -> int:
    """The smallest number of seeds with which all of a table's comparisons could be significant.

    Args:
        pairs_a_seed: how many pairs each comparison gets from a seed: 1 for one task, more for several together.
    """
    return next(n for n in itertools.count(1) if all(could_tell([n * pairs for pairs in pairs_a_seed])))


def verdict(towards: float, adjusted_p: float, telling: bool) -> Verdict:
    """The plain words for a comparison; a higher score is the better one, and `towards` is its `direction`."""
    if not telling:
        return Verdict.TOO_FEW_SEEDS
    if adjusted_p > LEVEL or towards == 0:
        return Verdict.NOT_DISTINGUISHABLE
    return Verdict.BETTER if towards > 0 else Verdict.WORSE


def mean_of_means(*strata: Floats, axis: int = -1) -> Floats:
    """Every stratum counts alike, however many pairs it has."""
    return sum(np.mean(differences, axis=axis) for differences in strata) / len(strata)


def bootstrap_interval(strata: Sequence[Floats]) -> tuple[float, float] | None:
    """A 95 % interval of the mean difference, in points; drawn anew within each stratum, equal at every call.

    BCa, or percentiles where BCa is not defined (all differences are equal: the interval is that point). None with
    fewer than `MIN_BOOTSTRAP_PAIRS` pairs in some stratum, which say next to nothing about spread.
    """
    if min(map(len, strata)) < MIN_BOOTSTRAP_PAIRS:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that BCa is not defined: seen from its result
        interval = _bootstrap(strata, "BCa")
    return interval if np.isfinite(interval).all() else _bootstrap(strata, "percentile")


def _bootstrap(strata: Sequence[Floats], method: str) -> tuple[float, float]:
    result = stats.bootstrap(
        tuple(strata),
        mean_of_means,
        method=method,
        confidence_level=CONFIDENCE,
        n_resamples=BOOTSTRAP_SAMPLES,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
