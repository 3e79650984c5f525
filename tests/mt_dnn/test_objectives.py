"""Objectives: what is minimised, the weight of a task's loss, and room for objectives of several passes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import train
from data_utils.errors import InputError
from data_utils.task_def import DataFormat, TaskDef, TaskType, load_task_defs
from mt_dnn import setup
from mt_dnn.batching import Batch
from mt_dnn.config import load_config
from mt_dnn.objectives import Forward, Objective, Plain, task_loss
from mt_dnn.objectives.build import idle_task_keys
from tests.conftest import Workshop
from tests.test_train import without_dropout

GLUE_TASKS = Path("experiments/glue/glue_task_def.yml")
FLAGS = ["--train_datasets", "cola,stsb", "--epochs", "2", "--log_per_updates", "1"]
TOY = TaskDef(name="toy", data_format=DataFormat.PremiseOnly, task_type=TaskType.Classification, n_class=2)


def weighted_tasks(tmp_path: Path, task: str, weight: Any) -> Path:
    """GLUE's task file with a `loss_weight` in one task."""
    path = tmp_path / f"tasks_{weight}.yml"
    path.write_text(GLUE_TASKS.read_text().replace(f"\n{task}:\n", f"\n{task}:\n  loss_weight: {weight}\n"))
    assert "loss_weight" in path.read_text()
    return path


def losses(run: Path) -> list[dict[str, float]]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [event["loss"] for event in lines if event["event"] == "train"]


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(sorted((run / "checkpoints").iterdir())[-1] / "model.safetensors")


def test_plain_yields_one_term_the_weighted_sum_over_rows() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    batch = Batch({}, {"label": torch.tensor([0, 1, 1])}, None)  # type: ignore[arg-type]
    for weight in (1.0, 0.25):
        task = dataclasses.replace(TOY, loss_weight=weight)
        (term,) = Plain()(lambda name, inputs: logits, task, batch)
        assert term.shape == ()
        assert term.item() == pytest.approx(3 * weight * 0.6931472)


def test_a_weight_multiplies_the_loss_of_its_task_alone(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, more in {"plain": [], "4": ["--task_def", str(weighted_tasks(tmp_path, "stsb", 4))]}.items():
        assert train.main(workshop.flags(tmp_path / name, *FLAGS, *more)) == 0
        assert ("loss     stsb times 4 (loss_weight)" in capsys.readouterr().out) == bool(more)
    one, other = losses(tmp_path / "plain"), losses(tmp_path / "4")
    first = next(i for i, loss in enumerate(one) if "stsb" in loss)  # before it nothing differs
    assert one[:first] == other[:first]
    assert other[first]["stsb"] == pytest.approx(4 * one[first]["stsb"], rel=1e-6)
    assert one[first + 1 :] != other[first + 1 :]


def test_a_weight_of_one_is_no_weight(workshop: Workshop, tmp_path: Path) -> None:
    tasks = weighted_tasks(tmp_path, "stsb", 1.0)
    assert load_task_defs(tasks)["stsb"] == load_task_defs(GLUE_TASKS)["stsb"]
    assert "loss_weight" not in load_task_defs(tasks)["stsb"].to_dict()  # as in checkpoints from before there was one


def test_a_run_keeps_its_weights(workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    flags = workshop.flags(run, *FLAGS, "--resume", "--task_def")
    assert train.main([*flags, str(weighted_tasks(tmp_path, "stsb", 4))]) == 0
    (run / "results.json").unlink()
    assert train.main([*flags, str(weighted_tasks(tmp_path, "stsb", 2))]) == 2
    assert "--task_def: the definition of stsb changed" in capsys.readouterr().err
    assert train.main([*flags, str(weighted_tasks(tmp_path, "stsb", 4))]) == 0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "loss_weight must be > 0 and finite, got 0"),
        (-1.5, "loss_weight must be > 0 and finite, got -1.5"),
        (".inf", "loss_weight must be > 0 and finite, got inf"),
        (".nan", "loss_weight must be > 0 and finite, got nan"),
        ("much", "loss_weight: expected a number, got 'much'"),
        ("true", "loss_weight: expected a number, got True"),
    ],
)
def test_bad_weights(tmp_path: Path, value: Any, message: str) -> None:
    path = tmp_path / "tasks.yml"
    path.write_text(f"toy: {{data_format: PremiseOnly, task_type: Classification, loss_weight: {value}}}\n")
    with pytest.raises(InputError, match=message):
        load_task_defs(path)


@pytest.mark.parametrize(("flags", "idle"), [([], {"adv_loss"}), (["--baseline", "rdrop"], {"adv_loss"})])
def test_what_objectives_compare_outputs_by_counts_for_smart_alone(flags: list[str], idle: set[str]) -> None:
    least = "--data_dir data --init_checkpoint encoder --output_dir run --train_datasets cola".split()
    assert idle_task_keys(load_config([*least, *flags], "")) == idle
    assert idle_task_keys(load_config([*least, "--baseline", "smart"], "")) == frozenset()


def test_an_objective_of_several_terms_is_the_sum_of_them(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each term's backward pass comes before the next term is computed, as FreeLB's ascent steps need it."""

    class Thirds(Objective):
        terms = 3

        def __call__(self, forward: Forward, task: TaskDef, batch: Batch) -> Iterator[Tensor]:
            for share in (0.25, 0.5, 0.25):
                probe = torch.zeros((), requires_grad=True)
                yield share * task_loss(forward, task, batch) + probe * 0.0
                assert probe.grad is not None
                probes.append(probe)

    probes: list[Tensor] = []
    encoder = tmp_path / "encoder"
    flags = [*FLAGS, "--dropout_p", "0", "--init_checkpoint", str(without_dropout(workshop, encoder))]
    assert train.main(workshop.flags(tmp_path / "plain", *flags)) == 0
    monkeypatch.setattr(setup, "build_objective", lambda config, model, tasks: Thirds())
    assert train.main(workshop.flags(tmp_path / "thirds", *flags)) == 0
    one, other = losses(tmp_path / "plain"), losses(tmp_path / "thirds")
    assert len(probes) == 2 * len(one)  # after the last term nothing more is asked for
    for mine, theirs in zip(one, other, strict=True):
        assert mine == pytest.approx(theirs, rel=2e-3)
