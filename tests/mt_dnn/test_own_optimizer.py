"""Runs with an optimizer of one's own: one file and one flag, trained, cut, resumed, and refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import train
from mt_dnn.update import Updater
from tests.conftest import Workshop
from tests.module.optim.test_own import SIGN

FLAGS = ["--train_datasets", "rte,cola", "--epochs", "2", "--learning_rate", "1e-3", "--save_per_updates", "1"]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_sign.py").write_text(SIGN)
    return "own_sign:Sign"


def weights(run: Path) -> dict[str, torch.Tensor]:
    newest = max((run / "checkpoints").iterdir())
    return {
        f"{part} {name}": value
        for part in ("model", "optimizer")
        for name, value in load_file(newest / f"{part}.safetensors").items()
    }


@pytest.mark.parametrize("name", ["own", "torch.optim:NAdam"])
def test_a_run_that_is_cut_goes_on_with_the_same_bits(
    name: str, own: str, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = ["--optim", own, "--optim_options", "beta=0.8"] if name == "own" else ["--optim", name]
    flags = {run: workshop.flags(tmp_path / run, *FLAGS, *method) for run in ("whole", "cut")}
    assert train.main(flags["whole"]) == 0
    run_update, count = Updater.__call__, 0

    def stop_at_the_eighth(self: Updater, *args: object) -> object:
        nonlocal count
        count += 1
        if count == 8:
            raise KeyboardInterrupt
        return run_update(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Updater, "__call__", stop_at_the_eighth)
        assert train.main(flags["cut"]) != 0
    assert train.main([*flags["cut"], "--resume"]) == 0
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert whole.keys() == cut.keys() and any(key.startswith("optimizer 0.") for key in whole)
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
    results = json.loads((tmp_path / "cut/results.json").read_text())
    assert results["optim"] == (own if name == "own" else name)


def test_the_plan_shows_it(own: str, workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = workshop.flags(tmp_path / "run", *FLAGS, "--optim", own, "--optim_options", "beta=0.8", "--dry_run")
    assert train.main(flags) == 0
    told = capsys.readouterr().out
    assert "method   own_sign:Sign, learning rate 0.001" in told and "\n         beta=0.8\n" in told


BAD = {
    "no module": (["--optim", "nowhere:Sign"], "--optim nowhere:Sign: there is no module nowhere; "),
    "no class": (["--optim", "own_sign:Adam"], "--optim own_sign:Adam: not a class derived from torch.optim.Optimizer"),
    "no such argument": (
        ["--optim", "own_sign:Sign", "--optim_options", "betta=1"],
        "--optim own_sign:Sign has no argument betta; it has lr, beta, weight_decay",
    ),
    "arguments that are none": (["--optim", "own_sign:Sign", "--optim_options", "0.9"], "--optim_options: expected "),
    "arguments without a class": (["--optim_options", "beta=0.9"], "--optim_options would have no effect: it needs"),
    "flags of PATS": (["--optim", "own_sign:Sign", "--pats_p", "0.1"], "--pats_p would have no effect"),
    "a baseline": (
        ["--optim", "own_sign:Sign", "--baseline", "sage"],
        "--baseline sage contradicts --optim own_sign:Sign",
    ),
    "no name": (["--optim", "own_sign.py:Sign()"], "--optim: unknown 'own_sign.py:Sign()'; allowed: adamax, "),
}


@pytest.mark.parametrize(("flags", "message"), BAD.values(), ids=BAD.keys())
def test_mistakes_are_one_message_and_nothing_is_written(
    flags: list[str],
    message: str,
    own: str,
    workshop: Workshop,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train.main(workshop.flags(tmp_path / "run", *FLAGS, *flags)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
