"""Runs that are copied, killed, interrupted or held up, and how they end when they resume.

All of this forks: tests call it in the processes of `tests.torture.runs.worker_pool`. What is wrong comes as lines.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from tests.resume.file_operations import FileOperations
from tests.torture.checks import attempt_problems, differences, last_event, newest_checkpoint
from tests.torture.runs import Attempt


def run_plainly(argv: list[str], run: Path) -> None:
    """A run from start to end."""
    attempt = Attempt(argv, run.with_name(run.name + "_says"))
    assert attempt.end() == 0, attempt.err


def run_with_copies(argv: list[str], run: Path, copies: Path, fatal: int = 0, **how: bool) -> list[str]:
    """A run that leaves copies of its folder, see `FileOperations`; returns its changes, in order."""
    operations = FileOperations(run, copies, fatal=fatal, **how)
    attempt = Attempt(argv, run.with_name(run.name + "_says"), hook=operations.install)
    assert attempt.end() == (-signal.SIGKILL if fatal else 0), attempt.err
    return (copies / "journal").read_text(encoding="utf-8").splitlines()


def resume(argv: list[str], run: Path, reference: Path) -> list[str]:
    """Go on with a run to its end, and compare; its folder goes if nothing is wrong."""
    before = newest_checkpoint(run)
    attempt = Attempt([*argv, "--resume"], run.with_name(run.name + "_resumed"))
    attempt.end()
    problems = attempt_problems(attempt, None, 0, run, before) or differences(reference, run)
    if not problems:
        shutil.rmtree(run)
    return problems


def kill_command_line(argv: list[str], run: Path, reference: Path, sent: signal.Signals) -> list[str]:
    """Send a signal to `python train.py` when it has done some updates, and resume."""
    attempt = Attempt(argv, run.with_name(run.name + "_says"), command_line=True)
    attempt.wait_until(lambda: last_event(run)["step"] >= 5)
    attempt.send(sent)
    logged = last_event(run)["step"]
    problems = [f"ended with {attempt.code} by itself"] * (attempt.end() == 0)
    problems += attempt_problems(attempt, sent, logged, run, None)
    return problems or resume(argv, run, reference)


class Interrupted(NamedTuple):
    """What became of a run that got signals.

    Attributes:
        code: its exit code.
        err: its standard error.
        passes: forward passes that it began after the signals.
        saved: the name of its newest checkpoint.
        wrong: what is wrong with how it ended when it had resumed.
    """

    code: int
    err: str
    passes: int
    saved: str | None
    wrong: list[str]


def interrupt(
    argv: list[str], run: Path, reference: Path, at: int, signals: Sequence[signal.Signals], *, deaf: bool = False
) -> Interrupted:
    """Send a run signals at the start of a forward pass, counted from 1 where training begins, then resume it.

    With `deaf` nobody reads its standard error, as when a terminal was closed.
    """
    record = run.with_name(run.name + "_passes")

    def hook() -> None:
        if deaf:
            reader, writer = os.pipe()
            os.close(reader)
            os.dup2(writer, 2)
        at_forward_pass(at, lambda: [os.kill(os.getpid(), number) for number in signals], record)

    attempt = Attempt(argv, run.with_name(run.name + "_says"), hook=hook)
    code, newest = attempt.end(), newest_checkpoint(run)
    wrong = resume(argv, run, reference)
    return Interrupted(code, attempt.err, record.stat().st_size, newest.name if newest else None, wrong)


def start_twice(argv: list[str], run: Path, reference: Path) -> tuple[int, str, list[str]]:
    """Start a run, and once more while the first is at its third forward pass.

    Returns:
        Exit code and standard error of the second, and what is wrong with how the first ended.
    """
    waiting, go = run.with_name("waiting"), run.with_name("go")

    def wait() -> None:
        waiting.touch()
        while not go.exists():
            time.sleep(0.01)

    first = Attempt(argv, run.with_name("first"), hook=lambda: at_forward_pass(3, wait, run.with_name("passes")))
    first.wait_until(waiting.exists)
    second = Attempt([*argv, "--resume"], run.with_name("second"))
    code = second.end()
    go.touch()
    first.end()
    return code, second.err, attempt_problems(first, None, 0, run, None) or differences(reference, run)


def at_forward_pass(at: int, act: Callable[[], object], record: Path) -> None:
    """Act when this process's encoder begins forward pass `at`; `record` gets a byte for each later one."""
    count = 0
    record.touch()

    def before_forward(module: torch.nn.Module, args: object) -> None:
        nonlocal count
        if type(module).__name__ != "BertModel" or not (count or module.training):  # setup may try the encoder once
            return
        count += 1
        if count == at:
            act()
        elif count > at:
            with record.open("ab") as file:
                file.write(b".")

    torch.nn.modules.module.register_module_forward_pre_hook(before_forward)


def forget_random_state() -> None:
    """Break resuming in this process, and in those that it forks."""
    torch.set_rng_state = lambda state: None
