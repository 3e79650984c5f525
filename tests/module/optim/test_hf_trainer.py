"""The optimizers in Hugging Face's `Trainer`, by `optimizers=(…)`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from module.optim import AdamaxW, PATSAdamax, SAGEAdamW, encoder_param_groups, linear_schedule

SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 30}


class Rows(torch.utils.data.Dataset):
    """Eight rows of five tokens; the label is the parity of the first."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"input_ids": torch.arange(5) + i, "labels": torch.tensor(i % 2)}


@pytest.mark.parametrize("cls", [AdamaxW, PATSAdamax, SAGEAdamW])
@pytest.mark.parametrize("own_schedule", [False, True])
def test_trains_a_tiny_model(cls: type[torch.optim.Optimizer], own_schedule: bool, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="Hugging Face's Trainer needs accelerate, which is not installed")
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(**SHAPE))
    before = {name: param.detach().clone() for name, param in model.named_parameters()}
    optimizer = cls(encoder_param_groups(model, weight_decay=0.01), lr=1e-3)
    schedule = linear_schedule(optimizer, warmup=0.0, total_steps=2) if own_schedule else None
    args = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=2,
        per_device_train_batch_size=4,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
    )
    Trainer(model=model, args=args, train_dataset=Rows(), optimizers=(optimizer, schedule)).train()
    assert all(state["step"] == 2 for state in optimizer.state.values())
    # Matrices only: SAGE leaves elements at zero where they are, and fresh biases are zero.
    matrices = [(name, param) for name, param in model.named_parameters() if param.dim() > 1]
    assert [name for name, param in matrices if torch.equal(param, before[name])] == []
    if cls is not AdamaxW:
        perturbed = {id(p) for group in optimizer.param_groups if group["perturb"] for p in group["params"]}
        assert perturbed == {id(p) for p, state in optimizer.state.items() if "sensitivity" in state}
