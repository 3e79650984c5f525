"""Checkpoints whose manifest is right and whose content is not: restored, or refused with one message."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import train
from data_utils.errors import InputError
from data_utils.fingerprints import write_list
from mt_dnn import setup
from mt_dnn.record.checkpoint import TENSORS, Checkpoint, read_checkpoint
from mt_dnn.trainer import Trainer
from tests.conftest import Workshop

FLAGS = ["--train_datasets", "cola,stsb", "--epochs", "3", "--optim", "pats_adamax", "--save_per_updates", "4"]

Restore = Callable[[Checkpoint], str | None]


@pytest.fixture(scope="module")
def run(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped in the middle of an epoch; not to be written to."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_finished", lambda self: self.state.progress.step >= 10)
        patch.setattr(Trainer, "_finish", lambda self: {"tasks": {}})
        assert train.main(workshop.flags(folder, *FLAGS)) == 0
    return folder


@pytest.fixture(scope="module")
def whole(run: Path) -> Checkpoint:
    return read_checkpoint(run / "checkpoints" / "step_00000010")


@pytest.fixture(scope="module")
def restore(run: Path) -> Restore:
    """Restore a checkpoint into a trainer; returns why not, or None where it was taken up."""
    trainer = setup.build_trainer(train.load_config(["--output_dir", str(run), "--resume"], ""))

    def attempt(checkpoint: Checkpoint) -> str | None:
        try:
            trainer.state.restore(checkpoint, lambda line: None)
        except InputError as error:
            return str(error)
        assert all(p.isfinite().all() for p in trainer.parallel.model.parameters())
        at = trainer.state.progress
        assert 0 <= at.position < len(trainer.sampler)
        assert trainer.state.schedule.last_epoch in (at.applied, at.step)
        majority = dict.fromkeys(task.name for task in trainer.state.tested)
        json.dumps(at.history.results(trainer.state.tested, majority), allow_nan=False)
        json.dumps(trainer.state.losses.means(), allow_nan=False)
        return None

    return attempt


def test_the_whole_checkpoint_is_taken_up(restore: Restore, whole: Checkpoint) -> None:
    assert restore(whole) is None


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to all nodes of a JSON value; long lists by their first entries."""
    yield path
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(min(len(value), 3)):
            yield from places(value[key], (*path, key))


ODD = [None, True, -1, 0, 1, 7, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", "x", "\x00", [], {}, [[]]]
ODD += [{"": {}}, [None] * 5, [float("nan"), 1], [1, float("inf")], "9" * 5000]


@given(data=st.data())
def test_any_other_state_is_taken_up_or_refused(data: st.DataObject, restore: Restore, whole: Checkpoint) -> None:
    state = copy.deepcopy(whole.state)
    path = data.draw(st.sampled_from([path for path in places(state) if path]))
    *upwards, last = path
    node = state
    for key in upwards:
        node = node[key]
    if data.draw(st.booleans()):
        node[last] = data.draw(st.sampled_from(ODD))
    else:
        del node[last]
    reason = restore(whole._replace(state=state))
    assert reason is None or reason.startswith("--resume: ")


@pytest.mark.parametrize("part", ["progress", "losses", "groups", "data", "step", "made_with"])
def test_no_part_of_the_state_can_be_missing(part: str, restore: Restore, whole: Checkpoint) -> None:
    state = {name: value for name, value in whole.state.items() if name != part}
    assert (reason := restore(whole._replace(state=state))) and "does not fit this run" in reason


@given(data=st.data())
def test_any_other_tensors_are_taken_up_or_refused(data: st.DataObject, restore: Restore, whole: Checkpoint) -> None:
    stem = data.draw(st.sampled_from(TENSORS))
    group = dict(whole.tensors[stem])
    name = data.draw(st.sampled_from(sorted(group)))
    tensor = group.pop(name)
    change = data.draw(st.sampled_from(["drop", "rename", "reshape", "grow", "empty", "cast"]))
    if change == "rename":
        group[data.draw(st.sampled_from(["", "x", "0", "-1.exp_avg", "99999.step", "1.", "a.b", name + "."]))] = tensor
    elif change != "drop":
        group[name] = {
            "reshape": lambda: tensor.reshape(-1, 1),
            "grow": lambda: torch.cat([tensor.flatten(), tensor.flatten()]),
            "empty": lambda: tensor.new_empty(0),
            "cast": lambda: tensor.to(torch.int16),
        }[change]()
    reason = restore(whole._replace(tensors=whole.tensors | {stem: group}))
    assert reason is None or reason.startswith("--resume: ")
    if change in ("drop", "rename", "grow", "empty"):
        assert reason is not None, f"{stem}: {name} was left out or changed, and nobody noticed"


@pytest.mark.parametrize("stem", TENSORS)
@given(content=st.binary(max_size=200))
def test_a_file_of_anything_is_refused(stem: str, content: bytes, run: Path, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("checkpoint")
    for path in (run / "checkpoints" / "step_00000010").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / f"{stem}.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="--resume: .* is no checkpoint of this toolkit: "):
        read_checkpoint(folder)


@given(content=st.one_of(st.binary(max_size=100), st.sampled_from([b"[]", b"3", b"null", b"{}", b"[" * 99999, b'"x"'])))
def test_a_state_of_anything_is_refused(content: bytes, run: Path, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("checkpoint")
    (folder / "state.json").write_bytes(content)
    with pytest.raises(InputError, match="--resume: "):
        read_checkpoint(folder)


def test_the_command_line_says_it_in_one_message(
    workshop: Workshop, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A crafted checkpoint with a manifest that fits it, from train.py."""
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    folder = copied / "checkpoints" / "step_00000010"
    tensors = load_file(folder / "optimizer.safetensors")
    del tensors[next(name for name in tensors if name.endswith("exp_inf"))]
    save_file(tensors, folder / "optimizer.safetensors")
    write_list(folder)
    capsys.readouterr()
    assert train.main(["--output_dir", str(copied), "--resume"]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"error: --resume: {folder} does not fit this run: ") and message.count("\n") == 1
