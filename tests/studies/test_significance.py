"""The tests over seeds against known truths: enumeration, hand-worked examples, SciPy's Wilcoxon, simulations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from studies.tables.significance import (
    LEVEL,
    TESTS,
    Verdict,
    bootstrap_interval,
    could_tell,
    direction,
    holm,
    paired_p,
    seeds_needed,
    smallest_p,
    verdict,
)


def by_enumeration(values: list[float]) -> float:
    """The share of all assignments of signs whose sum is at least as far from zero."""
    observed = abs(sum(values))
    sums = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True)))
        for signs in itertools.product([1, -1], repeat=len(values))
    ]
    return sum(total >= observed - 1e-9 for total in sums) / len(sums)


def p(*strata: list[float], test: str = "permutation") -> float:
    return paired_p([np.array(differences, dtype=float) for differences in strata], test)


@pytest.mark.parametrize("n", range(2, 10))
def test_p_values_are_those_of_all_assignments_of_signs(n: int) -> None:
    rng = np.random.default_rng(n)
    spread = list(rng.normal(0.5, 1, n))
    tied = [float(x) for x in rng.integers(-2, 4, n)]  # dev scores move in steps: equal differences, zeros
    for values in (spread, tied):
        assert p(values) == pytest.approx(by_enumeration(values), abs=1e-12)


@pytest.mark.parametrize("rows", [[5, 2, -1, -1], [3, 1, -1, -1, 2, 2], [0, 4, -2, -2, 6, -1, -1, 3]], ids=str)
def test_sums_that_tie_in_rows_tie_in_points(rows: list[int]) -> None:
    """One row of RTE's 277 is 0.361010830… points: two of them are not twice the rounded one."""
    points = [round(100 * row / 277, 9) for row in rows]
    assert p(points) == pytest.approx(by_enumeration([float(row) for row in rows]), abs=1e-12)


def test_tasks_count_alike_however_many_pairs_they_have() -> None:
    few, many = [2.0, -0.5, 1.1], [0.3, 0.4, -0.2, 0.9, -0.1]
    assert p(few, many) == pytest.approx(by_enumeration([v / 3 for v in few] + [v / 5 for v in many]), abs=1e-12)


HAND_WORKED = [
    ([1, 2, 3, 4, 5], 2 / 32),  # only all signs as they are, or all turned, give |sum| 15
    ([-1, 2, 3, 4, 5], 4 / 32),  # |sum| >= 13: also with the 1 turned
    ([1, 1, 1, 1, 1, 1], 2 / 64),
    ([0, 0, 0], 1.0),
    ([7], 1.0),
    ([], 1.0),
]


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize(("differences", "expected"), HAND_WORKED, ids=str)
def test_hand_worked_p_values(differences: list[float], expected: float, test: str) -> None:
    assert p(differences, test=test) == pytest.approx(expected)  # ranks are in the order of these differences


def test_many_pairs_are_tried_at_random_and_close_to_exact() -> None:
    differences = [1, 2, -1, 3, 0, 2, 1, -2, 4, 1, -3, 2, 1, 0, 2, -1, 3, 1, -2, 1]
    counts = {0: 1}
    for d in differences:  # the exact distribution of the sum, by adding one difference at a time
        counts = {
            total: counts.get(total - d, 0) + counts.get(total + d, 0)
            for total in {t + s for t in counts for s in (d, -d)}
        }
    total = sum(counts.values())
    exact = sum(n for s, n in counts.items() if abs(s) >= abs(sum(differences))) / total
    assert p(list(map(float, differences))) == pytest.approx(exact, abs=4 * 2 * (exact / 99_999) ** 0.5)
    assert p(list(map(float, differences))) == p(list(map(float, differences)))


@pytest.mark.parametrize("n", [5, 8, 12])
def test_wilcoxon_is_scipys_where_no_differences_are_equal(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.4, 1, n)
    expected = stats.wilcoxon(differences, method="exact").pvalue
    assert paired_p([differences], "wilcoxon") == pytest.approx(expected)


def test_wilcoxon_with_equal_differences_and_zeros() -> None:
    assert p([0, 1, 1, -2, 3], test="wilcoxon") == pytest.approx(by_enumeration([1.5, 1.5, -3, 4]))
    assert p([1, 1, -1, 2], test="wilcoxon") == pytest.approx(0.5)  # ranks 2, 2, -2, 4: |sum| >= 6 in 8 of 16


def test_holm_by_hand() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04: times 4, 3, 2, 1 = 0.02, 0.03, 0.06, 0.04; the last may not fall below 0.06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("n", range(1, 11))
@pytest.mark.parametrize("test", TESTS)
def test_the_smallest_p_is_reached_and_nothing_is_below(n: int, test: str) -> None:
    rng = np.random.default_rng(n)
    assert p([1.0 + i for i in range(n)], test=test) == pytest.approx(smallest_p(n))
    assert min(p(list(rng.normal(2, 1, n)), test=test) for _ in range(20)) >= smallest_p(n) - 1e-12


