"""A table written block by block: CSV, TSV, JSON lines or Parquet, to a file or to standard output."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

from data_utils.atomic import StagedFiles
from data_utils.errors import InputError
from data_utils.tables.options import DELIMITED, ENDINGS, STANDARD
from data_utils.tables.parquet import ParquetWriter, import_pyarrow


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


@contextlib.contextmanager
def table_writer(output: str, form: str, columns: Mapping[str, type]) -> Iterator[TableWriter]:
    """Open a table for writing; a file appears when the `with` block ends well.

    Args:
        output: a file's path, or `-` for standard output.
        form: one of the formats of `options.FORMATS`; `output_format` says which.
        columns: what each column holds: `str`, `float` or `list`, which in CSV and TSV becomes a column a number.

    Raises:
        InputError: the file cannot be written.
    """
    if output == STANDARD:
        if isinstance(sys.stdout, io.TextIOWrapper):  # it is something else in notebooks
            sys.stdout.reconfigure(encoding="utf-8", newline="")
        yield _text_writer(sys.stdout, form, columns)
        sys.stdout.flush()
        return
    with StagedFiles() as staged:
        partial = staged.path(Path(output))
        if form == "parquet":
            with contextlib.closing(ParquetWriter(partial, columns)) as writer:
                yield writer
            return
        with partial.open("w", encoding="utf-8", newline="") as file:
            yield _text_writer(file, form, columns)


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
        if list in self._columns.values():
            rows = [[x for value in row for x in (value if isinstance(value, list) else [value])] for row in rows]
        self._writer.writerows(rows)

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
        lines = (json.dumps(dict(zip(self._names, row, strict=True)), ensure_ascii=False) for row in rows)
        self._file.write("".join(f"{line}\n" for line in lines))
