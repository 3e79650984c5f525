"""Checkpoints are whole or not there: damage is found and reported, the one before is used, failures lose nothing."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import mt_dnn.record.checkpoint
import train
from data_utils.atomic import remove_folder, settle, write_folder, write_text
from data_utils.errors import InputError, StoppedError
from data_utils.fingerprints import Fingerprint, damage
from mt_dnn.record.checkpoint import TENSORS, Checkpoint, Checkpoints
from mt_dnn.record.run_folder import OURS
from tests.conftest import Workshop, flip_a_bit


def save(checkpoints: Checkpoints, step: int) -> Path:
    tensors = {stem: {"x": torch.arange(100.0) + step} for stem in TENSORS}
    return checkpoints.save(step, tensors, {"answer": 42}, {"metrics.jsonl": Fingerprint(step, "hash")}).folder


def newest(checkpoints: Checkpoints) -> tuple[Checkpoint | None, list[str]]:
    said: list[str] = []
    return checkpoints.newest(said.append), said


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
    assert newest(checkpoints) == (None, [])
    save(checkpoints, 7)
    found, said = newest(checkpoints)
    assert found is not None and found.folder.name == "step_00000007" and not said
    assert found.state["step"] == 7 and found.state["answer"] == 42
    assert found.logs == {"metrics.jsonl": Fingerprint(7, "hash")}
    assert all(torch.equal(found.tensors[stem]["x"], torch.arange(100.0) + 7) for stem in TENSORS)


def test_weights_are_read_of_whole_checkpoints_alone(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
    assert checkpoints.weights(1) == {}
    for step in (1, 2):
        save(checkpoints, step)
    assert torch.equal(checkpoints.weights(1)["x"], torch.arange(100.0) + 1)
    flip_a_bit(tmp_path / "checkpoints" / "step_00000001" / "model.safetensors")
    assert checkpoints.weights(1) == {} and checkpoints.weights(2) != {}


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_are_kept(tmp_path: Path, keep: int) -> None:
    checkpoints = Checkpoints(tmp_path, keep)
    for step in (1, 5, 20, 100):
        save(checkpoints, step)
    assert names(tmp_path) == ["step_00000001", "step_00000005", "step_00000020", "step_00000100"][-keep:]


def manifest(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content) or content))


def outside(folder: Path, name: str) -> None:
    """List a file of another folder as if it belonged here, with the right size and hash."""
    (folder.parent / "elsewhere").write_text("secret")
    listed = Fingerprint.of(folder.parent / "elsewhere")._asdict()
    manifest(folder, lambda content: content.update({name: listed}))


def link(folder: Path) -> None:
    """Move a file out of the folder and leave a link to it."""
    shutil.move(folder / "state.json", folder.parent / "elsewhere")
    (folder / "state.json").symlink_to(folder.parent / "elsewhere")


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated weights": (lambda f: os.truncate(f / "model.safetensors", 90), "model.safetensors is not what was"),
    "emptied weights": (lambda f: os.truncate(f / "model.safetensors", 0), "model.safetensors is not what was"),
    "a flipped bit": (lambda f: flip_a_bit(f / "optimizer.safetensors"), "optimizer.safetensors is not what was"),
    "a flipped bit in the state": (lambda f: flip_a_bit(f / "state.json"), "state.json is not what was"),
    "a longer state": (lambda f: (f / "state.json").open("a").write("{}\n"), "state.json is not what was"),
    "a missing file": (lambda f: (f / "random.safetensors").unlink(), "random.safetensors is not there"),
    "a folder for a file": (
        lambda f: ((f / "state.json").unlink(), (f / "state.json").mkdir()),
        "state.json is not there",
    ),
    "an empty folder": (lambda f: (shutil.rmtree(f), f.mkdir()), "manifest.json: No such file"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "manifest.json: No such file"),
    "an empty manifest": (lambda f: os.truncate(f / "manifest.json", 0), "manifest.json: Expecting value"),
    "half a manifest": (lambda f: os.truncate(f / "manifest.json", 50), "manifest.json: "),
    "a manifest that is a list": (lambda f: (f / "manifest.json").write_text("[]"), "manifest.json lists no files"),
    "a manifest of nothing": (
        lambda f: (f / "manifest.json").write_text("{}"),
        "manifest.json lacks model.safetensors",
    ),
    "a manifest without a file": (
        lambda f: manifest(f, lambda content: content.pop("state.json") and content),
        "manifest.json lacks state.json",
    ),
    "a manifest of binary": (lambda f: (f / "manifest.json").write_bytes(b"\x80\xff"), "manifest.json: "),
    "deep nesting": (lambda f: (f / "manifest.json").write_text("[" * 100_000), "manifest.json: "),
    "a path upwards": (
        lambda f: outside(f, "../elsewhere"),
        "manifest.json names a file outside the folder: '../elsewhere'",
    ),
    "an absolute path": (
        lambda f: outside(f, str(f.parent / "elsewhere")),
        "manifest.json names a file outside the folder",
    ),
    "a link to outside": (link, "manifest.json names a file outside the folder: 'state.json'"),
    "a link to itself": (
        lambda f: ((f / "state.json").unlink(), (f / "state.json").symlink_to(f / "state.json")),
        "",
    ),
    "a name with a zero byte": (
        lambda f: manifest(f, lambda content: content.update({"x\0": {"bytes": 0, "sha256": ""}})),
        "manifest.json: ",
    ),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_checkpoint_is_reported_and_the_one_before_is_used(tmp_path: Path, kind: str) -> None:
    do, reason = DAMAGES[kind]
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
    before, damaged = save(checkpoints, 1), save(checkpoints, 2)
    do(damaged)
    found, said = newest(checkpoints)
    assert found is not None and found.folder == before
    assert len(said) == 1 and said[0].startswith(f"checkpoint {damaged} is damaged ({reason}"), said


def test_without_a_whole_checkpoint_there_is_no_going_on(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2):
        flip_a_bit(save(checkpoints, step) / "model.safetensors")
    with pytest.raises(InputError, match="no checkpoint in .* is whole; start anew"):
        newest(checkpoints)


def test_a_checkpoint_of_another_version_is_refused(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    tensors = {stem: {"x": torch.zeros(1)} for stem in TENSORS}
    checkpoints.save(1, tensors, {"format": 3}, {})
    with pytest.raises(InputError, match="step_00000001 has format 3, this version reads 4; go on with"):
        newest(checkpoints)


@pytest.mark.parametrize(
    ("logs", "reason"),
    [
        (None, "no marks of logs: None"),
        ([], r"no marks of logs: \[\]"),
        *(({"a": mark}, "no size and SHA-256") for mark in (None, {}, {"bytes": "9", "sha256": ""})),
    ],
)
def test_a_mark_that_is_none_is_refused(tmp_path: Path, logs: object, reason: str) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(1, {stem: {"x": torch.zeros(1)} for stem in TENSORS}, {"logs": logs}, {})
    with pytest.raises(InputError, match=f"step_00000001 is no checkpoint of this toolkit: {reason}"):
        newest(checkpoints)


def test_what_is_newer_than_the_checkpoint_in_use_gets_out_of_the_way(tmp_path: Path) -> None:
    """Else it would count among the newest to keep, and push out the whole ones."""
    checkpoints = Checkpoints(tmp_path, keep=1)
    whole = save(checkpoints, 1)
    (tmp_path / "step_00000009").mkdir()
    found, _ = newest(checkpoints)
    assert found is not None and found.folder == whole
    checkpoints.drop_after(whole)
    save(checkpoints, 2)
    assert names(tmp_path) == ["step_00000002"]


class TestSettling:
    def test_half_written_things_go(self, tmp_path: Path) -> None:
        (tmp_path / "best.partial").mkdir()
        (tmp_path / "best.partial" / "x").touch()
        (tmp_path / "config.yaml.partial").touch()
        (tmp_path / "config.yaml").touch()
        for name in ("train.log.partial", "notes", "notes.old"):  # the user's own
            (tmp_path / name).touch()
        settle(tmp_path, OURS)
        assert names(tmp_path) == ["config.yaml", "notes", "notes.old", "train.log.partial"]

    @pytest.mark.parametrize("replaced", [False, True])
    def test_a_folder_that_was_being_replaced_comes_back_or_goes(self, tmp_path: Path, replaced: bool) -> None:
        old = tmp_path / "best"
        write_folder(old, lambda folder: write_text(folder / "x", "old"))
        old.rename(tmp_path / "best.old")
        if replaced:
            write_folder(old, lambda folder: write_text(folder / "x", "new"))
        settle(tmp_path, OURS)
        assert names(tmp_path) == ["best"] and damage(old) is None
        assert (old / "x").read_text() == ("new" if replaced else "old")

    def test_removing_leaves_nothing_that_could_be_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = save(Checkpoints(tmp_path, keep=1), 1)
        monkeypatch.setattr(shutil, "rmtree", lambda *args, **options: None)  # the power goes
        remove_folder(folder)
        assert newest(Checkpoints(tmp_path, keep=1)) == (None, [])


FULL = [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO]


@pytest.mark.parametrize("code", FULL, ids=errno.errorcode.get)
@pytest.mark.parametrize("operation", ["mkdir", "rename", "fsync", "save_file", "write_text"])
def test_a_failed_save_says_why_and_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, code: int
) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    before = save(checkpoints, 1)

    def fail(*args: Any, **options: Any) -> None:
        raise OSError(code, os.strerror(code), str(tmp_path))

    owner = {"mkdir": Path, "write_text": Path, "save_file": mt_dnn.record.checkpoint}.get(operation, os)
    with monkeypatch.context() as patch:
        patch.setattr(owner, operation, fail)
        with pytest.raises(StoppedError) as stopped:
            save(checkpoints, 2)
    assert str(stopped.value).startswith(f"{tmp_path / 'step_00000002'} cannot be written: {os.strerror(code)}. ")
    assert "What was saved before stands" in str(stopped.value)
    assert names(tmp_path) == ["step_00000001"] and damage(before) is None


def test_a_disk_that_is_full_ends_the_run_with_one_message(workshop: Workshop, tmp_path: Path) -> None:
    """A real failure to write: the kernel refuses to let files grow beyond a limit."""
    flags = workshop.flags(tmp_path / "run", "--train_datasets", "cola", "--epochs", "2")
    limit = 60_000  # bytes: more than the configuration, less than the weights

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        [sys.executable, "train.py", *flags], preexec_fn=small_files, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 1, done.stderr
    (message,) = [line for line in done.stderr.splitlines() if line.startswith("stopped: ")]
    assert "cannot be written: " in message and "File too large" in message
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "run").rglob("*.partial"))
    assert train.main([*flags, "--resume"]) == 0


def test_the_kept_checkpoints_and_the_best_model(workshop: Workshop, tmp_path: Path) -> None:
    flags = ["--train_datasets", "cola,rte", "--epochs", "3", "--save_per_updates", "2", "--keep_checkpoints", "3"]
    assert train.main(workshop.flags(tmp_path, *flags)) == 0
    assert names(tmp_path / "checkpoints") == ["step_00000014", "step_00000016", "step_00000018"]
    assert damage(tmp_path / "best") is None
    assert names(tmp_path) == ["best", "checkpoints", "config.yaml", "metrics.jsonl", "results.json"]


def test_size_and_time_of_checkpoints_are_shown(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = workshop.flags(tmp_path, "--train_datasets", "cola", "--epochs", "1", "--tensorboard")
    assert train.main(flags) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("checkpoint "))
    size = sum(path.stat().st_size for path in (tmp_path / "checkpoints" / "step_00000003").iterdir())
    assert float(line.split()[2]) == pytest.approx(size / 1e6, abs=0.1) and line.split()[3:5] == ["MB", "in"]
    assert json.loads((tmp_path / "results.json").read_text())["save_seconds"] > 0
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert {"checkpoint/megabytes", "checkpoint/seconds"} <= set(board.Tags()["scalars"])
