"""The data behind the paper's Figures 2 and 3: distributions of sensitivity, and their spread by share of data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from data_utils.errors import InputError
from studies.methods import name_of
from studies.plots.data import (
    Collected,
    Curve,
    DensityPanel,
    FigureData,
    Key,
    LinePanel,
    Names,
    Panel,
    Series,
    file_stem,
    in_rows,
    keys_of,
    points,
    task_text,
)
from studies.plots.sources import BAND, by_flag, done, metrics_of, uneven
from studies.sensitivity_record import GRIDS, Sensitivities
from studies.study import Group, Outcome, grouped
from studies.tables.comparison import beside_baseline

MEASURE = "python -m studies.sensitivity --study measures them"
FRACTION = "train_fraction"
MERGED = {"paper": 5, "full": 3}  # bins of the grid drawn as one: twenty a decade
SMALLEST_SHOWN = 0.005  # of the highest density; the full range ends where all methods are below it
SIDES = {"paper": "the paper's range", "full": "full range"}
X_LABEL = "Sensitivity |θ·∇L|"


def load_records(outcomes: Sequence[Outcome]) -> list[tuple[Outcome, Sensitivities]]:
    """The sensitivities of the runs that have some.

    Raises:
        InputError: damaged files; runs that were measured in different ways.
    """
    found = [(outcome, record) for outcome in outcomes if (record := Sensitivities.load(outcome.folder)) is not None]
    ways: dict[tuple[str, ...], Outcome] = {}
    for outcome, record in found:
        ways.setdefault(tuple(str(record.settings.get(name)) for name in ("which", "batch_size", "max_rows")), outcome)
    if len(ways) > 1:
        (one, first), (other, second), *_ = ways.items()
        raise InputError(
            f"{first.folder} and {second.folder}: their sensitivities were measured with which, batch_size, max_rows "
            f"{', '.join(one)} and {', '.join(other)}, and cannot be compared: run studies.sensitivity "
            "--study with the same flags"
        )
    return found


def _incomplete(measured: int, finished: int) -> tuple[str, ...]:
    return (f"{finished - measured} of {finished} finished runs have no sensitivities; {MEASURE}",) * (
        measured < finished
    )


def distributions(outcomes: Sequence[Outcome], names: Names) -> Collected:
    """Distributions of sensitivity by method: each recipe in the paper's range and, beside it, in full."""
    figures = []
    for group, members in beside_baseline(done(outcomes)).items():
        records = load_records(members)
        pairs = []
        for task in dict.fromkeys(outcome.run.task for outcome, _ in records):
            own = [(outcome, record) for outcome, record in records if outcome.run.task == task]
            pairs.append(tuple(_density_panel(task, side, own, names) for side in SIDES))
        if not pairs:
            continue
        caption = (
            f"Distributions of the sensitivity of the encoder layers' parameters ({group.words()}; "
            f"{_measured(records)}), mean over seeds: in the paper's range, 5e-8 to 1e-5, and in full. The area "
            "under a curve is the share of all parameters that the panel shows; vertical lines are that share's medians"
            f"{_medians(pairs)}."
        )
        remarks = (*_incomplete(len(records), len(members)), *uneven([o for o, _ in records]), *_empty(records, names))
        figures.append(FigureData(file_stem("sensitivity", group), caption, _side_by_side(pairs), remarks))
    return Collected(tuple(figures), f"sensitivities of finished runs; {MEASURE}")


def _measured(records: Sequence[tuple[Outcome, Sensitivities]]) -> str:
    """Of which weights and from how many rows; `load_records` has seen to it that this is the same for all."""
    settings = records[0][1].settings
    rows = "all training rows" if settings.get("max_rows") is None else f"up to {settings['max_rows']} training rows"
    return f"weights of the {settings.get('which')} epoch, {rows} in batches of {settings.get('batch_size')}"


def _empty(records: Sequence[tuple[Outcome, Sensitivities]], names: Names) -> Iterator[str]:
    """A remark for each curve that is not drawn, as nothing of it lies in the panel's range."""
    for side, words in SIDES.items():
        inside: Counter[tuple[str, str]] = Counter()
        for outcome, record in records:
            inside[outcome.run.task, outcome.run.label] += int(record.histograms[side].sum())
        for (task, label), count in inside.items():
            if not count:
                yield f"{task_text(task, names)}, {words}: no sensitivity of {label} lies in it"


def _side_by_side(pairs: Sequence[tuple[Panel, ...]]) -> tuple[tuple[Panel, ...], ...]:
    """One recipe a row; two where there are many."""
    if len(pairs) <= 3:
        return tuple(pairs)
    return in_rows([panel for pair in pairs for panel in pair])


