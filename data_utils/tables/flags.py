"""The flags of `prepro_std.py` that make a task of a table."""

from __future__ import annotations

import argparse
import csv
import dataclasses
from typing import Any

from data_utils.cli import path_text
from data_utils.errors import InputError, raise_all
from data_utils.tables.convert import TableConfig
from data_utils.tables.examples import ColumnMap
from data_utils.tables.labels import KINDS, RULE
from data_utils.tables.options import add_option_flags, options_of
from data_utils.tables.split import SplitConfig

NEEDED = ("text", "label", "task")
SHARES = tuple(field.name for field in dataclasses.fields(SplitConfig))
COLUMNS = tuple(field.name for field in dataclasses.fields(ColumnMap))
OPTIONS = ("table_format", "encoding", "delimiter", "quotes")
FLAGS = ("table", *COLUMNS, "task", "kind", "labels", "metrics", "dev_table", "test_table", *SHARES)


def add_table_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `TableConfig`; all are None where they are not given."""
    plain = SplitConfig()
    group = parser.add_argument_group("a table of your own, in place of canonical rows and --task_def")
    group.add_argument("--table", type=path_text, help="CSV, TSV, JSON lines or Parquet; - for standard input")
    group.add_argument("--text", help="column of the text")
    group.add_argument("--text2", help="column of the second text, for pairs")
    group.add_argument("--label", help="column of the labels")
    group.add_argument("--id", help="column of the rows' names (default: rows are numbered)")
    group.add_argument("--task", help="the task's name")
    group.add_argument("--kind", help=f"{' or '.join(KINDS)} (default: {RULE})")
    group.add_argument("--labels", help="all labels in order, such as no,maybe,yes (default: sorted)")
    group.add_argument("--metrics", help="such as ACC,F1MAC,MCC; the first that is not ACC chooses the best epoch")
    group.add_argument("--dev_table", type=path_text, help="table of dev rows (default: a share of --table)")
    group.add_argument("--test_table", type=path_text, help="table of test rows, which need no labels (likewise)")
    group.add_argument("--dev_share", type=float, help=f"share of --table for dev (default: {plain.dev_share})")
    group.add_argument("--test_share", type=float, help=f"and for test, 0 for none (default: {plain.test_share})")
    group.add_argument("--split_seed", type=int, help=f"another gives another split (default: {plain.split_seed})")
    group.add_argument("--group", help="column, such as author: rows of one are on one side of the split")
    add_option_flags(parser)


def no_table(args: argparse.Namespace) -> None:
    """Take the flags of tables out of `args`; `InputError` where one is given: it goes with `--table`."""
    given = [name for name in (*FLAGS, *OPTIONS) if vars(args).pop(name) is not None]
    raise_all([f"--{name} goes with --table, which is not given" for name in given])


def table_config(args: argparse.Namespace) -> TableConfig:
    """The configuration that the flags are.

    Raises:
        InputError: flags that are missing, that contradict each other or would have no effect, or values out of range.
    """
    values: dict[str, Any] = vars(args)
    bad = [f"--{name} is required with --table" for name in NEEDED if not values[name]]
    bad += [f"--{name} goes with canonical rows, not with --table" for name in ("task_def", "tasks") if values[name]]
    if values["kind"] not in (None, *KINDS):
        bad.append(
            f"--kind {values['kind']}: a table makes a task of {' or '.join(KINDS)}; for ranking, tagging and "
            "questions about passages write canonical rows and a task file, and give --task_def (docs/data.md)"
        )
    bad += [
        f"--{name}_share and --{name}_table exclude each other"
        for name in ("dev", "test")
        if values[f"{name}_share"] is not None and values[f"{name}_table"] is not None
    ]
    if values["dev_table"] and (values["test_table"] or values["test_share"] == 0):
        idle = [name for name in ("split_seed", "group") if values[name] is not None]
        bad += [f"--{name} would have no effect: nothing is split off --table" for name in idle]
    raise_all(bad)
    shares = SplitConfig(**{name: values[name] for name in SHARES if values[name] is not None})
    own = ("model", "root_dir", "table", "task", "kind", "dev_table", "test_table", "max_seq_len", "workers")
    return TableConfig(
        columns=ColumnMap(**{name: values[name] for name in COLUMNS}),
        labels=_names(values["labels"], "--labels"),
        metrics=_names(values["metrics"], "--metrics") or (),
        shares=shares,
        options=options_of(args),
        **{name: values[name] for name in own},
    )


def _names(text: str | None, flag: str) -> tuple[str, ...] | None:
    """Names with commas between them; one that holds a comma stands in quotes."""
    if text is None:
        return None
    names = tuple(name.strip() for name in next(csv.reader([text], skipinitialspace=True), []))
    if not all(names):
        raise InputError(f"{flag}: expected names with commas between them, got {text!r}")
    return names
