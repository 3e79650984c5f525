"""A run that resumes has the settings of its checkpoint: an edited `config.yaml` is not taken up by halves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import train
from data_utils.fingerprints import write_list
from mt_dnn.config import FREE_ON_RESUME, load_config
from tests.conftest import Workshop
from tests.crash import train_until

FLAGS = "--train_datasets cola --epochs 3 --optim pats_adamax --device cpu".split()


@pytest.fixture(scope="module")
def begun(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that crashed in its second epoch; not to be written to."""
    run = tmp_path_factory.mktemp("begun") / "run"
    train_until(5, workshop.flags(run, *FLAGS))
    return run


@pytest.fixture
def cut(begun: Path, tmp_path: Path) -> Path:
    return shutil.copytree(begun, tmp_path / "run")


def edit(run: Path, **values: Any) -> None:
    """Change `config.yaml` as by hand; a value of "gone" takes the line out."""
    settings = yaml.safe_load((run / "config.yaml").read_text()) | values
    kept = {name: value for name, value in settings.items() if value != "gone"}
    (run / "config.yaml").write_text(yaml.safe_dump(kept, sort_keys=False))


def state_of(run: Path) -> Path:
    (file,) = run.glob("checkpoints/*/state.json")
    return file


def contents(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_a_checkpoint_keeps_all_settings_but_those_that_may_change(begun: Path) -> None:
    config = load_config(["--output_dir", str(begun), "--resume"], "")
    kept = json.loads(state_of(begun).read_text())["settings"]
    assert kept == {name: value for name, value in config.to_dict().items() if name not in FREE_ON_RESUME}
    assert {"seed", "epochs", "warmup", "optim", "pats_lambda", "train_datasets"} <= kept.keys()


EDITS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "what was taken up without a word": (
        {"epochs": 5, "warmup": 0.5, "dropout_p": 0.4, "early_stopping": 1, "test_datasets": "cola"},
        [
            'test_datasets is "cola" in {file}, and was null in',
            "dropout_p is 0.4 in {file}, and was 0.1 in",
            "epochs is 5 in {file}, and was 3 in",
            "warmup is 0.5 in {file}, and was 0.1 in",
            "early_stopping is 1 in {file}, and was 0 in",
        ],
    ),
    "what did not fit, for reasons that were not told": (
        {"batch_size": 4, "learning_rate": 0.01, "seed": 9},
        [
            "learning_rate is 0.01 in {file}, and was 0.0001 in",
            "batch_size is 4 in {file}, and was 8 in",
            "seed is 9 in {file}, and was 1 in",
        ],
    ),
    "other tasks": ({"train_datasets": "rte"}, ['train_datasets is "rte" in {file}, and was "cola" in']),
    "a line less": ({"optim": "gone"}, ['optim is "adamax" in {file}, and was "pats_adamax" in']),
}


@pytest.mark.parametrize("case", EDITS)
def test_edited_settings_are_refused_by_name(cut: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    values, expected = EDITS[case]
    edit(cut, **values)
    before = contents(cut)
    assert train.main(["--output_dir", str(cut), "--resume"]) == 2
    *told, cure = capsys.readouterr().err.removeprefix("error: ").splitlines()
    checkpoint = state_of(cut).parent
    assert told == [f"--resume: {line.format(file=cut / 'config.yaml')} {checkpoint}" for line in expected]
    assert "give the file its old values again" in cure and "in another --output_dir" in cure
    assert contents(cut) == before


def test_what_may_change_may_be_edited(cut: Path) -> None:
    edit(cut, log_per_updates=1, save_per_updates=2, keep_checkpoints=1, device="auto", on_nonfinite="skip")
    assert train.main(["--output_dir", str(cut), "--resume"]) == 0
    assert len(list((cut / "checkpoints").iterdir())) == 1


def test_a_setting_that_the_run_was_begun_without_must_have_its_default(
    cut: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a checkpoint of an older version does not name it."""
    state = json.loads(state_of(cut).read_text())
    del state["settings"]["best_by"]
    state_of(cut).write_text(json.dumps(state))
    write_list(state_of(cut).parent)
    edit(cut, best_by="cola")
    assert train.main(["--output_dir", str(cut), "--resume"]) == 2
    assert 'best_by is "cola" in' in capsys.readouterr().err
    edit(cut, best_by="gone")
    assert train.main(["--output_dir", str(cut), "--resume"]) == 0


def test_a_checkpoint_without_settings_is_taken_up(cut: Path) -> None:
    state = json.loads(state_of(cut).read_text())
    del state["settings"]
    state_of(cut).write_text(json.dumps(state))
    write_list(state_of(cut).parent)
    assert train.main(["--output_dir", str(cut), "--resume"]) == 0
