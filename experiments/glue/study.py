"""A study: many runs of train.py under one folder, and where each of them stands.

    study/study.yml                               which runs belong to it
    study/runs/<recipe>/<method>/seed_<n>/        the output folder of one run
    study/logs/<recipe>/<method>/seed_<n>.log     what it said, in all attempts
    study/logs/<recipe>/<method>/seed_<n>.json    how its last attempt ended

A recipe is `<encoder>/<task>`. A method that is varied carries that in its name: `pats@pats_lambda=1e-06`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from data_utils.errors import InputError

STUDY_FILE = "study.yml"


class Status(Enum):
    """Where a run stands."""

    WAITING = "waiting"  # not started
    CUT = "cut"  # started, and neither at its end nor failed: running now, or cut off
    FAILED = "failed"
    DONE = "done"


@dataclass(frozen=True, order=True)
class Run:
    """One run of a study.

    Attributes:
        recipe: `<encoder>/<task>`, such as `bert_base/rte`.
        method: a method of the recipe, such as `pats`.
        varied: flags of train.py that differ from the recipe's, as (name, value) in the order of names.
        seed: the run's `--seed`.
    """

    recipe: str
    method: str
    varied: tuple[tuple[str, str], ...]
    seed: int

    @property
    def label(self) -> str:
        """The method with what is varied, as tables and folders have it."""
        return "@".join([self.method, *(f"{name}={value}" for name, value in self.varied)])

    @property
    def encoder(self) -> str:
        """The recipe's first part."""
        return self.recipe.split("/")[0]

    @property
    def task(self) -> str:
        """The recipe's last part: a task's name, or `mtl`."""
        return self.recipe.split("/")[-1]

    @property
    def path(self) -> Path:
        """Where its files lie, below `runs/` and `logs/`."""
        return Path(self.recipe) / self.label / f"seed_{self.seed}"


@dataclass(frozen=True)
class Outcome:
    """A run and what became of it.

    Attributes:
        folder: its output folder.
        status: where it stands.
        attempts: how often it was started.
        message: what a failed run said.
        results: its `results.json`; {} unless it is done.
    """

    run: Run
    folder: Path
    status: Status
    attempts: int = 0
    message: str = ""
    results: Mapping[str, Any] = field(default_factory=dict)

    @property
    def collapsed(self) -> bool:
        """Whether the model gave all rows of some task the same prediction at the end."""
        return any(task["last"].get("constant", False) for task in self.results.get("tasks", {}).values())

    def score(self, task: str, which: str = "last") -> float:
        """A task's score in points, of the `last` or the `best` epoch; KeyError unless the run is done."""
        return float(self.results["tasks"][task][which]["score"])


@dataclass(frozen=True)
class Study:
    """A study's folder and the runs that belong to it."""

    folder: Path
    runs: tuple[Run, ...]

    @classmethod
    def load(cls, folder: Path) -> Study:
        """Read a study's list of runs.

        Raises:
            InputError: no such file, or not what `save` writes.
        """
        path = folder / STUDY_FILE
        try:
            raw = yaml.safe_load(path.read_text(encoding="utf-8"))
            return cls(folder, tuple(_run(entry) for entry in raw["runs"]))
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; expected the --output_dir of experiments.glue.sweep") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
            raise InputError(f"{path}: not a study's list of runs: {error}") from None

    def save(self) -> None:
        """Write the list of runs; a crash leaves the old or the new one."""
        runs = [
            {"recipe": run.recipe, "method": run.method, "varied": dict(run.varied), "seed": run.seed}
            for run in self.runs
        ]
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / (STUDY_FILE + ".partial")
        partial.write_text(yaml.safe_dump({"runs": runs}, sort_keys=False), encoding="utf-8")
        partial.replace(self.folder / STUDY_FILE)

    def with_runs(self, runs: Iterable[Run]) -> Study:
        """The study with further runs; those that are there already stay as they are."""
        return Study(self.folder, tuple(dict.fromkeys([*self.runs, *runs])))

    def run_folder(self, run: Run) -> Path:
        """The `--output_dir` of a run."""
        return self.folder / "runs" / run.path

    def log_file(self, run: Run) -> Path:
        """What a run says goes here; how its attempts ended stands beside it, in a `.json`."""
        return self.folder / "logs" / run.path.with_name(run.path.name + ".log")

    def note_attempt(self, run: Run, *, attempts: int, exit_code: int, message: str) -> None:
        """Record how an attempt ended."""
        path = self.log_file(run).with_suffix(".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"attempts": attempts, "exit_code": exit_code, "message": message})
        path.write_text(text + "\n", encoding="utf-8")

    def outcome(self, run: Run) -> Outcome:
        """Where a run stands; InputError for files that are damaged."""
        folder, log = self.run_folder(run), self.log_file(run).with_suffix(".json")
        try:
            ended = json.loads(log.read_bytes()) if log.is_file() else {"attempts": 0, "exit_code": 0, "message": ""}
            attempts, message = int(ended["attempts"]), str(ended["message"])
            if (folder / "results.json").is_file():
                results = json.loads((folder / "results.json").read_bytes())
                return Outcome(run, folder, Status.DONE, attempts, results=results)
            if ended["exit_code"]:
                return Outcome(run, folder, Status.FAILED, attempts, message)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder}: cannot be read: {error}") from None
        return Outcome(run, folder, Status.CUT if folder.exists() else Status.WAITING, attempts)

    def outcomes(self) -> list[Outcome]:
        """All runs of the study, whatever became of them."""
        return [self.outcome(run) for run in self.runs]


def _run(entry: Mapping[str, Any]) -> Run:
    varied = tuple(sorted((str(name), str(value)) for name, value in entry["varied"].items()))
    return Run(str(entry["recipe"]), str(entry["method"]), varied, int(entry["seed"]))
