"""The optimizers in Hugging Face's `Trainer`, as instances and as classes; its checkpoints resume to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainingArguments,
)

from module.optim import AdamaxW, PATSAdamax, SAGEAdamW, encoder_param_groups, linear_schedule

pytest.importorskip("accelerate", reason="Hugging Face's Trainer needs accelerate, which is not installed")

SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 30}
UPDATES, STOP_AFTER = 6, 3  # of two updates an epoch: it stops in the middle of one

Arguments = dict[str, Any]
Way = Callable[[type[Optimizer], nn.Module, Arguments], Arguments]


def by_instance(cls: type[Optimizer], model: nn.Module, options: Arguments) -> Arguments:
    return {"optimizers": (cls(encoder_param_groups(model, weight_decay=0.01), lr=1e-3, **options), None)}


def by_instance_and_schedule(cls: type[Optimizer], model: nn.Module, options: Arguments) -> Arguments:
    optimizer = cls(encoder_param_groups(model, weight_decay=0.01), lr=1e-3, **options)
    return {"optimizers": (optimizer, linear_schedule(optimizer, warmup=0.0, total_steps=UPDATES))}


def by_class(cls: type[Optimizer], model: nn.Module, options: Arguments) -> Arguments:
    """`Trainer` takes "params" out of the dict, which therefore serves once."""
    groups = encoder_param_groups(model, weight_decay=0.01)
    return {"optimizer_cls_and_kwargs": (cls, {"params": groups, "lr": 1e-3, **options})}


class Rows(torch.utils.data.Dataset):
    """Eight rows of five tokens; the label is the parity of the first."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"input_ids": torch.arange(5) + i, "labels": torch.tensor(i % 2)}


class StopAtFirstCheckpoint(TrainerCallback):
    def on_save(self, args: TrainingArguments, state: Any, control: TrainerControl, **_: Any) -> None:
        control.should_training_stop = True


def tiny_model(seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(seed)
    return BertForSequenceClassification(BertConfig(**SHAPE)).to(dtype)


def tiny_trainer(model: nn.Module, optimizer: Arguments, folder: Path, **more: Any) -> Trainer:
    fixed = {"max_steps": UPDATES, "per_device_train_batch_size": 4, "save_steps": STOP_AFTER, "save_strategy": "no"}
    quiet = {"report_to": [], "use_cpu": True, "disable_tqdm": True, "logging_strategy": "no"}
    args = TrainingArguments(output_dir=str(folder), **{**fixed, **quiet, **more})
    return Trainer(model=model, args=args, train_dataset=Rows(), **optimizer)


@pytest.mark.parametrize("cls", [AdamaxW, PATSAdamax, SAGEAdamW])
@pytest.mark.parametrize("way", [by_instance, by_instance_and_schedule, by_class])
def test_trains_a_tiny_model(way: Way, cls: type[Optimizer], tmp_path: Path) -> None:
    """In the groups that were passed: `Trainer`'s own would have everything perturbed."""
    model = tiny_model()
    before = {name: param.detach().clone() for name, param in model.named_parameters()}
    trainer = tiny_trainer(model, way(cls, model, {}), tmp_path, max_steps=2)
    trainer.train()
    optimizer = trainer.optimizer
    assert all(state["step"] == 2 for state in optimizer.state.values())
    # Matrices only: SAGE leaves elements at zero where they are, and fresh biases are zero.
    matrices = [(name, param) for name, param in model.named_parameters() if param.dim() > 1]
    assert [name for name, param in matrices if torch.equal(param, before[name])] == []
    expected = encoder_param_groups(model, weight_decay=0.01)
    for group, wanted in zip(optimizer.param_groups, expected, strict=True):
        assert [id(param) for param in group["params"]] == [id(param) for param in wanted["params"]]
        assert [group[name] for name in ("name", "weight_decay")] == [wanted[name] for name in ("name", "weight_decay")]
    if cls is not AdamaxW:
        perturbed = {id(param) for group in expected if group["perturb"] for param in group["params"]}
        assert perturbed == {id(param) for param, state in optimizer.state.items() if "sensitivity" in state}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("cls", "options"), [(PATSAdamax, {"noise_lambda": 1e-3, "seed": 3}), (SAGEAdamW, {})])
@pytest.mark.parametrize("way", [by_instance_and_schedule, by_class])  # our schedule, and Trainer's own
def test_resumes_from_trainers_checkpoint_as_if_never_stopped(
    way: Way, cls: type[Optimizer], options: Arguments, dtype: torch.dtype, tmp_path: Path
) -> None:
    """Weights, averages, counters and rates, with dropout on; averages of bf16 weights stay float32."""

    def run(seed: int, resume_from: str | None = None, **more: Any) -> tuple[nn.Module, Trainer]:
        model = tiny_model(seed, dtype)
        trainer = tiny_trainer(model, way(cls, model, options), tmp_path, **more)
        if more:
            trainer.add_callback(StopAtFirstCheckpoint())
        trainer.train(resume_from_checkpoint=resume_from)
        return model, trainer

    whole, uninterrupted = run(seed=0)
    _, stopped = run(seed=0, save_strategy="steps")
    assert stopped.state.global_step == STOP_AFTER
    model, resumed = run(seed=1, resume_from=str(tmp_path / f"checkpoint-{STOP_AFTER}"))  # all weights come from it
    assert resumed.state.global_step == UPDATES

    exactly = {"rtol": 0, "atol": 0}
    torch.testing.assert_close(model.state_dict(), whole.state_dict(), **exactly)
    ours, theirs = resumed.optimizer.state_dict(), uninterrupted.optimizer.state_dict()
    torch.testing.assert_close(ours["state"], theirs["state"], **exactly)
    assert ours["param_groups"] == theirs["param_groups"]
    averages = [value for state in ours["state"].values() for name, value in state.items() if name != "step"]
    assert {value.dtype for value in averages} == {torch.float32}
    assert any(not torch.equal(value, value.bfloat16().float()) for value in averages)  # the test can tell


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_noise_of_these_tests_changes_the_weights(dtype: torch.dtype, tmp_path: Path) -> None:
    """Or equality after a resume would say nothing of the noise."""
    weights = []
    for seed in (3, 4):
        model = tiny_model(dtype=dtype)
        options = {"noise_lambda": 1e-3, "seed": seed}
        tiny_trainer(model, by_instance(PATSAdamax, model, options), tmp_path, max_steps=1).train()
        weights.append(model.get_parameter("bert.encoder.layer.0.output.dense.weight").detach())
    assert not torch.equal(*weights)
