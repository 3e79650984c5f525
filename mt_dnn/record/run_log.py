"""What a run says: `metrics.jsonl` (one event a line), TensorBoard, and lines on the console.

Events about sensitivities, large ones, have a file of their own: `sensitivity_log.jsonl`. Neither file holds wall-clock
times, so two runs of one seed write the same bytes; speed is in `results.json`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from torch import Tensor
from tqdm import tqdm

from data_utils.atomic import write_text
from data_utils.fingerprints import Fingerprint
from mt_dnn.record.growing_file import NOTHING, GrowingFile
from mt_dnn.record.writing import writing

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


SENSITIVITY_LOG = "sensitivity_log.jsonl"


class RunLog:
    """Writes a run's events.

    Args:
        folder: the run's output folder; None for a log that keeps nothing, on all processes but the first.
        events: what `metrics.jsonl` begins with: the checkpoint's, where a run resumes. What was written after it goes,
            as it will be written again.
        sensitivities: the mark of `sensitivity_log.jsonl` in the checkpoint, where a run resumes. What was written
            after it goes, likewise.
        step: the update to go on from; TensorBoard hides what lies after it.
        tensorboard: whether to write TensorBoard events.

    All methods raise `StoppedError` where the disk is full, or the folder cannot be written to.
    """

    def __init__(
        self, folder: Path | None, *, events: str, sensitivities: Fingerprint = NOTHING, step: int, tensorboard: bool
    ) -> None:
        self._file: TextIO | None = None
        self._sensitivities: GrowingFile | None = None
        self._tensorboard: SummaryWriter | None = None
        if folder is not None:
            self._path = folder / "metrics.jsonl"
            with writing(self._path):
                write_text(self._path, events)
                self._file = self._path.open("a", encoding="utf-8", buffering=1)
                self._sensitivities = _sensitivity_log(folder / SENSITIVITY_LOG, sensitivities)
                self._tensorboard = _summary_writer(folder / "tensorboard", step) if tensorboard else None

    def event(self, name: str, step: int, **values: Any) -> None:
        """Append one event."""
        if self._file:
            with writing(self._path):
                print(_line(name, step, values), file=self._file)

    def sensitivities(self, step: int, **values: Any) -> None:
        """Append one event about sensitivities."""
        if self._sensitivities:
            with writing(self._sensitivities.path):
                self._sensitivities.append(_line("sensitivity", step, values))

    def scalar(self, name: str, value: float, step: int) -> None:
        """Add one point to a TensorBoard curve."""
        if self._tensorboard:
            with writing(self._path.parent / "tensorboard"):
                self._tensorboard.add_scalar(name, value, step)

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        """Add one histogram to TensorBoard."""
        if self._tensorboard and len(values):
            with writing(self._path.parent / "tensorboard"):
                self._tensorboard.add_histogram(name, values, step)

    def sync(self) -> Fingerprint:
        """Bring the events to the disk; returns the mark of those about sensitivities, for a checkpoint."""
        if not (self._file and self._sensitivities):
            return NOTHING
        with writing(self._path):
            os.fsync(self._file.fileno())
        with writing(self._sensitivities.path):
            return self._sensitivities.sync()

    def events(self) -> str:
        """All events so far, a line each."""
        if not self._file:
            return ""
        with writing(self._path):
            return self._path.read_text(encoding="utf-8")

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *error: object) -> None:
        """Close the files."""
        if self._file and self._sensitivities:
            with writing(self._path):
                self._file.close()
                self._sensitivities.close()
                if self._tensorboard:
                    self._tensorboard.close()


def _line(name: str, step: int, values: dict[str, Any]) -> str:
    return json.dumps({"event": name, "step": step, **values}, allow_nan=False)


def _sensitivity_log(path: Path, mark: Fingerprint) -> GrowingFile:
    """The file as it was at a checkpoint. Nothing that a run computes depends on it, so damage to it ends no run."""
    log = GrowingFile(path, mark)
    if log.damage:
        say(f"{path} is damaged ({log.damage}); the run goes on, and what is lost stays lost")
    return log


def _summary_writer(folder: Path, step: int) -> SummaryWriter:
    from torch.utils.tensorboard import SummaryWriter  # a second to import, so only where it is used

    return SummaryWriter(str(folder), purge_step=step or None)


def say(line: str) -> None:
    """Print a line on the console without tearing the progress bar.

    A terminal that was closed, a pipe that nobody reads and a full disk behind the output end no run.
    """
    with contextlib.suppress(OSError):
        tqdm.write(line)
        sys.stdout.flush()
