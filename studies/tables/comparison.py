"""A study as tables of numbers: scores by method and task, and each method's differences to the baseline.

Only computing; `layouts` turns it into text. Runs that failed, collapsed or are unfinished stay visible in every cell.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_utils.errors import InputError
from data_utils.strict import read_yaml_mapping
from studies.methods import OWN_FLAGS
from studies.recipes import MTL
from studies.study import TEST_SPLITS, Group, Outcome, Run, Status, grouped
from studies.tables.differences import Difference, differences
from studies.tables.nested import nested_score

BASELINE = "adamax"
EPOCHS = ("last", "best")
NESTED = "nested"
"""The best epoch as rows see it that did not choose it; see `nested_score`."""
MAJORITY = {"SeqEval": "tag", "MRR": "place of the right option", "EmF1": "no answer", "EM": "no answer"}
"""What stands for the most frequent label, by metrics of tasks without labels; see `Kind.majority`."""

PaperScores = Mapping[str, Mapping[str, Mapping[str, float]]]


@dataclass(frozen=True)
class Cell:
    """A method's runs on a task.

    Attributes:
        scores: points by seed, of runs that are done.
        collapsed: seeds among them whose model gave all rows the same prediction at the end.
        failed: what the failed run of a seed said; it has no score.
        unfinished: seeds that are waiting, running or cut.
    """

    scores: Mapping[int, float] = field(default_factory=dict)
    collapsed: tuple[int, ...] = ()
    failed: Mapping[int, str] = field(default_factory=dict)
    unfinished: tuple[int, ...] = ()

    @property
    def n(self) -> int:
        """How many runs the mean is of."""
        return len(self.scores)

    @property
    def mean(self) -> float | None:
        """Mean score in points; collapsed runs are part of it."""
        return statistics.fmean(self.scores.values()) if self.scores else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation over seeds, in points; None for fewer than two."""
        return statistics.stdev(self.scores.values()) if self.n > 1 else None


@dataclass(frozen=True)
class StudyTable:
    """Methods × tasks of one encoder.

    Attributes:
        group: the encoder, whether it was trained on all tasks together, and the names of the flags that were varied.
        which: `last` or `best` epoch, `nested`, or `test`.
        test: one of `significance.TESTS`.
        methods: labels, baselines first.
        metrics: each task's primary metric; None while no run is done.
        cells: by (label, task); a method that does not belong to a task has an empty one.
        baselines: the label that each label is compared with, whether or not the study has it.
        paper: Table 1's scores by (label, task), where the encoder is the same.
        majority: points by task for always giving the most frequent label, where the runs say it.
        differences: all comparisons with the baseline.
        seeds_needed: for every method and task, so that each comparison could be significant; None without any.
        remarks: further notes, such as those of `remarks`.
    """

    group: Group
    which: str
    test: str
    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    metrics: Mapping[str, str | None]
    cells: Mapping[tuple[str, str], Cell]
    baselines: Mapping[str, str]
    paper: Mapping[tuple[str, str], float]
    majority: Mapping[str, float]
    differences: tuple[Difference, ...]
    seeds_needed: int | None
    remarks: tuple[str, ...] = ()

    def average(self, method: str) -> float | None:
        """Mean of the tasks' means, in points; None where a task has no score."""
        return _mean([self.cells[method, task].mean for task in self.tasks])

    def paper_average(self, method: str) -> float | None:
        """The same for the paper's scores of these tasks."""
        return _mean([self.paper.get((method, task)) for task in self.tasks])

    @property
    def majority_words(self) -> str:
        """What always gives the `majority` scores: a label, and what it is of these tasks that have none."""
        others = [f"{task} {MAJORITY[metric]}" for task in self.majority if (metric := self.metrics[task]) in MAJORITY]
        return f"label ({', '.join(others)})" if others else "label"

    @property
    def majority_average(self) -> float | None:
        """The same for always giving the most frequent label."""
        return _mean([self.majority.get(task) for task in self.tasks])


