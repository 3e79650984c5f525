"""A table written block by block: CSV, TSV, JSON lines or Parquet, to a file or to standard output."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

from data_utils.atomic import StagedFiles, refused_by_disk
from data_utils.errors import InputError
from data_utils.tables.options import DELIMITED, ENDINGS, STANDARD
from data_utils.tables.parquet import ParquetWriter, import_pyarrow

DIGITS = 6


class TableWriter(Protocol):
    """Where rows go; a value is a text, a number, a list of numbers, or None."""

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        """Write a block of rows, one or more."""


def output_format(output: str, source_format: str) -> str:
    """The format of an output: by the ending of its name; standard output has the source's, CSV for Parquet.

    Raises:
        InputError: an unknown ending, or Parquet without pyarrow.
    """
    if output == STANDARD:
        return "csv" if source_format == "parquet" else source_format
    found = ENDINGS.get(Path(output).suffix.lower())
    if found is None:
        raise InputError(f"--output {output}: the name does not end in {', '.join(ENDINGS)}")
    if found == "parquet":
        import_pyarrow(output)
    return found


def other_ending(output: str, form: str) -> list[str]:
    """A line where an output that can only be of one format has the ending of another."""
    found = ENDINGS.get(Path(output).suffix.lower(), form)
    own = next(ending for ending, kind in ENDINGS.items() if kind == form)
    return [f"--output {output}: what is written here is {form}, not {found}; call it {own}"] * (found != form)


def overwriting(output: str, inputs: Mapping[str, str | Path | None]) -> list[str]:
    """A line for each input, by what it is called, that is the output, too."""
    given = {what: path for what, path in inputs.items() if path is not None and STANDARD not in (path, output)}
    same = [what for what, path in given.items() if os.path.realpath(path) == os.path.realpath(output)]
    return [f"--output {output} is {what}, which would be overwritten" for what in same]


@contextlib.contextmanager
def table_writer(output: str, form: str, columns: Mapping[str, type]) -> Iterator[TableWriter]:
    """Open a table for writing; a file appears when the `with` block ends well.

    Args:
        output: a file's path, or `-` for standard output.
        form: one of the formats of `options.FORMATS`; `output_format` says which.
        columns: what each column holds: `str`, `int`, `float` or `list`, in CSV and TSV a column a number.

    Raises:
        InputError: no file can be there.
        StoppedError: the disk is full.
    """
    if form == "parquet":
        with StagedFiles() as staged, contextlib.closing(ParquetWriter(staged.path(Path(output)), columns)) as writer:
            yield writer
        return
    with text_output(output) as file:
        yield _text_writer(file, form, columns)


@contextlib.contextmanager
def text_output(output: str) -> Iterator[TextIO]:
    """Standard output for `-`, in UTF-8 as files are; else a file, which appears when the `with` block ends well.

    Raises:
        InputError: no file can be there.
        StoppedError: the disk is full.
    """
    if output == STANDARD:
        if isinstance(sys.stdout, io.TextIOWrapper):  # it is something else in notebooks
            sys.stdout.reconfigure(encoding="utf-8", newline="")
        with refused_by_disk("standard output"):
            yield sys.stdout
            sys.stdout.flush()
        return
    with StagedFiles() as staged, staged.path(Path(output)).open("w", encoding="utf-8", newline="") as file:
        yield file


def _text_writer(file: TextIO, form: str, columns: Mapping[str, type]) -> TableWriter:
    return _Cells(file, form, columns) if form in DELIMITED else _Objects(file, columns)


class _Cells:
    """CSV or TSV with a header, quoted as need be. The header comes with the first rows: it needs vectors' lengths."""

    def __init__(self, file: TextIO, form: str, columns: Mapping[str, type]) -> None:
        self._writer = csv.writer(file, delimiter=DELIMITED[form], lineterminator="\n")
        self._columns = columns
        self._begun = False

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        if not self._begun:
            names = (self._names(column, value) for column, value in zip(self._columns.items(), rows[0], strict=True))
            self._writer.writerow([name for group in names for name in group])
            self._begun = True
        self._writer.writerows([_short(x) for value in row for x in _cells(value)] for row in rows)

    @staticmethod
    def _names(column: tuple[str, type], value: Any) -> list[str]:
        name, kind = column
        return [f"{name}_{i}" for i in range(len(value))] if kind is list else [name]


class _Objects:
    """JSON lines."""

    def __init__(self, file: TextIO, columns: Mapping[str, type]) -> None:
        self._file = file
        self._names = tuple(columns)

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        for row in rows:
            values = ([_short(x) for x in value] if isinstance(value, list) else _short(value) for value in row)
            self._file.write(json.dumps(dict(zip(self._names, values, strict=True)), ensure_ascii=False) + "\n")


def _cells(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else (value,)


def _short(value: Any) -> Any:
    """A number in six digits, which is what float32 computes to; anything else as it is."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
