"""A study's folder: its list of runs, where each of them stands, and what damage is told."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from data_utils.errors import InputError
from studies.recipes import as_arguments
from studies.study import Run, Status, Study, changing
from tests.studies.fake_study import results

PLAIN = Run("bert_base/rte", "pats", (), 3)
VARIED = Run("bert_base/mtl", "pats", (("pats_lambda", "5e-07"), ("train_fraction", "0.2")), 1)


def finish(study: Study, run: Run, text: str) -> None:
    study.run_folder(run).mkdir(parents=True)
    (study.run_folder(run) / "results.json").write_text(text, encoding="utf-8")


def test_a_run_says_what_it_is_and_where_it_lies(tmp_path: Path) -> None:
    study = Study(tmp_path, (PLAIN, VARIED))
    assert (VARIED.encoder, VARIED.task) == ("bert_base", "mtl")
    assert VARIED.label == "pats@pats_lambda=5e-07@train_fraction=0.2"
    assert study.run_folder(PLAIN) == tmp_path / "runs/bert_base/rte/pats/seed_3"
    assert study.log_file(VARIED) == tmp_path / f"logs/bert_base/mtl/{VARIED.label}/seed_1.log"


def test_a_list_of_runs_is_read_as_it_was_written(tmp_path: Path) -> None:
    odd = Run("minilm/rte", "pats", (("bf16", "on"), ("pats_lambda", "1e-06"), ("warmup", "0.10")), 2)  # YAML's traps
    settings = {("bert_base/rte", "pats"): {"learning_rate": 3e-4, "pats_noise_form": "std", "tensorboard": False}}
    study = Study(tmp_path / "new/study", (PLAIN, VARIED, odd), {"epochs": "3"}, settings)
    study.save()
    assert Study.load(study.folder) == study
    assert [path.name for path in study.folder.iterdir()] == ["study.yml"]


def test_further_runs_come_after_those_that_are_there(tmp_path: Path) -> None:
    assert Study(tmp_path, (VARIED,)).with_runs([PLAIN, VARIED, PLAIN]).runs == (VARIED, PLAIN)


def test_a_run_as_arguments_has_its_own_values_last(tmp_path: Path) -> None:
    settings = {"learning_rate": 3e-4, "train_fraction": 1.0, "tensorboard": False, "bf16": True}
    study = Study(tmp_path, (VARIED,), settings={(VARIED.recipe, VARIED.method): settings})
    flags = ["--learning_rate", "0.0003", "--train_fraction", "0.2", "--no-tensorboard", "--bf16"]
    flags += ["--pats_lambda", "5e-07", "--seed", "1", "--output_dir", str(study.run_folder(VARIED))]
    assert study.flags(VARIED) == flags
    with pytest.raises(InputError, match="no settings of bert_base/rte pats"):
        study.flags(PLAIN)


def test_lists_and_nothing_are_written_as_flags_take_them() -> None:
    """As a recipe's file may have them, and `train.py --config` takes both."""
    arguments = as_arguments({"baseline": None, "train_datasets": ["cola", "rte"]})
    assert arguments == ["--baseline", "none", "--train_datasets", "cola,rte"]


def test_settings_are_added_and_never_changed(tmp_path: Path) -> None:
    key, other = ("a/b", "pats"), ("a/b", "sage")
    study = Study(tmp_path, (), settings={key: {"epochs": 3}})
    assert study.with_settings({key: {"epochs": 3}, other: {"epochs": 5}}).settings == {
        key: {"epochs": 3},
        other: {"epochs": 5},
    }
    with pytest.raises(InputError) as caught:
        study.with_settings({key: {"epochs": 4, "warmup": 0.1}})
    assert "a/b pats: epochs is 3" in str(caught.value) and "would now be 4" in str(caught.value)
    assert "a/b pats: warmup is None" in str(caught.value)


def test_two_that_change_a_study_take_turns(tmp_path: Path) -> None:
    folder = tmp_path / "new/study"

    def add(run: Run) -> None:
        with changing(folder) as study:
            time.sleep(0.05)  # enough for the other to read what is about to be replaced
            study.with_runs([run]).save()

    adding = [threading.Thread(target=add, args=[run]) for run in (PLAIN, VARIED)]
    for thread in adding:
        thread.start()
    for thread in adding:
        thread.join()
    assert set(Study.load(folder).runs) == {PLAIN, VARIED}


def test_where_a_run_stands(tmp_path: Path) -> None:
    study = Study(tmp_path, (PLAIN,))
    assert study.outcomes()[0].status is Status.WAITING
    study.run_folder(PLAIN).mkdir(parents=True)
    assert study.outcome(PLAIN).status is Status.CUT
    study.note_attempt(PLAIN, attempts=2, exit_code=1, message="out of memory")
    failed = study.outcome(PLAIN)
    assert (failed.status, failed.attempts, failed.message) == (Status.FAILED, 2, "out of memory")
    (study.run_folder(PLAIN) / "results.json").write_text(json.dumps(results({"rte": 70.0})), encoding="utf-8")
    finished = study.outcome(PLAIN)
    assert (finished.status, finished.score("rte"), finished.score("rte", "best")) == (Status.DONE, 70.0, 71.0)


