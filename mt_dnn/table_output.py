"""What becomes of a table's predictions: columns of labels and probabilities, vectors, or soft labels."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from data_utils.errors import InputError, raise_all
from data_utils.kinds.kind import Predictions
from data_utils.scoring import unsupported_metrics
from data_utils.strict import shown
from data_utils.tables.examples import ColumnMap, Example
from data_utils.tables.options import DELIMITED, TableOptions
from data_utils.tables.reading import Table
from data_utils.tables.writing import output_format, table_writer, text_output
from data_utils.task_def import TaskDef
from mt_dnn.bulk import TEXTS, Outputs, check_takes_texts
from mt_dnn.soft_labels import soft_label_lines

ROW = "row"
"""The column of rows' numbers, where no `--id` gives them names."""

EMBEDDING = "embedding"

Sink = Callable[[Sequence[Example], Sequence[bool], Outputs | None], None]
"""Writes some rows: the rows, which of them have text, and what the model gives for these (None where none has)."""


@dataclass(frozen=True, kw_only=True)
class TableJob:
    """What to predict and where to; the fields are flags of `predict.py`.

    Attributes:
        table: the table; `-` for standard input.
        columns: which column is what; with a label the rows are scored.
        options: how the table is written.
        output: a file, whose ending says its format, or `-` for standard output.
        embed: whether to write vectors in place of predictions.
        soft_labels: whether to write JSON lines of logits in their place, see `mt_dnn.soft_labels`.
    """

    table: str
    columns: ColumnMap
    options: TableOptions = field(default_factory=TableOptions)
    output: str
    embed: bool = False
    soft_labels: bool = False

    def problems(self, tasks: Sequence[TaskDef]) -> list[str]:
        """What contradicts itself, a line each."""
        bad = ["--embed and --soft_labels exclude each other"] * (self.embed and self.soft_labels)
        if self.embed:
            return bad + ["--label would have no effect: vectors have no scores"] * (self.columns.label is not None)
        for flag, given in (("--label", self.columns.label is not None), ("--soft_labels", self.soft_labels)):
            bad += [f"{flag} is for one task, got {len(tasks)}"] * (given and len(tasks) > 1)
        pairs = [task.name for task in tasks if TEXTS[task.data_format] == 2]
        if self.columns.text2 is None:
            bad += [f"--text2 is required: {name} has rows of two texts" for name in pairs]
        elif not pairs:
            bad.append(f"--text2 would have no effect: {', '.join(task.name for task in tasks)} has rows of one text")
        return bad


def check_job(job: TableJob, tasks: Sequence[TaskDef]) -> None:
    """Raise `InputError` for what contradicts itself, or for tasks that tables are not for."""
    check_takes_texts(tasks, "--table")
    raise_all(job.problems(tasks))
    for task in tasks:
        if job.columns.label is not None and (unsupported := unsupported_metrics(task)):
            raise InputError(f"--label: {task.name} has no metric {', '.join(unsupported)}")


@contextlib.contextmanager
def open_sink(job: TableJob, table: Table, tasks: Sequence[TaskDef], hidden: int) -> Iterator[Sink]:
    """Open the output; a file appears when the `with` block ends well.

    Args:
        job: says where to and what.
        table: whose rows they are.
        tasks: what is predicted.
        hidden: numbers of a vector.

    Raises:
        InputError: an unknown ending, a file that cannot be written, an id column that is called as one of the others.
    """
    if job.soft_labels:
        (task,) = tasks
        with text_output(job.output) as file:
            yield lambda rows, filled, found: file.writelines(_soft_lines(task, rows, found))
        return
    source = job.options.format_of(job.table)
    columns: dict[str, type] = {EMBEDDING: list} if job.embed else _columns(tasks)
    name = job.columns.id or ROW
    form = output_format(job.output, source)
    whole = form not in DELIMITED and (job.columns.id is None or table.is_whole(job.columns.id))
    if name in columns:
        raise InputError(f"--id: the output has a column {shown(name)} of its own; rename the table's")
    nothing: list[Any] = [[None] * hidden] if job.embed else [None] * len(columns)
    with table_writer(job.output, form, {name: int if whole else str, **columns}) as writer:

        def write(rows: Sequence[Example], filled: Sequence[bool], found: Outputs | None) -> None:
            values = iter([] if found is None else _vectors(found) if job.embed else _values(tasks, found))
            writer.write(
                [
                    [_whole(table.name, row) if whole else row.uid, *(next(values) if full else nothing)]
                    for row, full in zip(rows, filled, strict=True)
                ]
            )

        yield write


def _whole(table: str, row: Example) -> int:
    """An id that is a number in the table, and so is written as one."""
    with contextlib.suppress(ValueError):
        if str(number := int(row.uid)) == row.uid:  # else it is a text, which may begin with zeros
            return number
    raise InputError(
        f"{table}:{row.line}: --id: {shown(row.uid)} is no whole number, as the ids before it are; write all ids as "
        "texts, or choose .csv or .tsv for --output"
    )


def _soft_lines(task: TaskDef, rows: Sequence[Example], found: Outputs | None) -> Iterator[str]:
    """Lines of rows that all have text: see `table_predictions`, which refuses others."""
    return iter(()) if found is None else soft_label_lines(task, [row.uid for row in rows], found.logits[task.name])


def _columns(tasks: Sequence[TaskDef]) -> dict[str, type]:
    """Label and probabilities of each task, or its number; the task's name before them where there are several."""
    columns: dict[str, type] = {}
    for task in tasks:
        before = f"{task.name}_" if len(tasks) > 1 else ""
        columns[f"{before}prediction"] = str if task.label_names else float
        columns |= {f"{before}prob_{name}": float for name in task.label_names}
    return columns


def _values(tasks: Sequence[TaskDef], found: Outputs) -> Iterator[list[Any]]:
    """A row's values below `_columns`."""
    parts = [_of_task(task, found.decided(task)) for task in tasks]
    for row in zip(*parts, strict=True):
        yield list(itertools.chain.from_iterable(row))


def _of_task(task: TaskDef, predicted: Predictions) -> Iterator[list[Any]]:
    names = task.label_names
    if predicted.scores is None:
        yield from ([float(value)] for value in predicted.values)
        return
    for value, shares in zip(predicted.values, predicted.scores.tolist(), strict=True):
        yield [names[value], *shares]


def _vectors(found: Outputs) -> Iterator[list[Any]]:
    return ([vector] for vector in (() if found.pooled is None else found.pooled.tolist()))
