"""`--pad_to_buckets`: the same rows, losses and gradients as without, within float rounding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import train
from mt_dnn.setup import build_trainer
from mt_dnn.trainer import Trainer
from tests.conftest import Workshop


def trainer(workshop: Workshop, folder: Path, *more: str) -> Trainer:
    flags = ["--train_datasets", "cola,mrpc,stsb", "--dropout_p", "0", "--grad_accumulation_step", "2"]
    run = build_trainer(train.load_config(workshop.flags(folder, *flags, *more), ""))
    for module in run.parallel.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for layer in run.parallel.model.encoder.model.encoder.layer:
        layer.attention.self.dropout_prob = 0.0
    return run


@pytest.mark.parametrize("packing", ["on", "off"])
def test_losses_and_gradients_are_those_of_the_shapes_as_they_come(
    workshop: Workshop, tmp_path: Path, packing: str
) -> None:
    plain = trainer(workshop, tmp_path, "--packing", packing)
    bucketed = trainer(workshop, tmp_path, "--packing", packing, "--pad_to_buckets")
    widened = 0
    for draw in plain.sampler.epoch(0):
        found: list[tuple[Tensor, list[Tensor]]] = []
        for run in (plain, bucketed):
            run.parallel.model.train()
            loss = run.update._backward(draw)
            found.append((loss, [p.grad for p in run.parallel.model.parameters() if p.grad is not None]))
            run.state.optimizer.zero_grad(set_to_none=True)
        (loss, grads), (other_loss, other_grads) = found
        torch.testing.assert_close(other_loss, loss, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(other_grads, grads, rtol=1e-4, atol=1e-6)
        train_rows = plain.state.data[draw.task].train
        before, after = (run.collator(train_rows, draw.rows) for run in (plain, bucketed))
        assert (before.layout.rows == after.layout.rows).all()
        widened += before.inputs["input_ids"].shape != after.inputs["input_ids"].shape
    assert widened


def test_a_run_with_buckets_trains_and_says_so(workshop: Workshop, tmp_path: Path) -> None:
    flags = ["--train_datasets", "cola", "--epochs", "1", "--pad_to_buckets"]
    assert train.main(workshop.flags(tmp_path / "run", *flags)) == 0
    assert "pad_to_buckets: true" in (tmp_path / "run" / "config.yaml").read_text()
