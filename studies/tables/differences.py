"""Differences between methods and their baseline at equal seeds: the comparisons of one table, corrected together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from studies.tables.significance import (
    Floats,
    Verdict,
    bootstrap_interval,
    could_tell,
    direction,
    holm,
    mean_of_means,
    paired_p,
    seeds_needed,
    verdict,
)

DECIMALS = 9
"""Differences are rounded to so many: equal ones must be equal, whatever the last bits of the scores are."""

Scores = Mapping[tuple[str, str], Mapping[int, float]]
"""Points by seed of the runs that are done, by (label, task); a task that a method has no runs for is not there."""


@dataclass(frozen=True)
class Difference:
    """A method minus its baseline.

    Attributes:
        method: its label.
        baseline: the baseline's.
        task: its name; None for all tasks together.
        pairs: how many differences there are: seeds, for all tasks together seeds × tasks.
        unpaired: seeds that are done for only one of the two, for all tasks together on any task.
        mean: mean difference in points, for all tasks together the mean of theirs; None without pairs.
        interval: 95 % bootstrap interval of the mean in points, not corrected for the number of comparisons.
        p: two-sided p-value.
        p_holm: the same after Holm's correction over all comparisons of the table that have pairs.
    """

    method: str
    baseline: str
    task: str | None
    pairs: int
    unpaired: tuple[int, ...]
    mean: float | None
    interval: tuple[float, float] | None
    p: float
    p_holm: float
    verdict: Verdict


@dataclass(frozen=True, eq=False)
class _Paired:
    """What a comparison rests on: the differences in points, by task where it is of all of them."""

    method: str
    baseline: str
    task: str | None
    strata: tuple[Floats, ...]
    unpaired: tuple[int, ...]

    @property
    def pairs(self) -> int:
        return sum(map(len, self.strata))


def differences(
    scores: Scores, tasks: Sequence[str], baselines: Mapping[str, str], *, multitask: bool, test: str
) -> tuple[list[Difference], int | None]:
    """Compare methods with their baselines, task by task and over all tasks.

    Args:
        scores: of all methods, the baselines among them.
        tasks: the table's tasks; several are also compared over all of them together.
        baselines: the label that each label is compared with.
        multitask: scores of one seed come from one run, whatever the task.
        test: one of `significance.TESTS`.

    Returns:
        The comparisons, and how many seeds each method and task needs so that all of them could be significant
        (None without comparisons).
    """
    paired = [
        p for method, baseline in baselines.items() for p in _comparisons(scores, tasks, method, baseline, multitask)
    ]
    if not paired:
        return [], None
    tested = [p for p in paired if p.pairs]  # what has no pairs yet is no test, and none to correct for
    p_values = [paired_p(p.strata, test) for p in tested]
    verdicts = zip(p_values, holm(p_values), could_tell([p.pairs for p in tested]), strict=True)
    known = dict(zip(tested, verdicts, strict=True))
    found = []
    for p in paired:
        mean = float(mean_of_means(*p.strata)) if p.pairs else None
        p_value, p_holm, tells = known.get(p, (1.0, 1.0, False))
        words = verdict(direction(p.strata, test) if p.pairs else 0.0, p_holm, tells)
        interval = bootstrap_interval(p.strata)
        found.append(
            Difference(p.method, p.baseline, p.task, p.pairs, p.unpaired, mean, interval, p_value, p_holm, words)
        )
    pairs_a_seed = [len(tasks) if p.task is None and not multitask else 1 for p in paired]
    return found, seeds_needed(pairs_a_seed)


def _comparisons(scores: Scores, tasks: Sequence[str], method: str, baseline: str, multitask: bool) -> list[_Paired]:
    common = [task for task in tasks if (method, task) in scores and (baseline, task) in scores]
    if method == baseline or not common:
        return []
    ours = {task: scores[method, task] for task in common}
    theirs = {task: scores[baseline, task] for task in common}
    paired = {task: sorted(ours[task].keys() & theirs[task].keys()) for task in common}
    unpaired = {task: tuple(sorted(ours[task].keys() ^ theirs[task].keys())) for task in common}
    by_seed = {task: {seed: ours[task][seed] - theirs[task][seed] for seed in paired[task]} for task in common}
    found = [_Paired(method, baseline, task, (_array(by_seed[task].values()),), unpaired[task]) for task in common]
    if len(common) == len(tasks) > 1:
        strata = _by_run(by_seed) if multitask else tuple(_array(by_task.values()) for by_task in by_seed.values())
        if not all(map(len, strata)):
            strata = (_array(()),)  # a mean over some of the tasks would be of something else
        found.append(_Paired(method, baseline, None, strata, tuple(sorted({s for u in unpaired.values() for s in u}))))
    return found


def _by_run(by_seed: Mapping[str, Mapping[int, float]]) -> tuple[Floats]:
    """One difference a seed, the mean over tasks: what one encoder does on several tasks is not independent."""
    seeds = sorted(set.intersection(*(set(by_task) for by_task in by_seed.values())))
    return (_array([sum(by_task[seed] for by_task in by_seed.values()) / len(by_seed) for seed in seeds]),)


def _array(values: Iterable[float]) -> Floats:
    return np.array(list(values), dtype=np.float64).round(DECIMALS)
