"""A table's rows, one after the other: CSV, TSV, JSON lines or Parquet, from a file or from standard input."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from data_utils.canonical import Problems
from data_utils.errors import InputError, raise_all
from data_utils.strict import encodable, listed, parse_json, shown
from data_utils.tables.decoding import table_lines
from data_utils.tables.options import DELIMITED, STANDARD, TableOptions
from data_utils.tables.parquet import ParquetFile

PEEKED = 1000
"""So many objects of JSON lines say which columns there are: one that has no value may lack its key."""

LONGEST_CELL = 1 << 30
ARRAY_OF_OBJECTS = re.compile(r"\s*\[\s*(\{|$)")
ARRAY = (
    "a JSON array begins here; expected JSON lines, an object a line: in pandas "
    "to_json(..., orient='records', lines=True) writes them"
)
SPREAD = (
    "a JSON object begins here and goes on in the next line; expected JSON lines, an object a line: jq -c . OLD > NEW "
    "writes them"
)
LIKELY_DELIMITERS = ";\t|,"


class TableRow(NamedTuple):
    """A row.

    Attributes:
        number: counted from 1, without the header.
        line: where it begins in the file, from 1; in Parquet the same as `number`.
        cells: the wanted columns' values as text; "" for none.
    """

    number: int
    line: int
    cells: Mapping[str, str]


class _Source(Protocol):
    """What the formats have in common; `rows` gives each row's line and raw values, and notes what is wrong."""

    columns: tuple[str, ...]

    def rows(self, wanted: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any]]]: ...

    def is_whole(self, column: str) -> bool: ...


class Table:
    """An open table.

    Attributes:
        name: of the file, for messages.
        problems: what is wrong in rows that have been read: they are left out, and whoever reads raises it.
        blank: blank lines that have been skipped.
    """

    def __init__(self, name: str, source: _Source, problems: Problems) -> None:
        self.name = name
        self.problems = problems
        self.blank = 0
        self._source = source

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its columns, in order."""
        return self._source.columns

    def is_whole(self, column: str) -> bool:
        """Whether a column's values are whole numbers by type, as in Parquet and JSON, and not just by looks."""
        return self._source.is_whole(column)

    def check_columns(self, wanted: Mapping[str, str | None]) -> None:
        """Raise one `InputError` for columns that are not there, or there twice; `wanted` is by flag, None: not."""
        bad = []
        for flag, column in wanted.items():
            count = self.columns.count(column) if column is not None else 1
            if count > 1:
                bad.append(f"{flag}: {self.name} has the column {shown(column)} {count} times")
            elif not count:
                bad.append(f"{flag}: {self.name} has no column {shown(column)}; it has: {_names(self.columns)}")
        if bad and len(self.columns) == 1 and (mark := _likely_delimiter(self.columns[0])):
            bad.append(f"its first line looks like cells with {shown(mark)} between them: --delimiter {shown(mark)}")
        raise_all(bad)

    def rows(self, wanted: Sequence[str]) -> Iterator[TableRow]:
        """All rows that are whole; the others are in `problems` by the end.

        Raises:
            InputError: the file is not of its format from some place on.
        """
        number = 0
        for line, values in self._source.rows(wanted):
            if not values and wanted:
                self.blank += 1
                continue
            number += 1
            try:
                cells = {name: _text(name, values.get(name)) for name in wanted}
            except InputError as error:
                self.problems.add(line, str(error))
                continue
            yield TableRow(number, line, cells)


@contextlib.contextmanager
def open_table(source: str, options: TableOptions, flag: str = "--table") -> Iterator[Table]:
    """Open a table for reading; `-` is standard input.

    Raises:
        InputError: an unknown format, a file that cannot be read, or that has no header.
    """
    form = options.format_of(source, flag)
    name = "standard input" if source == STANDARD else source
    problems = Problems(name)
    if form == "parquet":
        if source == STANDARD:
            raise InputError(f"{flag} {source}: Parquet cannot be read from standard input; name a file")
        with contextlib.closing(ParquetFile(_readable(source))) as parquet:
            yield Table(name, _Numbered(parquet), problems)
        return
    with _opened(source) as file:
        lines = table_lines(file, name, options.encoding)
        if form in DELIMITED:
            yield Table(name, _Cells(lines, options.delimiter or DELIMITED[form], options.quotes, problems), problems)
        else:
            yield Table(name, _Objects(lines, problems), problems)


