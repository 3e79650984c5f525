"""Features of a study's runs: those that are there or, of canonical rows, those that prepro_std.py makes of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from data_utils.canonical import canonical_path
from data_utils.errors import InputError, raise_all
from data_utils.features import feature_path
from data_utils.fingerprints import MANIFEST, sha256_of
from data_utils.manifest import model_short_name
from data_utils.task_def import TaskDef, load_task_defs
from mt_dnn.record.finished import first_encoder
from mt_dnn.sections import GLUE_TASKS
from studies.study import Run, Settings, Status, Study
from studies.suite import ROOT

PREPARE = ROOT / "prepro_std.py"


def has_rows(folder: Path, tasks: Iterable[TaskDef]) -> bool:
    """Whether canonical training rows of one of the tasks lie in a folder, and no features."""
    rows = (
        canonical_path(folder, owner, split, task.data_format) for task in tasks for owner, split in task.training_files
    )
    return not (folder / MANIFEST).is_file() and any(path.is_file() for path in rows)


def trained_tasks(settings: Settings) -> list[TaskDef]:
    """The tasks that a run trains, as far as the task file knows them; train.py says what is wrong with the others."""
    try:
        defined = load_task_defs(ROOT / str(settings.get("task_def", GLUE_TASKS)))
    except InputError:
        return []
    names = [name.strip() for name in str(settings["train_datasets"]).split(",")]
    return [defined[name] for name in names if name in defined]


def features_folder(data_dir: str, settings: Settings) -> str:
    """The `--data_dir` of a run: the folder itself or, where it has canonical rows, that of the encoder's features.

    Args:
        data_dir: as a run takes it, from the repository's root.
        settings: what else the run has: encoder, tasks and their file.
    """
    if not has_rows(ROOT / data_dir, trained_tasks(settings)):
        return data_dir
    model = str(settings["init_checkpoint"])
    of_model, of_first = (Path(data_dir) / model_short_name(one) for one in (model, first_encoder(model, ROOT)))
    return str(of_model if (ROOT / of_model).is_dir() else of_first)


def make_features(study: Study, runs: Sequence[Run]) -> None:
    """Make the features of canonical rows that runs need and that are not there yet.

    Raises:
        InputError: prepro_std.py finds something wrong with the rows.
    """
    missing: dict[tuple[str, str, str], dict[str, None]] = {}
    notes: dict[str, None] = {}  # each once, however many methods a task is run with
    for settings in {(run.recipe, run.method): study.settings[run.recipe, run.method] for run in runs}.values():
        folder, tasks = ROOT / str(settings["data_dir"]), trained_tasks(settings)
        absent = [name for task in tasks for name in _absent(folder, task)]
        notes.update(dict.fromkeys(line for task in tasks for line in _outdated(folder, task)))
        if absent and has_rows(folder.parent, tasks):
            key = (str(folder), _maker(settings, folder), str(settings.get("task_def", GLUE_TASKS)))
            missing.setdefault(key, {}).update(dict.fromkeys(absent))
    print("".join(f"note: {line}\n" for line in notes), end="", flush=True)
    for (folder_name, model, task_def), names in missing.items():
        _prepare(Path(folder_name), model, task_def, names)


def check_unchanged(study: Study, runs: Sequence[Run]) -> None:
    """Raise `InputError` where these runs would have other features than the runs that are done with the same ones.

    Scores of the two could not be compared. Runs of before 28 November 2026 do not say what they had.
    """
    had: dict[Path, set[str]] = {}
    for run in study.runs:
        outcome = study.outcome(run)
        if outcome.status is Status.DONE:
            for stem, sha256 in outcome.results.get("features", {}).items():
                had.setdefault(_folder(study, run) / f"{stem}.json", set()).add(str(sha256))
    folders = {_folder(study, run) for run in runs}
    raise_all(
        [
            f"{path}: made anew since runs of this study were done with it: make it as it was, or start a study of the "
            "new one in another --output_dir"
            for path, sums in sorted(had.items())
            if path.parent in folders and path.is_file() and sha256_of(path) not in sums
        ]
    )


def _folder(study: Study, run: Run) -> Path:
    """Where a run's features lie; of one without settings, which cannot be started, where none do."""
    return ROOT / str(study.settings.get((run.recipe, run.method), {}).get("data_dir", ""))


def _rows_and_features(folder: Path, task: TaskDef) -> list[tuple[Path, Path]]:
    """The canonical rows of a task that are there, and where the features of each belong."""
    files = [
        (canonical_path(folder.parent, task.name, split, task.data_format), feature_path(folder, task.name, split))
        for split in task.split_names
    ]
    return [(rows, features) for rows, features in files if rows.is_file()]


def _absent(folder: Path, task: TaskDef) -> list[str]:
    """Tasks whose features are to be made: whose rows it is trained on, and itself for those of other splits."""
    owners = [owner for owner, split in task.training_files if not feature_path(folder, owner, split).is_file()]
    own = any(not features.is_file() for _, features in _rows_and_features(folder, task))
    return owners + [task.name] * own


def _outdated(folder: Path, task: TaskDef) -> list[str]:
    """A line for canonical rows that are newer than the features made of them, which a run would take all the same."""
    return [
        f"{rows} is newer than {features}: prepro_std.py makes these anew"
        for rows, features in _rows_and_features(folder, task)
        if features.is_file() and rows.stat().st_mtime > features.stat().st_mtime
    ]


def _maker(settings: Settings, folder: Path) -> str:
    """Whose tokenizer the features in a folder are made with."""
    model = str(settings["init_checkpoint"])
    return model if model_short_name(model) == folder.name else first_encoder(model)


def _prepare(folder: Path, model: str, task_def: str, names: Mapping[str, None]) -> None:
    print(f"canonical rows to features, {folder}: {', '.join(names)}", flush=True)
    command = [sys.executable, str(PREPARE), "--model", model, "--root_dir", str(folder.parent)]
    command += ["--task_def", task_def, "--tasks", ",".join(names)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    if done.returncode:
        said = done.stderr.strip().removeprefix("error: ")
        raise InputError(f"--data_dir {folder.parent}: {said or f'prepro_std.py ended with {done.returncode}'}")
