"""Drawn figures: the artists carry the numbers, methods keep their looks, everything fits its column."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from studies.methods import METHODS
from studies.plots.data import Curve, FigureData, Key, LinePanel, Series, StripPanel, StripRow
from studies.plots.drawing import draw
from studies.plots.sensitivity import distributions
from studies.plots.sources import learning_curves, noise_lambda, seeds
from studies.plots.style import ONE_COLUMN, TWO_COLUMNS, look_of, style
from studies.suite import Suite
from tests.studies.synthetic_study import plausible_study

GLUE = Suite().labels()
EIGHT = ("cola", "mrpc", "rte", "stsb", "qqp", "qnli", "mnli", "sst")


@pytest.fixture
def styled() -> Iterator[None]:
    with style():
        yield


def test_methods_are_told_apart_by_colour_and_by_dashes() -> None:
    looks = [method.look for method in METHODS.values()]
    for told_apart_by in ({look.colour for look in looks}, {str(look.dashes) for look in looks}):
        assert len(told_apart_by) == len(looks)
    pale, full = (look_of(Key("", "pats", paleness)) for paleness in (0.5, 0.0))
    assert pale.dashes == full.dashes and all(p > f or f == 1 for p, f in zip(pale.colour, full.colour, strict=True))


def test_lines_and_bands_carry_the_numbers(styled: None) -> None:
    series = Series.of(Key("PATS", "pats"), {2: [60, 64], 1: [50, 53]})
    level = Series(Key("Adamax", "adamax"), (0.0,), ((55.0, 57.0),))
    panel = LinePanel("RTE", "Epoch", "Accuracy (points)", (series,), level=level)
    figure = draw(FigureData("x", "", ((panel,),)))
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["PATS"].get_xydata().tolist() == [[1, 51.5], [2, 62]]
    assert lines["PATS"].get_color() == METHODS["pats"].look.colour
    assert set(lines["Adamax"].get_ydata()) == {56.0}
    (band,) = axes.collections
    assert {tuple(vertex) for vertex in band.get_paths()[0].vertices} == {(1, 50), (1, 53), (2, 60), (2, 64)}
    assert axes.patches[0].get_y() == 55 and axes.patches[0].get_height() == 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["PATS (n = 2)", "Adamax (n = 2)"]
    assert (axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()) == ("RTE", "Epoch", "Accuracy (points)")


def test_one_seed_has_no_band(styled: None) -> None:
    panel = LinePanel("", "", "", (Series.of(Key("PATS", "pats"), {1: [50], 2: [60]}),))
    assert not draw(FigureData("x", "", ((panel,),))).axes[0].collections


def test_ticks_are_in_the_unit_of_the_label(styled: None) -> None:
    line = Series.of(Key("PATS", "pats"), {5e-7: [60], 2e-6: [61]})
    panel = LinePanel("", "Noise λ (10⁻⁶)", "", (line,), log_x=True, x_ticks=(5e-7, 2e-6), x_unit=1e-6)
    (axes,) = draw(FigureData("x", "", ((panel,),))).axes
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.5", "2"]


def test_dots_bars_and_remarks_of_a_strip(styled: None) -> None:
    rows = (
        StripRow(Key("Adamax", "adamax"), {1: 60.0}),
        StripRow(Key("PATS", "pats"), {1: 61.0, 2: 63.0, 3: 50.0}, collapsed=(3,), remark="1 failed"),
        StripRow(Key("SAGE", "sage"), {}, remark="2 failed"),
    )
    (axes,) = draw(FigureData("x", "", ((StripPanel("RTE", "Accuracy (points)", rows),),))).axes
    offsets = [c.get_offsets() for c in axes.collections if hasattr(c, "get_sizes")]
    dots, crosses = (sorted(x for places in offsets[kind::2] for x, _ in places) for kind in (0, 1))
    assert (dots, crosses) == ([60, 61, 63], [50])
    assert all(round(y) == row for row in range(3) for places in offsets[2 * row : 2 * row + 2] for _, y in places)
    bars = [segment[0][0] for c in axes.collections if hasattr(c, "get_segments") for segment in [c.get_segments()[0]]]
    assert bars == [58]  # none over a single dot
    remarks = {text.get_text(): text.get_position() for text in axes.texts}
    assert remarks["1 failed"] == (54, 1) and remarks["2 failed"][1] == 2  # 54: between the cross and the bar
    assert [label.get_text() for label in axes.get_yticklabels()] == ["Adamax", "PATS", "SAGE"]


def test_steps_and_medians_of_a_distribution(styled: None, tmp_path: Path) -> None:
    study = plausible_study(tmp_path, methods=("adamax", "pats"), seeds=1)
    (data,) = distributions(study.outcomes(), GLUE).figures
    figure = draw(data)
    for axes, panel in zip(figure.axes, data.rows[0], strict=True):
        assert axes.get_xscale() == "log"
        for made, steps, line in zip(panel.curves, axes.patches, axes.lines, strict=True):
            assert isinstance(made, Curve)
            np.testing.assert_array_equal(steps.get_data().values, made.density)
            np.testing.assert_array_equal(steps.get_data().edges, made.edges)
            assert set(line.get_xdata()) == {made.median}


@pytest.mark.parametrize(("tasks", "seed_count"), [(("rte",), 1), (("rte",), 20), (EIGHT, 2)], ids=str)
def test_everything_fits_its_column(styled: None, tasks: tuple[str, ...], seed_count: int, tmp_path: Path) -> None:
    varied = ((("pats_lambda", "5e-07"),), (("pats_lambda", "3e-06"),))
    methods = ("pats", "pats_magnitude_variance")
    study = plausible_study(tmp_path, tasks, methods, seed_count, varied, sensitivities=False)
    width = TWO_COLUMNS if len(tasks) > 1 else ONE_COLUMN
    for collect in (learning_curves, seeds, noise_lambda):
        (data,) = collect(study.outcomes(), GLUE).figures
        figure = draw(data)
        assert figure.get_figwidth() == width and figure.get_figheight() < 9
        box = figure.get_tightbbox()
        assert box.x0 > -0.02 and box.x1 < width + 0.02, data.stem
