"""A bad step is never applied: what is not finite stops the run, or is left out and counted."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import train
from data_utils.errors import StoppedError
from data_utils.fingerprints import damage
from module.losses import LOSSES, Targets
from mt_dnn import trainer
from mt_dnn.setup import build_trainer
from tests.conftest import Workshop

Criterion = Callable[[Tensor, Targets], Tensor]
FLAGS = ["--train_datasets", "cola,stsb", "--epochs", "2", "--log_per_updates", "1", "--optim", "pats_adamax"]


def bad_on(monkeypatch: pytest.MonkeyPatch, calls: set[int], value: float, name: str = "CeCriterion") -> None:
    """Make a criterion's loss not finite at some of its calls, counted from 1."""
    plain, count = LOSSES[name], 0

    def criterion(logits: Tensor, targets: Targets) -> Tensor:
        nonlocal count
        count += 1
        return plain(logits, targets) * (value if count in calls else 1.0)

    monkeypatch.setitem(LOSSES, name, criterion)


def explodes(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """Make the gradient norm infinite at a finite loss."""
    plain, count = LOSSES["CeCriterion"], 0

    def criterion(logits: Tensor, targets: Targets) -> Tensor:
        nonlocal count
        count += 1
        if count == call:
            logits.register_hook(lambda grad: grad * math.inf)
        return plain(logits, targets)

    monkeypatch.setitem(LOSSES, "CeCriterion", criterion)


def events(run: Path, name: str) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == name]


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(sorted((run / "checkpoints").iterdir())[-1] / "model.safetensors")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_bad_loss_stops_the_run_and_the_last_checkpoint_stands(
    workshop: Workshop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    value: float,
) -> None:
    flags = workshop.flags(tmp_path / "run", *FLAGS)
    assert train.main(workshop.flags(tmp_path / "whole", *FLAGS)) == 0
    capsys.readouterr()
    with monkeypatch.context() as patch:
        bad_on(patch, {5}, value)  # in the second epoch: each has three updates of cola
        assert train.main(flags) == 1
    message = capsys.readouterr().err
    step = int(message.split("update ")[1].split(",")[0])
    assert 6 < step <= 12
    assert message.startswith(f"stopped: update {step}, task cola: loss {value}, gradient norm ")
    uids = message.split("uids: ")[1].split(". ")[0].split(", ")
    assert len(uids) == 8 and set(uids) <= {str(i) for i in range(24)}
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    assert checkpoint.name == "step_00000006" and damage(checkpoint) is None
    assert train.main([*flags, "--resume"]) == 0
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


def test_a_finite_loss_with_an_infinite_gradient_stops_the_run(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    explodes(monkeypatch, 2)
    assert train.main(workshop.flags(tmp_path, *FLAGS)) == 1
    message = capsys.readouterr().err
    assert "task cola: loss 0." in message
    assert "gradient norm nan" in message or "gradient norm inf" in message


def test_skipped_updates_are_left_out_counted_and_shown(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad_on(monkeypatch, {2, 5}, math.nan)
    assert train.main(workshop.flags(tmp_path, *FLAGS, "--on_nonfinite", "skip")) == 0
    out = capsys.readouterr().out
    assert "skipped (number 1): update " in out and "skipped (number 2): update " in out
    assert out.count("  2 skipped") > 0
    assert json.loads((tmp_path / "results.json").read_text())["skipped_updates"] == 2
    skips, trained = events(tmp_path, "skip"), events(tmp_path, "train")
    assert [skip["task"] for skip in skips] == ["cola", "cola"] and all(len(skip["uids"]) == 8 for skip in skips)
    empty = [event for event in trained if not event["loss"]]
    assert [event["step"] for event in empty] == [skip["step"] for skip in skips]
    assert all(event["grad_norm"] is None for event in empty)
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path).values())
    # The rate is that of the updates that were applied, so it has not yet come down to nought.
    assert trained[-1]["learning_rate"] == pytest.approx(1e-4 * 2 / 11)


