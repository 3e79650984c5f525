"""A suite of one's own: another folder of recipes, tasks and labels, which the study remembers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from data_utils.errors import InputError
from studies import recipes
from studies.figures import write_figures
from studies.study import STUDY_FILE, Run, Study
from studies.suite import DEFAULT, ROOT, Suite
from studies.table import study_tables
from tests.studies.conftest import GRID, Sweeper
from tests.studies.synthetic_study import plausible_study

GRID_OF_OWN = GRID.replace("minilm/rte", "tiny/mood")


@pytest.fixture
def own_suite(tmp_path: Path) -> Path:
    folder = tmp_path / "moods"
    (folder / "recipes").mkdir(parents=True)
    (folder / "mood_task_def.yml").write_text("mood: {}\n")
    (folder / "labels.yml").write_text("mood: Mood of the day\n")
    (folder / "recipes/paper.yml").write_text(
        "settings: {epochs: 1}\nmtl: [mood]\n"
        "methods: {adamax: {settings: {optim: adamax}}, pats: {settings: {optim: pats_adamax}}}\n"
    )
    rates = "{adamax: {mood: 1.0e-4}, pats: {mood: 2.0e-4}}"
    (folder / "recipes/tiny.yml").write_text(f"init_checkpoint: tiny\nlearning_rates: {rates}\n")
    return folder


def test_the_default_suite_is_whole() -> None:
    assert Suite().task_def() == f"{DEFAULT}/glue_task_def.yml"
    assert Suite().labels()["stsb"] == "STS-B" and Suite().paper_table.is_file()
    assert Suite.at(str(ROOT / DEFAULT)) == Suite.at(DEFAULT) == Suite()


def test_recipes_of_another_suite(own_suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert recipes.main(["--suite", str(own_suite)]) == 0
    assert capsys.readouterr().out.splitlines() == ["tiny/mood: adamax, pats"]


def test_a_study_remembers_its_suite_and_runs_have_its_tasks(own_suite: Path, sweeper: Sweeper) -> None:
    assert sweeper(f"{GRID_OF_OWN} --suite {own_suite}") == 0
    study = sweeper.study
    assert study.suite == Suite(str(own_suite)) and len(sweeper.calls()) == 4
    argv = sweeper.calls()[0]["argv"]
    assert argv[argv.index("--task_def") + 1] == str(own_suite / "mood_task_def.yml")
    assert sweeper(f"{GRID_OF_OWN.replace('1-2', '3')}") == 0  # the study says which
    assert len(sweeper.calls()) == 6


def test_runs_of_the_default_suite_need_no_task_file(sweeper: Sweeper) -> None:
    assert sweeper() == 0
    assert "--task_def" not in sweeper.calls()[0]["argv"]
    assert sweeper.study.suite == Suite()


def test_a_study_has_one_suite(own_suite: Path, sweeper: Sweeper, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweeper() == 0
    assert sweeper(f"{GRID_OF_OWN} --suite {own_suite}") == 2
    assert f"{STUDY_FILE} has {DEFAULT}; choose another --output_dir" in capsys.readouterr().err


def test_figures_have_the_suites_names_and_tables_no_foreign_scores(own_suite: Path, tmp_path: Path) -> None:
    study = plausible_study(tmp_path / "study", ("rte",), ("adamax", "pats"), seeds=2)
    own = replace(study, suite=Suite(str(own_suite)))
    (own_suite / "labels.yml").write_text("rte: Entailed or not\n")
    for one, name in ((study, "RTE"), (own, "Entailed or not")):
        written, _ = write_figures(one, ["seeds"], tmp_path / name, ["svg"])
        assert f">{name}<" in written[0].read_text(encoding="utf-8")
    assert not study_tables(own, ["last"], None, None, "permutation")[0].paper


def test_a_study_whose_suite_is_gone_still_has_tables(tmp_path: Path) -> None:
    study = plausible_study(tmp_path / "study", ("rte",), ("adamax", "pats"), seeds=2)
    gone = replace(study, suite=Suite(str(tmp_path / "gone")))
    assert len(study_tables(gone, ["last"], None, None, "permutation")) == 1
    assert gone.suite.labels() == {}


def test_what_is_no_suite_is_refused(tmp_path: Path, own_suite: Path, sweeper: Sweeper) -> None:
    with pytest.raises(InputError, match="--suite .*nowhere: no folder .*recipes; a suite is a folder such as"):
        Suite.at(str(tmp_path / "nowhere"))
    (own_suite / "second_task_def.yml").touch()
    with pytest.raises(InputError, match="expected one file named …_task_def.yml, found mood_task_def.yml, second"):
        Suite(str(own_suite)).task_def()
    (own_suite / "labels.yml").write_text("mood: 3\n")
    with pytest.raises(InputError, match="labels.yml: mood: expected a text"):
        Suite(str(own_suite)).labels()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("runs: []\nruns: [1]\n", "study.yml:2: the key 'runs' stands twice"),
        ("runs: []\nsetings: {}\n", "unknown keys setings; allowed: suite, overrides, settings, share, runs"),
        ("- a\n", "study.yml:1: expected a mapping"),
        ("overrides: {}\n", "study.yml: not a study's list of runs: 'runs'"),
    ],
)
def test_the_list_of_runs_is_read_as_strictly_as_all_yaml(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / STUDY_FILE).write_text(text)
    with pytest.raises(InputError, match=message):
        Study.load(tmp_path)


def test_a_long_list_of_runs_is_read(tmp_path: Path) -> None:
    runs = tuple(Run("minilm/rte", "pats", (("pats_lambda", "1e-06"),), seed) for seed in range(4000))
    Study(tmp_path, runs).save()
    assert (tmp_path / STUDY_FILE).stat().st_size > 1 << 18  # more than any other YAML may have
    assert Study.load(tmp_path).runs == runs


def test_a_sweep_that_was_stopped_before_its_runs_were_listed_says_so(
    sweeper: Sweeper, capsys: pytest.CaptureFixture[str]
) -> None:
    sweeper.study_folder.mkdir()
    (sweeper.study_folder / "study.lock").touch()
    assert sweeper("--devices cpu") == 2
    assert "no sweep has listed its runs here yet: give its --recipes and --methods" in capsys.readouterr().err
    assert sweeper() == 0