def test_a_message_is_text_that_every_table_can_hold(tmp_path: Path) -> None:
    study = Study(tmp_path, (PLAIN,))
    study.note_attempt(PLAIN, attempts=1, exit_code=1, message="\x1b[31mred\ud800\tλ")
    assert study.outcome(PLAIN).message == "\ufffd[31mred\ufffd\tλ"


@pytest.mark.parametrize("exit_code", [0, 1])
def test_a_run_that_never_wrote_a_file_has_failed_if_it_says_so(exit_code: int, tmp_path: Path) -> None:
    study = Study(tmp_path, (PLAIN,))
    study.note_attempt(PLAIN, attempts=1, exit_code=exit_code, message="no data")
    assert study.outcome(PLAIN).status is (Status.FAILED if exit_code else Status.WAITING)


def test_a_run_has_collapsed_if_any_task_did_at_the_end(tmp_path: Path) -> None:
    study = Study(tmp_path, (VARIED,))
    assert not study.outcome(VARIED).collapsed
    raw = results({"rte": 70.0, "cola": 0.0})
    raw["tasks"]["cola"]["last"]["constant"] = True
    finish(study, VARIED, json.dumps(raw))
    assert study.outcome(VARIED).collapsed
    raw["tasks"]["cola"]["last"]["constant"] = False
    raw["tasks"]["cola"]["best"]["constant"] = True
    (study.run_folder(VARIED) / "results.json").write_text(json.dumps(raw), encoding="utf-8")
    assert not study.outcome(VARIED).collapsed


def without(*keys: str) -> str:
    raw = results({"rte": 70.0})
    inside = raw
    for key in keys[:-1]:
        inside = inside[key]
    del inside[keys[-1]]
    return json.dumps(raw)


DAMAGED_RESULTS = {
    "empty": "",
    "cut": '{"tasks": {',
    "a list": "[]",
    "tasks are a list": '{"tasks": []}',
    "a task is a number": '{"tasks": {"rte": 3}}',
    "no tasks": without("tasks"),
    "no best": without("tasks", "rte", "best"),
    "no metric": without("tasks", "rte", "primary_metric"),
    "no score": without("tasks", "rte", "last", "score"),
    "text for a score": json.dumps(results({"rte": 70.0})).replace("70.0", '"high"'),
    "not a number": json.dumps(results({"rte": float("nan")})),
}


@pytest.mark.parametrize("text", DAMAGED_RESULTS.values(), ids=DAMAGED_RESULTS)
def test_damaged_results_are_named(text: str, tmp_path: Path) -> None:
    study = Study(tmp_path, (PLAIN,))
    finish(study, PLAIN, text)
    with pytest.raises(InputError, match="rte/pats/seed_3/results.json: cannot be read .*; remove it, and"):
        study.outcomes()


@pytest.mark.parametrize("text", ["{", "[]", '{"attempts": 1}', '{"attempts": "x", "exit_code": 0, "message": ""}'])
def test_a_damaged_record_of_attempts_is_named(text: str, tmp_path: Path) -> None:
    study = Study(tmp_path, (PLAIN,))
    record = study.log_file(PLAIN).with_suffix(".json")
    record.parent.mkdir(parents=True)
    record.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="logs/.*seed_3.json: cannot be read .*; remove it"):
        study.outcome(PLAIN)


ENTRY = "{recipe: a/b, method: pats, varied: {}, seed: 1}"
DAMAGED_LISTS = {
    "no YAML": "runs: [",
    "empty": "",
    "a list": "[]",
    "no runs": "overrides: {}",
    "runs are numbers": "runs: [1]",
    "no seed": "runs: [{recipe: a/b, method: pats, varied: {}}]",
    "a word for a seed": f"runs: [{ENTRY.replace('1', 'one')}]",
    "varied is a list": f"runs: [{ENTRY.replace('{}', '[]')}]",
    "a recipe without task": f"runs: [{ENTRY.replace('a/b', 'a')}]",
    "a recipe of three": f"runs: [{ENTRY.replace('a/b', 'a/b/c')}]",
}


@pytest.mark.parametrize("text", DAMAGED_LISTS.values(), ids=DAMAGED_LISTS)
def test_a_damaged_list_of_runs_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "study.yml").write_text(text, encoding="utf-8")
    with pytest.raises(
        InputError, match="study.yml(:1: (not valid YAML|expected a mapping)|: not a study's list of runs)"
    ):
        Study.load(tmp_path)


def test_a_folder_that_is_no_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="study.yml: no such file; expected the --output_dir of studies.sweep"):
        Study.load(tmp_path)
