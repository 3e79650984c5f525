"""A table's comparisons: which differences they rest on, and how often the whole procedure is wrong or right."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from studies.tables.differences import Difference, differences
from studies.tables.significance import LEVEL, Verdict, paired_p

Scores = dict[tuple[str, str], dict[int, float]]


def against_base(scores: Scores, multitask: bool = False) -> dict[tuple[str, str | None], Difference]:
    """Comparisons with `base`, by method and task."""
    tasks = list(dict.fromkeys(task for _, task in scores))
    baselines: Mapping[str, str] = {method: "base" for method, _ in scores}
    found, _ = differences(scores, tasks, baselines, multitask=multitask, test="permutation")
    return {(d.method, d.task): d for d in found}


def test_seeds_are_paired_by_their_number_and_the_others_named() -> None:
    found = against_base({("base", "rte"): {1: 70.0, 3: 60.0, 2: 50.0}, ("pats", "rte"): {2: 51.0, 3: 63.0, 4: 90.0}})
    difference = found["pats", "rte"]
    assert (difference.pairs, difference.unpaired, difference.mean) == (2, (1, 4), 2.0)
    assert difference.p == 0.5 and difference.interval is None and difference.verdict is Verdict.TOO_FEW_SEEDS


def test_no_common_seed_is_no_difference() -> None:
    difference = against_base({("base", "rte"): {1: 70.0}, ("pats", "rte"): {2: 51.0}})["pats", "rte"]
    assert (difference.pairs, difference.mean, difference.p) == (0, None, 1.0)
    assert difference.verdict is Verdict.TOO_FEW_SEEDS


def test_what_has_no_pairs_makes_nothing_else_harder() -> None:
    scores: Scores = {("base", "rte"): dict.fromkeys(range(6), 50.0), ("pats", "rte"): dict.fromkeys(range(6), 51.0)}
    alone = against_base(scores)["pats", "rte"]
    assert (alone.p_holm, alone.verdict) == (2 / 2**6, Verdict.BETTER)
    assert against_base(scores | {("sage", "rte"): {}})["pats", "rte"] == alone


def test_all_tasks_together_flip_each_run_of_single_tasks() -> None:
    scores: Scores = {("base", task): {1: 50.0, 2: 50.0, 3: 50.0} for task in ("cola", "rte")}
    scores |= {("pats", "cola"): {1: 51.0, 2: 52.0, 3: 53.0}, ("pats", "rte"): {1: 54.0, 2: 54.5, 3: 56.0}}
    together = against_base(scores)["pats", None]
    assert together.pairs == 6 and together.p == pytest.approx(2 / 2**6)
    assert together.mean == pytest.approx((2 + 14.5 / 3) / 2)


def test_all_tasks_together_flip_each_seed_of_multi_task_runs() -> None:
    scores: Scores = {("base", task): {1: 50.0, 2: 50.0, 3: 50.0} for task in ("cola", "rte")}
    scores |= {("pats", "cola"): {1: 51.0, 2: 52.0, 3: 53.0}, ("pats", "rte"): {1: 54.0, 2: 54.5, 3: 56.0}}
    together = against_base(scores, multitask=True)["pats", None]
    assert together.pairs == 3 and together.p == pytest.approx(2 / 2**3)
    assert together.mean == pytest.approx((2 + 14.5 / 3) / 2)


@pytest.mark.parametrize(("multitask", "needed"), [(False, 7), (True, 8)])
def test_the_seeds_needed_count_what_a_seed_adds(multitask: bool, needed: int) -> None:
    # Three tasks and all together. Single tasks: the last has three pairs a seed, so that three comparisons are tight,
    # 3 × 2/2^7 = 0.047. Multi-task: it has one pair a seed like the others, 4 × 2/2^8 = 0.031.
    scores: Scores = {(method, task): {1: 50.0} for method in ("base", "pats") for task in ("cola", "mrpc", "rte")}
    baselines = {"base": "base", "pats": "base"}
    _, seeds = differences(scores, ["cola", "mrpc", "rte"], baselines, multitask=multitask, test="permutation")
    assert seeds == needed


def test_all_tasks_together_need_all_tasks() -> None:
    scores: Scores = {("base", "cola"): {1: 50.0}, ("base", "rte"): {1: 50.0}, ("pats", "cola"): {1: 60.0}}
    assert set(against_base(scores)) == {("pats", "cola")}
    unfinished = against_base(scores | {("pats", "rte"): {}})  # belongs to the study, not done
    assert unfinished["pats", None].mean is None and unfinished["pats", None].pairs == 0


def test_the_last_bits_of_scores_make_no_difference() -> None:
    scores: Scores = {("base", "rte"): {s: 100 * k / 277 for s, k in enumerate(range(150, 158))}}
    scores["pats", "rte"] = {s: 100 * (k + (1 if s % 2 else -1)) / 277 for s, k in enumerate(range(150, 158))}
    assert against_base(scores)["pats", "rte"].p == 1.0  # four of +1 row, four of -1 row: a sum of exactly nothing


def test_the_test_that_was_asked_for_is_the_one_that_is_made() -> None:
    """Twelve seeds a little better and one much worse: to ranks that is no direction, to the mean it is down."""
    apart = [0.1 * k for k in range(1, 13)] + [-50.0]
    scores: Scores = {("base", "rte"): dict.fromkeys(range(13), 60.0)}
    scores["pats", "rte"] = {seed: 60.0 + value for seed, value in enumerate(apart)}
    found = {}
    for test in ("permutation", "wilcoxon"):
        ((difference,), _) = differences(scores, ["rte"], {"pats": "base"}, multitask=False, test=test)
        assert difference.p == pytest.approx(paired_p([np.array(apart)], test))
        found[test] = difference
    assert found["wilcoxon"].p < LEVEL < found["permutation"].p
    assert found["wilcoxon"].verdict is Verdict.NOT_DISTINGUISHABLE


@pytest.fixture
def without_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take most of the time, and verdicts do not depend on them."""
    monkeypatch.setattr("studies.tables.differences.bootstrap_interval", lambda strata: None)


