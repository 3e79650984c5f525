"""From panels of numbers to figures: line charts with bands, strips of dots, distributions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from studies.plots.data import (
    DensityPanel,
    FigureData,
    Key,
    LinePanel,
    Panel,
    Series,
    StripPanel,
    number_text,
)
from studies.plots.style import ONE_COLUMN, TWO_COLUMNS, look_of, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_HEIGHT, ROW_HEIGHT, LEGEND_LINE = 1.45, 0.21, 0.17  # inches
CHARACTER, HANDLE = 0.054, 0.5  # inches that a character and a handle take in a legend
MANY_POINTS = 8  # from here on lines have no markers
SPREAD = 0.3  # how far seeds are moved apart, in rows of a strip


def draw(data: FigureData) -> Figure:
    """Draw a figure; within `plots.style.style`."""
    columns = max(map(len, data.rows))
    width = ONE_COLUMN if columns == 1 else TWO_COLUMNS
    entries = {} if isinstance(data.rows[0][0], StripPanel) else legend_entries(data)
    in_legend = max(1, int(width / (CHARACTER * max(map(len, entries), default=1) + HANDLE)))
    lines = -(-len(entries) // in_legend)
    heights = [max(map(_height, row)) for row in data.rows]
    figure = new_figure(width, sum(heights) + LEGEND_LINE * lines)
    grid = figure.add_gridspec(len(data.rows), columns, height_ratios=heights)
    for i, row in enumerate(data.rows):
        for j, panel in enumerate(row):
            repeated = j > 0 and panel.y_label == row[j - 1].y_label
            _draw_panel(figure.add_subplot(grid[i, j]), panel, repeated=repeated)
    if entries:
        marked = any(isinstance(panel, LinePanel) and _has_markers(panel) for row in data.rows for panel in row)
        handles = [_handle(key, text, marked=marked) for text, key in entries.items()]
        figure.legend(handles=handles, loc="outside upper center", ncols=min(in_legend, len(entries)), frameon=False)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # each run of it moves things a little, and files depended on those before them
    return figure


def legend_entries(data: FigureData) -> dict[str, Key]:
    """Texts such as `PATS (n = 5)`, with the method: n is how many seeds, over all panels."""
    counts: dict[Key, set[int]] = {}
    for panel in (panel for row in data.rows for panel in row):
        if isinstance(panel, LinePanel):
            shown: Iterable[Any] = [*panel.lines, *([panel.level] if panel.level else [])]
        else:
            shown = panel.curves if isinstance(panel, DensityPanel) else ()
        for one in shown:
            counts.setdefault(one.key, set()).update(one.seeds)
    entries = {}
    for key, found in counts.items():
        n = f"{min(found)}" if len(found) == 1 else f"{min(found)} to {max(found)}"
        entries[f"{key.text} (n = {n})"] = key
    return entries


def _height(panel: Panel) -> float:
    if isinstance(panel, StripPanel):
        return 0.55 + ROW_HEIGHT * len(panel.rows)
    return PANEL_HEIGHT + 0.1 * bool(panel.title) + 0.1 * bool(panel.x_label)


def _draw_panel(axes: Axes, panel: Panel, *, repeated: bool) -> None:
    """Draw a panel; `repeated`: the one to its left has the same words on its vertical axis."""
    axes.set_title(panel.title)
    axes.set_xlabel(panel.x_label)
    if isinstance(panel, StripPanel):
        _draw_strip(axes, panel, named=not repeated)
        return
    axes.set_ylabel("" if repeated else panel.y_label)
    _draw_lines(axes, panel) if isinstance(panel, LinePanel) else _draw_densities(axes, panel)


def _handle(key: Key, text: str, *, marked: bool) -> Any:
    from matplotlib.lines import Line2D

    look = look_of(key)
    return Line2D([], [], **look.line, marker=look.marker if marked else "", label=text)


def _has_markers(panel: LinePanel) -> bool:
    return any(len(series.x) < MANY_POINTS for series in panel.lines)


def _draw_lines(axes: Axes, panel: LinePanel) -> None:
    from matplotlib.ticker import MaxNLocator

    if panel.log_x:
        axes.set_xscale("log")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    if panel.x_ticks:
        axes.set_xticks(panel.x_ticks, [number_text(x / panel.x_unit) for x in panel.x_ticks])
        axes.set_xticks([], minor=True)
    if panel.level:
        look = look_of(panel.level.key)
        axes.axhspan(panel.level.low[0], panel.level.high[0], color=look.colour, alpha=0.1, linewidth=0)
        axes.axhline(panel.level.mean[0], **look.line, label=panel.level.key.text)
    for series in panel.lines:
        _draw_series(axes, series)


def _draw_series(axes: Axes, series: Series) -> None:
    look = look_of(series.key)
    marker = look.marker if len(series.x) < MANY_POINTS else ""
    axes.plot(series.x, series.mean, **look.line, marker=marker, label=series.key.text)
    if len(series.x) == 1:
        axes.vlines(series.x, series.low, series.high, color=look.colour, linewidth=0.6)  # a band would have no width
    elif series.seeds != {1}:
        axes.fill_between(series.x, series.low, series.high, color=look.colour, alpha=0.15, linewidth=0)


def _draw_strip(axes: Axes, panel: StripPanel, *, named: bool) -> None:
    """One row a method, the first on top; seeds lie beside one another in the order of their numbers."""
    for place, row in enumerate(panel.rows):
        look = look_of(row.key)
        seeds = sorted(row.scores)
        offsets = {
            seed: SPREAD * (2 * i / (len(seeds) - 1) - 1) if len(seeds) > 1 else 0 for i, seed in enumerate(seeds)
        }
        for collapsed, marker, edge in ((False, "o", 0.0), (True, "x", 1.0)):
            own = [seed for seed in seeds if (seed in row.collapsed) == collapsed]
            x, y = [row.scores[seed] for seed in own], [place + offsets[seed] for seed in own]
            axes.scatter(x, y, s=11, marker=marker, color=look.colour, alpha=0.75, linewidths=edge)
        if row.mean is not None and row.n > 1:  # else it would hide the only dot
            axes.vlines(row.mean, place - 0.42, place + 0.42, color=look.colour, linewidth=1.8, zorder=0.9)
    low, high = axes.get_xlim()
    axes.set_xlim(low, high)
    if panel.majority is not None and low <= panel.majority <= high:
        axes.axvline(panel.majority, color="0.35", linestyle=":", linewidth=0.8, zorder=0.8)
    for place, row in enumerate(panel.rows):
        where = _widest_gap([low, high, *row.scores.values(), *([] if row.mean is None else [row.mean])])
        axes.text(where, place, row.remark, fontsize=6.5, color="0.35", ha="center", va="center")
    axes.set_ylim(len(panel.rows) - 0.5, -0.5)
    axes.set_yticks(range(len(panel.rows)), [row.key.text for row in panel.rows] if named else [])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def _widest_gap(values: Sequence[float]) -> float:
    """The middle of the widest gap between two neighbours: where there is room for words."""
    ordered = sorted(values)
    return max((right - left, (left + right) / 2) for left, right in pairwise(ordered))[1]


def _draw_densities(axes: Axes, panel: DensityPanel) -> None:
    axes.set_xscale("log")
    for curve in panel.curves:
        line = look_of(curve.key).line
        axes.stairs(curve.density, curve.edges, baseline=None, linewidth=1.1, label=curve.key.text, **line)
        axes.axvline(curve.median, linewidth=0.7, **line)
    axes.set_ylim(bottom=0)
    if panel.curves:
        axes.set_xlim(panel.curves[0].edges[0], panel.curves[0].edges[-1])