def _medians(pairs: Sequence[tuple[DensityPanel, ...]]) -> str:
    """In words where there is one recipe; lines that lie close together cannot be read."""
    if len(pairs) > 1:
        return ""
    return " (full range: " + ", ".join(f"{c.key.text} {c.median:.2e}" for c in pairs[0][-1].curves) + ")"


def _density_panel(
    task: str, side: str, records: Sequence[tuple[Outcome, Sensitivities]], names: Names
) -> DensityPanel:
    curves = []
    for label, key in keys_of(outcome.run for outcome, _ in records).items():
        own = [record for outcome, record in records if outcome.run.label == label]
        shares = [record.histograms[side] / record.elements for record in own]
        if np.any(shares):
            curves.append(curve(key, side, shares))
    if side == "full":
        curves = _cropped(curves)
    return DensityPanel(f"{task_text(task, names)}, {SIDES[side]}", X_LABEL, "Share per decade", tuple(curves))


def curve(key: Key, side: str, shares: Sequence[np.ndarray]) -> Curve:
    """The distribution of what lies on one of `GRIDS`, from each seed's shares of all elements in its bins."""
    share = np.mean(shares, axis=0)
    edges = np.log10(GRIDS[side].edges)
    median = 10 ** float(np.interp(share.sum() / 2, np.concatenate([[0.0], np.cumsum(share)]), edges))
    coarse, merged = edges[:: MERGED[side]], share.reshape(-1, MERGED[side]).sum(1)
    return Curve(key, 10**coarse, merged / np.diff(coarse), median, len(shares))


def _cropped(curves: Sequence[Curve]) -> list[Curve]:
    """The bins in which some method has more than next to nothing."""
    if not curves:
        return []
    highest = np.max([one.density for one in curves], axis=0)
    shown = np.flatnonzero(highest >= SMALLEST_SHOWN * highest.max())
    first, last = shown[0], shown[-1] + 1
    return [Curve(c.key, c.edges[first : last + 1], c.density[first:last], c.median, c.n) for c in curves]


def data_share(outcomes: Sequence[Outcome], names: Names) -> Collected:
    """Standard deviation of sensitivity, and score, against the share of training data; all data is the last point."""
    figures = []
    for group, varied in grouped(done(outcomes)).items():
        if group.varied != (FRACTION,):
            continue
        methods = dict.fromkeys(outcome.run.method for outcome in varied)
        whole = [o for o in done(outcomes) if Group.of(o.run) == group._replace(varied=()) and o.run.method in methods]
        members = [*varied, *whole]
        records = load_records(members)
        spreads, scores = [], []
        for task, metric in metrics_of(varied).items():
            own = [outcome for outcome in members if task in outcome.results["tasks"]]
            values = [(outcome, 1e6 * record.overall_std) for outcome, record in records if outcome in own]
            spreads.append(_by_share(task_text(task, names), "", "Std of sensitivity (10⁻⁶)", values))
            values = [(outcome, outcome.score(task)) for outcome in own]
            scores.append(
                _by_share("" if records else task_text(task, names), "Training data (%)", points(metric), values)
            )
        caption = f"Dev score after the last epoch against the share of training data ({group.words()})"
        if records:
            caption += ", and above it the standard deviation of sensitivity over all parameters of the encoder layers"
            caption += f" ({_measured(records)})"
        caption += f"; {BAND}."
        rows = in_rows(spreads, scores) if records else in_rows(scores)
        remarks = (*_incomplete(len(records), len(members)), *uneven(members))
        figures.append(FigureData(file_stem("data_share", group._replace(varied=())), caption, rows, remarks))
    return Collected(
        tuple(figures),
        "finished runs on several shares of the data; studies.sweep --vary train_fraction=0.2,0.4,0.6,0.8",
    )


def _by_share(title: str, x_label: str, y_label: str, values: Sequence[tuple[Outcome, float]]) -> LinePanel:
    by_method: dict[str, list[tuple[Outcome, float]]] = {}
    for outcome, value in values:
        by_method.setdefault(outcome.run.method, []).append((outcome, value))
    lines = []
    for method, own in by_method.items():
        by_percent = {round(100 * share, 9): scores for share, scores in by_flag(own, FRACTION).items()}
        lines.append(Series.of(Key(name_of(method), method), by_percent))
    ticks = tuple(sorted({x for line in lines for x in line.x}))
    return LinePanel(title, x_label, y_label, tuple(lines), x_ticks=ticks)
