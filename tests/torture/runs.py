"""Runs of train.py as processes that can be killed.

Importing torch and transformers takes many times longer than such a run, so a worker process imports them once and
forks a child for each run: nothing has used threads or autograd in the worker, which a fork would not survive.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NoReturn
from unittest import mock

import torch
from tqdm import tqdm

import train
from module.optim import PATSAdamax

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0
"""Seconds after which a run counts as hanging; they take one or two."""

LATE_IMPORTS = ("torch.utils.tensorboard", "sklearn.metrics", "scipy.stats")
"""What a run imports when it first needs it. With compiling the first step it takes several times the rest of a run."""

Hook = Callable[[], None]


@contextlib.contextmanager
def worker_pool(workers: int, hook: Hook | None = None) -> Iterator[ProcessPoolExecutor]:
    """Processes that have imported everything, to fork runs from; `hook` is called in each of them first."""
    context = multiprocessing.get_context("spawn")  # the caller may have threads
    with mock.patch.dict(os.environ, OMP_NUM_THREADS="1"):
        with ProcessPoolExecutor(workers, mp_context=context, initializer=hook) as pool:
            yield pool


def warm_up(argv: Sequence[str], hook: Hook | None = None) -> None:
    """Import and compile here what runs need, so that they need not do it one by one; trains nothing."""
    if hook is not None:
        hook()
    for name in LATE_IMPORTS:
        with contextlib.suppress(ModuleNotFoundError):  # some are optional
            importlib.import_module(name)
    param = torch.nn.Parameter(torch.ones(1))
    param.grad = torch.ones(1)
    PATSAdamax([param]).step()
    with contextlib.redirect_stdout(io.StringIO()):
        train.main([*argv, "--dry_run"])


class Attempt:
    """A process that runs train.py's command line; what it says goes to files beside each other.

    Args:
        argv: flags of train.py.
        output: path of those files, without `.out` and `.err`.
        command_line: whether to start a Python of its own, as a shell would, rather than fork this process.
        hook: called in the fork before train.py.
    """

    def __init__(
        self, argv: Sequence[str], output: Path, *, command_line: bool = False, hook: Hook | None = None
    ) -> None:
        self._files = {1: output.with_name(output.name + ".out"), 2: output.with_name(output.name + ".err")}
        for path in self._files.values():
            path.write_bytes(b"")  # there to be read before the child has come so far
        self.command_line = command_line
        self.code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._run(argv, command_line, hook)

    @property
    def out(self) -> str:
        """Its standard output so far."""
        return self._files[1].read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        """Its standard error so far."""
        return self._files[2].read_text(encoding="utf-8")

    @property
    def trained(self) -> bool:
        """Whether it said that it has done an update."""
        return any(line.startswith("epoch ") for line in self.out.splitlines())

    def wait(self, seconds: float = PATIENCE) -> int | None:
        """The exit code, negative for a signal's number; None where it is still running after so many seconds."""
        deadline = time.monotonic() + seconds
        while self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline:
                break
            else:
                time.sleep(0.001)
        return self.code

    def wait_until(self, reached: Callable[[], object]) -> None:
        """Wait until something is so, the process has ended, or patience has."""
        deadline = time.monotonic() + PATIENCE
        while not reached() and self.wait(0.005) is None and time.monotonic() < deadline:
            pass

    def end(self) -> int:
        """Wait for the exit code; a process that hangs is killed, and says so in its standard error."""
        if self.wait() is None:
            self.send(signal.SIGKILL)
            self.wait()
            with self._files[2].open("a", encoding="utf-8") as file:
                file.write(f"hung: not done after {PATIENCE:g} s\n")
        assert self.code is not None
        return self.code

    def send(self, number: int) -> None:
        """Send a signal, unless the process is known to have ended: its number may be another's by now."""
        if self.code is None:
            os.kill(self.pid, number)

    def _run(self, argv: Sequence[str], command_line: bool, hook: Hook | None) -> NoReturn:
        """What the child does; it never returns into the code that it was forked from."""
        code = 1
        try:
            for descriptor, path in self._files.items():
                os.dup2(os.open(path, os.O_WRONLY), descriptor)
            if command_line:
                program = [sys.executable, "-u", str(ROOT / "train.py"), *argv]  # -u: what it said outlives a kill
                os.execv(sys.executable, program)
            for stream in (sys.stdout, sys.stderr):
                stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
            tqdm.set_lock(threading.RLock())  # its own is a semaphore, which outlives a process that is killed
            if hook is not None:
                hook()
            code = train.main(argv)
            sys.stdout.flush()
        except KeyboardInterrupt:  # before or after train.py could heed it; Python ends itself like this
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
