"""Tables from a study's runs: which runs meet in a cell, which methods are compared, what may not be mixed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from statistics import mean

import pytest

from data_utils.errors import InputError
from studies.study import Outcome, Status
from studies.suite import Suite
from studies.tables.comparison import compare, read_paper_scores
from tests.studies.fake_study import done, run, seeds_done

AVERAGES = {  # as Table 1 prints them, but for the four that are not the mean of its scores: see paper_table1.yml
    "bert_base": {"adamax": 83.04, "sage": 83.71, "noisytune": 83.47, "pats": 84.00},
    "roberta_large": {"adamax": 88.25, "sage": 88.57, "noisytune": 88.54, "pats": 88.93},
}


def outcome(recipe: str, label: str, seed: int, status: Status, message: str = "") -> Outcome:
    return Outcome(run(recipe, label, seed), Path("x"), status, 1, message)


def test_a_cell_has_mean_spread_and_every_run() -> None:
    (table,) = compare(
        [
            *seeds_done("minilm/rte", "adamax", [50.0, 52.0]),
            done("minilm/rte", "adamax", 3, collapsed=True, rte=48.0),
            outcome("minilm/rte", "adamax", 4, Status.FAILED, "out of memory"),
            outcome("minilm/rte", "adamax", 5, Status.CUT),
            outcome("minilm/rte", "adamax", 6, Status.WAITING),
        ]
    )
    cell = table.cells["adamax", "rte"]
    assert (cell.n, cell.mean, cell.std) == (3, 50.0, 2.0)  # the collapsed run is part of it
    assert (cell.collapsed, cell.failed, cell.unfinished) == ((3,), {4: "out of memory"}, (5, 6))


def test_last_and_best_epoch() -> None:
    runs = seeds_done("minilm/rte", "adamax", [50.0])
    assert [compare(runs, which=which)[0].cells["adamax", "rte"].mean for which in ("last", "best")] == [50.0, 51.0]


def test_averages_are_over_tasks_and_only_where_all_are_there() -> None:
    runs = seeds_done("minilm/rte", "adamax", [50.0, 54.0]) + seeds_done("minilm/cola", "adamax", [30.0])
    (table,) = compare(runs + seeds_done("minilm/rte", "pats", [60.0]))
    assert table.average("adamax") == pytest.approx((52 + 30) / 2)
    assert table.average("pats") is None


def test_the_papers_row_is_there_where_the_encoder_is_the_same() -> None:
    paper = read_paper_scores(Suite().paper_table)
    recipes = ("bert_base/rte", "bert_base/cola", "minilm/rte")
    runs = [
        o
        for recipe in recipes
        for m in ("adamax", "pats", "pats_magnitude_variance")
        for o in seeds_done(recipe, m, [1.0])
    ]
    bert, minilm = compare(runs, paper=paper)
    assert (bert.paper["adamax", "rte"], bert.paper["pats", "cola"]) == (68.03, 60.67)
    assert bert.paper_average("pats") == pytest.approx((72.08 + 60.67) / 2)
    assert bert.paper_average("pats_magnitude_variance") is None and not minilm.paper


def test_scores_of_test_splits_have_dev_numbers_beside_them_nowhere() -> None:
    """Neither the paper's, nor the majority's; and a model has collapsed there or not by what it said there."""
    runs = seeds_done("bert_base/rte", "adamax", [50.0, 51.0])
    for outcome in runs:
        own = outcome.results["tasks"]["rte"]
        own |= {"majority_score": 47.0, "test": {"score": 40.0, "constant": outcome.run.seed == 2}}
        own["last"]["constant"] = outcome.run.seed == 1
    paper = read_paper_scores(Suite().paper_table)
    (last,), (test,) = (compare(runs, which=which, paper=paper) for which in ("last", "test"))
    assert (last.cells["adamax", "rte"].collapsed, test.cells["adamax", "rte"].collapsed) == ((1,), (2,))
    assert last.majority == {"rte": 47.0} and last.paper
    assert test.majority == {} and test.paper == {}


def test_the_papers_scores_do_not_stand_beside_variations() -> None:
    """The baseline of a variation has its plain name."""
    runs = [o for m in ("adamax", "pats@pats_lambda=1") for o in seeds_done("bert_base/rte", m, [1.0])]
    plain, varied = compare(runs, paper=read_paper_scores(Suite().paper_table))
    assert varied.methods == ("adamax", "pats@pats_lambda=1")
    assert plain.paper and varied.paper == {}


def test_multi_task_runs_have_a_table_of_their_own() -> None:
    runs = seeds_done("bert_base/rte", "adamax", [50.0])
    runs += [done("bert_base/mtl", "adamax", 1, rte=60.0, cola=40.0)]
    runs += [outcome("bert_base/mtl", "pats", 1, Status.FAILED, "no")]
    single, multi = compare(runs, paper=read_paper_scores(Suite().paper_table))
    assert (single.tasks, multi.tasks) == (("rte",), ("rte", "cola"))
    assert (single.group.multitask, multi.group.multitask) == (False, True)
    assert multi.cells["adamax", "cola"].mean == 40.0 and not multi.paper
    assert all(multi.cells["pats", task].failed for task in multi.tasks)


def test_multi_task_runs_none_of_which_is_done() -> None:
    (table,) = compare([outcome("minilm/mtl", "pats", 1, Status.WAITING)])
    assert table.tasks == ("mtl",) and table.cells["pats", "mtl"].unfinished == (1,)


def test_a_varied_method_meets_the_baseline_with_the_same_variation() -> None:
    labels = ["adamax", "pats", "pats@pats_lambda=1", "adamax@train_fraction=0.2", "pats@train_fraction=0.2"]
    labels += ["pats@train_fraction=0.4", "pats@pats_lambda=1@train_fraction=0.2"]
    tables = compare([o for label in labels for o in seeds_done("minilm/rte", label, [1.0, 2.0])])
    assert {table.group.varied: [(d.method, d.baseline) for d in table.differences] for table in tables} == {
        (): [("pats", "adamax")],
        ("pats_lambda",): [("pats@pats_lambda=1", "adamax")],
        ("train_fraction",): [("pats@train_fraction=0.2", "adamax@train_fraction=0.2")],
        ("pats_lambda", "train_fraction"): [("pats@pats_lambda=1@train_fraction=0.2", "adamax@train_fraction=0.2")],
    }
    assert tables[1].methods == ("adamax", "pats@pats_lambda=1")  # the baseline's row beside those of the variation
    assert tables[2].baselines["pats@train_fraction=0.4"] == "adamax@train_fraction=0.4"  # which is not there


def test_a_baseline_with_the_same_flag_is_met_at_the_same_value() -> None:
    labels = [f"{method}@pats_lambda={value}" for method in ("pats", "pats_magnitude_variance") for value in (1, 2)]
    tables = compare([o for m in ("pats", *labels) for o in seeds_done("minilm/rte", m, [1.0])], baseline="pats")
    assert [(d.method, d.baseline) for table in tables for d in table.differences] == [
        ("pats@pats_lambda=1", "pats"),  # a variation of the baseline meets the baseline as it is
        ("pats@pats_lambda=2", "pats"),
        ("pats_magnitude_variance@pats_lambda=1", "pats@pats_lambda=1"),
        ("pats_magnitude_variance@pats_lambda=2", "pats@pats_lambda=2"),
    ]


def test_a_baseline_is_known_to_have_a_flag_by_whose_it_is_and_not_by_its_name() -> None:
    runs = [
        o for m in ("smart", "smart_mild@adv_alpha=3", "smart@adv_alpha=3") for o in seeds_done("minilm/rte", m, [1.0])
    ]
    tables = compare(runs, baseline="smart")
    assert [(d.method, d.baseline) for table in tables for d in table.differences] == [
        ("smart_mild@adv_alpha=3", "smart@adv_alpha=3"),
        ("smart@adv_alpha=3", "smart"),
    ]


def test_any_method_can_be_the_baseline_and_comes_first() -> None:
    runs = [o for m in ("adamax", "sage", "pats") for o in seeds_done("minilm/rte", m, [1.0])]
    (table,) = compare(runs, baseline="sage")
    assert table.methods == ("sage", "adamax", "pats")
    assert {d.method for d in table.differences} == {"adamax", "pats"}


def test_tasks_are_chosen_and_ordered() -> None:
    runs = [o for task in ("cola", "rte", "mrpc") for o in seeds_done(f"minilm/{task}", "pats", [1.0])]
    (table,) = compare(runs, tasks=["mrpc", "cola"])
    assert table.tasks == ("mrpc", "cola") and table.metrics == {"mrpc": "F1", "cola": "MCC"}
    assert compare(runs, tasks=["sst"]) == []


def test_encoders_are_kept_apart_and_nothing_makes_no_table() -> None:
    tables = compare(seeds_done("minilm/rte", "pats", [1.0]) + seeds_done("mpnet/rte", "pats", [9.0]))
    assert [(table.group.encoder, table.average("pats")) for table in tables] == [("minilm", 1.0), ("mpnet", 9.0)]
    assert compare([]) == []


def test_scores_of_different_metrics_are_refused() -> None:
    first, second = seeds_done("minilm/mrpc", "pats", [90.0, 85.0])
    second.results["tasks"]["mrpc"]["primary_metric"] = "ACC"
    with pytest.raises(InputError, match="mrpc is scored by F1 in x and by ACC in x"):
        compare([first, second])


def test_a_run_without_its_tasks_score_is_named() -> None:
    wrong = dataclasses.replace(done("minilm/rte", "pats", 1, cola=1.0), folder=Path("study/runs/a"))
    with pytest.raises(InputError, match="study/runs/a: its results are of cola; expected rte"):
        compare([wrong])


def test_the_papers_scores_are_complete_and_damage_is_named(tmp_path: Path) -> None:
    paper = read_paper_scores(Suite().paper_table)
    assert {(encoder, len(rows), *map(len, rows.values())) for encoder, rows in paper.items()} == {
        ("bert_base", 4, 8, 8, 8, 8),
        ("roberta_large", 4, 8, 8, 8, 8),
    }
    means = {encoder: {method: mean(row.values()) for method, row in rows.items()} for encoder, rows in paper.items()}
    assert means == {encoder: pytest.approx(row, abs=0.006) for encoder, row in AVERAGES.items()}
    damaged = tmp_path / "paper.yml"
    damaged.write_text("bert_base: {pats: 3}\n", encoding="utf-8")
    with pytest.raises(InputError, match="paper.yml: expected encoder -> method -> task -> score"):
        read_paper_scores(damaged)
