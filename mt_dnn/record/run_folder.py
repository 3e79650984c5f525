"""A run's output folder: made for a new run, never mixed with another; and what the run was made with."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import socket
from pathlib import Path
from typing import TextIO

import torch
import transformers

from data_utils.atomic import PARTIAL, fsync, settle
from data_utils.errors import BusyError, InputError
from mt_dnn.record.checkpoint import NAME as CHECKPOINT
from mt_dnn.record.writing import writing

LOCK, DEV_PREDICTIONS = "run.lock", "dev_predictions.json"
OURS = re.compile(r"best|config\.yaml|results\.json|dev_predictions\.json")
"""What a run writes all at once, beside its checkpoints."""


def check_folder(folder: Path, *, resume: bool) -> None:
    """Raise `InputError` for an output folder that holds another run or other files, or cannot be written to."""
    if os.path.exists(folder) and not folder.is_dir():
        raise InputError(f"--output_dir {folder}: is a file, not a folder")
    ours = {LOCK, "config.yaml" + PARTIAL}  # left by a run that was cut while it wrote its first file
    if os.path.isdir(folder) and any(path.name not in ours for path in folder.iterdir()):
        if not (folder / "config.yaml").is_file():
            raise InputError(f"--output_dir {folder}: holds other files; choose an empty or a new folder")
        if not resume:
            raise InputError(
                f"--output_dir {folder}: holds another run; add --resume to go on with it, or choose another"
            )
    existing = next(path for path in (folder, *folder.absolute().parents) if os.path.isdir(path))
    if not os.access(existing, os.W_OK):
        raise InputError(f"--output_dir {folder}: {existing} is not writable")


def claim_folder(folder: Path, *, resume: bool) -> TextIO:
    """Make an output folder, keep other processes out of it, and clear up what a crash has left half-written.

    Returns:
        The open lock file; the lock ends with it, or with the process.

    Raises:
        InputError: the folder cannot be made, or it has become another run's since it was looked at.
        BusyError: another run is writing to it.
        StoppedError: it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fsync(folder.parent)
        while (lock := _lock(folder / LOCK)) is None:
            pass
    except OSError as error:
        raise InputError(f"--output_dir {folder}: cannot be made: {error.strerror}") from None
    try:
        check_folder(folder, resume=resume)
        with writing(folder):
            lock.truncate(0)
            print(f"process {os.getpid()} on {socket.gethostname()}", file=lock, flush=True)
            settle(folder, OURS)
            settle(folder / "checkpoints", CHECKPOINT)
    except BaseException:
        lock.close()
        raise
    return lock


def _lock(path: Path) -> TextIO | None:
    """Open a file and lock it; None where it was removed in between, by a run that ended.

    Raises:
        BusyError: another process has locked it.
    """
    import fcntl  # not on Windows, where nothing else here needs it

    lock = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        raise BusyError(f"--output_dir {path.parent}: another run is writing to it ({lock.read().strip()})") from None
    except OSError:
        return lock  # a file system without locks
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
            return lock
    lock.close()
    return None


def release_folder(folder: Path, lock: TextIO) -> None:
    """Let other processes in again."""
    with contextlib.suppress(OSError):  # a disk that has gone read-only: the lock ends with the process
        (folder / LOCK).unlink(missing_ok=True)
        lock.close()


def clear_folder(folder: Path) -> None:
    """Remove what a run has left that stopped before its first checkpoint."""
    for name in ("checkpoints", "best", "tensorboard"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("metrics.jsonl", "results.json", DEV_PREDICTIONS):
        (folder / name).unlink(missing_ok=True)


def device_name(device: torch.device) -> str:
    """The hardware's name for `results.json`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.processor() or platform.machine()}, {torch.get_num_threads()} threads)"


def versions() -> dict[str, str]:
    """What the scores depend on besides the code."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
    }