def test_a_skipped_update_changes_nothing(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every update bad, so the weights at the end are those of the start, and the optimizer has no state."""
    plain = LOSSES["CeCriterion"]
    monkeypatch.setitem(LOSSES, "CeCriterion", lambda logits, targets: plain(logits, targets) * math.nan)
    flags = ["--train_datasets", "cola", "--epochs", "2", "--on_nonfinite", "skip", "--optim", "pats_adamax"]
    config = train.load_config(workshop.flags(tmp_path / "never", *flags), "")
    before = build_trainer(config).parallel.state_dict()
    assert train.main(workshop.flags(tmp_path / "run", *flags)) == 0
    after = weights(tmp_path / "run")
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    newest = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1]
    assert not load_file(newest / "optimizer.safetensors")


def test_skipping_survives_a_resume(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = [*FLAGS, "--on_nonfinite", "skip", "--save_per_updates", "1"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    with monkeypatch.context() as patch:
        bad_on(patch, {2}, math.nan)
        assert train.main(workshop.flags(whole, *flags)) == 0
    with monkeypatch.context() as patch:
        bad_on(patch, {2}, math.nan)
        patch.setattr(trainer.Trainer, "_finish", lambda self: {}["the plug"])
        with pytest.raises(KeyError):
            train.main(workshop.flags(cut, *flags))
    assert train.main(["--output_dir", str(cut), "--resume"]) == 0
    assert (whole / "metrics.jsonl").read_bytes() == (cut / "metrics.jsonl").read_bytes()
    assert json.loads((cut / "results.json").read_text())["skipped_updates"] == 1


def test_a_run_that_only_skips_is_stopped(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad_on(monkeypatch, set(range(3, 100)), math.nan)
    flags = ["--train_datasets", "cola", "--epochs", "20", "--on_nonfinite", "skip"]
    assert train.main(workshop.flags(tmp_path, *flags)) == 1
    assert capsys.readouterr().err.startswith(
        "stopped: 25 updates one after another were not finite, the last: update 27,"
    )


def test_a_run_that_only_overflows_is_stopped(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The scaler of float16, here on a CPU, finds no scale at which the gradients are finite."""
    config = train.load_config(workshop.flags(tmp_path, "--train_datasets", "cola", "--epochs", "20"), "")
    run = build_trainer(config)
    run.state.precision.scaler = torch.amp.GradScaler("cpu")
    plain = LOSSES["CeCriterion"]

    def criterion(logits: Tensor, targets: Targets) -> Tensor:
        logits.register_hook(lambda grad: grad * math.nan)
        return plain(logits, targets)

    monkeypatch.setitem(LOSSES, "CeCriterion", criterion)
    with pytest.raises(
        StoppedError, match="25 updates one after another overflowed in float16, the last was update 25"
    ):
        run.run()
    assert "24 overflowed" in capsys.readouterr().out


def test_no_score_is_made_up_for_outputs_that_are_not_finite(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = trainer.Updater.__call__

    def spoil(self: Any, draw: Any, step: int) -> Any:
        updated = plain(self, draw, step)
        if step == 3:
            with torch.no_grad():
                self.parallel.model.heads["cola"].linear.bias[0] = math.nan
        return updated

    monkeypatch.setattr(trainer.Updater, "__call__", spoil)
    assert train.main(workshop.flags(tmp_path, "--train_datasets", "cola", "--epochs", "2")) == 1
    message = capsys.readouterr().err
    assert message.startswith(
        "stopped: evaluation of cola, split dev: the outputs of 12 of 12 rows are not finite (uids: "
    )
    assert not (tmp_path / "results.json").exists() and not (tmp_path / "checkpoints").exists()


def test_weights_that_are_not_finite_are_not_saved(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = trainer.Updater.__call__

    def spoil(self: Any, draw: Any, step: int) -> Any:
        updated = plain(self, draw, step)
        if step == 2:
            with torch.no_grad():
                next(self.parallel.model.parameters())[0, 0] = math.inf
        return updated

    monkeypatch.setattr(trainer.Updater, "__call__", spoil)
    flags = ["--train_datasets", "cola", "--epochs", "2", "--save_per_updates", "1"]
    assert train.main(workshop.flags(tmp_path, *flags)) == 1
    assert capsys.readouterr().err.startswith("stopped: weights are no longer finite, and were not saved")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_00000001"]