class _Numbered:
    """Rows of Parquet with their numbers."""

    def __init__(self, file: ParquetFile) -> None:
        self._file = file
        self.columns = file.columns

    def rows(self, wanted: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        yield from enumerate(self._file.rows(wanted), start=1)

    def is_whole(self, column: str) -> bool:
        return self._file.is_whole(column)


class _Cells:
    """Rows of CSV or TSV. Cells in quotes may hold line ends; a blank line is a row of no cells."""

    def __init__(self, lines: Iterator[str], delimiter: str, quotes: str | None, problems: Problems) -> None:
        csv.field_size_limit(LONGEST_CELL)
        if quotes == "none":
            self._reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
        else:
            self._reader = csv.reader(lines, delimiter=delimiter, strict=True)
        self._problems = problems
        header = next(self._records(), None)
        if header is None:
            raise InputError(f"{problems.path}: the file is empty; expected a first line with the columns' names")
        self.columns = tuple(header[1])

    def rows(self, wanted: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        width = len(self.columns)
        places = [(name, self.columns.index(name)) for name in wanted]
        for line, cells in self._records():
            if not cells:
                yield line, {}
            elif len(cells) != width:
                self._problems.add(line, f"{len(cells)} cells, but the first line names {width} columns")
            else:
                yield line, {name: cells[place] for name, place in places}

    def is_whole(self, column: str) -> bool:
        return False

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        while True:
            line = self._reader.line_num + 1
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise_all([*self._problems.messages(), f"{self._problems.path}:{line}: {_reason(error, line)}"])
            yield line, cells


def _reason(error: csv.Error, line: int) -> str:
    """What is wrong in a row that cannot be read, and the cure; `line` is where the row begins."""
    if "end of data" in str(error):
        return "a quote opens in this row and does not close; --quotes none takes quotes as ordinary characters"
    if "expected after" in str(error):
        return (
            "text goes on after a closing quote (a quote inside of a cell in quotes is written twice); "
            "--quotes none takes quotes as ordinary characters"
        )
    if "new-line character" in str(error):
        if line == 1:  # names of columns hardly hold one: this is how old Macs end lines
            return r"lines end in a carriage return alone; save the table with line ends \n: tr '\r' '\n' < OLD > NEW"
        return "a carriage return inside of a cell that is not in quotes; put the cell in quotes, or take it out"
    return f"not readable: {error}"


class _Objects:
    """Rows of JSON lines: an object each."""

    def __init__(self, lines: Iterator[str], problems: Problems) -> None:
        self._problems = problems
        objects = self._objects(lines)
        peeked = list(itertools.islice(objects, PEEKED))
        self._objects_left = itertools.chain(peeked, objects)
        self._peeked = [values for _, values in peeked if values]
        self.columns = tuple(dict.fromkeys(key for _, values in peeked for key in values))
        if not self.columns:
            raise_all(problems.messages() or [f"{problems.path}: the file is empty; expected a JSON object a line"])

    def rows(self, wanted: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        yield from self._objects_left

    def is_whole(self, column: str) -> bool:
        return all(type(values.get(column)) is int for values in self._peeked)

    def _objects(self, lines: Iterator[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        begun = False
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                yield number, {}
                continue
            if not begun and ARRAY_OF_OBJECTS.match(line):  # in one line or in many: all of it is one mistake
                raise InputError(f"{self._problems.path}:{number}: {ARRAY}")
            if line.strip() == "{":  # one mistake, too
                raise_all([*self._problems.messages(), f"{self._problems.path}:{number}: {SPREAD}"])
            begun = True
            try:
                found = parse_json(line.strip())
            except InputError as error:
                self._problems.add(number, f"not JSON: {error}")
                continue
            if isinstance(found, dict) and found:
                yield number, found
            else:
                self._problems.add(number, f"expected a JSON object with columns as keys, got {shown(found)}")


def _text(column: str, value: Any) -> str:
    """A cell as text: "" for none and for NaN; true and false as JSON has them."""
    if isinstance(value, str):
        if not encodable(value):
            raise InputError(f"the column {shown(column)} holds half a surrogate pair, which is no character")
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and math.isinf(value):  # as text it would make names of all numbers
        found = f"the column {shown(column)} holds {json.dumps(value)}"
        raise InputError(f"{found}; expected a finite number, or null for none")
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, (list, tuple, dict, bytes, set)):
        raise InputError(f"the column {shown(column)} holds {shown(value)}; expected a text or a number")
    return str(value)


def _names(columns: Sequence[str]) -> str:
    return listed([column if column.strip() == column != "" else repr(column) for column in columns])


def _likely_delimiter(header: str) -> str | None:
    return next((mark for mark in LIKELY_DELIMITERS if mark in header), None)


def _readable(source: str) -> str:
    with _opened(source):
        return source


@contextlib.contextmanager
def _opened(source: str) -> Iterator[BinaryIO]:
    if source == STANDARD:
        yield sys.stdin.buffer
        return
    try:
        file = Path(source).open("rb")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise InputError(f"{source}: cannot be read: {getattr(error, 'strerror', error)}") from None
    with file:
        yield file
