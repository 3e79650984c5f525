"""Which tasks a run trains, on which files, and which splits of them it is scored on: what its flags ask for."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from data_utils.errors import InputError, raise_all
from data_utils.scoring import unsupported_metrics
from data_utils.strict import shown
from data_utils.task_def import TaskDef, TaskFile, load_task_defs, select_tasks
from mt_dnn.record.results import MEAN
from mt_dnn.sections import GLUE_TASKS, DataConfig

CHOOSES_NOTHING = "a test split is one that chooses nothing"


def choose_tasks(config: DataConfig) -> tuple[list[TaskDef], list[TaskDef]]:
    """The tasks to train and those to evaluate.

    Raises:
        InputError: names the file does not define, evaluated tasks that are not trained or have no dev split,
            metrics that cannot be computed.
    """
    own = config.task_def != GLUE_TASKS or Path(GLUE_TASKS).is_file()
    defined = load_task_defs(config.task_def if own else str(Path(__file__).parents[1] / GLUE_TASKS))
    trained = select_trained(defined, config.train_datasets)
    tested = trained
    if config.test_datasets is not None:
        by_name = {task.name: task for task in trained}  # with the files that they are trained on
        tested = [by_name.get(t.name, t) for t in select_tasks(defined, config.test_datasets, "--test_datasets")]
    names = ", ".join(task.name for task in trained)
    bad = [
        f"--test_datasets: {task.name} is not trained, so it has no head; --train_datasets has: {names}"
        for task in tested
        if task not in trained
    ]
    if config.best_by not in (MEAN, *(task.name for task in tested)):
        evaluated = ", ".join(task.name for task in tested)
        bad.append(f"--best_by: {shown(config.best_by)} is not evaluated; allowed: {MEAN}, {evaluated}")
    bad += [
        f"task {MEAN!r}: --best_by {MEAN} is the mean of all tasks; call it something else, or evaluate it alone"
        for task in tested
        if task.name == MEAN and len(tested) > 1
    ]
    bad += [f"--test_datasets: {task.name} has no dev split" for task in tested if not task.dev_splits]
    bad += [
        f"task {task.name!r}: {task.kind.name} has no metric {metric}; use {', '.join(task.kind.metrics)}"
        for task in tested
        for metric in unsupported_metrics(task)
    ]
    bad += [
        f"--train_datasets: {task.name} has no train split, and no train_files"
        for task in trained
        if not task.train_files and "train" not in task.split_names
    ]
    bad += _dev_split_problems(trained, tested)
    bad += _test_split_problems(config, trained, tested)
    raise_all(bad)
    return trained, tested


def test_split_names(config: DataConfig) -> list[str]:
    """The names in `--test_splits`, each once."""
    return list(dict.fromkeys(name.strip() for name in (config.test_splits or "").split(",") if name.strip()))


def _trainers(trained: Sequence[TaskDef]) -> dict[tuple[str, str], str]:
    """What is trained on: by owner and split, the task whose head it is."""
    return {file: task.name for task in trained for file in task.training_files}


def _dev_split_problems(trained: Sequence[TaskDef], tested: Sequence[TaskDef]) -> list[str]:
    """A line for each dev split that a task is trained on, too: the best model would be the one that knows it best."""
    trainers = _trainers(trained)
    return [
        f"--train_datasets: {trainers[task.name, split]} is trained on {task.name}_{split}, which {task.name} is "
        "evaluated on; take it from the train_files, or evaluate on other rows"
        for task in tested
        for split in task.dev_splits
        if (task.name, split) in trainers
    ]


def _test_split_problems(config: DataConfig, trained: Sequence[TaskDef], tested: Sequence[TaskDef]) -> list[str]:
    """A line for each of `--test_splits` that chooses models, or that no evaluated task has."""
    bad, trainers = [], _trainers(trained)
    if config.test_splits is not None and not test_split_names(config):
        bad.append(f"--test_splits: no split named, got {shown(config.test_splits)}; leave the flag out for none")
    for name in test_split_names(config):
        having = [task for task in tested if name in task.split_names]
        if not having:
            splits = ", ".join(dict.fromkeys(split for task in tested for split in task.split_names))
            bad.append(f"--test_splits: no evaluated task has a split {shown(name)}; there are: {splits}")
        for task in having:
            if name in task.dev_splits:
                bad.append(f"--test_splits: {task.name} is evaluated on its split {name}; {CHOOSES_NOTHING}")
            elif (task.name, name) in trainers:
                head = trainers[task.name, name]
                whose = "its split" if head == task.name else f"{task.name}'s split"
                bad.append(f"--test_splits: {head} is trained on {whose} {name}; {CHOOSES_NOTHING}")
    return bad


def select_trained(defined: TaskFile, names: str) -> list[TaskDef]:
    """The tasks that a list such as `cola,mnli,mnli_snli` names.

    `<task>_<suffix>` is MT-DNN's way to train one task's head on another file, `<task>_<suffix>_train`: beside its own
    where the list has the task's name, too, else in place of them.

    Raises:
        InputError: what `select_tasks` raises.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if len(set(wanted)) != len(wanted):
        raise InputError(f"--train_datasets: a task stands twice in {names!r}")
    members: dict[str, list[str]] = {}
    for name in wanted:
        members.setdefault(name.partition("_")[0], []).append(name)
    tasks = select_tasks(defined, ",".join(members), "--train_datasets")
    return [_with_files(task, members[task.name]) for task in tasks]


def _with_files(task: TaskDef, names: Sequence[str]) -> TaskDef:
    """A task that is trained on the files that these names stand for: its own name, or with a suffix."""
    if list(names) == [task.name]:
        return task
    own = task.train_files or (f"{task.name}_train",)
    files = [file for name in names for file in (own if name == task.name else (f"{name}_train",))]
    return dataclasses.replace(task, train_files=tuple(files))
