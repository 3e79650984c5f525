"""The command line of sweeps: what a study becomes, what is refused, and one in earnest that is killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data_utils.fingerprints import sha256_of
from studies.recipes import Recipes
from studies.study import Run, Status, Study
from studies.suite import Suite
from studies.sweeps.devices import available_cores
from tests.conftest import Workshop
from tests.studies.conftest import ALL_DONE, GRID, ROOT, Sweeper, wait_for


def test_a_grid_is_run_once_and_extended_by_the_same_command(
    sweeper: Sweeper, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweeper() == 0
    assert sweeper.statuses() == ALL_DONE
    assert f"next: python -m studies.table {sweeper.study_folder}" in capsys.readouterr().out
    assert sweeper() == 0
    assert len(sweeper.calls()) == 4
    assert sweeper(GRID.replace("1-2", "2-3")) == 0
    assert len(sweeper.calls()) == 6
    assert [run.seed for run in sweeper.study.runs] == [1, 1, 2, 2, 3, 3]


def test_a_run_gets_its_recipe_and_what_is_set(sweeper: Sweeper) -> None:
    flags = "--recipes minilm/rte --methods pats --seeds 7 --data_dir features --devices cpu"
    assert sweeper(f"{flags} --set epochs=3 --set tensorboard=false --set bf16=true --init_checkpoint model") == 0
    (call,) = sweeper.calls()
    switches = ("--resume", "--no-tensorboard", "--bf16", "--dev_predictions")
    given = [argument for argument in call["argv"] if argument not in switches]
    assert len(given) == len(call["argv"]) - len(switches)
    found = dict(zip(given[::2], given[1::2], strict=True))
    assert found == {
        "--init_checkpoint": "model",
        "--train_datasets": "rte",
        "--optim": "pats_adamax",
        "--batch_size": "32",
        "--epochs": "3",
        "--warmup": "0.1",
        "--pats_lambda": "2e-06",
        "--pats_gamma": "0.002",
        "--pats_beta": "0.75",
        "--pats_p": "0.2",
        "--pats_sensitivity": "signed",
        "--pats_noise_form": "variance",
        "--pats_noise_schedule": "constant",
        "--learning_rate": found["--learning_rate"],
        "--data_dir": "features",
        "--seed": "7",
        "--output_dir": str(sweeper.study_folder / "runs/minilm/rte/pats/seed_7"),
    }
    assert call["cwd"] == str(ROOT)


def test_what_plans_note_is_told_once_and_first(sweeper: Sweeper, capsys: pytest.CaptureFixture[str]) -> None:
    for given, told in (("", []), (" --set bf16=true", ["note: slow in bf16 (first seen in minilm/rte adamax)"])):
        assert sweeper(GRID + given, sweeper.folder / f"study{len(given)}") == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line for line in lines if line.startswith("note:")] == told
        assert all(lines.index(line) < next(i for i, each in enumerate(lines) if "start" in each) for line in told)


def test_flags_vary_only_the_methods_that_have_a_use_for_them(sweeper: Sweeper) -> None:
    flags = "--recipes minilm/rte --methods adamax,pats --seeds 1 --data_dir features --devices cpu"
    assert sweeper(f"{flags} --vary pats_lambda=5e-7,1.0e-6,1e-06 --vary train_fraction=0.5,1") == 0
    assert [run.label for run in sweeper.study.runs] == [
        "adamax@train_fraction=0.5",
        "adamax@train_fraction=1",
        "pats@pats_lambda=5e-07@train_fraction=0.5",
        "pats@pats_lambda=5e-07@train_fraction=1",
        "pats@pats_lambda=1e-06@train_fraction=0.5",
        "pats@pats_lambda=1e-06@train_fraction=1",
    ]


def test_a_flag_that_is_set_for_pats_leaves_others_alone(sweeper: Sweeper) -> None:
    assert sweeper(f"{GRID} --set pats_p=0.5") == 0
    settings = sweeper.study.settings
    assert settings["minilm/rte", "pats"]["pats_p"] == "0.5"
    assert "pats_p" not in settings["minilm/rte", "adamax"]
    assert sweeper(f"{GRID.replace('pats', 'sage')} --set pats_p=0.5") == 0, "it is the study's, and not new"
    assert "pats_p" not in sweeper.study.settings["minilm/rte", "sage"]


def test_a_study_goes_on_without_saying_again_what_is_in_it(sweeper: Sweeper) -> None:
    sweeper.behave(pats_1="die")
    assert sweeper(f"{GRID} --set epochs=3") == 1
    assert sweeper.statuses() == {**ALL_DONE, "pats_1": "cut"}
    sweeper.behave()
    assert sweeper("--devices cpu") == 0
    assert sweeper.statuses() == ALL_DONE
    assert sweeper("--recipes minilm/mrpc --methods adamax --seeds 1 --devices cpu") == 0
    added = sweeper.study.settings["minilm/mrpc", "adamax"]
    assert (added["data_dir"], added["epochs"]) == ("features", "3")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (f"{GRID} --set epochs=4", "--set epochs=4: {study} has 3; all runs of a study share it"),
        (f"{GRID} --set warmup=0.2", "--set warmup=0.2: {study} has the value of the recipes"),
        (GRID.replace("features", "others"), "--data_dir others: {study} has features for minilm"),
        (f"{GRID} --init_checkpoint x", "--init_checkpoint x: {study} has sentence-transformers/all-MiniLM-L6-v2 for"),
        (f"{GRID} --vary epochs=1,2", "--vary epochs: is fixed by --set"),
    ],
)
def test_settings_of_a_study_stay(
    flags: str, message: str, sweeper: Sweeper, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweeper(f"{GRID} --set epochs=3") == 0
    before = (sweeper.study_folder / "study.yml").read_bytes()
    assert sweeper(flags) == 2
    assert message.format(study=sweeper.study_folder / "study.yml") in capsys.readouterr().err
    assert (sweeper.study_folder / "study.yml").read_bytes() == before


def test_a_recipe_that_has_changed_is_no_part_of_the_study(
    sweeper: Sweeper, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweeper() == 0
    study = sweeper.study
    study.settings["minilm/rte", "pats"]["learning_rate"] = 1.5e-05  # type: ignore[index]
    study.save()
    assert sweeper(GRID.replace("1-2", "3")) == 2
    assert "minilm/rte pats: learning_rate is 1.5e-05 in" in capsys.readouterr().err
    assert len(sweeper.study.runs) == 4
    assert sweeper("--devices cpu") == 0  # without adding anything


REFUSED = [
    ("--seeds 1-2", "--seeds: would have no effect without --recipes"),
    (f"{GRID} --set sage_beta=0.6", "--set sage_beta: would have no effect with the methods adamax, pats"),
    (f"{GRID} --vary sage_beta=0.6", "--vary sage_beta: would have no effect with the methods adamax, pats"),
    ("--recipes= --methods adamax --seeds 1", "--recipes: expected names separated by commas, got ''"),
    (f"{GRID} --devices=", "--devices: expected auto, cpu, or GPUs such as cuda:0,cuda:1, got ''"),
    (f"{GRID} --runs_per_device=", "--runs_per_device: expected auto or a whole number from 1, got ''"),
    ("--recipes minilm/rte --methods pats", "--recipes needs --seeds and --methods"),
    ("--recipes minilm/xyz --methods pats --seeds 1 --data_dir x", "unknown recipe 'minilm/xyz'"),
    ("--recipes minilm/rte --methods sgd --seeds 1 --data_dir x", "unknown method 'sgd'"),
    ("--recipes minilm/rte --methods pats --seeds 1", "--data_dir is required: the features for minilm"),
    (GRID.replace("1-2", "2-1"), "--seeds: expected seeds such as 1-5 or 1,3,7, got '2-1'"),
    (GRID.replace("1-2", "a"), "--seeds: expected seeds"),
    (GRID.replace("adamax,pats", "adamax,,pats"), "--methods: expected names separated by commas"),
    (f"{GRID} --set epochs", "--set: expected a flag of train.py and its value as NAME=VALUE, got 'epochs'"),
    (f"{GRID} --set seed=3", "--set seed: the sweep or its recipes set this themselves"),
    (f"{GRID} --set epochs=3 --set epochs=4", "--set epochs: stands twice"),
    (f"{GRID} --vary optim=adamax,adamw", "--vary optim: the sweep or its recipes"),
    (f"{GRID} --vary task_def=../x", "--vary task_def: '../x' cannot be part of a folder's name"),
    (f"{GRID} --set nonsense=1", "minilm/rte adamax: --nonsense: unknown flag"),
    (f"{GRID} --trials 3", "--trials: would have no effect without --search"),
    (f"{GRID} --emit slurm", "--devices: would have no effect with --emit"),
    (f"{GRID} --search pats", "--methods: cannot go with --search"),
    (f"{GRID} --only x", "--only x: not in"),
    ("--devices cpu", "study.yml: no such file; expected the --output_dir of studies.sweep"),
    ("--devices gpu", "--devices: expected auto, cpu, or GPUs such as cuda:0,cuda:1, got 'gpu'"),
    ("--devices cpu --runs_per_device 0", "--runs_per_device: expected auto or a whole number from 1, got '0'"),
    ("--device cpu", "unrecognized arguments: --device cpu"),
]


@pytest.mark.parametrize(("flags", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_cannot_be_meant_is_one_message(
    flags: str, message: str, sweeper: Sweeper, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweeper(flags) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said
    assert not sweeper.calls()
    assert "--only" in flags or not (sweeper.study_folder / "study.yml").exists()


def test_runs_on_other_features_than_those_that_are_done_do_not_start(
    sweeper: Sweeper, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "features" / "rte_train.json"
    rows.parent.mkdir()
    rows.write_text("as they were")
    grid = GRID.replace("--data_dir features", f"--data_dir {rows.parent}")
    assert sweeper(grid) == 0
    path = sweeper.study.outcomes()[0].folder / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"features": {"rte_train": sha256_of(rows)}}))
    rows.write_text("made anew")
    assert sweeper(grid) == 0, "nothing was left to do"
    more = grid.replace("1-2", "1-3")
    assert sweeper(more) == 2
    assert f"error: {rows}: made anew since runs of this study were done with it: " in capsys.readouterr().err
    assert len(sweeper.calls()) == 4
    rows.write_text("as they were")
    assert sweeper(more) == 0 and len(sweeper.calls()) == 6


def test_only_some_runs(sweeper: Sweeper) -> None:
    assert sweeper(f"{GRID} --only minilm/rte/pats/seed_2") == 0
    assert sweeper.statuses() == {**dict.fromkeys(ALL_DONE, "waiting"), "pats_2": "done"}


def test_a_sweep_in_earnest_is_killed_and_another_finishes_it(tmp_path: Path, workshop: Workshop) -> None:
    folder = tmp_path / "study"
    flags = "--recipes minilm/rte --methods adamax,pats --seeds 1-2 --set epochs=1 --set batch_size=8 --devices cpu"
    data = ["--data_dir", str(workshop.data_dir), "--init_checkpoint", str(workshop.encoder)]
    call = [sys.executable, "-m", "studies.sweep", "--output_dir", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    first = subprocess.Popen([*call, *flags.split(), *data], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    begun = folder / "runs/minilm/rte/adamax/seed_1/metrics.jsonl"
    try:
        wait_for("the first run", begun.exists)
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    two = ["--runs_per_device", str(min(2, len(available_cores())))]
    second = subprocess.run(
        [*call, "--devices", "cpu", *two], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert second.returncode == 0, second.stdout + second.stderr
    study = Study.load(folder)
    assert [run.label for run in study.runs] == ["adamax", "pats"] * 2
    for outcome in study.outcomes():
        assert outcome.status is Status.DONE
        events = [json.loads(line) for line in (outcome.folder / "metrics.jsonl").read_text().splitlines()]
        assert [event["event"] for event in events].count("eval") == 1  # none lost, none twice
    assert study.outcome(Run("minilm/rte", "adamax", (), 1)).score("rte") >= 0


def test_all_methods_are_those_of_the_recipe(sweeper: Sweeper) -> None:
    assert sweeper("--recipes minilm/rte --methods all --seeds 1 --data_dir features --devices cpu") == 0
    assert tuple(run.method for run in sweeper.study.runs) == Recipes.of(Suite()).methods_of("minilm/rte")
