"""Parquet by pyarrow, which is optional: it is imported when a Parquet file is asked for, and not before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_utils.errors import InputError
from data_utils.strict import shown

BATCH_ROWS = 2048


def import_pyarrow(place: str) -> Any:
    """The modules `pyarrow` and `pyarrow.parquet`; `InputError` with what to install where they are absent."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        cure = "pip install pyarrow, or use .csv, .tsv or .jsonl"
        raise InputError(f"{place}: Parquet needs the package pyarrow ({error}): {cure}") from None
    return pyarrow


class ParquetFile:
    """A Parquet file, a batch of rows at a time.

    Attributes:
        columns: the names of its columns.

    Raises:
        InputError: no pyarrow, or the file cannot be read or is not Parquet.
    """

    def __init__(self, path: str) -> None:
        self._pyarrow = import_pyarrow(path)
        self._path = path
        try:
            self._file = self._pyarrow.parquet.ParquetFile(path)
        except (OSError, ValueError) as error:  # pyarrow's own errors are these
            raise InputError(f"{path}: cannot be read as Parquet: {_first_line(error)}") from None
        self.columns: tuple[str, ...] = tuple(self._file.schema_arrow.names)

    def is_whole(self, column: str) -> bool:
        """Whether a column holds whole numbers."""
        return bool(self._pyarrow.types.is_integer(self._file.schema_arrow.field(column).type))

    def rows(self, wanted: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The values of the wanted columns, row by row; others are not read."""
        if not wanted:
            yield from ({} for _ in range(self._file.metadata.num_rows))
            return
        try:
            for batch in self._file.iter_batches(batch_size=BATCH_ROWS, columns=list(wanted)):
                yield from batch.to_pylist()
        except (OSError, ValueError) as error:
            raise InputError(f"{self._path}: cannot be read as Parquet: {_first_line(error)}") from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class ParquetWriter:
    """Writes rows to a Parquet file, a row group a block.

    Args:
        path: the file.
        columns: what each column holds: `str`, `int` of 64 bits, `float`, or `list` for a vector of float32.
    """

    def __init__(self, path: Path, columns: Mapping[str, type]) -> None:
        self._pyarrow = pa = import_pyarrow(str(path))
        types = {str: pa.string(), int: pa.int64(), float: pa.float64(), list: pa.list_(pa.float32())}
        self._schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
        self._writer = pa.parquet.ParquetWriter(path, self._schema)

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        """Write a block of rows, one or more; `InputError` for a whole number that 64 bits do not hold."""
        columns = [list(values) for values in zip(*rows, strict=True)]
        arrays = [self._array(values, field) for values, field in zip(columns, self._schema, strict=True)]
        self._writer.write_table(self._pyarrow.Table.from_arrays(arrays, schema=self._schema))

    def _array(self, values: list[Any], field: Any) -> Any:
        try:
            return self._pyarrow.array(values, type=field.type)
        except OverflowError:
            largest = max(values, key=abs)
            raise InputError(
                f"{largest} in the column {shown(field.name)} is too large for Parquet: choose another format"
            ) from None

    def close(self) -> None:
        """Write the file's end."""
        self._writer.close()


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
