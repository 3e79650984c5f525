"""Heads that learn at a rate of their own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

import train
from data_utils.task_def import load_task_defs
from mt_dnn.config import load_config
from mt_dnn.head_rates import head_rates
from mt_dnn.setup import build_trainer
from tests.conftest import Workshop
from tests.crash import train_until

FLAGS = ["--train_datasets", "cola,stsb", "--epochs", "2", "--optim", "pats_adamax", "--weight_decay", "0.01"]


def groups(workshop: Workshop, run: Path, *more: str) -> dict[str, tuple[float, list[str]]]:
    """Each parameter group's peak rate and names."""
    trainer = build_trainer(load_config(workshop.flags(run, *FLAGS, *more), ""))
    found = {g["name"]: (g["initial_lr"], g["names"]) for g in trainer.state.optimizer.param_groups}
    assert len(found) == len(trainer.state.optimizer.param_groups)
    return found


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """GLUE's task file, in which STS-B has a factor of its own."""
    defined = yaml.safe_load(Path("experiments/glue/glue_task_def.yml").read_text())
    defined["stsb"]["head_lr_factor"] = 0.5
    (tmp_path / "tasks.yml").write_text(yaml.safe_dump(defined))
    return tmp_path / "tasks.yml"


def test_groups_and_rates(workshop: Workshop, tmp_path: Path, tasks: Path) -> None:
    plain = groups(workshop, tmp_path / "run")
    assert set(plain) == {"encoder layers", "encoder layers, no decay", "other", "other, no decay"}
    more = ["--learning_rate", "2e-4", "--head_lr_factor", "5", "--task_def", str(tasks)]
    found = groups(workshop, tmp_path / "run", *more)
    heads = {name: group for name, group in found.items() if "head of" in name}
    assert {name: rate for name, (rate, _) in heads.items()} == {
        "other, head of cola": 5 * 2e-4,
        "other, no decay, head of cola": 5 * 2e-4,
        "other, head of stsb": 0.5 * 2e-4,
        "other, no decay, head of stsb": 0.5 * 2e-4,
    }
    for name, (_, members) in heads.items():
        assert members and all(member.startswith(f"heads.{name.split()[-1]}.") for member in members)
    rest = {name: group for name, group in found.items() if name not in heads}
    assert {rate for rate, _ in rest.values()} == {2e-4} and set(rest) == set(plain)
    for name, (_, members) in plain.items():
        assert rest[name][1] == [member for member in members if not member.startswith("heads.")]


def test_a_factor_moves_the_head_alone(workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The encoder's part of the first update is the same, PATS's noise included."""
    weights = {}
    for factor in ("1", "3"):
        flags = [*FLAGS[2:], "--train_datasets", "cola", "--warmup", "0", "--save_per_updates", "1"]
        flags += ["--head_lr_factor", factor, "--dropout_p", "0", "--pats_p", "1", "--pats_lambda", "1e-2"]
        train_until(2, workshop.flags(tmp_path / factor, *flags))
        weights[factor] = load_file(tmp_path / factor / "checkpoints" / "step_00000001" / "model.safetensors")
    assert "plain step, rate times 3\n" in capsys.readouterr().out
    differ = {name for name in weights["1"] if not torch.equal(weights["1"][name], weights["3"][name])}
    assert differ == {name for name in weights["1"] if name.startswith("heads.cola.")}


def test_resume_equals_never_having_stopped(workshop: Workshop, tmp_path: Path) -> None:
    common = [*FLAGS, "--save_per_updates", "2", "--head_lr_factor", "4"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train.main(workshop.flags(whole, *common)) == 0
    train_until(5, workshop.flags(cut, *common))
    assert train.main(["--output_dir", str(cut), "--resume"]) == 0
    last = sorted((whole / "checkpoints").iterdir())[-1].name
    for name in ("model", "optimizer"):
        one, two = (load_file(run / "checkpoints" / last / f"{name}.safetensors") for run in (whole, cut))
        assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one), name


def test_a_task_of_its_own_factor(workshop: Workshop, tmp_path: Path, tasks: Path) -> None:
    defined = load_task_defs(tasks)
    config = load_config(workshop.flags(tmp_path / "run", *FLAGS, "--head_lr_factor", "2"), "")
    assert head_rates(config, [defined["cola"], defined["stsb"]]) == {"cola": 2.0, "stsb": 0.5}
    assert defined["stsb"].to_dict()["head_lr_factor"] == 0.5 and "head_lr_factor" not in defined["cola"].to_dict()


def test_flags_that_change_nothing_are_noted(
    workshop: Workshop, tmp_path: Path, tasks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Values of tasks go before the flags, and a plain optimizer keeps no sensitivities."""
    defined = yaml.safe_load(tasks.read_text())
    defined["stsb"]["dropout_p"] = 0.2
    tasks.write_text(yaml.safe_dump(defined))
    asked = ["--head_lr_factor", "2", "--dropout_p", "0.3", "--sensitivity_per_updates", "7", "--dry_run"]
    for number, (names, optim, idle) in enumerate(
        [
            ("stsb", "adamax", {"head_lr_factor", "dropout_p", "sensitivity_per_updates"}),
            ("stsb,cola", "pats_adamax", set()),
        ]
    ):
        flags = ["--train_datasets", names, "--optim", optim, "--task_def", str(tasks), *asked]
        assert train.main(workshop.flags(tmp_path / str(number), *flags)) == 0
        told = re.findall(r"note     --(\w+) \S+ has no effect: (.*)", capsys.readouterr().out)
        assert {flag for flag, _ in told} == idle
        assert all(("adamax keeps" if "sens" in flag else "each task has one") in reason for flag, reason in told)


@pytest.mark.parametrize("factor", ["0", "-1", "inf", "nan"])
def test_factors_that_are_none(
    workshop: Workshop, tmp_path: Path, factor: str, tasks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(workshop.flags(tmp_path / "run", *FLAGS, "--head_lr_factor", factor)) == 2
    assert "--head_lr_factor" in capsys.readouterr().err
    tasks.write_text(
        tasks.read_text().replace("head_lr_factor: 0.5", f"head_lr_factor: {factor.replace('n', '.n', 1)}")
    )
    assert train.main(workshop.flags(tmp_path / "run", *FLAGS, "--task_def", str(tasks))) == 2
    assert "head_lr_factor" in capsys.readouterr().err
