"""What torchrun starts in these tests: a rank that runs `train.main` as often as it is told to, or one doomed run.

    python -m torch.distributed.run … -m tests.distributed.worker FOLDER      jobs come as files, until stdin closes
    python -m torch.distributed.run … -m tests.distributed.worker once JOB    one job, then exit as train.py does

A job is a dict: `argv` of `train.main`, and the `trick` to play on it with its `options`. Tricks are context managers
that note what they see; each rank plays them by itself. One process for many jobs, as each start imports for seconds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import functools
import gc
import hashlib
import io
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.distributed as dist

import train
from data_utils.features import FeatureSet
from mt_dnn.distributed import ALONE
from mt_dnn.evaluate import Evaluator, Predictions
from mt_dnn.record.dev_predictions import as_json
from mt_dnn.record.run_log import RunLog
from mt_dnn.update import Updater

SECONDS = 240
"""A job that takes longer hangs: its processes print where they stand, and end."""

RANK = int(os.environ.get("RANK", "0"))

Job = dict[str, Any]
Notes = list[Any]
Hook = Callable[[Updater, int], None]

TRICKS: dict[str, Callable[..., contextlib.AbstractContextManager[None]]] = {}


def trick(function: Callable[..., Iterator[None]]) -> Callable[..., contextlib.AbstractContextManager[None]]:
    """Register a trick by its function's name; it gets the list for its notes, and its options."""
    TRICKS[function.__name__] = contextlib.contextmanager(function)
    return TRICKS[function.__name__]


@contextlib.contextmanager
def around_updates(before: Hook = lambda *_: None, after: Hook = lambda *_: None) -> Iterator[None]:
    """Call hooks before and after each update with the updater and the update's number."""
    apply = Updater.__call__

    def hooked(self: Updater, draw: Any, step: int) -> Any:
        before(self, step)
        updated = apply(self, draw, step)
        after(self, step)
        return updated

    with mock.patch.object(Updater, "__call__", hooked):
        yield


@trick
def nothing(notes: Notes) -> Iterator[None]:
    """Leave the run alone."""
    yield


@trick
def get_signal(notes: Notes, rank: int, update: int, name: str) -> Iterator[None]:
    """One rank gets a signal before an update."""

    def before(updater: Updater, step: int) -> None:
        if step == update and rank == RANK:
            os.kill(os.getpid(), signal.Signals[name])

    with around_updates(before):
        yield


@trick
def get_killed(notes: Notes, rank: int, update: int) -> Iterator[None]:
    """One rank is killed before an update; the others take their time to close their logs, as with a slow disk."""
    close = RunLog.__exit__

    def close_slowly(self: RunLog, *error: object) -> None:
        time.sleep(1.0)  # by now torchrun has found out, and sent SIGTERM
        close(self, *error)

    with get_signal(notes, rank, update, "SIGKILL"), mock.patch.object(RunLog, "__exit__", close_slowly):
        yield


@trick
def signal_to_torchrun(notes: Notes, update: int) -> Iterator[None]:
    """Before an update torchrun gets SIGTERM, and rank 0 waits for it to be passed on."""

    def before(updater: Updater, step: int) -> None:
        if step != update or RANK != 0:
            return
        heard: list[int] = []
        note: Any = signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, lambda number, frame: (heard.append(number), note(number, frame)))
        os.kill(os.getppid(), signal.SIGTERM)
        while not heard:
            time.sleep(0.01)
        signal.signal(signal.SIGTERM, note)

    with around_updates(before):
        yield


@trick
def signal_in_evaluation(notes: Notes, rank: int) -> Iterator[None]:
    """One rank gets SIGTERM at the beginning of its first evaluation."""
    checked_outputs, sent = Evaluator.checked_outputs, []

    def hooked(self: Evaluator, features: FeatureSet) -> np.ndarray:
        if rank == RANK and not sent:
            sent.append(os.kill(os.getpid(), signal.SIGTERM))
        return checked_outputs(self, features)

    with mock.patch.object(Evaluator, "checked_outputs", hooked):
        yield


@trick
def tampering(notes: Notes, rank: int, update: int, name: str) -> Iterator[None]:
    """After an update, one rank's weight `name` differs in its last bit: what a defective device does."""

    def after(updater: Updater, step: int) -> None:
        if step == update and rank == RANK:
            with torch.no_grad():
                first = updater.parallel.model.get_parameter(name).view(-1)[:1]
                first.copy_(torch.nextafter(first, torch.full_like(first, torch.inf)))

    with around_updates(after=after):
        yield