def skewed(rng: np.random.Generator, seeds: int) -> dict[int, float]:
    """Scores as small data sets give them: most runs close together, some far below."""
    scores = 70 + rng.normal(0, 1, seeds) - 15 * (rng.random(seeds) < 0.1)
    return dict(enumerate(scores.tolist()))


@pytest.mark.usefixtures("without_intervals")
def test_a_table_without_any_true_difference_rarely_claims_one() -> None:
    rng = np.random.default_rng(1)
    wrong = uncorrected = 0
    tables = 250
    for _ in range(tables):
        found = against_base({(method, "rte"): skewed(rng, 8) for method in ("base", "a", "b", "c", "d", "e")})
        wrong += any(d.verdict in (Verdict.BETTER, Verdict.WORSE) for d in found.values())
        uncorrected += any(d.p <= LEVEL for d in found.values())
    assert wrong / tables <= LEVEL + 2.5 * (LEVEL * (1 - LEVEL) / tables) ** 0.5
    assert uncorrected / tables > 2 * LEVEL  # so the correction is what keeps the promise


@pytest.mark.usefixtures("without_intervals")
def test_large_true_differences_are_found_and_named() -> None:
    rng = np.random.default_rng(2)
    tables, words = 20, []
    for _ in range(tables):
        base = rng.normal(70, 1, 10)
        shifts = {"base": 0.0, "good": 4.0, "bad": -4.0, "same": 0.0}
        scores = {m: base + shift + rng.normal(0, 0.5, 10) for m, shift in shifts.items()}
        found = against_base({(m, "rte"): dict(enumerate(s.tolist())) for m, s in scores.items()})
        words.append([found[m, "rte"].verdict for m in ("good", "bad", "same")])
    good, bad, same = zip(*words, strict=True)
    assert good == (Verdict.BETTER,) * tables and bad == (Verdict.WORSE,) * tables
    assert same.count(Verdict.NOT_DISTINGUISHABLE) >= 18