COULD_TELL = [
    ([5], [False]),  # 2/32 = 0.0625
    ([6], [True]),  # 2/64 = 0.03125
    ([6, 6], [False, False]),  # twice that
    ([7, 7], [True, True]),
    ([3, 20], [False, True]),
    ([0], [False]),
    ([], []),
]


@pytest.mark.parametrize(("pairs", "expected"), COULD_TELL, ids=str)
def test_whether_a_comparison_could_be_significant(pairs: list[int], expected: list[bool]) -> None:
    assert could_tell(pairs) == expected


@pytest.mark.parametrize(
    ("pairs_a_seed", "expected"), [([1], 6), ([1, 1], 7), ([1] * 12, 9), ([1] * 12 + [4] * 3, 9), ([4], 2)], ids=str
)
def test_the_seeds_needed_are_the_fewest_that_could_tell(pairs_a_seed: list[int], expected: int) -> None:
    assert seeds_needed(pairs_a_seed) == expected
    extreme = [holm([2 / 2 ** (n * k) for k in pairs_a_seed]) for n in (expected, expected - 1)]
    assert max(extreme[0]) <= LEVEL < max(extreme[1])


def test_words() -> None:
    assert verdict(1.5, 0.05, True) is Verdict.BETTER
    assert verdict(-1.5, 0.05, True) is Verdict.WORSE
    assert verdict(9.0, 0.051, True) is Verdict.NOT_DISTINGUISHABLE
    assert verdict(9.0, 0.01, False) is Verdict.TOO_FEW_SEEDS
    assert verdict(0.0, 0.01, True) is Verdict.NOT_DISTINGUISHABLE
    assert [v.value for v in Verdict] == ["better", "worse", "not distinguishable", "too few seeds to tell"]


def test_mean_and_ranks_that_point_to_different_sides_have_no_direction() -> None:
    """Twelve seeds a little better and one much worse: by ranks the method is better, by the mean it is not."""
    strata = [np.array([0.1 * k for k in range(1, 13)] + [-50.0])]
    assert paired_p(strata, "wilcoxon") < LEVEL
    assert direction(strata, "wilcoxon") == 0 and direction(strata, "permutation") < 0
    assert direction([-strata[0][:12]], "wilcoxon") < 0 < direction([strata[0][:12]], "wilcoxon")


def test_no_interval_from_fewer_than_five_pairs() -> None:
    assert bootstrap_interval([np.arange(4.0)]) is None
    assert bootstrap_interval([np.arange(5.0), np.array([1.0])]) is None


def test_equal_differences_give_their_point_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    assert bootstrap_interval([np.full(5, 1.5)]) == pytest.approx((1.5, 1.5))
    assert not recwarn.list


def test_intervals_are_drawn_within_tasks() -> None:
    low, high = bootstrap_interval([np.full(5, 1.0), np.full(5, 3.0)])  # drawn from all ten, this would spread
    assert (low, high) == pytest.approx((2.0, 2.0))


@pytest.mark.parametrize("strata", [1, 3])
def test_intervals_cover_the_true_mean_and_repeat(strata: int) -> None:
    rng = np.random.default_rng(0)
    samples = [[rng.normal(1.0, 2.0, 15) for _ in range(strata)] for _ in range(120)]
    intervals = [bootstrap_interval(sample) for sample in samples]
    covered = np.mean([low <= 1.0 <= high for low, high in intervals])
    assert 0.86 <= covered <= 0.995  # 95 %, but 15 pairs are few, and 120 draws have a standard error of 2 %
    assert bootstrap_interval(samples[0]) == intervals[0]


def test_an_interval_is_as_wide_as_its_confidence_says() -> None:
    """Of many normal differences: 1.96 standard errors to either side; 90 % would be 1.64."""
    values = np.random.default_rng(3).normal(1.0, 2.0, 400)
    low, high = bootstrap_interval([values])
    error = values.std(ddof=1) / 20
    assert (low, high) == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.1 * error)


def test_an_interval_of_skewed_differences_is_bca() -> None:
    """Efron's formulae on draws of our own: bias from the share of means below the mean, skew from a jackknife."""
    values = np.random.default_rng(4).exponential(1.0, 15)
    means = np.random.default_rng(5).choice(values, (50_000, 15)).mean(axis=1)
    bias = stats.norm.ppf((means < values.mean()).mean())
    without_one = (values.sum() - values) / 14
    apart = without_one.mean() - without_one
    skew = (apart**3).sum() / (6 * (apart**2).sum() ** 1.5)
    ends = [bias + stats.norm.ppf(q) for q in (0.025, 0.975)]
    shares = [stats.norm.cdf(bias + end / (1 - skew * end)) for end in ends]
    width = np.ptp(np.quantile(means, [0.025, 0.975]))
    assert bootstrap_interval([values]) == pytest.approx(np.quantile(means, shares), abs=0.03 * width)
    assert abs(np.quantile(means, 0.975) - np.quantile(means, shares[1])) > 0.1 * width  # the test can tell
