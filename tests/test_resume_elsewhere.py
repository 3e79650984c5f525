"""A run goes on from another folder, and with its data, task file and encoder in other places, if they are the same."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

import train
from tests.conftest import Workshop
from tests.crash import train_until

TASKS = Path(__file__).parents[1] / "experiments" / "glue" / "glue_task_def.yml"
FLAGS = (
    "--data_dir data --init_checkpoint tiny-bert --task_def tasks.yml --train_datasets rte --epochs 2 --batch_size 8 "
)
FLAGS += "--optim pats_adamax --pats_lambda 1e-3 --baseline none --no-tensorboard --sensitivity_per_updates 2 "
FLAGS += "--log_per_updates 1 --output_dir run"


@pytest.fixture
def project(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own with data, task file and encoder, and we in it."""
    folder = tmp_path / "project"
    shutil.copytree(workshop.data_dir, folder / "data")
    shutil.copytree(workshop.encoder, folder / "tiny-bert")
    shutil.copy(TASKS, folder / "tasks.yml")
    monkeypatch.chdir(folder)
    return folder


def start(crash_at: int | None, *flags: str) -> None:
    """A run that ends by itself, or crashes in an update."""
    if crash_at is None:
        assert train.main([*FLAGS.split(), *flags]) == 0
    else:
        train_until(crash_at, [*FLAGS.split(), *flags])


@pytest.fixture
def cut(project: Path) -> Path:
    """A run that crashed after its first epoch, beside a whole one in `whole`."""
    start(None, "--output_dir", "whole")
    start(5)
    assert [path.name for path in (project / "run/checkpoints").iterdir()] == ["step_00000003"]
    return project / "run"


def left_by(run: Path) -> dict[str, object]:
    """What a run leaves, but for times and places."""
    files = [
        "metrics.jsonl",
        "sensitivity_log.jsonl",
        *(f"best/encoder/{name}" for name in ("config.json", "tokenizer.json")),
    ]
    last = run / "checkpoints/step_00000006"
    weights = {
        stem: {k: v.tolist() for k, v in load_file(last / f"{stem}.safetensors").items()}
        for stem in ("model", "optimizer")
    }
    texts = {name: (run / name).read_text() for name in files}
    return weights | texts | {"encoder": json.loads((last / "state.json").read_text())["encoder"]}


def resume(run: Path, *flags: str) -> int:
    return train.main(["--output_dir", str(run), "--resume", *flags])


OTHER_WORDS: dict[str, Sequence[str]] = {
    "a dot": ("--data_dir", "./data", "--init_checkpoint", "./tiny-bert", "--task_def", "./tasks.yml"),
    "a slash": ("--data_dir", "data/", "--init_checkpoint", "tiny-bert/"),
    "a way round": ("--data_dir", "data/../data"),
    "nothing": (),
}


@pytest.mark.parametrize("words", OTHER_WORDS)
def test_the_same_place_in_other_words(cut: Path, words: str) -> None:
    assert resume(Path("run"), *OTHER_WORDS[words]) == 0
    assert left_by(cut) == left_by(cut.with_name("whole"))


@pytest.mark.parametrize("same_flags", [False, True], ids=["settings of the run", "the first command line"])
def test_from_another_folder(cut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_flags: bool) -> None:
    monkeypatch.chdir(tmp_path)
    assert resume(cut, *(FLAGS.replace("--output_dir run", "").split() if same_flags else ())) == 0
    assert left_by(cut) == left_by(cut.with_name("whole"))


def test_other_kernels_are_told_of(
    cut: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which draw other noise: on a machine without Numba, say, what was begun with it."""
    version = pytest.importorskip("numba").__version__
    monkeypatch.setattr("module.optim.backends._why_no_numba", lambda: "Numba is not installed")
    assert resume(cut) == 0
    said = f"saved with optimizer steps by numba {version}, now foreach: bits may differ"
    assert said in "".join(capsys.readouterr())


def test_everything_moved_and_the_weights_gone(cut: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project, away = cut.parent, tmp_path / "away"
    away.mkdir()
    for name, new in {"data": "features", "tiny-bert": "encoder", "tasks.yml": "definitions.yml"}.items():
        shutil.move(project / name, away / new)
    (away / "encoder/model.safetensors").unlink()
    assert resume(cut) == 2
    said = capsys.readouterr().err
    assert "--data_dir data: not there" in said and "--task_def tasks.yml: not there" in said
    found = ["--data_dir", str(away / "features"), "--task_def", str(away / "definitions.yml")]
    assert resume(cut, *found, "--init_checkpoint", "./tiny-bert") == 2
    assert "the run's own folder has where best/ is there" in capsys.readouterr().err
    again = shutil.copytree(cut, cut.with_name("again"))
    for run, encoder in ((cut, away / "encoder"), (again, again)):
        assert resume(run, *found, "--init_checkpoint", str(encoder)) == 0
        assert left_by(run) == left_by(cut.with_name("whole"))


def test_a_moved_project_goes_on_from_its_new_place(cut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.move(cut.parent, tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    assert resume(Path("run")) == 0
    assert left_by(Path("run")) == left_by(Path("whole"))


def test_other_contents_are_refused_with_all_that_differs(cut: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = cut.parent
    rows = (project / "data/rte_train.json").read_text().splitlines(keepends=True)
    other = shutil.copytree(
        project / "data", project / "other", ignore=shutil.ignore_patterns("*.safetensors", "manifest*")
    )
    (other / "rte_train.json").write_text("".join(rows[:-1]))
    tasks = yaml.safe_load(TASKS.read_text())
    tasks["rte"]["dropout_p"] = 0.3
    (project / "other.yml").write_text(yaml.safe_dump(tasks, sort_keys=False))
    encoder = shutil.copytree(project / "tiny-bert", project / "other-bert")
    config = json.loads((encoder / "config.json").read_text())
    (encoder / "config.json").write_text(json.dumps(config | {"hidden_dropout_prob": 0.25}))
    before = sorted((path, path.stat().st_mtime_ns) for path in cut.rglob("*"))
    places = ["--data_dir", str(other), "--task_def", "other.yml", "--init_checkpoint", str(encoder)]
    assert resume(cut, *places) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.removeprefix("error: ").split(" since ")[0] for line in lines[-4:-1]] == [
        "--resume: --data_dir: the features of rte changed",
        "--resume: --task_def: the definition of rte changed",
        "--resume: --init_checkpoint: the encoder changed: hidden_dropout_prob is 0.25, was 0.1",
    ]
    assert "start anew in another --output_dir" in lines[-1]
    assert sorted((path, path.stat().st_mtime_ns) for path in cut.rglob("*")) == before


def test_an_older_configuration_is_taken_up(cut: Path) -> None:
    config = yaml.safe_load((cut / "config.yaml").read_text())
    assert config.pop("started_in") == os.getcwd()
    (cut / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    assert resume(cut) == 0


def test_a_configuration_runs_again_from_another_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(None)
    monkeypatch.chdir(tmp_path)
    assert train.main(["--config", str(project / "run/config.yaml"), "--output_dir", str(tmp_path / "again")]) == 0
    assert left_by(tmp_path / "again") == left_by(project / "run")
