"""The numbers behind figures, against numbers made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from studies.plots.cost import cost
from studies.plots.data import Collected, DensityPanel, Key, LinePanel, file_stem, keys_of, number_text
from studies.plots.drawing import legend_entries
from studies.plots.sensitivity import curve, data_share, distributions
from studies.plots.sources import RunCurves, learning_curves, noise_lambda, seeds
from studies.sensitivity_record import GRIDS, Sensitivities
from studies.study import Group, Outcome, Run, Study
from studies.suite import Suite
from tests.studies.synthetic_study import (
    finish,
    plausible_study,
    rte,
    write_events,
    write_sensitivities,
    write_study,
)

GLUE = Suite().labels()
UNEVEN = ("not all means are of the same seeds",)
FAILED = {"attempts": 2, "exit_code": 1, "message": "stopped: loss nan"}


def study_of(folder: Path, last_scores: dict[Run, float], others: tuple[Run, ...] = ()) -> tuple[Study, list[Outcome]]:
    """Finished runs of one epoch with these scores, and runs that are waiting."""
    study = write_study(folder, [*last_scores, *others])
    for run, score in last_scores.items():
        finish(study, run, {"rte": [score]})
    return study, study.outcomes()


def test_curves_of_a_run_from_its_events(tmp_path: Path) -> None:
    events = [
        {"event": "start", "step": 0},
        {"event": "train", "step": 2, "epoch": 0, "loss": {"rte": 0.9, "cola": 0.5}},
        {"event": "train", "step": 8, "epoch": 0, "loss": {"rte": 0.5}},
        {"event": "eval", "step": 4, "epoch": 0.5, "tasks": {"rte": {"score": 55.0}}},
        {"event": "eval", "step": 8, "epoch": 1, "tasks": {"rte": {"score": 60.0}}},
        {"event": "train", "step": 12, "epoch": 1, "loss": {"rte": 0.4}},
        {"event": "sensitivity", "step": 12, "tensors": {}},
    ]
    write_events(tmp_path, events)
    curves = RunCurves.read(tmp_path / "metrics.jsonl")
    assert curves is not None
    assert curves.scores == {"rte": {0.5: 55.0, 1.0: 60.0}}
    assert curves.losses["rte"] == pytest.approx({1.0: (2 * 0.9 + 6 * 0.5) / 8, 2.0: 0.4})
    assert curves.losses["cola"] == pytest.approx({1.0: 0.5})
    assert RunCurves.read(tmp_path / "nothing.jsonl") is None


def test_learning_curves_are_means_and_extremes_over_seeds(tmp_path: Path) -> None:
    runs = [rte("adamax", 1), rte("adamax", 2), rte("pats", 1), rte("pats", 2)]
    study = write_study(tmp_path, runs)
    for run, scores in zip(runs, ([50.0, 60], [54, 70], [58, 61, 64]), strict=False):  # the last one is waiting
        finish(study, run, {"rte": scores})
    (figure,) = learning_curves(study.outcomes(), GLUE).figures
    score, loss = (row[0] for row in figure.rows)
    assert (score.title, score.y_label, loss.y_label) == ("RTE", "Accuracy (points)", "Training loss")
    adamax, pats = score.lines
    assert (adamax.x, adamax.mean, adamax.low, adamax.high) == ((1, 2), (52, 65), (50, 60), (54, 70))
    assert (pats.x, pats.mean, pats.low, pats.seeds) == ((1, 2, 3), (58, 61, 64), (58, 61, 64), {1})
    assert loss.lines[0].x == (1, 2) and loss.lines[0].seeds == {2}
    assert list(legend_entries(figure)) == ["Adamax (n = 2)", "PATS (n = 1)"]
    assert "lowest to the highest seed" in figure.caption
    assert figure.stem == "learning_curves_minilm" and figure.remarks == UNEVEN
    (same,) = learning_curves(study.outcomes()[::2], GLUE).figures
    assert not same.remarks


def test_a_line_ends_where_the_first_of_its_seeds_stopped(tmp_path: Path) -> None:
    runs = [rte("pats", 1), rte("pats", 2), rte("adamax", 1)]
    study = write_study(tmp_path, runs)
    for run, scores in zip(runs, ([50.0, 60], [54, 70, 90], [58, 61, 64]), strict=True):
        finish(study, run, {"rte": scores})
    (figure,) = learning_curves(study.outcomes(), GLUE).figures
    (pats, adamax), (loss, _) = (row[0].lines for row in figure.rows)
    assert (pats.x, pats.mean, pats.seeds, loss.x) == ((1, 2), (52, 65), {2}, (1, 2)) and adamax.x == (1, 2, 3)
    assert "a line ends with the first of them" in figure.caption


def test_runs_without_events_are_counted(tmp_path: Path) -> None:
    study, outcomes = study_of(tmp_path, {rte("pats", 1): 60.0, rte("pats", 2): 61.0})
    (outcomes[1].folder / "metrics.jsonl").unlink()
    (figure,) = learning_curves(outcomes, GLUE).figures
    assert figure.remarks == ("1 of 2 runs have no metrics.jsonl",)
    assert figure.rows[0][0].lines[0].values == ((60.0,),)


def test_strips_hold_every_seed_and_what_became_of_the_others(tmp_path: Path) -> None:
    scores = {rte("pats", 1): 60.0, rte("pats", 2): 62.0, rte("adamax", 1): 59.0}
    study = write_study(tmp_path, [*scores, rte("pats", 3), rte("pats", 4), rte("sage", 1)])
    for run, score in scores.items():
        finish(study, run, {"rte": [99.0, score]}, constant=run == rte("pats", 2))
    study.note_attempt(rte("pats", 3), **FAILED)
    study.note_attempt(rte("sage", 1), **FAILED)
    (figure,) = seeds(study.outcomes(), GLUE).figures
    rows = {row.key.text: row for row in figure.rows[0][0].rows}
    assert list(rows) == ["Adamax", "PATS", "SAGE"]  # the baseline first
    assert rows["PATS"].scores == {1: 60.0, 2: 62.0} and rows["PATS"].mean == 61.0
    assert rows["PATS"].collapsed == (2,) and rows["PATS"].remark == "1 failed, 1 unfinished"
    assert rows["SAGE"].scores == {} and rows["SAGE"].mean is None and rows["SAGE"].remark == "1 failed"
    assert "0 to 2 seeds" in figure.caption


def test_scores_by_lambda_with_the_recipes_own_and_the_baseline(tmp_path: Path) -> None:
    scores = {rte("pats", s, pats_lambda="5e-07"): 60.0 + s for s in (1, 2)}
    scores |= {rte("pats", s, pats_lambda="1e-06"): 64.0 + s for s in (1, 2)}
    scores |= {rte("pats", 1): 70.0, rte("adamax", 1): 58.0, rte("adamax", 2): 60.0}
    _, outcomes = study_of(tmp_path, scores)
    (figure,) = noise_lambda(outcomes, GLUE).figures
    panel = figure.rows[0][0]
    (line,) = panel.lines
    assert (line.x, line.mean) == ((5e-7, 1e-6, 2e-6), (61.5, 65.5, 70.0))  # 2e-6 from that run's config.yaml
    assert panel.level.mean == (59.0,) and (panel.level.low, panel.level.high) == ((58.0,), (60.0,))
    assert panel.log_x and panel.x_ticks == (5e-7, 1e-6, 2e-6)
    assert panel.x_label == "Noise λ (10⁻⁶)" and panel.x_unit == 1e-6
    assert figure.stem == "lambda_minilm" and figure.remarks == UNEVEN


def test_a_lambda_that_was_varied_is_not_mixed_with_the_recipes_own(tmp_path: Path) -> None:
    _, outcomes = study_of(tmp_path, {rte("pats", 1, pats_lambda="2e-06"): 60.0, rte("pats", 1): 70.0})
    (figure,) = noise_lambda(outcomes, GLUE).figures
    assert figure.rows[0][0].lines[0].values == ((60.0,),)
    assert figure.rows[0][0].level is None and "--methods adamax" in figure.remarks[0]


def test_a_lambda_of_zero_is_left_out_and_said(tmp_path: Path) -> None:
    scores = {rte("pats", 1, pats_lambda="0"): 60.0, rte("pats", 1, pats_lambda="5e-07"): 61.0}
    _, outcomes = study_of(tmp_path, scores)
    (figure,) = noise_lambda(outcomes, GLUE).figures
    assert figure.rows[0][0].x_ticks == (5e-7,) and "1 finished runs with λ 0" in figure.remarks[0]
    assert noise_lambda(outcomes[:1], GLUE).figures == ()


def test_a_share_of_one_that_was_varied_is_not_mixed_with_the_runs_on_all_data(tmp_path: Path) -> None:
    scores = {rte("pats", 1, train_fraction="0.5"): 50.0, rte("pats", 1, train_fraction="1.0"): 60.0}
    _, outcomes = study_of(tmp_path, scores | {rte("pats", 1): 70.0})
    (figure,) = data_share(outcomes, GLUE).figures
    (line,) = figure.rows[0][0].lines
    assert (line.x, line.values) == ((50.0, 100.0), ((50.0,), (60.0,)))


def test_scores_and_spread_by_share_of_data(tmp_path: Path) -> None:
    scores = {rte(m, s, train_fraction="0.2"): b + s for m, b in (("pats", 50.0), ("adamax", 40.0)) for s in (1, 2)}
    scores |= {rte("pats", 1): 70.0, rte("adamax", 1): 66.0, rte("sage", 1): 68.0}
    study, outcomes = study_of(tmp_path, scores)
    (bare,) = data_share(outcomes, GLUE).figures
    assert len(bare.rows) == 1 and "sensitivity --study" in bare.remarks[0]
    stds = {}
    for outcome in outcomes:
        write_sensitivities(outcome.folder, outcome.run, elements=1000)
        about = json.loads((outcome.folder / "sensitivity.json").read_text())
        stds[outcome.run] = 1e6 * about["summary"]["std"]
    (figure,) = data_share(outcomes, GLUE).figures
    spread, score = (row[0] for row in figure.rows)
    assert figure.remarks == UNEVEN and score.x_ticks == (20.0, 100.0)
    pats, adamax = score.lines  # sage was trained on all data only
    assert (pats.x, pats.mean, adamax.mean) == ((20.0, 100.0), (51.5, 70.0), (41.5, 66.0))
    low, high = sorted(stds[rte("adamax", seed, train_fraction="0.2")] for seed in (1, 2))
    assert (spread.lines[1].low[0], spread.lines[1].high[0]) == pytest.approx((low, high))
    assert spread.lines[1].mean[1] == pytest.approx(stds[rte("adamax", 1)])


def test_densities_have_the_shown_share_as_area_and_its_median() -> None:
    rng = np.random.default_rng(0)
    samples = [rng.lognormal(np.log(8e-7), 1.2, 20_001) for _ in range(2)]
    for side, grid in GRIDS.items():
        made = curve(Key("PATS", "pats"), side, [grid.counts(values) / len(values) for values in samples])
        widths = np.diff(np.log10(made.edges))
        inside = np.concatenate([values[(values >= grid.low) & (values <= grid.high)] for values in samples])
        assert made.density @ widths == pytest.approx(len(inside) / sum(map(len, samples)))
        assert widths == pytest.approx(widths[0], rel=1e-6)
        assert made.median == pytest.approx(np.median(inside), rel=0.02)
        assert made.n == 2
        expected, _ = np.histogram(inside, made.edges)
        np.testing.assert_allclose(made.density * widths, expected / sum(map(len, samples)), atol=5e-4)


def test_each_seed_counts_as_much_whatever_its_elements() -> None:
    bins = GRIDS["paper"].bins
    few, many = np.zeros(bins, dtype=np.int64), np.zeros(bins, dtype=np.int64)
    few[0], many[-1] = 1, 1000
    made = curve(Key("PATS", "pats"), "paper", [few / 1, many / 1000])
    assert made.density[0] == pytest.approx(made.density[-1])


def test_distributions_are_of_each_method_in_both_ranges(tmp_path: Path) -> None:
    study = plausible_study(tmp_path, methods=("adamax", "pats"), seeds=2)
    (figure,) = distributions(study.outcomes(), GLUE).figures
    ((paper, full),) = figure.rows
    assert [one.key.text for one in paper.curves] == ["Adamax", "PATS"] == [one.key.text for one in full.curves]
    assert paper.curves[0].edges[[0, -1]] == pytest.approx((5e-8, 1e-5))
    assert 1e-20 < full.curves[0].edges[0] < 5e-8 and full.curves[0].edges[-1] < 1e4
    assert paper.curves[1].density.max() > paper.curves[0].density.max()  # PATS's are narrower in the synthetic study
    assert (
        f"PATS {full.curves[1].median:.2e}" in figure.caption
        and "of the best epoch, all training rows" in figure.caption
    )
    (study.run_folder(rte("pats", 2)) / "sensitivity.json").unlink()
    (figure,) = distributions(study.outcomes(), GLUE).figures
    assert figure.remarks[0].startswith("1 of 4 finished runs have no sensitivities")


def test_a_curve_without_anything_in_range_is_missing_and_said(tmp_path: Path) -> None:
    study = plausible_study(tmp_path, methods=("adamax", "pats"), seeds=1, sensitivities=False)
    for run, values in zip(study.runs, ([1e-6, 1e-7], [1.0, 0.0]), strict=True):
        tensors = {"a": np.array(values, dtype=np.float32)}
        Sensitivities.of(tensors, {"which": "best"}).save(study.run_folder(run))
    (figure,) = distributions(study.outcomes(), GLUE).figures
    ((paper, full),) = figure.rows
    assert [len(paper.curves), len(full.curves)] == [1, 2]
    assert figure.remarks == ("RTE, the paper's range: no sensitivity of pats lies in it",)


def test_many_recipes_stand_two_in_a_row(tmp_path: Path) -> None:
    study = plausible_study(tmp_path, tasks=("cola", "mrpc", "rte", "stsb", "sst"), methods=("pats",), seeds=1)
    rows = distributions(study.outcomes(), GLUE).figures[0].rows
    assert [len(row) for row in rows] == [4, 4, 2]
    assert [panel.title.split(",")[0] for panel in rows[0]] == ["CoLA", "CoLA", "MRPC", "MRPC"]


@pytest.mark.parametrize(
    ("value", "text"), [(2e-6, "2e-6"), (0.0002, "2e-4"), (1.5e-10, "1.5e-10"), (0.2, "0.2"), (100, "100"), (0, "0")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number_text(value) == text


def test_variations_stand_apart_and_by_their_size() -> None:
    runs = [rte("pats", 1, pats_lambda=value) for value in ("1e-05", "5e-07", "2e-06")]
    keys = keys_of(runs)
    assert [key.text for key in keys.values()] == ["PATS, λ 5e-7", "PATS, λ 2e-6", "PATS, λ 1e-5"]
    shades = [key.paleness for key in keys.values()]
    assert shades == sorted(shades, reverse=True) and shades[-1] == 0 and len(set(shades)) == 3
    assert file_stem("seeds", Group.of(runs[0])) == "seeds_minilm_by_pats_lambda"
    assert file_stem("seeds", Group.of(Run("bert_base/mtl", "pats", (), 1))) == "seeds_bert_base_mtl"


def test_cost_is_a_point_a_method_at_its_mean_time(tmp_path: Path) -> None:
    runs = [rte("adamax", 1), rte("adamax", 2), rte("pats", 1)]
    study = write_study(tmp_path, runs)
    for run, seconds, score in zip(runs, (10.0, 30.0, 55.0), (60.0, 64.0, 66.0), strict=True):
        path = finish(study, run, {"rte": [50.0, score]}) / "results.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"wall_seconds": seconds}))
    (figure,) = cost(study.outcomes(), {}).figures
    ((panel,),) = figure.rows
    assert figure.stem == "cost_minilm"
    assert isinstance(panel, LinePanel)
    assert [(line.key.method, line.x, line.values) for line in panel.lines] == [
        ("adamax", (20.0,), ((60.0, 64.0),)),
        ("pats", (55.0,), ((66.0,),)),
    ]


@pytest.mark.parametrize("draw", [learning_curves, distributions, cost])
def test_a_method_that_was_varied_stands_beside_the_baseline(tmp_path: Path, draw: Callable[..., Collected]) -> None:
    """And beside that of its own recipes alone."""
    lowered = (("pats_lambda", "5e-07"),)
    study = plausible_study(
        tmp_path, tasks=("rte", "cola"), methods=("adamax", "sage", "pats"), seeds=2, varied=((), lowered)
    )
    outcomes = [o for o in study.outcomes() if not (o.run.varied and o.run.task == "cola")]
    _, varied = draw(outcomes, GLUE).figures
    assert varied.stem.endswith("by_pats_lambda")
    for panel in (panel for row in varied.rows for panel in row):
        lines = panel.curves if isinstance(panel, DensityPanel) else panel.lines
        assert [line.key.text for line in lines] == ["Adamax", "PATS, λ 5e-7"]
    assert len({panel.title for panel in varied.rows[0]}) == (2 if draw is distributions else 1)
