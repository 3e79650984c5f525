"""Reading tables: four formats hold the same rows, awkward cells survive, and what is wrong has its line."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from data_utils.errors import InputError, raise_all
from data_utils.tables.options import TableOptions
from data_utils.tables.reading import TableRow, open_table

ROWS = [
    {"id": "a", "text": 'She said "no, never".', "n": "1"},
    {"id": "b", "text": "two\nlines, and\ta tab", "n": ""},
    {"id": "c", "text": "猫 é \u2028 \x85 end", "n": "2"},
    {"id": "d", "text": "", "n": "3"},
]


def write_csv(path: Path, delimiter: str, encoding: str = "utf-8") -> None:
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, ROWS[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(ROWS)


def write_jsonl(path: Path) -> None:
    rows: list[dict[str, Any]] = [{**row, "n": int(row["n"]) if row["n"] else None} for row in ROWS]
    del rows[1]["n"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_parquet(path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    import pyarrow.parquet as pq

    columns = {name: [row[name] for row in ROWS] for name in ("id", "text")}
    pq.write_table(pa.table({**columns, "n": pa.array([1, None, 2, 3])}), path)


def read(source: Path | str, *wanted: str, **options: Any) -> list[TableRow]:
    with open_table(str(source), TableOptions(**options)) as table:
        table.check_columns(dict.fromkeys(wanted, None) | {f"--{name}": name for name in wanted})
        rows = list(table.rows(wanted))
        raise_all(table.problems.messages())
        return rows


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_holds_the_same_rows(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"table.{form}"
    if form in ("csv", "tsv"):
        write_csv(path, {"csv": ",", "tsv": "\t"}[form])
    else:
        {"jsonl": write_jsonl, "parquet": write_parquet}[form](path)
    rows = read(path, "id", "text", "n")
    assert [dict(row.cells) for row in rows] == ROWS
    assert [row.number for row in rows] == [1, 2, 3, 4]
    assert [row.line for row in rows] == ([2, 3, 5, 6] if form in ("csv", "tsv") else [1, 2, 3, 4])
    assert [row.cells for row in read(path, "n")] == [{"n": row["n"]} for row in ROWS]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "gb18030"])
def test_other_encodings(encoding: str, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", ",", encoding)
    given = {} if encoding == "utf-8-sig" else {"encoding": encoding}
    assert [dict(row.cells) for row in read(tmp_path / "t.csv", "id", "text", "n", **given)] == ROWS


def test_standard_input_and_delimiters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv(tmp_path / "t.txt", ";")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((tmp_path / "t.txt").read_bytes()), "ascii"))
    found = read("-", "id", "text", "n", table_format="csv", delimiter=";")
    assert [dict(row.cells) for row in found] == ROWS
    (tmp_path / "bars.csv").write_text('a\\tb\n"x\ty\n'.replace("\\t", "\t"))
    assert [dict(row.cells) for row in read(tmp_path / "bars.csv", "a", "b", delimiter="\\t", quotes="none")] == [
        {"a": '"x', "b": "y"}
    ]


def test_long_cells_and_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b'a,b\r\n\r\n"' + b"x\n" * 200_000 + b'",1\r\ny,2\r\n\r\n')
    with open_table(str(tmp_path / "t.csv"), TableOptions()) as table:
        rows = list(table.rows(["a", "b"]))
    assert [(row.number, row.line, len(row.cells["a"])) for row in rows] == [(1, 3, 400_000), (2, 200_004, 1)]
    assert table.blank == 2


BAD: dict[str, tuple[str, bytes, dict[str, Any], str]] = {
    "width": ("t.csv", b'a,b\n1,2\n"3\n",4,5\n6\n', {}, "t.csv:3: 3 cells, but the first line names 2 columns\n"),
    "a second width": ("t.csv", b"a,b\n1\n2,3\n4\n", {}, "t.csv:4: 1 cells, but"),
    "missing": ("t.csv", b"b,c\n1,2\n", {}, "--a: t.csv has no column 'a'; it has: b, c"),
    "missing in JSON": ("t.jsonl", b'{"b": 1}\n', {}, "--a: t.jsonl has no column 'a'; it has: b"),
    "twice": ("t.csv", b"a,a\n1,2\n", {}, "--a: t.csv has the column 'a' 2 times"),
    "semicolons": ("t.csv", b"a;b\n1;2\n", {}, "looks like cells with ';' between them: --delimiter ';'"),
    "spaces in names": ("t.csv", b"b, a\n1,2\n", {}, "it has: b, ' a'"),
    "ending": (
        "t.xlsx",
        b"",
        {},
        "--table t.xlsx: the name does not end in .csv, .tsv, .jsonl, .ndjson, .parquet; --tab",
    ),
    "no ending": ("-", b"", {}, "--table standard input: the name does not end in"),
    "no file": ("none.csv", b"", {}, "none.csv: cannot be read: No such file"),
    "empty": ("t.csv", b"", {}, "t.csv: the file is empty"),
    "empty JSON": ("t.jsonl", b"\n", {}, "t.jsonl: the file is empty"),
    "bytes": ("t.csv", b"a\nx\n\xe9\n", {}, "t.csv:3: not valid UTF-8 (byte 0xe9); --encoding says another"),
    "cut": ("t.csv", b"a\nx\n\xc3", {}, "t.csv:3: not valid UTF-8 (the file ends within a character)"),
    "UTF-16": (
        "t.csv",
        "a\nx\n".encode("utf-16"),
        {},
        "t.csv:1: not valid UTF-8 (byte 0xff); it looks like --encoding utf-16",
    ),
    "late bytes": ("t.csv", b"a\n" + b"x\n" * 70_000 + b"\xff\n", {}, "t.csv:70002: not valid UTF-8"),
    "codec": ("t.csv", b"a\n", {"encoding": "rot13"}, "--encoding: unknown encoding 'rot13'"),
    "delimiter": ("t.csv", b"a\n", {"delimiter": "ab"}, "--delimiter must be one character"),
    "open quote": (
        "t.csv",
        b'a\nx\n"y\nz\n',
        {},
        "t.csv:3: a quote opens in this row and does not close; --quotes none",
    ),
    "quote inside": ("t.csv", b'a\n"x"y\n', {}, "t.csv:2: text goes on after a closing quote"),
    "old line ends": (
        "t.csv",
        b"a\rb\rc",
        {},
        "lines end in a carriage return alone; save the table with line ends \\n: tr '\\r' '\\n' < OLD > NEW\n",
    ),
    "old line ends, quotes": ("t.csv", b'"a","b"\r"x\ny","z"\r', {}, "t.csv:1: lines end in a carriage return alone"),
    "a carriage return": (
        "t.csv",
        b"a\nb\rc\n",
        {},
        "t.csv:2: a carriage return inside of a cell that is not in quotes; put",
    ),
    "not JSON": ("t.jsonl", b'{"a": 1}\n{"a": \n', {}, "t.jsonl:2: not JSON: "),
    "key twice": ("t.jsonl", b'{"a": 1, "a": 2}\n', {}, "t.jsonl:1: not JSON: the key 'a' stands twice"),
    "lists": ("t.jsonl", b'["a"]\n[1]\n', {}, "t.jsonl:1: expected a JSON object with columns as keys, got ['a']"),
    "a list": ("t.jsonl", b'{"a": 1}\n[1]\n', {}, "t.jsonl:2: expected a JSON object with columns as keys, got [1]"),
    "nested": ("t.jsonl", b'{"a": {"b": 1}}\n', {}, "t.jsonl:1: the column 'a' holds {'b': 1}; expected a text or a"),
    "infinity": (
        "t.jsonl",
        b'{"a": 1.5}\n{"a": -Infinity}\n{"a": 1e999}\n',
        {},
        "t.jsonl:2: the column 'a' holds -Infinity; expected a finite number, or null for none\nt.jsonl:3: ",
    ),
    "surrogate": ("t.jsonl", b'{"a": "\\ud800"}\n', {}, "t.jsonl:1: the column 'a' holds half a surrogate pair"),
    "idle": ("t.jsonl", b'{"a": 1}\n', {"quotes": "none"}, "--quotes would have no effect: t.jsonl is jsonl"),
    "idle encoding": ("t.parquet", b"", {"encoding": "utf-8"}, "--encoding would have no effect"),
    "not Parquet": ("t.parquet", b"a,b\n", {}, "t.parquet: cannot be read as Parquet: "),
    "no Parquet": ("none.parquet", b"", {}, "none.parquet: cannot be read: No such file"),
    "piped Parquet": ("-", b"", {"table_format": "parquet"}, "Parquet cannot be read from standard input"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_tables_are_one_message(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, content, options, message = BAD[case]
    monkeypatch.chdir(tmp_path)
    if name.startswith("t."):
        Path(name).write_bytes(content)
    if "Parquet" in case:
        pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    with pytest.raises(InputError) as error:
        read(name, "a", **options)
    assert message in f"{error.value}\n"


@pytest.mark.parametrize("indent", [None, 0, 2])
def test_a_json_array_is_told_once(indent: int | None, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("\n" + json.dumps([{"a": 1}, {"a": 2}], indent=indent))
    with pytest.raises(InputError) as error:
        read(path, "a")
    said = "a JSON array begins here; expected JSON lines, an object a line: in pandas to_json(..., orient='records', "
    assert str(error.value) == f"{path}:2: {said}lines=True) writes them"


def test_objects_over_several_lines_are_told_once(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(['{"a": 1}', "none", *(json.dumps({"a": n}, indent=2) for n in range(3))]))
    with pytest.raises(InputError) as error:
        read(path, "a")
    first, second = str(error.value).splitlines()
    assert first.startswith(f"{path}:2: not JSON: ")
    said = "a JSON object begins here and goes on in the next line; expected JSON lines, an object a line: "
    assert second == f"{path}:3: {said}jq -c . OLD > NEW writes them"


def test_values_of_other_types_become_text(tmp_path: Path) -> None:
    values: list[Any] = [True, 1.0, 0.25, 10**20, None, float("nan")]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"a": value, "b": 1}) + "\n" for value in values))
    found = [row.cells["a"] for row in read(tmp_path / "t.jsonl", "a")]
    assert found == ["true", "1.0", "0.25", "100000000000000000000", "", ""]


def test_infinity_in_parquet_has_its_row(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [1.5, float("nan"), float("inf")]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"t\.parquet:3: the column 'a' holds Infinity; expected a finite number"):
        read(tmp_path / "t.parquet", "a")


MIXED = [*range(1, 1001), "007", "a7", 7.0]
"""Ids of which the first ones, by which a reader might take all for numbers, are whole."""


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_ids_stay_as_they_are_whatever_the_first_ones_look_like(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"t.{form}"
    line = {"csv": str, "jsonl": lambda value: json.dumps({"id": value})}[form]
    path.write_text("".join(f"{line(value)}\n" for value in (["id"] * (form == "csv") + MIXED)))
    assert [row.cells["id"] for row in read(path, "id")] == list(map(str, MIXED))


def test_without_pyarrow_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"Parquet needs the package pyarrow .*: pip install pyarrow, or use \.csv"):
        read(tmp_path / "t.parquet", "a")
