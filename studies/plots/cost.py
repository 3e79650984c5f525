"""The data behind the figure of score against cost: a point a method, at the mean time of its runs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from studies.plots.data import (
    Collected,
    FigureData,
    LinePanel,
    Names,
    Series,
    file_stem,
    in_rows,
    keys_of,
    points,
    task_text,
)
from studies.plots.sources import done, metrics_of, uneven
from studies.study import Outcome
from studies.tables.comparison import beside_baseline

SECONDS = "wall_seconds"


def cost(outcomes: Sequence[Outcome], names: Names) -> Collected:
    """Score after the last epoch against seconds a run, for each encoder and each set of varied flags."""
    figures = []
    timed = [outcome for outcome in done(outcomes) if SECONDS in outcome.results]
    for group, members in beside_baseline(timed).items():
        panels = [
            LinePanel(task_text(task, names), "Seconds a run", points(metric), _by_method(task, members))
            for task, metric in metrics_of(members).items()
        ]
        caption = (
            f"Dev score after the last epoch against the seconds of a run ({group.words()}): a point a method, at the "
            "means over its seeds; lines reach from the lowest to the highest seed. Seconds are of training and "
            "evaluation, and compare methods only where all runs had the machine alike."
        )
        figures.append(FigureData(file_stem("cost", group), caption, in_rows(panels), uneven(members)))
    return Collected(tuple(figures), "results.json of finished runs; studies.sweep finishes them")


def _by_method(task: str, members: Sequence[Outcome]) -> tuple[Series, ...]:
    """A single point a method that has runs of the task."""
    found = []
    for label, key in keys_of(outcome.run for outcome in members).items():
        own = [o for o in members if o.run.label == label and task in o.results["tasks"]]
        if own:
            seconds = statistics.fmean(float(o.results[SECONDS]) for o in own)
            found.append(Series.of(key, {seconds: [o.score(task) for o in own]}))
    return tuple(found)
