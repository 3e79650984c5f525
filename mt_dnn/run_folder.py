"""A run's output folder: made for a new run, never mixed with another; and what the run was made with."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import torch
import transformers

from data_utils.errors import InputError


def check_folder(folder: Path, *, resume: bool) -> None:
    """Raise `InputError` for an output folder that holds another run or other files, or cannot be written to."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output_dir {folder}: is a file, not a folder")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / "config.yaml").is_file():
            raise InputError(f"--output_dir {folder}: holds other files; choose an empty or a new folder")
        if not resume:
            raise InputError(
                f"--output_dir {folder}: holds another run; add --resume to go on with it, or choose another"
            )
    existing = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    if not os.access(existing, os.W_OK):
        raise InputError(f"--output_dir {folder}: {existing} is not writable")


def prepare_folder(folder: Path) -> None:
    """Make an output folder, and clear the remains of a run that stopped before its first checkpoint.

    Raises:
        InputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output_dir {folder}: cannot be made: {error.strerror}") from None
    for name in ("checkpoints", "best", "best.partial", "tensorboard"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "metrics.jsonl").unlink(missing_ok=True)


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
