"""What a run leaves of its sensitivities: `sensitivity_log.jsonl`, histograms and curves in TensorBoard."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train
from module.optim import AdamaxW, PATSAdamax, SAGEAdamax
from mt_dnn.record.run_log import RunLog
from mt_dnn.record.sensitivity_log import log_sensitivity
from tests.conftest import Workshop
from tests.module.optim.toy import take_steps, toy_params


def logged(optimizer: object, folder: Path) -> tuple[list[dict], EventAccumulator]:
    take_steps(optimizer, 1, 2)
    with RunLog(folder, marks={}, step=0, tensorboard=True) as log:
        log_sensitivity(optimizer, log, 2)
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    assert not (folder / "metrics.jsonl").exists()
    path = folder / "sensitivity_log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else [], board


def test_pats_leaves_summaries_histogram_and_curves(tmp_path: Path) -> None:
    events, board = logged(PATSAdamax(toy_params(), noise_lambda=1e-3), tmp_path)
    (event,) = events
    assert (event["event"], event["step"]) == ("sensitivity", 2)
    assert len(event["tensors"]) == len(toy_params())
    one = event["tensors"]["0.0"]
    assert one["elements"] == 91 and one["mean"] > 0 and 0 < one["share_perturbed"] <= 0.2
    assert one["quantiles"] == sorted(one["quantiles"])
    assert all(value == float(f"{value:.4g}") for value in one["quantiles"])
    histogram = board.Histograms("log10 of sensitivity")[0].histogram_value
    assert histogram.num == sum(param.numel() for param in toy_params())
    assert -12 <= histogram.min < histogram.max < math.log10(20)
    elements = {name: tensor["elements"] for name, tensor in event["tensors"].items()}
    mean = sum(elements[name] * tensor["mean"] for name, tensor in event["tensors"].items()) / sum(elements.values())
    assert board.Scalars("sensitivity/mean")[0].value == pytest.approx(mean, rel=1e-3)
    assert "noise/share_perturbed" in board.Tags()["scalars"]
    noisy = {name: elements[name] * tensor["share_with_noise"] for name, tensor in event["tensors"].items()}
    scale = sum(noisy[name] * tensor["mean_noise_scale"] for name, tensor in event["tensors"].items())
    assert board.Scalars("noise/mean_scale")[0].value == pytest.approx(scale / sum(noisy.values()), rel=1e-3)


def test_sage_has_sensitivities_but_no_noise(tmp_path: Path) -> None:
    events, board = logged(SAGEAdamax(toy_params()), tmp_path)
    assert events[0]["tensors"]["0.0"]["mean_noise_scale"] is None
    assert board.Tags()["scalars"] == ["sensitivity/mean"]


def test_other_optimizers_leave_nothing(tmp_path: Path) -> None:
    events, board = logged(AdamaxW(toy_params()), tmp_path)
    assert events == []
    assert board.Tags()["scalars"] == []


@pytest.mark.parametrize(("every", "expected"), [(2, [2, 4, 6]), (0, [])])
def test_a_run_logs_them_as_often_as_asked(every: int, expected: list[int], workshop: Workshop, tmp_path: Path) -> None:
    flags = ["--train_datasets", "rte", "--optim", "pats_adamax", "--epochs", "2"]
    flags += ["--sensitivity_per_updates", str(every)]
    assert train.main(workshop.flags(tmp_path / "run", *flags)) == 0
    log = tmp_path / "run" / "sensitivity_log.jsonl"
    found = [json.loads(line) for line in log.read_text().splitlines()] if expected else []
    assert [event["step"] for event in found] == expected and log.exists() == bool(expected)
    assert '"sensitivity"' not in (tmp_path / "run" / "metrics.jsonl").read_text()
    for event in found:
        assert all(name.endswith(("weight", "bias")) and "layer" in name for name in event["tensors"])
