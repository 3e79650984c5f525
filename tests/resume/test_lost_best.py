"""`best/` that was lost or damaged: written again bit for bit where a checkpoint has its weights, else told as lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import train
from data_utils.fingerprints import damage
from tests.conftest import Workshop, flip_a_bit
from tests.crash import train_until
from tests.test_train import results
from tests.torture.checks import differences

FLAGS = "--train_datasets asked,share --test_splits test --optim pats_adamax --learning_rate 3e-4 --seed 2 --epochs 4 "
FLAGS += "--batch_size 16 --keep_checkpoints"
"""Epochs of six updates, the second one's model the best. `asked` goes into `best/` with a threshold tuned on dev."""
BEST, LAST = 12, 24

DAMAGES: dict[str, Callable[[Path], object]] = {
    "deleted": shutil.rmtree,
    "heads cut short": lambda best: os.truncate(best / "heads.safetensors", 90),
    "no weights": lambda best: (best / "encoder" / "model.safetensors").unlink(),
    "no manifest": lambda best: (best / "manifest.json").unlink(),
}


@pytest.fixture(scope="module")
def labelled(kinds: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Tasks whose test splits have labels: the training rows once more."""
    features = tmp_path_factory.mktemp("labelled") / "features"
    shutil.copytree(kinds.data_dir, features)
    (features / "manifest.json").unlink()
    for name in ("asked", "share"):
        shutil.copy(features / f"{name}_train.json", features / f"{name}_test.json")
    shutil.copy(kinds.data_dir.parents[1] / "tasks.yml", features)
    return Workshop(features, kinds.encoder)


def flags(workshop: Workshop, run: Path, keep: int) -> list[str]:
    return workshop.flags(run, *FLAGS.split(), str(keep), "--task_def", str(workshop.data_dir / "tasks.yml"))


@pytest.fixture(scope="module")
def finished(labelled: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that kept the checkpoint of its best epoch; not to be written to."""
    run = tmp_path_factory.mktemp("finished") / "run"
    assert train.main(flags(labelled, run, 3)) == 0
    assert results(run)["best_model"]["step"] == BEST and results(run)["updates"] == LAST
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def contents(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def forget(run: Path) -> None:
    """Leave the last checkpoint alone, as `--keep_checkpoints 1` does."""
    for folder in (run / "checkpoints").iterdir():
        if not folder.name.endswith(str(LAST)):
            shutil.rmtree(folder)


def resume(run: Path) -> int:
    return train.main(["--output_dir", str(run), "--resume"])


@pytest.mark.parametrize("how", DAMAGES)
def test_a_run_that_is_done_gets_its_best_model_back_and_nothing_else(
    finished: Path, run: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    DAMAGES[how](run / "best")
    assert resume(run) == 0
    assert contents(run) == contents(finished)
    out = capsys.readouterr().out
    assert f"{run / 'best'} was not whole (" in out and f"written again with the weights after update {BEST}" in out


def test_a_run_that_was_cut_before_its_results_gets_its_best_model_back(finished: Path, run: Path) -> None:
    """Here every bit is looked at."""
    (run / "results.json").unlink()
    flip_a_bit(run / "best" / "encoder" / "model.safetensors")
    assert resume(run) == 0
    assert differences(finished, run) == []


@pytest.mark.parametrize("crash_at", [BEST + 1, BEST + 8], ids=["the newest checkpoint has it", "the one before"])
def test_a_run_that_was_cut_goes_on_as_if_nothing_had_been_lost(
    labelled: Workshop, finished: Path, tmp_path: Path, crash_at: int
) -> None:
    run = tmp_path / "run"
    train_until(crash_at, flags(labelled, run, 3))
    shutil.rmtree(run / "best")
    assert resume(run) == 0
    assert differences(finished, run) == []


def test_a_better_score_writes_it_anew(
    labelled: Workshop, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train_until(8, [*flags(labelled, run, 1), "--save_per_updates", "1"])
    shutil.rmtree(run / "best")
    assert resume(run) == 0
    assert "those after update 6; only a better score writes it anew" in capsys.readouterr().out
    assert differences(finished, run) == []


def test_without_a_better_score_the_run_ends_with_what_is_lost(
    labelled: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train_until(BEST + 8, flags(labelled, run, 1))
    shutil.rmtree(run / "best")
    assert resume(run) == 1
    out, err = capsys.readouterr()
    assert f"those after update {BEST}; only a better score writes it anew" in out and "written: " not in out
    assert err.startswith(f"stopped: {run / 'best'} is not whole (manifest.json: No such file or directory), and no ")
    assert not (run / "results.json").exists() and damage(run / "checkpoints" / f"step_{LAST:08d}") is None


@pytest.mark.parametrize("done", [True, False], ids=["results.json", "no results.json"])
@pytest.mark.parametrize("how", DAMAGES)
def test_a_finished_run_without_the_weights_says_what_is_lost_and_is_left_as_it_is(
    run: Path, capsys: pytest.CaptureFixture[str], how: str, done: bool
) -> None:
    forget(run)
    DAMAGES[how](run / "best")
    if not done:
        (run / "results.json").unlink()
    before = contents(run)
    assert resume(run) == 1
    out, err = capsys.readouterr()
    assert f"no checkpoint has its weights, those after update {BEST}." in err and err.count("\n") == 1
    assert f"{run / 'checkpoints'} has the last model, after update {LAST}" in err
    assert "start anew in another --output_dir" in err
    assert "written: " not in out and (f"{run} is done" in out) == done
    assert contents(run) == before


def test_a_run_that_is_done_and_kept_no_checkpoint_is_not_begun_anew(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("checkpoints", "best"):
        shutil.rmtree(run / name)
    before = contents(run)
    assert resume(run) == 1
    out, err = capsys.readouterr()
    assert f"{run} is done" in out and "and there is no checkpoint; for the model start anew" in err
    assert contents(run) == before


def test_a_run_that_is_done_is_trained_to_its_end_again_where_its_last_checkpoint_is_damaged_too(
    finished: Path, run: Path
) -> None:
    flip_a_bit(run / "checkpoints" / f"step_{LAST:08d}" / "model.safetensors")
    shutil.rmtree(run / "best")
    assert resume(run) == 0
    assert differences(finished, run) == []
