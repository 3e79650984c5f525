"""The queue of a sweep: starts runs of train.py in free slots, follows them, and records how they ended.

Whatever happens to the sweep, nothing is lost: runs are processes of their own that save what they have, a second
sweep on the same study takes what the first has not begun, and what was cut is resumed by the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_utils.errors import BusyError, SignalledError
from data_utils.signals import STOPPING, StopSignals
from studies.study import Outcome, Run, Status, Study
from studies.suite import ROOT
from studies.sweeps.board import Board, Running, State
from studies.sweeps.devices import Slot
from studies.sweeps.live import View
from studies.sweeps.plan import TRAIN

LOCK = "run.lock"  # train.py's, in a run's folder; a run that was killed leaves it behind
POLL_SECONDS = 0.2
ELSEWHERE_SECONDS = 10.0
"""Time between two looks at a run that another process was writing to: that one may have been killed."""
KILLING = STOPPING | {signal.SIGKILL}
"""A run that one of these ended has not failed: somebody, or the machine for want of memory, has ended it."""


@dataclass
class Attempt:
    """A run that is under way in a slot.

    Attributes:
        log_start: size of its log file before it said something.
        before: how often it had been started before.
        started: time.time() then.
    """

    run: Run
    slot: Slot
    process: subprocess.Popen[bytes]
    log: Path
    log_start: int
    before: int
    started: float

    def said(self) -> list[str]:
        """The lines of its log that are its own."""
        with self.log.open("rb") as file:
            file.seek(self.log_start)
            return file.read().decode("utf-8", errors="replace").splitlines()


class Workers:
    """Works through runs of a study.

    Args:
        study: whose runs they are.
        slots: where runs can be, one at a time each.
        view: is told what happens.
        retry_failed: start runs again that have failed before this.
    """

    def __init__(self, study: Study, slots: Sequence[Slot], view: View, *, retry_failed: bool = False) -> None:
        self.study = study
        self.view = view
        self.board = Board(len(slots))
        self._free = list(slots)
        self._attempts: list[Attempt] = []
        self._waiting: dict[Run, float] = {}  # when to try: time.monotonic() or before
        self._retry_failed = retry_failed
        self._stop = StopSignals()

    def work(self, runs: Sequence[Run]) -> Board:
        """Bring all runs to an end that have none yet; returns where they stand then.

        Raises:
            SignalledError: a signal came; the runs under way have saved what they had. Killed, at a second one.
        """
        with self._stop:
            self._take_stock(runs)
            with self.view.showing(self.board):
                try:
                    while (self._waiting or self._attempts) and not self._stop.count:
                        self._look_elsewhere()
                        while self._free and (run := self._next()) is not None:
                            self._start(run)
                        self._collect()
                        self.view.refresh()
                        time.sleep(POLL_SECONDS)
                finally:
                    self._end_attempts()
        if self._stop.count:
            raise SignalledError(f"{self._stop.first}; {self.board.counts()}")
        return self.board

    def _take_stock(self, runs: Sequence[Run]) -> None:
        for run in runs:
            outcome = self.study.outcome(run)
            if outcome.status is Status.FAILED and self._retry_failed:
                self.study.note_attempt(run, attempts=outcome.attempts, exit_code=0, message="")
                outcome = self.study.outcome(run)
            if self.board.settle(outcome) in (State.WAITING, State.CUT):
                self.board.states[run] = State.WAITING
                self._waiting[run] = 0.0

    def _next(self) -> Run | None:
        """A run to start, which no other process is writing to; None if there is none, for now at least."""
        for run in [run for run, when in self._waiting.items() if when <= time.monotonic()]:
            if _is_held(self.study.run_folder(run) / LOCK):
                self._put_off(run)
            elif self._is_to_do(run):
                del self._waiting[run]
                return run
        return None

    def _put_off(self, run: Run) -> None:
        """Look again later at a run that is under way in another process."""
        self._waiting[run] = time.monotonic() + ELSEWHERE_SECONDS
        self.board.running.pop(run, None)
        if self.board.states[run] is not State.ELSEWHERE:
            self.board.states[run] = State.ELSEWHERE
            self.view.elsewhere(run)

    def _is_to_do(self, run: Run) -> bool:
        """Whether no other sweep has brought a waiting run to its end since; it is not waiting any more then."""
        outcome = self.study.outcome(run)
        if outcome.status in (Status.WAITING, Status.CUT):
            return True
        del self._waiting[run]
        self._tell_end(outcome)
        return False

    def _look_elsewhere(self) -> None:
        for run, when in list(self._waiting.items()):
            if when > time.monotonic():
                self._is_to_do(run)

    def _start(self, run: Run) -> None:
        command = [sys.executable, str(TRAIN), *self.study.flags(run), "--resume"]
        slot, log = self._free.pop(0), self.study.log_file(run)
        before = self.study.outcome(run).attempts
        self.study.note_attempt(run, attempts=before + 1, exit_code=0, message="")
        with log.open("ab") as file:
            file.write(f"$ {shlex.join(command)}\n".encode())
            file.flush()
            start = file.tell()
            process = slot.start(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
        self._attempts.append(Attempt(run, slot, process, log, start, before, time.time()))
        epochs = str(dict(run.varied).get("epochs") or self.study.settings[run.recipe, run.method].get("epochs", "?"))
        self.board.states[run] = State.RUNNING
        self.board.running[run] = Running(slot.name, time.monotonic(), self.study.run_folder(run), epochs)
        self.view.started(run)

    def _collect(self) -> None:
        """Record the attempts that have ended."""
        for attempt in [attempt for attempt in self._attempts if attempt.process.poll() is not None]:
            self._attempts.remove(attempt)
            self._free.append(attempt.slot)
            self._record(attempt)

    def _record(self, attempt: Attempt) -> None:
        run, code, said = attempt.run, attempt.process.returncode, attempt.said()
        span = (attempt.started, time.time())
        outcome = self.study.outcome(run)
        if code == BusyError.exit_code:
            if outcome.status is Status.CUT:  # else the other process has ended by now, and somebody has noted how
                self.study.note_attempt(run, attempts=attempt.before, exit_code=0, message="")
            self._put_off(run)
            return
        if outcome.status is not Status.DONE and not _was_ended(code):
            message = _last_words(said) or f"train.py ended with exit code {code}"
            self.study.note_attempt(run, attempts=attempt.before + 1, exit_code=code or 1, message=message, span=span)
            outcome = self.study.outcome(run)
        elif outcome.status is Status.DONE:
            self.study.note_attempt(run, attempts=attempt.before + 1, exit_code=0, message="", span=span)
        self._tell_end(outcome)

    def _tell_end(self, outcome: Outcome) -> None:
        if self.board.settle(outcome) is State.WAITING:  # ended by a signal before its first file was written
            self.board.states[outcome.run] = State.CUT
        self.view.ended(outcome)

    def _end_attempts(self) -> None:
        """Let runs that are under way save and stop; returns when they have, or kills them at a second signal."""
        if not self._attempts:
            return
        self.view.say(
            f"{len(self._attempts)} under way: to save what they have, then stop; once more Ctrl-C kills them"
        )
        asked = self._stop.count
        self._send(signal.SIGTERM)
        while self._attempts:
            if self._stop.count > max(asked, 1):
                self._send(signal.SIGKILL)
            self._collect()
            time.sleep(POLL_SECONDS)

    def _send(self, number: signal.Signals) -> None:
        for attempt in self._attempts:
            with contextlib.suppress(ProcessLookupError):
                attempt.process.send_signal(number)


def _was_ended(code: int) -> bool:
    """Whether a signal ended the run, at once or after it had saved."""
    return -code in KILLING or code == SignalledError.exit_code


def _is_held(lock: Path) -> bool:
    """Whether another process holds a run's lock; one that was killed leaves the file, and nobody holds it."""
    try:
        with lock.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back at once
    except BlockingIOError:
        return True
    except OSError:  # no such file, or a file system without locks
        return False
    return False


def _last_words(said: Sequence[str]) -> str:
    """The last line that says why a run ended; of a crash, the last line."""
    lines = [line.strip() for line in said if line.strip()]
    reasons = [line for line in lines if line.startswith(("error:", "stopped:"))]
    return (reasons or lines or [""])[-1]