@trick
def weights_noted(notes: Notes) -> Iterator[None]:
    """Note a hash of all weights after each update."""

    def after(updater: Updater, step: int) -> None:
        digest = hashlib.sha256()
        for param in updater.parallel.model.parameters():
            digest.update(param.detach().numpy().tobytes())
        notes.append(digest.hexdigest())

    with around_updates(after=after):
        yield


@trick
def dropout_noted(notes: Notes) -> Iterator[None]:
    """Note what dropout is about to hide in the first update."""

    def before(updater: Updater, step: int) -> None:
        if step == 1:
            with torch.random.fork_rng(devices=[]):
                notes.append(torch.nn.functional.dropout(torch.ones(64)).tolist())

    with around_updates(before):
        yield


@trick
def predictions_compared(notes: Notes, batch_sizes: list[int]) -> Iterator[None]:
    """Each evaluation, with several batch sizes, beside that of a process which does all of it by itself."""
    checked_outputs = Evaluator.checked_outputs

    def predict(evaluator: Evaluator, features: FeatureSet) -> Predictions:
        return features.task.kind.decide(features, checked_outputs(evaluator, features))

    def hooked(self: Evaluator, features: FeatureSet) -> np.ndarray:
        for size in batch_sizes:
            together = predict(dataclasses.replace(self, batch_size=size), features)
            # All ranks do this at once, as a sharded model asks of them.
            alone = predict(dataclasses.replace(self, batch_size=size, ranks=ALONE), features)
            equal = _bits(together) == _bits(alone)
            shown = together.values if together.scores is None else together.scores[:, 0]
            distinct = len(set(map(str, as_json(shown))))
            notes.append([features.task.name, features.split, size, len(together.values), distinct, equal])
        return checked_outputs(self, features)

    with mock.patch.object(Evaluator, "checked_outputs", hooked):
        yield


def _bits(predicted: Predictions) -> list[Any]:
    return [column.tobytes() if isinstance(column, np.ndarray) else column for column in predicted]


@trick
def writes_noted(notes: Notes, folder: str) -> Iterator[None]:
    """Note everything that Python opens for writing, makes, moves or removes in a folder, with all threads."""
    changing = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink")
    watching = True

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if not watching or not (event == "open" or event in changing) or not isinstance(args[0], (str, os.PathLike)):
            return
        writes = event != "open" or bool(args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if writes and os.fspath(args[0]).startswith(folder):
            notes.append(f"{event} {args[0]}")

    sys.addaudithook(hook)  # there for the rest of the process, but blind after this job
    yield
    watching = False


@trick
def equal_starts(notes: Notes) -> Iterator[None]:
    """SMART's perturbation starts from the same numbers at each token, whatever process has it."""

    def the_same(tokens: int, width: int, **kwargs: Any) -> torch.Tensor:
        return torch.linspace(-1, 1, width, **kwargs).repeat(tokens, 1)

    with mock.patch.object(torch, "randn", the_same):
        yield


def run(job: Job, notes: Notes) -> int:
    """Do a job; returns the exit code."""
    faulthandler.dump_traceback_later(SECONDS, exit=True, file=sys.__stderr__)
    with TRICKS[job.get("trick", "nothing")](notes, **job.get("options", {})):
        code = train.main(job["argv"])
    faulthandler.cancel_dump_traceback_later()
    return code


def outcome_of(job: Job) -> dict[str, Any]:
    """Do a job and report its exit code, what it said on either stream, and what its trick noted."""
    notes: Notes = []
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = run(job, notes)
    if dist.is_initialized():  # a run that ended early leaves this and SIGTERM to the end of its process
        dist.destroy_process_group()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.collect()
    return {"code": code, "out": out.getvalue(), "err": err.getvalue(), "notes": notes}


def serve(folder: Path) -> None:
    """Do the jobs `folder/N.job`, one after another, until stdin closes, as it also does when pytest is killed."""
    ranks = int(os.environ["WORLD_SIZE"])
    address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store, join = dist.TCPStore(*address, ranks, is_master=False), dist.init_process_group
    number = 0
    while True:
        file = folder / f"{number}.job"
        while not file.exists():
            if select.select([sys.stdin], [], [], 0.01)[0]:
                return
        # A process joins a group once in its life; here each job needs names of its own to meet under.
        place = {"store": dist.PrefixStore(f"job {number}", store), "rank": RANK, "world_size": ranks}
        with mock.patch.object(dist, "init_process_group", functools.partial(join, **place)):
            outcome = outcome_of(json.loads(file.read_text()))
        partial = folder / f"{number}.{RANK}.partial"
        partial.write_text(json.dumps(outcome))
        partial.rename(folder / f"{number}.{RANK}.json")
        number += 1


if __name__ == "__main__":
    if sys.argv[1] == "once":
        sys.exit(run(json.loads(sys.argv[2]), []))
    serve(Path(sys.argv[1]))
