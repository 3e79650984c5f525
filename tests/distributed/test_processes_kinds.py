"""Several processes train ranking and tagging as one does, though their rows hold different numbers of words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import train
from tests.conftest import Workshop
from tests.distributed.compare import CONTINUOUS, LEARNING_RATE, assert_close_run
from tests.distributed.launch import Group
from tests.test_train import without_dropout


@pytest.mark.parametrize("more", [[], ["--fsdp"]], ids=["DDP", "FSDP"])
def test_as_one_process(kinds: Workshop, tmp_path: Path, group_of: Callable[[int], Group], more: list[str]) -> None:
    encoder = without_dropout(kinds, tmp_path / "encoder")
    tasks = ["--task_def", str(kinds.data_dir.parents[1] / "tasks.yml"), "--train_datasets", "ner,pick"]
    passes = ["--batch_size", "5", "--grad_accumulation_step", "2", "--epochs", "1", "--log_per_updates", "1"]
    method = ["--optim", "pats_adamax", "--learning_rate", str(LEARNING_RATE), *CONTINUOUS, "--dropout_p", "0"]
    given = [*tasks, *passes, *method, "--init_checkpoint", str(encoder)]
    assert train.main(kinds.flags(tmp_path / "one", *given)) == 0
    outcomes = group_of(2).train(kinds.flags(tmp_path / "two", *given, *more), "nothing")
    assert [(outcome.code, outcome.err) for outcome in outcomes] == [(0, "")] * 2
    assert_close_run(tmp_path / "one", tmp_path / "two")
