"""Finished runs side by side: one row a run, one column a task, read from each run's `results.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_utils.errors import InputError

RESULTS = "results.json"
CONFIG = "config.yaml"
LEGEND = "Dev scores in points out of 100: after the last epoch (after the best one @ its number)."
WITH_TEST = " Test scores are of the best epoch's model."
NOT_RUN = "-"


@dataclass(frozen=True)
class TaskScore:
    """One task's primary metric in one run, in points; `epoch` (may be 1.5) is where the best was.

    `test` is the score of test splits, None where there is none.
    """

    metric: str
    last: float
    best: float
    epoch: float
    test: float | None = None

    def __str__(self) -> str:
        test = "" if self.test is None else f", test {self.test:.2f}"
        return f"{self.last:.2f} ({self.best:.2f} @{self.epoch:g}{test})"


@dataclass(frozen=True)
class RunResult:
    """What a table shows of one run; scores and averages in points, `wall_seconds` in seconds, `folder` as given."""

    folder: str
    optim: str
    seed: int
    tasks: dict[str, TaskScore]
    average_last: float
    average_best: float
    samples_per_second: float
    wall_seconds: float

    @classmethod
    def load(cls, run_dir: Path) -> RunResult:
        """Read `results.json` of a run's output folder.

        Raises:
            InputError: the folder or the file is missing, not JSON, or lacks what a table needs.
        """
        path = run_dir / RESULTS
        if not run_dir.is_dir():
            raise InputError(f"{run_dir}: no such folder; expected the --output_dir of a finished train.py run")
        if not path.is_file():
            raise InputError(f"{path}: no such file; the run has not finished, or the folder is not train.py's")
        try:
            return cls._from_json(str(run_dir), json.loads(path.read_bytes()))
        except KeyError as error:
            raise InputError(f"{path}: the key {error} is missing") from None
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: not a train.py result: {error}") from None

    @classmethod
    def _from_json(cls, folder: str, raw: dict[str, Any]) -> RunResult:
        tasks = {name: _task_score(entry) for name, entry in raw["tasks"].items()}
        average = raw["average"]
        return cls(
            folder=folder,
            optim=str(raw["optim"]),
            seed=int(raw["seed"]),
            tasks=tasks,
            average_last=float(average["last"]),
            average_best=float(average["best"]),
            samples_per_second=float(raw["samples_per_second"]),
            wall_seconds=float(raw["wall_seconds"]),
        )


def split_by_end(folders: Sequence[Path]) -> tuple[list[RunResult], list[Path]]:
    """The results of the runs that have ended, and the folders of those that are running or were cut off.

    Raises:
        InputError: a folder is no run or is damaged, or none of the runs has ended.
    """
    going_on = [folder for folder in folders if (folder / CONFIG).is_file() and not (folder / RESULTS).is_file()]
    ended = [folder for folder in folders if folder not in going_on]
    return [RunResult.load(folder) for folder in ended or going_on], going_on


def _task_score(entry: dict[str, Any]) -> TaskScore:
    best, last = entry["best"], entry["last"]
    test = float(entry["test"]["score"]) if "test" in entry else None
    metric = str(entry["primary_metric"])
    return TaskScore(metric, float(last["score"]), float(best["score"]), float(best["epoch"]), test)


def render(runs: Sequence[RunResult]) -> str:
    """Lay out runs as aligned plain text; a task that a run lacks shows as `-`."""
    # A task scored by another metric gets a column of its own: the two must not be compared.
    columns = list(dict.fromkeys((task, score.metric) for run in runs for task, score in run.tasks.items()))
    header = ["optim", "seed", *(f"{task} {metric}" for task, metric in columns), "average", "samples/s", "wall", "run"]
    rows = [header] + [_cells(run, columns) for run in runs]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    tested = any(score.test is not None for run in runs for score in run.tasks.values())
    return "\n".join([LEGEND + WITH_TEST * tested, lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _cells(run: RunResult, columns: Sequence[tuple[str, str]]) -> list[str]:
    scores = [run.tasks.get(task) for task, _ in columns]
    shown = [
        str(score) if score and score.metric == metric else NOT_RUN
        for score, (_, metric) in zip(scores, columns, strict=True)
    ]
    minutes, seconds = divmod(round(run.wall_seconds), 60)
    average = f"{run.average_last:.2f} ({run.average_best:.2f})"
    speed, wall = f"{run.samples_per_second:.0f}", f"{minutes}:{seconds:02d}"
    return [run.optim, str(run.seed), *shown, average, speed, wall, run.folder]
