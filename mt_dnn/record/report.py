"""What a run tells of itself, the same in `metrics.jsonl`, in TensorBoard and on the console."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from data_utils.cli import duration
from mt_dnn.record.checkpoint import Saved
from mt_dnn.record.results import ALIKE
from mt_dnn.record.run_log import RunLog
from mt_dnn.record.run_state import RunState
from mt_dnn.record.sensitivity_log import log_sensitivity
from mt_dnn.sampling import Draw
from mt_dnn.update import Updated

QUIET_SECONDS = 30.0
"""The longest time without a line while a run trains, but for evaluations and single updates."""


class Report:
    """Tells of a run's events.

    Args:
        log: where events and curves go.
        say: prints a line.
        state: the run.
    """

    def __init__(self, log: RunLog, say: Callable[[str], None], state: RunState) -> None:
        self.log = log
        self.say = say
        self.state = state
        self._told = (state.progress.rows, state.progress.train_seconds)  # at the last line about updates
        self._told_at = time.monotonic()

    def start(self, **settings: Any) -> None:
        """The first event: settings, tasks and their rows."""
        tasks = {
            name: {
                "train_rows": len(item.train),
                "dev_rows": {split: len(item.task.kind.uids(features)) for split, features in item.dev.items()},
                "label_names": list(item.task.label_names),
            }
            for name, item in self.state.data.items()
        }
        self.log.event("start", 0, **settings, tasks=tasks)

    def updates(self, last: Updated, label: str, to_come: int) -> None:
        """The updates since the last time: mean losses by task, the last one's norm and rate; how many are to come."""
        at, losses = self.state.progress, self.state.losses.means()
        rate = self.state.schedule.get_last_lr()[0]
        norm = last.grad_norm if math.isfinite(last.grad_norm) else None  # of an update that was not applied
        self.log.event("train", at.step, epoch=at.epoch, loss=losses, learning_rate=rate, grad_norm=norm)
        curves: dict[str, Any] = {f"loss/{task}": value for task, value in losses.items()} | {"learning_rate": rate}
        curves |= {} if norm is None else {"grad_norm": norm}
        speed = self._speed()
        self._curves(curves | {"samples_per_second": speed})
        by_task = "  ".join(f"{task} {value:.4f}" for task, value in losses.items()) or "-"
        skipped = f"  {at.skipped} skipped" if at.skipped else ""
        skipped += f"  {at.overflows} overflowed" if at.overflows else ""
        self.say(f"{label}  loss {by_task}  lr {rate:.2e}  {speed:.0f} samples/s{skipped}{self._left(to_come)}")

    def alive(self, label: str, to_come: int) -> None:
        """A sign of life between two training events, on the console alone."""
        if time.monotonic() - self._told_at >= QUIET_SECONDS:
            self.say(f"{label}  {self._speed():.0f} samples/s{self._left(to_come)}")

    def _speed(self) -> float:
        """Training rows a second, in the updates since the last time."""
        at, (rows, seconds) = self.state.progress, self._told
        self._told, self._told_at = (at.rows, at.train_seconds), time.monotonic()
        return (at.rows - rows) / max(at.train_seconds - seconds, 1e-9)

    def _left(self, to_come: int) -> str:
        """How long the updates that are to come will take, with what falls due between them, as those before did."""
        at = self.state.progress
        return f"  about {duration(at.wall_seconds / at.step * to_come)} left" if to_come else ""

    def sensitivities(self) -> None:
        """How sensitive the parameters are. All processes must tell at once."""
        log_sensitivity(self.state.optimizer, self.log, self.state.progress.step)

    def skipped(self, problem: str, draw: Draw, step: int) -> None:
        """Update number `step`, which was left out."""
        at, train = self.state.progress, self.state.data[draw.task].train
        self.log.event("skip", step, task=draw.task, uids=[train.uids[i] for i in draw.rows])
        self._curves({"skipped_updates": at.skipped})
        self.say(f"skipped (number {at.skipped}): {problem}")

    def evaluation(self, improved: bool) -> None:
        """The last evaluation in the run's history."""
        last = self.state.progress.history.evaluations[-1]
        epoch, mean, tasks = last["epoch"], last["mean"], last["tasks"]
        self.log.event("eval", last["step"], epoch=epoch, mean=mean, best=improved, tasks=tasks)
        curves = {f"dev/{name}/{metric}": v for name, task in tasks.items() for metric, v in task["metrics"].items()}
        self._curves(curves | {"dev/mean": mean})
        scores = "  ".join(
            f"{t.name} {t.primary_metric} {tasks[t.name]['score']:.2f}{ALIKE if tasks[t.name]['constant'] else ''}"
            for t in self.state.tested
        )
        mean_text = f"  mean {mean:.2f}" if len(tasks) > 1 else ""
        self.say(f"epoch {round(epoch, 2):g}  dev  {scores}{mean_text}{'  (best so far)' if improved else ''}")

    def test(self, scored: dict[str, dict[str, Any]]) -> None:
        """Scores of test splits, of the model in `best/`."""
        self.log.event("test", self.state.progress.step, tasks=scored)
        self._curves(
            {f"test/{name}/{metric}": v for name, task in scored.items() for metric, v in task["metrics"].items()}
        )

    def checkpoint(self, saved: Saved) -> None:
        """A checkpoint's size and time; not an event, as no two runs take the same time."""
        size = saved.size_bytes / 1e6
        self._curves({"checkpoint/megabytes": size, "checkpoint/seconds": saved.seconds})
        self.say(f"checkpoint {saved.folder.name}  {size:,.1f} MB in {saved.seconds:.2f} s")

    def end(self) -> None:
        """The last event; brought to the disk, as no checkpoint will hold it."""
        at = self.state.progress
        self.log.event("end", at.step, average=at.history.average())
        self.log.sync()

    def _curves(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.log.scalar(name, value, self.state.progress.step)
