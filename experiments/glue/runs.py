"""The finished runs of train.py that a submission is made of: what they can predict, and how well they did."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_utils.errors import InputError, raise_all
from data_utils.fingerprints import sha256_of
from data_utils.model_folder import BEST, TASKS_FILE
from data_utils.strict import read_yaml_mapping
from data_utils.task_def import TaskDef

STUDY_FILE, RESULTS_FILE, CONFIG_FILE, MANIFEST_FILE = "study.yml", "results.json", "config.yaml", "manifest.json"
STUDY_RUNS = "runs/*/*/*/seed_*"  # <encoder>/<task>/<method>


@dataclass(frozen=True)
class TrainedRun:
    """A finished run.

    Attributes:
        folder: its `--output_dir`.
        tasks: those that its best model has a head for, by name.
        scores: of that model on the dev splits, in points, by task; tasks that were not evaluated have none.
        data_dir: where its features lie, as far as that is known.
        max_seq_len: to how many tokens its rows were cut.
    """

    folder: Path
    tasks: Mapping[str, TaskDef]
    scores: Mapping[str, float]
    data_dir: Path
    max_seq_len: int

    @classmethod
    def load(cls, folder: Path) -> TrainedRun:
        """Read a run's folder; `InputError` for one that is not finished, or not a run's."""
        tasks_file = folder / BEST / TASKS_FILE
        if not all(path.is_file() for path in (tasks_file, tasks_file.with_name(MANIFEST_FILE), folder / RESULTS_FILE)):
            raise InputError(f"--runs {folder}: expected the --output_dir of a finished run of train.py, or a study's")
        try:
            raw = json.loads(tasks_file.read_bytes())
            tasks = {name: TaskDef.from_dict(name, definition) for name, definition in raw.items()}
            scores = _scores(json.loads((folder / RESULTS_FILE).read_bytes()))
            config = read_yaml_mapping(folder / CONFIG_FILE)
            return cls(folder, tasks, scores, _data_dir(config), int(config["max_seq_len"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"--runs {folder}: its files are damaged ({error})") from None

    def model_hash(self) -> str:
        """What changes when the best model does: of the list of its files and their hashes."""
        return sha256_of(self.folder / BEST / MANIFEST_FILE)


def _scores(results: Mapping[str, Any]) -> dict[str, float]:
    """The dev score of each task at the evaluation whose model `best/` holds."""
    step = results["best_model"]["step"]
    tasks = results["tasks"].items()
    return {name: float(entry["score"]) for name, task in tasks for entry in task["history"] if entry["step"] == step}


def _data_dir(config: Mapping[str, Any]) -> Path:
    """Relative to here or, where nothing lies there, to where the run was started."""
    place = str(config["data_dir"])
    return Path(place if os.path.isdir(place) else os.path.join(str(config.get("started_in", "")), place))


def find_runs(places: Sequence[str], method: str | None) -> list[TrainedRun]:
    """The runs in these folders; of a study those that are finished, and of `method` if one is named.

    Raises:
        InputError: a folder that is neither a finished run nor a study with such runs.
    """
    found: list[TrainedRun] = []
    problems: list[str] = []
    if method is not None and not any((Path(place) / STUDY_FILE).is_file() for place in places):
        problems.append(f"--method {method} would have no effect: no folder of --runs is a study's")
    for folder in map(Path, places):
        folders = _of_study(folder, method) if (folder / STUDY_FILE).is_file() else [folder]
        if not folders:
            of_method = f" of the method {method}" if method else ""
            problems.append(f"--runs {folder}: no run{of_method} in this study is finished")
        for one in folders:
            try:
                found.append(TrainedRun.load(one))
            except InputError as error:
                problems.append(str(error))
    raise_all(problems)
    return found


def _of_study(folder: Path, method: str | None) -> list[Path]:
    runs = sorted(path.parent for path in folder.glob(f"{STUDY_RUNS}/{RESULTS_FILE}"))
    return [run for run in runs if method in (None, run.parent.name)]


def best_run(runs: Sequence[TrainedRun], task: str) -> TrainedRun | None:
    """Of the runs with a head for the task the one with the best dev score, of equals the first; None if there is none.

    Raises:
        InputError: there are several, and one has no dev score.
    """
    able = [run for run in runs if task in run.tasks]
    unscored = [run.folder for run in able if task not in run.scores]
    if unscored and len(able) > 1:
        raise InputError(f"--runs {unscored[0]}: no dev score of {task} by which to choose; name one run with {task}")
    return max(able, key=lambda run: run.scores.get(task, 0.0), default=None)
