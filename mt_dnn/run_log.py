"""What a run says: `metrics.jsonl` (one event a line), TensorBoard, and lines on the console.

`metrics.jsonl` holds no wall-clock times, so two runs of one seed write the same bytes; speed is in `results.json`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor
from tqdm import tqdm

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class RunLog:
    """Writes a run's events.

    Args:
        folder: the run's output folder.
        offset: bytes of `metrics.jsonl` to keep: what was written after the checkpoint that a run resumes from is
            cut off, as it will be written again.
        step: the update to go on from; TensorBoard hides what lies after it.
        tensorboard: whether to write TensorBoard events.
    """

    def __init__(self, folder: Path, *, offset: int, step: int, tensorboard: bool) -> None:
        path = folder / "metrics.jsonl"
        path.touch()
        os.truncate(path, offset)
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._tensorboard = _summary_writer(folder / "tensorboard", step) if tensorboard else None

    def event(self, name: str, step: int, **values: Any) -> None:
        """Append one event."""
        print(json.dumps({"event": name, "step": step, **values}, allow_nan=False), file=self._file)

    def scalar(self, name: str, value: float, step: int) -> None:
        """Add one point to a TensorBoard curve."""
        if self._tensorboard:
            self._tensorboard.add_scalar(name, value, step)

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        """Add one histogram to TensorBoard."""
        if self._tensorboard and len(values):
            self._tensorboard.add_histogram(name, values, step)

    def sync(self) -> int:
        """Bring `metrics.jsonl` to the disk and return its size in bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._tensorboard:
            self._tensorboard.close()


def _summary_writer(folder: Path, step: int) -> SummaryWriter:
    from torch.utils.tensorboard import SummaryWriter  # a second to import, so only where it is used

    return SummaryWriter(str(folder), purge_step=step or None)


def say(line: str) -> None:
    """Print a line on the console without tearing the progress bar."""
    tqdm.write(line)
