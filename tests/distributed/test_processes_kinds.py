"""Several processes train, evaluate and go on with all kinds of task as one does.

Their rows hold different numbers of words, options and tokens; windows of one question fall to different ranks.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import train
from mt_dnn.record.run_folder import DEV_PREDICTIONS
from tests.conftest import Workshop
from tests.distributed.compare import CONTINUOUS, LEARNING_RATE, assert_close_run, assert_close_weights, timeline
from tests.distributed.launch import Group
from tests.miniature_kinds import SPLITS
from tests.test_train import results, without_dropout

TASKS = ["cola", "share", "ner", "pick", "asked"]
SPREAD = {"DDP, 3 ranks": (3, []), "FSDP, 2 ranks": (2, ["--fsdp"])}
FLAGS = ["--epochs", "2", "--log_per_updates", "1", "--dropout_p", "0", "--learning_rate", str(LEARNING_RATE)]
FLAGS += ["--optim", "pats_adamax", *CONTINUOUS, "--dev_predictions", "--train_datasets", ",".join(TASKS)]
FLAGS += ["--batch_size", "23", "--grad_accumulation_step", "2"]
"""Passes of 23 rows and of 1, which leaves all other ranks without any."""


class Alone(NamedTuple):
    """A run by one process: its flags but for `--output_dir`, and its folder."""

    flags: list[str]
    folder: Path


@pytest.fixture(scope="module")
def alone(kinds: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Alone:
    """A run that has nothing random but its noise; not to be written to."""
    root = tmp_path_factory.mktemp("alone")
    encoder = without_dropout(kinds, root / "encoder")
    flags = ["--task_def", str(kinds.data_dir.parents[1] / "tasks.yml"), "--init_checkpoint", str(encoder), *FLAGS]
    assert train.main(kinds.flags(root / "run", *flags)) == 0
    return Alone(flags, root / "run")


def assert_close_predictions(one: Path, other: Path) -> None:
    """The same rows, what is right, and predictions: but for rounding where these are numbers."""
    mine, theirs = (json.loads((run / DEV_PREDICTIONS).read_text()) for run in (one, other))
    assert list(mine) == list(theirs) == TASKS
    for task in TASKS:
        (split,), (their_split,) = mine[task].values(), theirs[task].values()
        for step, values in split.pop("predictions").items():
            found = their_split["predictions"][step]
            assert len(values) == SPLITS["dev"]
            assert found == (pytest.approx(values, abs=1e-3) if task == "share" else values), (task, step)
        their_split.pop("predictions")
        assert split == their_split, task


@pytest.mark.parametrize("spread", SPREAD)
def test_as_one_process(
    kinds: Workshop, tmp_path: Path, group_of: Callable[[int], Group], alone: Alone, spread: str
) -> None:
    """Each evaluation, in 25, 5 and 1 batches of the 25 windows, is besides that of each rank by itself."""
    ranks, more = SPREAD[spread]
    sizes = [1, 5, 64]
    flags = kinds.flags(tmp_path, *alone.flags, *more)
    outcomes = group_of(ranks).train(flags, "predictions_compared", batch_sizes=sizes)
    assert [(outcome.code, outcome.err) for outcome in outcomes] == [(0, "")] * ranks
    assert_close_run(alone.folder, tmp_path)
    assert_close_predictions(alone.folder, tmp_path)
    for outcome in outcomes:
        expected = [[task, "dev", size, SPLITS["dev"]] for _ in range(2) for task in TASKS for size in sizes]
        assert [note[:4] for note in outcome.notes] == expected
        assert all(distinct > 1 and equal for *_, distinct, equal in outcome.notes), outcome.notes


@pytest.mark.parametrize("spread", SPREAD)
def test_resumed_by_several(tmp_path: Path, group_of: Callable[[int], Group], alone: Alone, spread: str) -> None:
    """From the end of the first epoch, by more processes than began it."""
    ranks, more = SPREAD[spread]
    run = shutil.copytree(alone.folder, tmp_path / "run")
    (run / "results.json").unlink()
    shutil.rmtree(sorted((run / "checkpoints").iterdir())[-1])
    outcomes = group_of(ranks).train(["--output_dir", str(run), "--resume", *more])
    assert [outcome.code for outcome in outcomes] == [0] * ranks, outcomes[0].err
    assert results(run)["processes"] == ranks
    assert [event[:2] for event in timeline(run)] == [event[:2] for event in timeline(alone.folder)]
    assert_close_weights(alone.folder, run)
    assert_close_predictions(alone.folder, run)
