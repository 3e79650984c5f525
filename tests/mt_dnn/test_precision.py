"""bfloat16 on a CPU that has no instructions for it is told, in place of a run that takes a night."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

import mt_dnn
import predict
import train
from mt_dnn.precision import other_precision, precision_remarks
from mt_dnn.sections import LoopConfig
from studies.sweeps.plan import NOTE
from tests.conftest import Workshop

TOLD = "this CPU has no instructions for bf16"


@pytest.fixture
def of_cpu(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> bool:
    """Whether torch says that it has fast products of bfloat16 matrices."""
    has = bool(request.param)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: has)
    return has


@pytest.mark.parametrize("of_cpu", [True, False], indirect=True)
@pytest.mark.parametrize("bf16", [True, False])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_slow_bf16_is_told_where_it_is_slow(of_cpu: bool, bf16: bool, device: str) -> None:
    told = precision_remarks(LoopConfig(bf16=bf16), torch.device(device))
    assert [TOLD in line for line in told] == [True] * (bf16 and device == "cpu" and not of_cpu)


def test_torch_without_onednn_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    assert precision_remarks(LoopConfig(bf16=True), torch.device("cpu")) == []


@pytest.mark.parametrize(
    ("trained", "bf16", "told"),
    [
        ({"bf16": True}, False, "computed in bf16, these in fp32, so they may differ; --bf16 does the same"),
        ({"fp16": True}, True, "computed in fp16, these in bf16, so they may differ; there is no --fp16 here"),
        (
            {"bf16": False, "fp16": False},
            True,
            "in fp32, these in bf16, so they may differ; leave --bf16 out to do the same",
        ),
        ({"bf16": True}, True, ""),
        ({"bf16": False}, False, ""),
        ({}, True, ""),
    ],
)
def test_scores_in_other_numbers_than_the_run_s_own_are_told(trained: dict[str, bool], bf16: bool, told: str) -> None:
    assert [line[-len(told) :] for line in other_precision(trained, LoopConfig(bf16=bf16))] == [told] * bool(told)


@pytest.mark.parametrize("of_cpu", [True, False], indirect=True)
def test_plans_and_predictions_tell_it(
    workshop: Workshop, tmp_path: Path, of_cpu: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    flags = workshop.flags(run, "--train_datasets", "cola", "--epochs", "1", "--max_seq_len", "16", "--bf16")
    assert train.main(flags) == 0
    assert (f"\n{NOTE}{TOLD}" in capsys.readouterr().out) == (not of_cpu)
    (tmp_path / "texts").write_text("a sentence\n")
    for precision in ([], ["--bf16"]):
        given = ["--checkpoint", str(run), "--texts", str(tmp_path / "texts"), "--output", "-", *precision]
        assert predict.main(given) == 0
        assert (f"note: {TOLD}" in capsys.readouterr().err) == (bool(precision) and not of_cpu)
    for bf16 in (False, True):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            mt_dnn.load(run, bf16=bf16)
        assert any(TOLD in str(one.message) for one in caught) == (bf16 and not of_cpu)
