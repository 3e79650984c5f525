"""From a data set as it is published to canonical rows: what the preparation scripts of `experiments/` share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from data_utils.atomic import StagedFiles
from data_utils.canonical import Problems, Row, canonical_path, format_row, row_parser, write_rows
from data_utils.cli import Parser, path_text
from data_utils.errors import InputError, raise_all
from data_utils.task_def import TaskDef

PlacedRow = tuple[int, Row]
"""A row and its number in the file: of its line, or of its item."""


class Source(NamedTuple):
    """The rows of one split.

    Attributes:
        task: whose rows they are.
        split: the split's name.
        path: the file.
        read: its rows; what does not parse it notes in the problems.
    """

    task: TaskDef
    split: str
    path: Path
    read: Callable[[Path, Problems], Iterator[PlacedRow]]


def write_splits(sources: Sequence[Source], output_dir: Path) -> None:
    """Write the canonical files of all splits and tell how many rows each has.

    Raises:
        InputError: rows that do not parse, with file and line; a split without rows. Nothing is written then.
    """
    told: list[str] = []
    bad: list[str] = []
    with StagedFiles() as staged:
        for source in sources:
            problems = Problems(source.path)
            target = staged.path(canonical_path(output_dir, source.task.name, source.split))
            count = write_rows(target, _checked(source, problems), source.task.data_format)
            bad += problems.messages() or [f"{source.path}: no row for {source.task.name} {source.split}"] * (not count)
            told.append(f"{source.task.name} {source.split}: {count:,} rows")
        raise_all(bad)
    print("\n".join([*told, f"canonical files: {output_dir}"]))


def _checked(source: Source, problems: Problems) -> Iterator[Row]:
    check = row_parser(source.task)
    for number, row in source.read(source.path, problems):
        try:
            check(format_row(row, source.task.data_format))
        except InputError as error:
            problems.add(number, str(error))
        else:
            yield row


def find_file(folder: Path, names: Sequence[str]) -> Path | None:
    """The first of these files that is there."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def find_splits(
    folder: Path, task: str, names: Mapping[str, Sequence[str]], optional: Sequence[str]
) -> dict[str, Path]:
    """The file of each split.

    Args:
        folder: where they lie.
        task: for messages.
        names: what a split's file may be called.
        optional: splits that need not be there.

    Raises:
        InputError: no such folder, or a file is missing.
    """
    if not folder.is_dir():
        raise InputError(f"--source: no such folder: {folder}")
    found = {split: find_file(folder, options) for split, options in names.items()}
    missing = [split for split, path in found.items() if path is None]
    raise_all(
        [
            f"--source: {task} needs its {split} split: {' or '.join(names[split])} in {folder}"
            for split in missing
            if split not in optional
        ]
    )
    for split in missing:
        print(f"{task} {split}: no file {' or '.join(names[split])} in {folder}, skipped")
    return {split: path for split, path in found.items() if path is not None}


def source_parser(description: str, source: str, tasks: Sequence[str] = ()) -> argparse.ArgumentParser:
    """A command line with `--source`, described by `source`, `--output_dir`, and `--task` where there are several."""
    parser = Parser(description=description, allow_abbrev=False)
    parser.add_argument("--source", required=True, type=path_text, help=source)
    parser.add_argument("--output_dir", type=path_text, default="data/canonical_data", help="default: %(default)s")
    if tasks:
        parser.add_argument("--task", choices=tasks, default=tasks[0], help="default: %(default)s")
    return parser
