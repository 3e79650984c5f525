"""Predictions of a table of any length, in memory that does not grow with it: a window of rows at a time."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from data_utils.errors import InputError, raise_all
from data_utils.kinds.kind import Predictions
from data_utils.row_checks import Found, TextCheck
from data_utils.scoring import compute_metrics
from data_utils.tables.examples import Counts, Example, examples
from data_utils.tables.reading import Table, open_table
from data_utils.task_def import TaskDef
from mt_dnn.bulk import WINDOW_ROWS, TextRunner
from mt_dnn.record.results import ALIKE
from mt_dnn.table_output import TableJob, open_sink


class Scores:
    """What a labelled table is scored by; keeps a few numbers a row."""

    def __init__(self, task: TaskDef) -> None:
        self._task = task
        self._gold: list[float] = []
        self._values: list[np.ndarray] = []
        self._shares: list[np.ndarray] = []

    def see(self, rows: Sequence[Example], predicted: Predictions) -> None:
        """Take up the rows that have a label, with their predictions."""
        labelled = [i for i, row in enumerate(rows) if row.label]
        self._gold += [self._task.label_id(rows[i].label) for i in labelled]
        self._values.append(np.asarray(predicted.values)[labelled])
        if predicted.scores is not None:
            self._shares.append(predicted.scores[labelled])

    def told(self) -> str:
        """The task's metrics in points: `reviews: ACC 74.68 (790 rows with a label)`."""
        if not self._gold:
            raise InputError("--label: no row has a label, so there is no score")
        shares = np.concatenate(self._shares) if self._shares else None
        gold = np.array(self._gold, dtype=self._task.kind.label.dtype)
        predicted = np.concatenate(self._values)
        found = compute_metrics(self._task, Predictions(predicted, shares), gold)
        values = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
        alike = ALIKE * self._task.kind.is_constant(predicted, gold)
        return f"{self._task.name}: {values} ({len(gold):,} rows with a label){alike}"


@dataclass
class Notes:
    """What is told at the end."""

    counts: Counts = field(default_factory=Counts.fresh)
    check: TextCheck = field(default_factory=TextCheck)
    empty: Found = field(default_factory=Found)
    shortened: int = 0

    def lines(self, blank: int, max_length: int, *, scored: bool) -> list[str]:
        """A line each."""
        rows = self.counts.rows
        found = [f"warning: {warning}" for warning in self.check.warnings()]
        found += [f"{blank:,} blank lines were skipped"] * (blank > 0)
        found += [self.counts.broken.tell(rows, "tabs or line ends in a text, read as spaces")] * (
            self.counts.broken.count > 0
        )
        found += [self.empty.tell(rows, "no text; their predictions are empty")] * (self.empty.count > 0)
        found += [f"{self.shortened:,} of {rows:,} rows are shortened to {max_length} tokens"] * (self.shortened > 0)
        if scored and self.counts.unlabelled.count:
            found.append(self.counts.unlabelled.tell(rows, "no label; not scored"))
        return found


def predict_table(job: TableJob, tasks: Sequence[TaskDef], runner: TextRunner, hidden: int) -> int:
    """Predict a table and write what is found; what is worth knowing goes to standard error.

    Args:
        job: what to do; see `check_job`.
        tasks: whose heads to run; none for vectors.
        runner: runs the model.
        hidden: width of the pooled vectors.

    Returns:
        The number of rows.

    Raises:
        InputError: anything wrong in the table, with file and line. No file is written then.
        StoppedError: outputs that are not finite.
    """
    scores = Scores(tasks[0]) if job.columns.label is not None else None
    notes = Notes()
    with contextlib.ExitStack() as stack:
        table = stack.enter_context(open_table(job.table, job.options))
        table.check_columns(job.columns.by_flag)
        write = stack.enter_context(open_sink(job, table, tasks, hidden))
        for window in _windows(table, job, tasks, notes):
            filled = [row.has_text for row in window]
            full = list(itertools.compress(window, filled))
            found = None
            if full:
                texts, names = [row.texts for row in full], [row.uid for row in full]
                found = runner.run(texts, tasks, names=names, pooled=job.embed)
                notes.shortened += found.shortened(runner.max_length)
                if scores is not None:
                    scores.see(full, found.decided(tasks[0]))
            for row in itertools.compress(window, (not one for one in filled)):
                notes.empty.add(row.uid)
            write(window, filled, found)
        told = scores.told() if scores is not None else ""
    for line in [*notes.lines(table.blank, runner.max_length, scored=scores is not None), *([told] if told else [])]:
        print(line, file=sys.stderr)
    return notes.counts.rows


def _windows(table: Table, job: TableJob, tasks: Sequence[TaskDef], notes: Notes) -> Iterator[list[Example]]:
    """The table's rows, some thousands at a time; `InputError` at a window with something wrong, before it is run."""
    rows = examples(table, job.columns, notes.counts)
    with tqdm(desc="predicting", unit=" rows", disable=None) as bar:
        while True:
            window = list(itertools.islice(rows, WINDOW_ROWS))
            for row in window:
                if problem := _problem(row, job, tasks):
                    table.problems.add(row.line, problem)
                notes.check.see(row.uid, row.texts)
            raise_all(table.problems.messages())
            if not window:
                break
            yield window
            bar.update(len(window))
    if not notes.counts.rows:
        raise InputError(f"{table.name}: the table has no rows")


def _problem(row: Example, job: TableJob, tasks: Sequence[TaskDef]) -> str:
    """What is wrong with a row; "" for nothing."""
    if job.soft_labels and not row.has_text:
        return "no text, so there is no soft label"
    if row.label:
        try:
            tasks[0].kind.check_label(tasks[0], row.label)
        except InputError as error:
            return str(error)
    return ""
