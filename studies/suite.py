"""A suite: the folder of data that a study is about. The studies' code knows no benchmark; this says where one is.

    experiments/glue/
        *_task_def.yml        the tasks, in MT-DNN's format
        recipes/              settings of train.py by encoder, task and method: see studies.recipes
        labels.yml            task: its name in figures                  (need not be there)
        paper_table1.yml      published scores to show beside ours       (need not be there)

`--suite FOLDER` of studies.sweep and studies.recipes names another one. A study remembers its suite.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data_utils.cli import path_text
from data_utils.errors import InputError
from data_utils.strict import read_yaml_mapping

ROOT = Path(__file__).resolve().parents[1]
"""The repository: runs start here, and paths in a study's list of runs start here."""
DEFAULT = "experiments/glue"


def in_root(path: str | None) -> str | None:
    """A path for runs, which start in the repository's root: relative if it lies there; else, and hub names, as is."""
    if path is None or not os.path.exists(path):
        return path
    absolute = Path(os.path.abspath(path))
    return str(absolute.relative_to(ROOT)) if absolute.is_relative_to(ROOT) else str(absolute)


@dataclass(frozen=True)
class Suite:
    """A folder of recipes, task file, labels and published scores.

    Attributes:
        name: the folder, relative to the repository's root or absolute.
    """

    name: str = DEFAULT

    @classmethod
    def at(cls, folder: str) -> Suite:
        """The suite in a folder that a user names, from where she is; InputError if no recipes are there."""
        suite = cls(in_root(folder) or folder)
        if not suite.recipes.is_dir():
            raise InputError(f"--suite {folder}: no folder {suite.recipes}; a suite is a folder such as {DEFAULT}")
        return suite

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return ROOT / self.name

    @property
    def recipes(self) -> Path:
        """The folder of its recipes."""
        return self.folder / "recipes"

    @property
    def paper_table(self) -> Path:
        """The file of published scores; need not be there."""
        return self.folder / "paper_table1.yml"

    def task_def(self) -> str:
        """The task file, as `--task_def` of a run; InputError unless there is exactly one."""
        found = sorted(self.folder.glob("*_task_def.yml"))
        if len(found) != 1:
            names = ", ".join(path.name for path in found) or "none"
            raise InputError(f"{self.folder}: expected one file named …_task_def.yml, found {names}")
        return str(in_root(str(found[0])))

    def labels(self) -> Mapping[str, str]:
        """What figures call each task; {} without such a file, InputError for one that is damaged."""
        path = self.folder / "labels.yml"
        raw = read_yaml_mapping(path) if path.exists() else {}
        if wrong := [task for task, label in raw.items() if not isinstance(label, str)]:
            raise InputError(f"{path}: {', '.join(wrong)}: expected a text, such as `cola: CoLA`")
        return raw


def add_suite(parser: argparse._ActionsContainer) -> None:
    """Give a command the flag `--suite`."""
    parser.add_argument(
        "--suite", type=path_text, metavar="FOLDER", help=f"recipes, tasks, labels (default: {DEFAULT})"
    )
