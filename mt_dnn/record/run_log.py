"""What a run says: `metrics.jsonl` (one event a line), TensorBoard, and lines on the console.

Events about sensitivities, large ones, have a file of their own: `sensitivity_log.jsonl`. Neither file holds wall-clock
times, so two runs of one seed write the same bytes; speed is in `results.json`. Nothing that a run computes depends on
them, so damage to them ends no run.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor
from tqdm import tqdm

from data_utils.fingerprints import Fingerprint
from mt_dnn.record.growing_file import NOTHING, GrowingFile
from mt_dnn.record.writing import writing

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


EVENTS, SENSITIVITY_LOG = "metrics.jsonl", "sensitivity_log.jsonl"
LOGS = (EVENTS, SENSITIVITY_LOG)


class RunLog:
    """Writes a run's events.

    Args:
        folder: the run's output folder; None for a log that keeps nothing, on all processes but the first.
        marks: by file name, how far its files reached in the checkpoint, where a run resumes. What was written after
            it goes, as it will be written again.
        step: the update to go on from; TensorBoard hides what lies after it.
        tensorboard: whether to write TensorBoard events.

    All methods raise `StoppedError` where the disk is full, or the folder cannot be written to.
    """

    def __init__(self, folder: Path | None, *, marks: Mapping[str, Fingerprint], step: int, tensorboard: bool) -> None:
        self._files: dict[str, GrowingFile] = {}
        self._tensorboard: SummaryWriter | None = None
        if folder is not None:
            self._files = {name: _file(folder / name, marks.get(name, NOTHING)) for name in LOGS}
            if tensorboard:
                with writing(folder / "tensorboard"):
                    self._tensorboard = _summary_writer(folder / "tensorboard", step)

    def event(self, name: str, step: int, **values: Any) -> None:
        """Append one event."""
        self._append(EVENTS, {"event": name, "step": step, **values})

    def sensitivities(self, step: int, **values: Any) -> None:
        """Append one event about sensitivities."""
        self._append(SENSITIVITY_LOG, {"event": "sensitivity", "step": step, **values})

    def _append(self, name: str, event: dict[str, Any]) -> None:
        if file := self._files.get(name):
            with writing(file.path):
                file.append(json.dumps(event, allow_nan=False))

    def scalar(self, name: str, value: float, step: int) -> None:
        """Add one point to a TensorBoard curve."""
        if self._tensorboard:
            with writing(Path(self._tensorboard.log_dir)):
                self._tensorboard.add_scalar(name, value, step)

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        """Add one histogram to TensorBoard."""
        if self._tensorboard and len(values):
            with writing(Path(self._tensorboard.log_dir)):
                self._tensorboard.add_histogram(name, values, step)

    def sync(self) -> dict[str, Fingerprint]:
        """Bring the events to the disk; returns by file name how far they reach, for a checkpoint."""
        marks = {}
        for name, file in self._files.items():
            with writing(file.path):
                marks[name] = file.sync()
        return marks

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *error: object) -> None:
        """Close the files."""
        for file in self._files.values():
            with writing(file.path):
                file.close()
        if self._tensorboard:
            with writing(Path(self._tensorboard.log_dir)):
                self._tensorboard.close()


def _file(path: Path, mark: Fingerprint) -> GrowingFile:
    """The file as it was at a checkpoint."""
    with writing(path):
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
