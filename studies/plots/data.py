"""What figures are made of: panels of numbers, a caption, and what a study must hold for them. Nothing is drawn here.

`sources` and `sensitivity` compute them from a study, `drawing` draws them.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from studies.methods import name_of
from studies.recipes import MTL
from studies.study import Group, Run

PANELS_A_ROW = 4
PALEST = 0.55
METRICS = {"ACC": "Accuracy", "MCC": "Matthews corr.", "SeqEval": "Entity F1", "EmF1": "Answer F1", "EM": "Exact match"}
VARIED = {"pats_lambda": "λ", "train_fraction": "data share"}
Names: TypeAlias = Mapping[str, str]
"""What figures call each task: see `Suite.labels`."""


@dataclass(frozen=True)
class Key:
    """How a method, perhaps varied, appears in a figure.

    Attributes:
        text: in legends and on axes.
        method: decides on colour and line style.
        paleness: from 0 for the full colour to 1 for white; tells variations of a method apart.
    """

    text: str
    method: str
    paleness: float = 0.0


@dataclass(frozen=True)
class Series:
    """A line: `values[i]` are those of all seeds at `x[i]`."""

    key: Key
    x: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, key: Key, by_x: Mapping[float, Sequence[float]]) -> Series:
        """From values by x, in any order."""
        ordered = sorted(by_x)
        return cls(key, tuple(ordered), tuple(tuple(by_x[x]) for x in ordered))

    @property
    def mean(self) -> tuple[float, ...]:
        """Over seeds."""
        return tuple(map(statistics.fmean, self.values))

    @property
    def low(self) -> tuple[float, ...]:
        """The lowest seed."""
        return tuple(map(min, self.values))

    @property
    def high(self) -> tuple[float, ...]:
        """The highest seed."""
        return tuple(map(max, self.values))

    @property
    def seeds(self) -> set[int]:
        """How many seeds its points are of."""
        return set(map(len, self.values))


@dataclass(frozen=True)
class LinePanel:
    """Lines over x with bands from the lowest to the highest seed.

    Attributes:
        level: a line that does not depend on x.
        x_ticks: where to write numbers; () to leave that to matplotlib.
        x_unit: what the ticks' numbers are in, as `x_label` says.
    """

    title: str
    x_label: str
    y_label: str
    lines: tuple[Series, ...]
    log_x: bool = False
    level: Series | None = None
    x_ticks: tuple[float, ...] = ()
    x_unit: float = 1.0


@dataclass(frozen=True)
class StripRow:
    """All seeds of a method on a task.

    Attributes:
        scores: points by seed.
        collapsed: seeds whose model gave all rows the same prediction.
        remark: about runs without a score, such as `1 failed`.
    """

    key: Key
    scores: Mapping[int, float]
    collapsed: tuple[int, ...] = ()
    remark: str = ""

    @property
    def mean(self) -> float | None:
        """Over seeds; None without any."""
        return statistics.fmean(self.scores.values()) if self.scores else None

    @property
    def n(self) -> int:
        """How many seeds have a score."""
        return len(self.scores)


@dataclass(frozen=True)
class StripPanel:
    """One row of dots a method; `majority`: the score of always giving the most frequent label, if it is known."""

    title: str
    x_label: str
    rows: tuple[StripRow, ...]
    majority: float | None = None

    @property
    def y_label(self) -> tuple[str, ...]:
        """The methods, one below the other."""
        return tuple(row.key.text for row in self.rows)


@dataclass(frozen=True, eq=False)
class Curve:
    """A distribution: share of all elements per decade in bins, mean over seeds; `median` of what the bins hold."""

    key: Key
    edges: np.ndarray
    density: np.ndarray
    median: float
    n: int

    @property
    def seeds(self) -> set[int]:
        """How many seeds it is of."""
        return {self.n}


@dataclass(frozen=True)
class DensityPanel:
    """Distributions on a log axis; the area under each is the share that lies in the panel's range."""

    title: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]


Panel: TypeAlias = LinePanel | StripPanel | DensityPanel


@dataclass(frozen=True)
class FigureData:
    """One figure: rows of panels, the last of which may be shorter.

    Attributes:
        stem: its file name without the ending.
        caption: a few sentences, with what bands and bars mean.
        remarks: what is missing from it, and how to get that.
    """

    stem: str
    caption: str
    rows: tuple[tuple[Panel, ...], ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Collected:
    """A kind of figure for a study: those that its data allow, or else what is needed."""

    figures: tuple[FigureData, ...]
    needs: str


def file_stem(figure: str, group: Group) -> str:
    """A file name without its ending, such as `seeds_minilm_mtl_by_pats_lambda`."""
    by = ["by", *group.varied] if group.varied else []
    return "_".join([figure, group.encoder, *([MTL] if group.multitask else []), *by])


def keys_of(runs: Iterable[Run]) -> dict[str, Key]:
    """How each label appears, in the order of the runs; variations of a method are the paler, the lower the value."""
    by_method: dict[str, dict[str, Run]] = {}
    for run in runs:
        by_method.setdefault(run.method, {}).setdefault(run.label, run)
    keys = {}
    for method, labelled in by_method.items():
        ordered = sorted(labelled.values(), key=lambda run: [_number(value) for _, value in run.varied])
        last = len(ordered) - 1
        for place, run in enumerate(ordered):
            keys[run.label] = Key(_text(run), method, PALEST * (last - place) / max(last, 1))
    return keys


def _number(value: str) -> tuple[float, str]:
    """For sorting: numbers by their size, then words."""
    try:
        return float(value), ""
    except ValueError:
        return float("inf"), value


def number_text(value: float) -> str:
    """A number as figures have it: 0.2, 100, 2e-6."""
    text = f"{value:.6g}"
    if 0 < abs(value) < 0.01 and "e" not in text:
        text = f"{value:.5e}"
    mantissa, _, exponent = text.partition("e")
    return f"{float(mantissa):g}e{int(exponent)}" if exponent else text


def _text(run: Run) -> str:
    varied = [f"{VARIED.get(name, name)} {_value_text(value)}" for name, value in run.varied]
    return ", ".join([name_of(run.method), *varied])


def _value_text(value: str) -> str:
    try:
        return number_text(float(value))
    except ValueError:
        return value


def task_text(task: str, names: Names) -> str:
    """A task's name as papers have it, where the suite says it."""
    return {MTL: "all tasks", **names}.get(task, task)


def points(metric: str | None) -> str:
    """An axis label for scores."""
    return f"{METRICS.get(metric or '', metric or 'Score')} (points)"


def in_rows(*bands: Sequence[Panel]) -> tuple[tuple[Panel, ...], ...]:
    """Equally long bands of panels below one another, cut so that no row is too long."""
    starts = range(0, len(bands[0]), PANELS_A_ROW)
    return tuple(tuple(band[start : start + PANELS_A_ROW]) for start in starts for band in bands)
