r"""SNLI 1.0 as published (JSON lines, or the tab-separated .txt) to canonical rows.

    python -m experiments.snli.snli_prepro --source snli_1.0

Rows with the gold label `-`, on which the raters did not agree, are left out and counted, as all who use SNLI do. A
row's uid is its number in the file, from 0.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_utils.canonical import Problems, Row, read_lines
from data_utils.errors import InputError, entry_point
from data_utils.published import PlacedRow, Source, find_splits, source_parser, write_splits
from data_utils.strict import parse_json, shown
from data_utils.task_def import load_task_defs, select_tasks

TASK_DEF = Path(__file__).with_name("snli_task_def.yml")
FILES = {split: (f"snli_1.0_{split}.jsonl", f"snli_1.0_{split}.txt") for split in ("train", "dev", "test")}
COLUMNS = ("gold_label", "sentence1", "sentence2")
NO_GOLD = "-"


def _json_records(path: Path, problems: Problems) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(read_lines(path), start=1):
        try:
            record = parse_json(line)
        except InputError as error:
            problems.add(number, f"not JSON: {error}")
            continue
        if isinstance(record, dict) and all(isinstance(record.get(key), str) for key in COLUMNS):
            yield number, record
        else:
            problems.add(number, f"expected an object with the texts {', '.join(COLUMNS)}, got {shown(record)}")


def _table_records(path: Path, problems: Problems) -> Iterator[tuple[int, Mapping[str, Any]]]:
    lines = enumerate(read_lines(path), start=1)
    header = next(lines)[1].split("\t")
    if absent := [name for name in COLUMNS if name not in header]:
        raise InputError(f"{path}:1: the header lacks {', '.join(absent)}; it has: {', '.join(header)}")
    most = max(map(header.index, COLUMNS))  # the raters' own labels, after them, are not always there
    for number, line in lines:
        fields = line.split("\t")
        if most < len(fields) <= len(header):
            yield number, dict(zip(header, fields, strict=False))
        else:
            problems.add(number, f"{len(fields)} columns, expected {most + 1} to {len(header)} (tab-separated)")


def read_pairs(split: str, path: Path, problems: Problems) -> Iterator[PlacedRow]:
    """The pairs of a file that have a gold label; the others are counted."""
    left_out = 0
    records = _json_records if path.suffix == ".jsonl" else _table_records
    for uid, (number, record) in enumerate(records(path, problems)):
        label, premise, hypothesis = (record[key] for key in COLUMNS)
        if label == NO_GOLD:
            left_out += 1
        else:
            yield number, Row(str(uid), (label,), premise, (hypothesis,))
    print(f"snli {split}: {left_out:,} rows without a gold label left out")


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Run with the given flags; returns the exit code: 0 done, 2 the input is wrong."""
    args = source_parser("SNLI 1.0 to canonical rows.", "the folder snli_1.0").parse_args(argv)
    (task,) = select_tasks(load_task_defs(TASK_DEF), "snli", "snli")
    found = find_splits(Path(args.source), task.name, FILES, optional=["test"])
    sources = [Source(task, split, path, functools.partial(read_pairs, split)) for split, path in found.items()]
    write_splits(sources, Path(args.output_dir))
    return 0


if __name__ == "__main__":
    sys.exit(main())
