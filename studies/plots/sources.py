"""The data behind figures of scores: learning curves, seeds, score against λ. From metrics.jsonl and results.json."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_utils.errors import InputError
from data_utils.strict import read_yaml_mapping
from studies.methods import name_of
from studies.plots.data import (
    Collected,
    FigureData,
    Key,
    LinePanel,
    Names,
    Series,
    StripPanel,
    StripRow,
    file_stem,
    in_rows,
    keys_of,
    points,
    task_text,
)
from studies.study import Group, Outcome, Run, Status, grouped
from studies.tables.comparison import BASELINE, Cell, beside_baseline, compare

BAND = "lines are means over seeds, bands reach from the lowest to the highest seed"
LAMBDA = "pats_lambda"
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def done(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The runs that have results."""
    return [outcome for outcome in outcomes if outcome.status is Status.DONE]


def metrics_of(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Each task of finished runs, in their order, with its primary metric."""
    return {name: task["primary_metric"] for o in outcomes for name, task in o.results["tasks"].items()}


def uneven(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """A remark for a figure of means that are not of the same seeds, as some runs are not finished."""
    found: dict[tuple[str, str], set[int]] = {}
    for outcome in outcomes:
        found.setdefault((outcome.run.task, outcome.run.label), set()).add(outcome.run.seed)
    return ("not all means are of the same seeds",) * (len(set(map(frozenset, found.values()))) > 1)


@dataclass(frozen=True)
class RunCurves:
    """One run over its epochs: dev scores in points and mean training losses, by task, then by epoch."""

    scores: Mapping[str, Mapping[float, float]]
    losses: Mapping[str, Mapping[float, float]]

    @classmethod
    def read(cls, path: Path) -> RunCurves | None:
        """From `metrics.jsonl`; None where there is none, InputError for one that is damaged."""
        if not path.exists():
            return None
        try:
            events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            return cls(_scores(events), _losses(events))
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            raise InputError(f"{path}: not the events of a train.py run ({error!r})") from None


def _scores(events: Sequence[Mapping[str, Any]]) -> dict[str, dict[float, float]]:
    scores: dict[str, dict[float, float]] = defaultdict(dict)
    for event in events:
        if event["event"] == "eval":
            for name, task in event["tasks"].items():
                scores[name][float(event["epoch"])] = float(task["score"])
    return dict(scores)


def _losses(events: Sequence[Mapping[str, Any]]) -> dict[str, dict[float, float]]:
    """Mean loss of an epoch's updates; an event speaks for all updates since the one before it.

    How many of those were a task's own is not recorded, so that with several tasks the events' weights are nearly, and
    with one task exactly, those of its updates.
    """
    totals: dict[str, Counter[float]] = defaultdict(Counter)
    weights: dict[str, Counter[float]] = defaultdict(Counter)
    before = 0
    for event in events:
        if event["event"] == "train":
            updates, before = event["step"] - before, event["step"]
            for name, loss in event["loss"].items():
                epoch = float(event["epoch"] + 1)  # the events count epochs that are over
                totals[name][epoch] += updates * float(loss)
                weights[name][epoch] += updates
    return {name: {epoch: total / weights[name][epoch] for epoch, total in t.items()} for name, t in totals.items()}


def learning_curves(outcomes: Sequence[Outcome], names: Names) -> Collected:
    """Dev score and training loss by epoch, for each encoder and each set of varied flags."""
    figures = []
    for group, members in beside_baseline(done(outcomes)).items():
        read = {outcome.run: RunCurves.read(outcome.folder / "metrics.jsonl") for outcome in members}
        curves = {run: found for run, found in read.items() if found is not None}
        if not curves:
            continue
        scores, losses, shortened = [], [], False
        for task, metric in metrics_of(members).items():
            by_run = {run: found.scores.get(task, {}) for run, found in curves.items()}
            shared = _shared_epochs(by_run)
            shortened |= shared != by_run
            scores.append(LinePanel(task_text(task, names), "", points(metric), _over_epochs(shared)))
            by_run = {run: found.losses.get(task, {}) for run, found in curves.items()}
            losses.append(LinePanel("", "Epoch", "Training loss", _over_epochs(_shared_epochs(by_run))))
        caption = f"Dev score after each epoch and mean training loss of its updates ({group.words()}); {BAND}."
        caption += " Some seeds stopped early: a line ends with the first of them." * shortened
        remarks = [f"{len(read) - len(curves)} of {len(read)} runs have no metrics.jsonl"] * (len(curves) < len(read))
        remarks += uneven([outcome for outcome in members if outcome.run in curves])
        figures.append(
            FigureData(file_stem("learning_curves", group), caption, in_rows(scores, losses), tuple(remarks))
        )
    return Collected(
        tuple(figures), "metrics.jsonl of finished runs; studies.sweep, or train.py --resume, finishes them"
    )


def _shared_epochs(by_run: Mapping[Run, Mapping[float, float]]) -> dict[Run, dict[float, float]]:
    """Up to the epoch that all seeds of a method reached: beyond it, the mean would be of other seeds than before."""
    ends: dict[str, float] = {}
    for run, by_epoch in by_run.items():
        if by_epoch:
            ends[run.label] = min(ends.get(run.label, math.inf), max(by_epoch))
    return {
        run: {epoch: value for epoch, value in by_epoch.items() if epoch <= ends[run.label]}
        for run, by_epoch in by_run.items()
    }


def _over_epochs(by_run: Mapping[Run, Mapping[float, float]]) -> tuple[Series, ...]:
    values: dict[str, dict[float, list[float]]] = {}
    for run, by_epoch in by_run.items():
        for epoch, value in by_epoch.items():
            values.setdefault(run.label, {}).setdefault(epoch, []).append(value)
    return tuple(Series.of(key, values[label]) for label, key in keys_of(by_run).items() if label in values)


def seeds(outcomes: Sequence[Outcome], names: Names) -> Collected:
    """Every seed's score after the last epoch: the cells of the study's tables, dot by dot."""
    runs = {outcome.run.label: outcome.run for outcome in outcomes}
    figures = []
    for table in compare(outcomes):
        if not any(cell.scores for cell in table.cells.values()):
            continue
        group = table.group
        keys = keys_of(runs[label] for label in table.methods)
        panels = [
            StripPanel(
                task_text(task, names),
                points(table.metrics[task]),
                tuple(strip_row(key, table.cells[label, task]) for label, key in keys.items()),
                table.majority.get(task),
            )
            for task in table.tasks
        ]
        counts = sorted({row.n for panel in panels for row in panel.rows})
        n = " to ".join(dict.fromkeys(map(str, (counts[0], counts[-1]))))
        caption = (
            f"Dev score after the last epoch ({group.words()}; {n} seeds a method): a dot for each seed, in their "
            "order from top to bottom, a bar at their mean; a cross is a run that collapsed (all dev rows got one "
            "prediction), and counts in the mean."
        )
        if table.majority:
            caption += f" A dotted line, where it is in sight: always giving the most frequent {table.majority_words}."
        figures.append(FigureData(file_stem("seeds", group), caption, in_rows(panels)))
    return Collected(tuple(figures), "results.json of finished runs; studies.sweep finishes them")


def strip_row(key: Key, cell: Cell) -> StripRow:
    """A cell of the study's table as a row of dots."""
    counts = {"failed": len(cell.failed), "unfinished": len(cell.unfinished)}
    remark = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return StripRow(key, cell.scores, cell.collapsed, remark)


def noise_lambda(outcomes: Sequence[Outcome], names: Names) -> Collected:
    """Score after the last epoch against λ, for each encoder that has runs with it varied; the baseline as a level."""
    figures = []
    for group, members in grouped(done(outcomes)).items():
        if group.varied != (LAMBDA,):
            continue
        plain = [o for o in done(outcomes) if Group.of(o.run) == group._replace(varied=())]
        baseline = [outcome for outcome in plain if outcome.run.method == BASELINE]
        zero = [outcome for outcome in members if not float(dict(outcome.run.varied)[LAMBDA])]
        members = [outcome for outcome in members if outcome not in zero]
        panels = [_lambda_panel(task, metric, members, plain, names) for task, metric in metrics_of(members).items()]
        caption = f"Dev score after the last epoch against PATS's λ ({group.words()}); {BAND}."
        caption += f" The level line and its band are {name_of(BASELINE)}, which has no λ." * bool(baseline)
        remarks = [f"{len(zero)} finished runs with λ 0 have no place on a logarithmic axis"] * bool(zero)
        if not baseline:
            remarks.append(f"no finished runs of {BASELINE} to compare with; studies.sweep --methods {BASELINE}")
        if panels:
            remarks += uneven([*members, *(o for o in plain if o.run.method in {BASELINE, *_methods(members)})])
            stem = file_stem("lambda", group._replace(varied=()))
            figures.append(FigureData(stem, caption, in_rows(panels), tuple(remarks)))
    return Collected(tuple(figures), "finished runs with several λ; studies.sweep --vary pats_lambda=5e-7,1e-6,2e-6")


def _lambda_panel(
    task: str, metric: str, varied: Sequence[Outcome], plain: Sequence[Outcome], names: Names
) -> LinePanel:
    lines = [_against_lambda(method, varied, plain, task) for method in _methods(varied)]
    level = tuple(o.score(task) for o in plain if o.run.method == BASELINE and task in o.results["tasks"])
    ticks = tuple(sorted({x for line in lines for x in line.x}))
    exponent = math.floor(math.log10(ticks[(len(ticks) - 1) // 2]))
    close = ticks[-1] < 30 * ticks[0]  # then ticks stand close together, and must be short
    return LinePanel(
        title=task_text(task, names),
        x_label=f"Noise λ (10{str(exponent).translate(SUPERSCRIPT)})" if close else "Noise λ",
        y_label=points(metric),
        lines=tuple(line for line in lines if line.x),
        log_x=True,
        level=Series(Key(name_of(BASELINE), BASELINE), (0.0,), (level,)) if level else None,
        x_ticks=ticks,
        x_unit=10.0**exponent if close else 1.0,
    )


def _methods(outcomes: Sequence[Outcome]) -> list[str]:
    return list(dict.fromkeys(outcome.run.method for outcome in outcomes))


def _against_lambda(method: str, varied: Sequence[Outcome], plain: Sequence[Outcome], task: str) -> Series:
    """A method's scores by λ; where the recipe's own λ was not among the values, its runs are that point."""
    own = [o for o in [*varied, *plain] if o.run.method == method and task in o.results["tasks"]]
    by_lambda = by_flag([(outcome, outcome.score(task)) for outcome in own], LAMBDA)
    return Series.of(Key(name_of(method), method), {x: values for x, values in by_lambda.items() if x})


def by_flag(values: Sequence[tuple[Outcome, float]], flag: str) -> dict[float, list[float]]:
    """One method's values by a flag that was varied.

    Runs without a variation stand at the flag's value in their `config.yaml`, unless the varied ones have that as well:
    it would be the same runs twice.

    Raises:
        InputError: a damaged `config.yaml`.
    """
    found: dict[float, list[float]] = {}
    for outcome, value in values:
        if flag in dict(outcome.run.varied):
            found.setdefault(float(dict(outcome.run.varied)[flag]), []).append(value)
    known = set(found)
    for outcome, value in values:
        if flag not in dict(outcome.run.varied) and (own := _own(outcome.folder, flag)) not in known:
            found.setdefault(own, []).append(value)
    return found


def _own(folder: Path, flag: str) -> float:
    path = folder / "config.yaml"
    try:
        return float(read_yaml_mapping(path)[flag])
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: {flag} is not a number in it: {error!r}") from None
