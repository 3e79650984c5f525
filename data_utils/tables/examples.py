"""A table's rows as examples: its texts, the label, the id and the group, as columns name them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from data_utils.canonical import Problems
from data_utils.errors import InputError, raise_all
from data_utils.row_checks import Found
from data_utils.strict import shown
from data_utils.tables.options import TableOptions
from data_utils.tables.reading import Table, TableRow, open_table

BREAK = re.compile("\r\n|[\t\n\r]")


def one_line(text: str) -> str:
    r"""The text with a space for every tab and every line end (`\n`, `\r\n`, `\r`), which canonical rows cannot hold.

    Training and prediction on tables do the same, so that a model sees texts alike.
    """
    return BREAK.sub(" ", text)


@dataclass(frozen=True, kw_only=True)
class ColumnMap:
    """Which column of a table is what; the fields are flags.

    Attributes:
        text: the text.
        text2: the second text of pairs.
        label: what is to be predicted.
        id: the rows' names; None: their numbers, from 1.
        group: what must not be on two sides of a split, such as an author.
    """

    text: str
    text2: str | None = None
    label: str | None = None
    id: str | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        texts = (self.text, self.text2)
        bad = [f"--text and --text2 are the same column, {shown(self.text)}"] * (self.text == self.text2)
        bad += [f"--label {shown(self.label)} is the column of a text, too"] * (
            self.label in texts and bool(self.label)
        )
        raise_all(bad)

    @property
    def by_flag(self) -> dict[str, str | None]:
        """The columns by the flags that name them."""
        names = ("text", "text2", "label", "id", "group")
        return {f"--{name}": getattr(self, name) for name in names}

    @property
    def texts(self) -> tuple[str, ...]:
        """The columns of text."""
        return (self.text,) if self.text2 is None else (self.text, self.text2)

    @property
    def wanted(self) -> tuple[str, ...]:
        """All columns, each once."""
        return tuple(dict.fromkeys(column for column in self.by_flag.values() if column is not None))


class Example(NamedTuple):
    """A row of a table, of which all is text; `label` and `group` are "" where there is none, or no column.

    `line` is where it begins in its file, for messages.
    """

    uid: str
    line: int
    texts: tuple[str, ...]
    label: str = ""
    group: str = ""

    @property
    def has_text(self) -> bool:
        """Whether any of its texts is more than white space."""
        return any(text.strip() for text in self.texts)


@dataclass
class Counts:
    """What has been seen in a table: its rows, and those that something was done to."""

    rows: int
    broken: Found
    """Rows with a tab or a line end in a text."""
    unlabelled: Found

    @classmethod
    def fresh(cls) -> Counts:
        """Nothing seen."""
        return cls(0, Found(), Found())


def examples(table: Table, columns: ColumnMap, counts: Counts) -> Iterator[Example]:
    """The rows of a table as examples, counted; what is wrong in others is in `table.problems` by the end."""
    wanted = columns.wanted
    for row in table.rows(wanted):
        counts.rows += 1
        found = _example(row, columns)
        if found.texts != tuple(row.cells[name] for name in columns.texts):
            counts.broken.add(found.uid)
        if columns.label is not None and not found.label:
            counts.unlabelled.add(found.uid)
        yield found


def _example(row: TableRow, columns: ColumnMap) -> Example:
    cells = row.cells
    label = cells[columns.label] if columns.label is not None else ""
    return Example(
        uid=cells[columns.id] if columns.id is not None else str(row.number),
        line=row.line,
        texts=tuple(one_line(cells[name]) for name in columns.texts),
        label=label if label.strip() else "",
        group=cells[columns.group] if columns.group is not None else "",
    )


class ReadTable(NamedTuple):
    """All of a table: its examples, and what was seen in it."""

    name: str
    columns: tuple[str, ...]
    examples: list[Example]
    counts: Counts
    blank: int


def read_table(
    source: str, options: TableOptions, columns: ColumnMap, flag: str = "--table", *, label_optional: bool = False
) -> ReadTable:
    """Read a whole table, into memory, and check every row. With `label_optional` it may lack the labels' column.

    Raises:
        InputError: columns that are not there; rows of a wrong width, without text, id or group, with a label of
            several lines, or with an id that another one has: with file and line, up to ten and a count of the others;
            no row at all.
    """
    counts = Counts.fresh()
    with open_table(source, options, flag) as table:
        if label_optional and columns.label not in table.columns:
            columns = dataclasses.replace(columns, label=None)
        table.check_columns(columns.by_flag)
        first_line_of: dict[str, int] = {}
        found = []
        for example in examples(table, columns, counts):
            if problem := _problem(example, columns, first_line_of):
                table.problems.add(example.line, problem)
            else:
                found.append(example)
        raise_all(table.problems.messages() or [f"{table.name}: the table has no rows"] * (not found))
        return ReadTable(table.name, table.columns, found, counts, table.blank)


def _problem(example: Example, columns: ColumnMap, first_line_of: dict[str, int]) -> str:
    """What is wrong with a row that is to be trained on; "" for nothing."""
    uid = example.uid
    if not example.has_text:
        return f"no text: {' and '.join(map(shown, columns.texts))} {'are' if columns.text2 else 'is'} empty"
    if not uid.strip():
        return f"no id: {shown(columns.id)} is empty"
    if set("\t\r\n") & set(uid) or uid.startswith("\ufeff"):
        return f"the id {shown(uid)} holds a tab, a line end or a byte-order mark"
    if set("\t\r\n") & set(example.label):  # a space in its place could make two classes of one
        return f"the label {shown(example.label)} holds a tab or a line end; take it out of the cell"
    if columns.group is not None and not example.group.strip():
        return f"no group: {shown(columns.group)} is empty"
    if (earlier := first_line_of.setdefault(uid, example.line)) != example.line:
        return f"the id {shown(uid)} stands already in line {earlier}; ids must differ (without --id rows are numbered)"
    return ""


def check_labels(name: str, found: Sequence[Example], problem: Mapping[str, str]) -> None:
    """Raise one `InputError` for rows whose label has a problem; `problem` is by label."""
    problems = Problems(name)
    for example in found:
        if example.label in problem:
            problems.add(example.line, problem[example.label])
    if problems.count:
        raise InputError("\n".join(problems.messages()))
