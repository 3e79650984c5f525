"""The readings side by side: what the command prints is what a second computation says, and bad input is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from module.optim import PATSAdamax, encoder_param_groups
from studies import readings
from tests.conftest import Workshop


def run(workshop: Workshop, folder: Path, *more: str) -> int:
    data = ["--data_dir", str(workshop.data_dir), "--init_checkpoint", str(workshop.encoder), "--train_datasets", "sst"]
    return readings.main([*data, "--batch_size", "8", "--updates", "6", "--output_dir", str(folder), *more])


def test_all_readings_are_trained_and_told(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="the figure needs matplotlib, which is not installed")
    assert run(workshop, tmp_path, "--learning_rate", "1e-3", "--pats_lambda", "1e-6") == 0
    said = capsys.readouterr().out
    found = {one["method"]: one for one in json.loads((tmp_path / "readings.json").read_text())["readings"]}
    assert list(found) == ["adamax", "pats", "pats_signed_std", "pats_magnitude_variance", "pats_magnitude"]
    assert all(said.count(f"\n{method} ") >= (1 if method == "adamax" else 3) for method in found)
    for method, one in found.items():
        if method == "adamax":
            assert not one["shares"] and one["drift"] > 0
            continue
        shares = list(one["shares"].values())
        assert shares == sorted(shares, reverse=True)
        assert shares[0] < 0.9 if "magnitude" not in method else shares[0] == 1.0
        assert sum(one["histogram"]) == pytest.approx(shares[2], abs=0.15)  # all tensors here, matrices there
        assert one["sigma_quantiles"] == sorted(one["sigma_quantiles"])
    # σ = √r with λ 1e-6 is the root of what σ = r is: of the same states but for what the noise did to them.
    assert found["pats_magnitude_variance"]["sigma_mean"] > 100 * found["pats_magnitude"]["sigma_mean"]
    assert {path.name for path in tmp_path.iterdir()} == {f"readings.{kind}" for kind in ("json", "png", "svg", "txt")}


def test_shares_and_sigma_are_those_of_the_optimizers_state() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Module()
    layer.layers = torch.nn.ModuleList([torch.nn.Linear(40, 30) for _ in range(3)])
    optimizer = PATSAdamax(
        encoder_param_groups(layer, layers="layers"), noise_lambda=1e-4, noise_gamma=0.1, noise_p=0.5
    )
    for param in layer.parameters():
        param.grad = torch.randn_like(param)
    optimizer.step()
    found = readings.with_noise(readings.Reading("pats", 0.0, 0.0), optimizer)
    summary = optimizer.sensitivity_summary()
    matrices = sorted(one.share_with_noise for name, one in summary.items() if name.endswith("weight"))
    optimizer.param_groups[0]["noise_gamma"] = found_gamma = 2e-2
    at_gamma = sorted(
        one.share_with_noise for name, one in optimizer.sensitivity_summary().items() if name.endswith("weight")
    )
    assert found.shares[found_gamma] == pytest.approx(at_gamma[1], rel=1e-6)
    assert found.shares[0.0] >= matrices[1]
    elements = sum(one.elements for one in summary.values())
    mean = sum(one.elements * one.share_with_noise * one.mean_noise_scale for one in summary.values()) / elements
    assert found.sigma_mean == pytest.approx(mean, rel=1e-4)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--updates", "0"], "--updates must be at least 1, got 0"),
        (["--pats_sensitivity", "signed"], "--pats_sensitivity: python -m studies.readings sets this itself"),
        (["--optim=adamw"], "--optim=adamw: python -m studies.readings sets this itself"),
        (["--pats_lambda", "0"], "--pats_lambda and --pats_p must be above 0"),
        (["--learning_rat", "1"], "--learning_rat: no such flag; flags are not cut short here, write --learning_rate"),
    ],
)
def test_bad_input_is_named(
    flags: list[str], message: str, workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(workshop, tmp_path / "new", *flags) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_without_any_noise_there_is_a_figure_all_the_same(workshop: Workshop, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the figure needs matplotlib, which is not installed")
    assert run(workshop, tmp_path, "--learning_rate", "1e-3", "--pats_gamma", "1e9") == 0
    assert (tmp_path / "readings.png").is_file()
