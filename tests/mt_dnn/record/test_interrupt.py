"""Signals: noted while a run trains, heeded after an update, and everything as before afterwards."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

import train
from data_utils.errors import BusyError, InputError, SignalledError
from data_utils.signals import STOPPING
from mt_dnn.distributed import ALONE
from mt_dnn.record.interrupt import InterruptedRun, RunSignals
from mt_dnn.setup import build_trainer
from mt_dnn.trainer import Trainer
from mt_dnn.update import Updater
from tests.conftest import Workshop


@pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)
def test_a_signal_is_noted_and_heeded(number: signal.Signals) -> None:
    before = [signal.getsignal(one) for one in STOPPING]
    with RunSignals(ALONE) as signals:
        signals.raise_if_signalled()
        os.kill(os.getpid(), number)
        with pytest.raises(InterruptedRun, match=number.name):
            signals.raise_if_signalled()
    assert [signal.getsignal(one) for one in STOPPING] == before


def test_a_second_ctrl_c_interrupts_at_once() -> None:
    with RunSignals(ALONE), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_nohup_stays_in_force() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with RunSignals(ALONE) as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            signals.raise_if_signalled()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_the_main_thread_nothing_is_noted() -> None:
    with_signals: list[object] = []

    def run() -> None:
        with RunSignals(ALONE) as signals:
            with_signals.append(signals.raise_if_signalled())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert with_signals == [None]


def signal_after(monkeypatch: pytest.MonkeyPatch, owner: type, method: str, call: int) -> None:
    """Send SIGTERM during a call of a method, counted from 1."""
    plain, count = getattr(owner, method), 0

    def patched(*args: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(*args, **options)

    monkeypatch.setattr(owner, method, patched)


FLAGS = ["--train_datasets", "cola,stsb", "--epochs", "3", "--log_per_updates", "2", "--eval_per_updates", "4"]
MOMENTS = {
    "the first update": (Updater, "__call__", 1, 1),
    "an update": (Updater, "__call__", 8, 8),
    "the last update of an epoch": (Updater, "__call__", 6, 6),
    "an evaluation within an epoch": (Trainer, "_evaluate", 1, 4),
    "the evaluation after an epoch": (Trainer, "_evaluate", 2, 6),
    "a checkpoint": (Trainer, "_save", 1, 4),  # of the first best model
    "writing the best model": (Trainer, "_export", 1, 4),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_saves_and_the_run_goes_on_as_if_nothing_had_been(
    workshop: Workshop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    moment: str,
) -> None:
    owner, method, call, step = MOMENTS[moment]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train.main(workshop.flags(whole, *FLAGS)) == 0
    capfd.readouterr()
    with monkeypatch.context() as patch:
        signal_after(patch, owner, method, call)
        assert train.main(workshop.flags(cut, *FLAGS)) == SignalledError.exit_code
    said = capfd.readouterr().err
    assert said.count("SIGTERM: saving, then stopping") == 1
    assert f"stopped: SIGTERM came after update {step}; it is saved: go on with --resume" in said
    assert train.main(["--output_dir", str(cut), "--resume"]) == 0
    assert f"resuming from {cut / 'checkpoints' / f'step_{step:08d}'}" in capfd.readouterr().out
    assert (whole / "metrics.jsonl").read_bytes() == (cut / "metrics.jsonl").read_bytes()
    for name in ("model", "optimizer", "random"):
        file = f"checkpoints/step_00000018/{name}.safetensors"
        assert (whole / file).read_bytes() == (cut / file).read_bytes()


def test_a_run_in_use_is_left_alone(workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mt_dnn.record.run_folder import claim_folder, release_folder

    flags = workshop.flags(tmp_path / "run", "--train_datasets", "cola", "--epochs", "1")
    lock = claim_folder(tmp_path / "run", resume=False)
    assert train.main(flags) == BusyError.exit_code
    message = capsys.readouterr().err
    assert f"another run is writing to it (process {os.getpid()} on " in message
    release_folder(tmp_path / "run", lock)
    assert train.main(flags) == 0
    assert not (tmp_path / "run" / "run.lock").exists()


def test_a_folder_that_another_run_took_in_the_meantime_is_left_alone(workshop: Workshop, tmp_path: Path) -> None:
    """Both have looked at an empty folder; one was slower."""
    flags = workshop.flags(tmp_path / "run", "--train_datasets", "cola", "--epochs", "1")
    slow = build_trainer(train.load_config([*flags, "--seed", "9"], ""))
    slow_resume = build_trainer(train.load_config([*flags, "--seed", "9", "--resume"], ""))
    assert train.main(flags) == 0
    files = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="holds another run"):
        slow.run()
    with pytest.raises(InputError, match="--seed 9 contradicts"):
        slow_resume.run()
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == files
