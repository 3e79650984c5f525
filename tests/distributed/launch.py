"""Starting torchrun from a test: a group of ranks that waits for jobs, or one run to its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch.distributed

from tests.distributed.worker import SECONDS

HAS_GLOO = torch.distributed.is_available() and torch.distributed.is_gloo_available()

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
WORKER = ["-m", "tests.distributed.worker"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def standalone(ranks: int) -> list[str]:
    """Torchrun's own flags for one machine."""
    return ["--standalone", "--nproc_per_node", str(ranks)]


def start(*flags: str, **options: Any) -> subprocess.Popen[str]:
    """Start torchrun with these flags; what all of its processes say comes out of its pipes."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([*TORCHRUN, *flags], cwd=ROOT, env=ENVIRONMENT, text=True, **streams)


class Ended(NamedTuple):
    """A torchrun that has ended, and all it and its processes said."""

    code: int
    out: str
    err: str

    def lines(self, beginning: str) -> list[str]:
        """The lines on either stream that begin like this."""
        return [line for line in (self.out + "\n" + self.err).splitlines() if line.startswith(beginning)]


def end_of(process: subprocess.Popen[str]) -> Ended:
    """Wait for torchrun to end by itself; one that hangs is told to, and ends its processes."""
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.terminate()  # it kills within half a minute what does not heed it
        out, err = process.communicate(timeout=SECONDS)
        raise AssertionError(f"torchrun has not ended after {SECONDS} s:\n{out}\n{err}") from None
    return Ended(process.returncode, out, err)


def run_train(*flags: str, ranks: int) -> Ended:
    """`torchrun train.py` on one machine."""
    return end_of(start(*standalone(ranks), "train.py", *flags))


def run_doomed(ranks: int, argv: Sequence[str], trick: str, **options: Any) -> Ended:
    """The same with a trick played on it that the processes do not survive."""
    job = json.dumps({"argv": list(argv), "trick": trick, "options": options})
    return end_of(start(*standalone(ranks), *WORKER, "once", job))


class Outcome(NamedTuple):
    """What became of a job on one rank; see `worker.outcome_of`."""

    code: int
    out: str
    err: str
    notes: list[Any]


class Group:
    """Ranks that are started once and run what they are given.

    Args:
        ranks: how many.
        folder: where jobs and outcomes pass through.
    """

    def __init__(self, ranks: int, folder: Path) -> None:
        self.ranks = ranks
        self._folder = folder
        self._jobs = 0
        self._said = folder / "said.txt"
        with self._said.open("w") as said:
            streams = {"stdin": subprocess.PIPE, "stdout": said, "stderr": subprocess.STDOUT}
            self._process = start(*standalone(ranks), *WORKER, str(folder), **streams)

    @property
    def alive(self) -> bool:
        """Whether it still takes jobs."""
        return self._process.poll() is None

    def train(self, argv: Sequence[str], trick: str = "nothing", **options: Any) -> list[Outcome]:
        """Run `train.main(argv)` with a trick on all ranks; returns their outcomes in the order of ranks."""
        number, self._jobs = self._jobs, self._jobs + 1
        partial = self._folder / f"{number}.partial"
        partial.write_text(json.dumps({"argv": list(argv), "trick": trick, "options": options}))
        partial.rename(self._folder / f"{number}.job")
        files = [self._folder / f"{number}.{rank}.json" for rank in range(self.ranks)]
        while not all(file.exists() for file in files):
            # No limit here: processes that hang end by themselves, and then torchrun does.
            if not self.alive and not all(file.exists() for file in files):
                raise AssertionError(f"the processes ended in the midst of a job:\n{self._said.read_text()[-6000:]}")
            time.sleep(0.01)
        return [Outcome(**json.loads(file.read_text())) for file in files]

    def dismiss(self) -> None:
        """Let the processes end: they wait for their stdin to close."""
        assert self._process.stdin
        self._process.stdin.close()

    def wait(self) -> None:
        """Wait for them to have ended."""
        try:
            self._process.wait(SECONDS)
        finally:
            self._process.kill()
