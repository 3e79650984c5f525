"""`--finite_check log`: updates are looked at before the next log, and what is not finite was left out all the same."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import train
from mt_dnn import trainer
from tests.conftest import Workshop
from tests.crash import train_until
from tests.mt_dnn.test_nonfinite import bad_on, events, explodes

FLAGS = ["--train_datasets", "cola,stsb", "--epochs", "2", "--log_per_updates", "4", "--global_grad_clipping", "0.3"]
LATE = ["--finite_check", "log"]
OPTIMS = ["adamax", "pats_adamax", "sage_adamw", "recadam_adamw"]


def same_end(one: Path, other: Path) -> bool:
    """Whether two runs told and left the same, to the last bit."""
    last = sorted((one / "checkpoints").iterdir())[-1].name
    told = [(run / "metrics.jsonl").read_bytes() for run in (one, other)]
    for name in ("model", "optimizer", "random"):
        left = [load_file(run / "checkpoints" / last / f"{name}.safetensors") for run in (one, other)]
        if left[0].keys() != left[1].keys() or not all(torch.equal(left[0][key], left[1][key]) for key in left[0]):
            return False
    return told[0] == told[1]


@pytest.mark.parametrize("optim", OPTIMS)
def test_finite_updates_are_the_same_to_the_bit(optim: str, workshop: Workshop, tmp_path: Path) -> None:
    """Clipped and not, with a rate that moves."""
    for name, how in (("early", []), ("late", LATE)):
        assert train.main(workshop.flags(tmp_path / name, *FLAGS, "--optim", optim, *how)) == 0
    norms = [event["grad_norm"] for event in events(tmp_path / "late", "train")]
    assert max(norms) > 0.3
    assert same_end(tmp_path / "early", tmp_path / "late")


def test_nothing_is_read_before_it_has_to_be(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    plain = trainer.Updater.resolve
    monkeypatch.setattr(trainer.Updater, "__call__", None)

    def noted(self: trainer.Updater, updates: list) -> list:
        looks.append(len(updates))
        return plain(self, updates)

    monkeypatch.setattr(trainer.Updater, "resolve", noted)
    assert train.main(workshop.flags(tmp_path, *FLAGS, *LATE)) == 0
    assert [count for count in looks if count] == [4, 2, 2, 4]  # six updates an epoch; a log after 4, 6, 8 and 12


def test_bad_updates_are_left_out_and_told_at_the_next_log(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, how in (("early", []), ("late", LATE)):
        with monkeypatch.context() as patch:
            bad_on(patch, {2, 5}, math.nan)
            flags = workshop.flags(tmp_path / name, *FLAGS, "--optim", "pats_adamax", "--on_nonfinite", "skip", *how)
            assert train.main(flags) == 0
    assert capsys.readouterr().out.count("skipped (number 2): update ") == 2
    early, late = (events(tmp_path / name, "skip") for name in ("early", "late"))
    assert early == late and len(late) == 2
    assert json.loads((tmp_path / "late/results.json").read_text())["skipped_updates"] == 2
    weights = load_file(sorted((tmp_path / "late/checkpoints").iterdir())[-1] / "model.safetensors")
    assert all(tensor.isfinite().all() for tensor in weights.values())
    # The schedule has come to its end: an update that was left out has had its turn.
    assert events(tmp_path / "late", "train")[-1]["learning_rate"] == pytest.approx(0, abs=1e-12)


def test_a_bad_update_stops_the_run_at_the_next_log(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    explodes(monkeypatch, 2)
    assert train.main(workshop.flags(tmp_path, *FLAGS, *LATE)) == 1
    message = capsys.readouterr().err
    assert message.startswith("stopped: update ") and "task cola: loss 0." in message and "uids: " in message
    assert not (tmp_path / "checkpoints").exists()


def test_a_run_that_was_cut_goes_on_to_the_bit(workshop: Workshop, tmp_path: Path) -> None:
    """Cut between two logs, in the middle of what nobody had looked at."""
    flags = [*FLAGS, *LATE, "--save_per_updates", "5"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train.main(workshop.flags(whole, *flags)) == 0
    train_until(10, workshop.flags(cut, *flags))
    assert train.main(["--output_dir", str(cut), "--resume"]) == 0
    assert same_end(whole, cut)


@pytest.mark.parametrize("how", [[], LATE], ids=["early", "late"])
def test_a_run_that_was_cut_after_a_skipped_update_goes_on_to_the_bit(
    how: list[str], workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The schedule counts such an update with `--finite_check log` alone."""
    flags = [*FLAGS, *how, "--on_nonfinite", "skip", "--save_per_updates", "5"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    with monkeypatch.context() as patch:
        bad_on(patch, {2}, math.nan)
        assert train.main(workshop.flags(whole, *flags)) == 0
    with monkeypatch.context() as patch:
        bad_on(patch, {2}, math.nan)
        train_until(10, workshop.flags(cut, *flags))
    assert train.main(["--output_dir", str(cut), "--resume"]) == 0
    assert same_end(whole, cut) and len(events(cut, "skip")) == 1


@pytest.mark.parametrize("optim", ["adamw", "torch.optim:SGD"])
def test_an_optimizer_that_cannot_is_refused(
    optim: str, workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(workshop.flags(tmp_path, *FLAGS, *LATE, "--optim", optim)) == 2
    assert f"--optim {optim} contradicts --finite_check log: it cannot leave an update out" in capsys.readouterr().err
