"""Notes on a study's settings: whether the paper's scores may stand beside it, and whether rates are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from studies.study import Study
from studies.suite import Suite
from studies.table import study_tables
from studies.tables.comparison import StudyTable
from tests.studies.fake_study import done, seeds_done, write_outcomes


def tables_of(folder: Path, overrides: dict[str, str] | None = None, **settings: dict[str, Any]) -> list[StudyTable]:
    """Of one BERT-base run of each method on RTE, with these settings by method."""
    outcomes = [o for method in settings for o in seeds_done("bert_base/rte", method, [70.0])]
    study = write_outcomes(folder, outcomes)
    by_method = {("bert_base/rte", method): values for method, values in settings.items()}
    return study_tables(Study(folder, study.runs, overrides or {}, by_method), ["last"], None, None, "permutation")


def test_the_papers_encoder_by_any_path_and_no_other(tmp_path: Path) -> None:
    (own,) = tables_of(tmp_path / "own", adamax={"init_checkpoint": "downloads/bert-base-uncased"})
    assert own.paper and own.remarks == ()
    (other,) = tables_of(tmp_path / "other", adamax={"init_checkpoint": "downloads/bert-base-cased"})
    assert not other.paper
    assert other.remarks == (
        "No scores of the paper beside these: bert_base is downloads/bert-base-cased here and bert-base-uncased there.",
    )


def test_settings_that_are_not_the_papers_are_named(tmp_path: Path) -> None:
    (table,) = tables_of(tmp_path, {"epochs": "3"}, adamax={})
    assert table.paper
    assert table.remarks == ("Not as in the recipes: epochs 3. So the paper's scores are of other settings.",)


def test_other_rates_than_the_baselines_are_named(tmp_path: Path) -> None:
    (table,) = tables_of(
        tmp_path,
        adamax={"learning_rate": 1e-4},
        sage={"learning_rate": "2e-4"},
        pats={"learning_rate": 0.0001},
    )
    assert len(table.remarks) == 1 and "not the baseline's for sage on rte: differences" in table.remarks[0]


def test_other_settings_than_the_baselines_are_named_but_for_a_methods_own(tmp_path: Path) -> None:
    (table,) = tables_of(
        tmp_path,
        adamax={"optim": "adamax", "epochs": 3, "warmup": "1e-1"},
        pats={"optim": "pats_adamax", "pats_lambda": 2e-6, "epochs": "30", "warmup": 0.1},
    )
    assert table.remarks == (
        "epochs is not the baseline's for pats on rte: differences there are not of the method alone.",
    )


def test_runs_of_different_rows_are_named(tmp_path: Path) -> None:
    """As where features are made anew, with another split, before a further method is added."""
    outcomes = [o for method in ("adamax", "pats") for o in seeds_done("bert_base/rte", method, [70.0, 71.0])]
    for number, outcome in enumerate(outcomes):
        made = {"rte_train": "a" if number < 3 else "b", "rte_dev": "c"}
        outcome.results["features"] = made  # type: ignore[index]
    study = write_outcomes(tmp_path, outcomes)
    (table,) = study_tables(study, ["last"], None, None, "permutation")
    assert table.remarks == (
        "Runs had different rows in rte_train, so their scores cannot be compared: bert_base/rte adamax seed 1 and 2 "
        "more; bert_base/rte pats seed 2. Run all of them on the same features, in a study of its own.",
    )


def test_runs_that_are_done_have_a_table_whatever_became_of_their_recipes(tmp_path: Path) -> None:
    (tmp_path / "suite/recipes").mkdir(parents=True)
    (tmp_path / "suite/recipes/bert_base.yml").write_text("nonsense\n")
    study = write_outcomes(tmp_path / "study", seeds_done("bert_base/rte", "adamax", [70.0]))
    study = Study(study.folder, study.runs, {}, {("bert_base/rte", "adamax"): {}}, Suite(str(tmp_path / "suite")))
    (table,) = study_tables(study, ["last"], None, None, "permutation")
    assert table.remarks == ()


def test_rates_that_were_varied_are_those_of_the_runs(tmp_path: Path) -> None:
    labels = ["adamax@learning_rate=1e-4", "pats@learning_rate=1e-4", "pats@learning_rate=3e-4@train_fraction=0.5"]
    study = write_outcomes(tmp_path, [done("minilm/rte", label, 1, rte=1.0) for label in [*labels, "adamax"]])
    settings = {("minilm/rte", method): {"learning_rate": 1e-3} for method in ("adamax", "pats")}
    study = Study(tmp_path, study.runs, {}, settings)
    assert [table.remarks for table in study_tables(study, ["last"], None, None, "permutation")] == [(), (), ()]