def read_paper_scores(path: Path) -> PaperScores:
    """A suite's `paper_table`: encoder -> method -> task -> points, {} without one; InputError for a damaged file."""
    raw = read_yaml_mapping(path) if path.exists() else {}
    try:
        return {
            encoder: {method: {task: float(score) for task, score in row.items()} for method, row in rows.items()}
            for encoder, rows in raw.items()
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: expected encoder -> method -> task -> score: {error}") from None


def compare(
    outcomes: Iterable[Outcome],
    *,
    which: str = "last",
    baseline: str = BASELINE,
    tasks: Collection[str] | None = None,
    test: str = "permutation",
    paper: PaperScores | None = None,
) -> list[StudyTable]:
    """Make a study's tables, one for each encoder, for single tasks and `mtl`, and for each set of varied flags.

    Args:
        outcomes: a study's runs, whatever became of them.
        which: the `last` epoch's score, the `best` epoch's on the dev set, `nested`, for which runs must have kept
            what they predicted, or `test`, for which they must have scored test splits.
        baseline: the method that all others are compared with. A varied method meets the baseline with the same
            variation; flags that it cannot have (`pats_lambda`) do not count there.
        tasks: which tasks to show, and in which order; None for all.
        test: one of `significance.TESTS`.
        paper: what `read_paper_scores` gives.

    Raises:
        InputError: a run's results lack a score that its recipe stands for, or two runs' are of different metrics.
    """
    tables = []
    for group, members in beside_baseline(outcomes, baseline).items():
        columns = _columns([outcome for outcome in members if Group.of(outcome.run) == group])
        columns = columns if tasks is None else [task for task in tasks if task in columns]
        if columns:
            tables.append(_table(group, members, columns, which, baseline, test, paper or {}))
    return tables


def beside_baseline(outcomes: Iterable[Outcome], baseline: str = BASELINE) -> dict[Group, list[Outcome]]:
    """Runs by group; before a group's own runs stand those of other groups that they are compared with."""
    groups = grouped(outcomes)
    found = {}
    for group, members in groups.items():
        named = {(outcome.run.recipe, _counterpart(outcome.run, baseline)) for outcome in members}
        siblings = [o for g, others in groups.items() if g != group and g[:2] == group[:2] for o in others]
        found[group] = [*(o for o in siblings if (o.run.recipe, o.run.label) in named), *members]
    return found


def _counterpart(run: Run, baseline: str) -> str:
    """The label that a run is compared with. `pats_lr` keeps its λ against `pats`, which has one as well."""

    def kept(flag: str) -> bool:
        owner = next((method for prefix, method in OWN_FLAGS.items() if flag.startswith(prefix)), None)
        return owner is None or (baseline.startswith(owner) and run.method != baseline)

    shared = tuple((name, value) for name, value in run.varied if kept(name))
    return Run(run.recipe, baseline, shared, run.seed).label


def _columns(outcomes: Sequence[Outcome]) -> list[str]:
    """The tasks of a table; `mtl` for multi-task runs none of which is done, as only results name their tasks."""
    columns = dict.fromkeys(task for outcome in outcomes for task in _tasks(outcome))
    return [task for task in columns if task != MTL] or list(columns)


def _tasks(outcome: Outcome) -> list[str]:
    run = outcome.run
    return list(outcome.results["tasks"]) if run.task == MTL and outcome.status is Status.DONE else [run.task]


def _table(
    group: Group,
    members: Sequence[Outcome],
    columns: Sequence[str],
    which: str,
    baseline: str,
    test: str,
    paper: PaperScores,
) -> StudyTable:
    baselines = {outcome.run.label: _counterpart(outcome.run, baseline) for outcome in members}
    methods = tuple(sorted(baselines, key=lambda label: label != baselines[label]))  # stable: else in their order
    cells, metrics, majority = {}, {}, {}
    for task in columns:
        runs = [outcome for outcome in members if outcome.run.task in (task, MTL)]
        metrics[task] = _metric(runs, task)
        if which != TEST_SPLITS and (score := _majority(runs, task)) is not None:
            majority[task] = score
        for method in methods:
            cells[method, task] = _cell([outcome for outcome in runs if outcome.run.label == method], task, which)
    scores = {key: cell.scores for key, cell in cells.items() if cell != Cell()}
    compared, needed = differences(scores, columns, baselines, multitask=group.multitask, test=test)
    rows = {} if group.multitask or group.varied or which == TEST_SPLITS else paper.get(group.encoder, {})
    return StudyTable(
        group=group,
        which=which,
        test=test,
        methods=methods,
        tasks=tuple(columns),
        metrics=metrics,
        cells=cells,
        baselines=baselines,
        paper={(m, task): rows[m][task] for m in methods if m in rows for task in columns if task in rows[m]},
        majority=majority,
        differences=tuple(compared),
        seeds_needed=needed,
    )


def _metric(outcomes: Sequence[Outcome], task: str) -> str | None:
    """The metric of a task's scores; None while no run is done."""
    seen: dict[str, Path] = {}
    for outcome in outcomes:
        if outcome.status is Status.DONE:
            if task not in outcome.results["tasks"]:
                has = ", ".join(outcome.results["tasks"])
                raise InputError(f"{outcome.folder}: its results are of {has}; expected {task} among them")
            seen.setdefault(str(outcome.results["tasks"][task]["primary_metric"]), outcome.folder)
    if len(seen) > 1:
        (first, one), (second, other), *_ = seen.items()
        raise InputError(f"{task} is scored by {first} in {one} and by {second} in {other}: they cannot be compared")
    return next(iter(seen), None)


def _majority(outcomes: Sequence[Outcome], task: str) -> float | None:
    """The score of a task's most frequent label; None where runs do not say it, or have seen other shares of data."""
    scores = {o.results["tasks"][task].get("majority_score") for o in outcomes if o.status is Status.DONE}
    return scores.pop() if len(scores) == 1 else None


def _cell(outcomes: Sequence[Outcome], task: str, which: str) -> Cell:
    done = [outcome for outcome in outcomes if outcome.status is Status.DONE]
    scores = {o.run.seed: nested_score(o, task) if which == NESTED else o.score(task, which) for o in done}
    ends = {o.run.seed: o.results["tasks"][task][which if which == TEST_SPLITS else "last"] for o in done}
    return Cell(
        scores=scores,
        collapsed=tuple(seed for seed, end in ends.items() if end.get("constant", False)),
        failed={outcome.run.seed: outcome.message for outcome in outcomes if outcome.status is Status.FAILED},
        unfinished=tuple(o.run.seed for o in outcomes if o.status in (Status.WAITING, Status.CUT)),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None
