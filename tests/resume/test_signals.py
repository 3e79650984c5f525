"""Signals at exact moments, and two runs in one folder at a time."""

from __future__ import annotations

import fcntl
import signal
from concurrent.futures import Executor
from pathlib import Path
from typing import TextIO

import pytest

from data_utils.errors import BusyError, SignalledError
from mt_dnn.record.run_folder import claim_folder, release_folder
from tests.resume.attempts import forget_random_state, interrupt, run_plainly, start_twice
from tests.torture.runs import worker_pool
from tests.torture.world import World, make_world

DEV_ROWS = 60
FLAGS = "--train_datasets share --optim pats_adamax --pats_lambda 1e-3 --batch_size 2 --grad_accumulation_step 2 "
FLAGS += "--epochs 2 --batch_size_eval 1"
"""An epoch is three updates of two forward passes each, then an evaluation of as many passes as there are rows."""
IN_UPDATE_2, IN_AN_EVALUATION = 3, 3 * 2 + DEV_ROWS // 2
IN_THE_LAST_EVALUATION = IN_AN_EVALUATION + DEV_ROWS + 3 * 2


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("signals") / "world", {"train": 12, "dev": DEV_ROWS})


@pytest.fixture(scope="module")
def reference(world: World, pool: Executor) -> Path:
    """A run that was left alone."""
    run = world.data_dir.with_name("reference")
    pool.submit(run_plainly, world.flags(run, FLAGS), run).result()
    return run


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize(
    ("at", "saved"),
    [(IN_UPDATE_2, 2), (IN_AN_EVALUATION, 3), (IN_THE_LAST_EVALUATION, 6)],
    ids=["update", "evaluation", "last evaluation"],
)
def test_a_signal_is_heeded_within_an_update_or_a_batch(
    world: World, pool: Executor, reference: Path, tmp_path: Path, number: signal.Signals, at: int, saved: int
) -> None:
    run = tmp_path / "run"
    end = pool.submit(interrupt, world.flags(run, FLAGS), run, reference, at, [number]).result()
    assert end.code == SignalledError.exit_code and "Traceback" not in end.err
    reasons = [line for line in end.err.splitlines() if line.startswith("stopped: ")]
    assert len(reasons) == 1 and number.name in reasons[0]
    assert end.passes <= 1
    assert end.saved == f"step_{saved:08d}"
    assert end.wrong == []


@pytest.mark.parametrize("at", [IN_UPDATE_2, IN_AN_EVALUATION], ids=["update", "evaluation"])
def test_a_second_ctrl_c_ends_a_run_at_once(
    world: World, pool: Executor, reference: Path, tmp_path: Path, at: int
) -> None:
    run = tmp_path / "run"
    twice = [signal.SIGINT, signal.SIGINT]
    end = pool.submit(interrupt, world.flags(run, FLAGS), run, reference, at, twice).result()
    assert (
        end.code == SignalledError.exit_code
        and end.err.splitlines()[-1] == "stopped: interrupted"
        and "Traceback" not in end.err
    )
    assert end.passes == 0
    assert end.saved is None
    assert end.wrong == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_saves_when_nobody_reads_what_the_run_says(
    world: World, pool: Executor, reference: Path, tmp_path: Path, number: signal.Signals
) -> None:
    run = tmp_path / "run"
    argv = world.flags(run, FLAGS)
    end = pool.submit(interrupt, argv, run, reference, IN_UPDATE_2, [number], deaf=True).result()
    assert end.saved == "step_00000002"
    assert end.wrong == []


def test_a_second_run_in_the_same_folder_is_refused(
    world: World, pool: Executor, reference: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    code, err, wrong = pool.submit(start_twice, world.flags(run, FLAGS), run, reference).result()
    assert code == BusyError.exit_code
    assert err.startswith(f"error: --output_dir {run}: another run is writing to it (process ")
    assert wrong == []


def test_a_lock_that_is_released_while_another_run_asks_for_it_is_held_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run has opened the lock file, the first one removes it, and a third comes."""
    first, flock = claim_folder(tmp_path, resume=False), fcntl.flock

    def release_first(file: TextIO, operation: int) -> None:
        monkeypatch.undo()
        release_folder(tmp_path, first)
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", release_first)
    second = claim_folder(tmp_path, resume=False)
    with pytest.raises(BusyError, match="another run is writing to it"):
        claim_folder(tmp_path, resume=False)
    release_folder(tmp_path, second)


def test_a_run_that_resumes_with_other_dropout_is_noticed(world: World, reference: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with worker_pool(1, forget_random_state) as broken:
        argv = world.flags(run, FLAGS)
        end = broken.submit(interrupt, argv, run, reference, IN_UPDATE_2, [signal.SIGTERM]).result()
    assert end.code == SignalledError.exit_code and end.saved == "step_00000002"
    for difference in ("metrics.jsonl, line ", "model.safetensors: ", "optimizer.safetensors: ", "results.json, line "):
        assert any(difference in line for line in end.wrong), end.wrong
