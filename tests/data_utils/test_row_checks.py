"""What looks wrong in rows is told with a count and the first uids; rows as they should be are passed over."""

from __future__ import annotations

import pytest

from data_utils.row_checks import TextCheck, looks_like_header

QUOTES = "as spreadsheets and CSV writers put them; here they stay part of the text: write it without quoting"
CELL = "is a cell empty or in the wrong column?"
ROWS: dict[str, tuple[list[tuple[str, ...]], list[str]]] = {
    "nothing": ([("fine",), ('he said "yes"',), ('"Stop!"',), ("1984",)], []),
    "pairs": ([("one", "other"), ("", "other one")], []),
    "a quoted column": (
        [('"fine"',), ('"he said ""yes"""',)],
        [f"the text stands in double quotes in every row, {QUOTES}"],
    ),
    "a quoted second column": (
        [("one", '"two"'), ("three", '"four"'), ("five", "")],
        [f"text 2 stands in double quotes in every row, {QUOTES}"],
    ),
    "one quoted row": ([('"fine"',)], []),
    "doubled quotes": (
        [("plain",), ('"he said ""yes"""',), ("plain too",)],
        [f"1 of 3 rows has a text in quotes with doubled quotes inside, {QUOTES} (uid 1)"],
    ),
    "labels for texts": (
        [("one", "0.8"), ("two", "0.25")],
        ["text 2 is a number in every row: are the columns in the right order?"],
    ),
    "empty cells": (
        [("one",), ("nan",), ("two",), ("NaN",)],
        [f"2 of 4 rows have a number as text, such as 'nan': {CELL} (uids 1, 3)"],
    ),
    "more than are named": (
        [("0.5",)] * 5 + [("words",)],
        [f"5 of 6 rows have a number as text, such as '0.5': {CELL} (uids 0, 1, 2, ...)"],
    ),
}


@pytest.mark.parametrize(("rows", "expected"), ROWS.values(), ids=ROWS.keys())
def test_texts_that_look_wrong(rows: list[tuple[str, ...]], expected: list[str]) -> None:
    check = TextCheck(set(), training=True)
    for number, texts in enumerate(rows):
        check.see(str(number), texts)
    assert check.warnings() == expected


def test_rows_of_train_in_another_split() -> None:
    seen: set[int] = set()
    train, dev = TextCheck(seen, training=True), TextCheck(seen, training=False)
    for uid, texts in (("a", ("one", "other")), ("b", ("two", "three")), ("c", ("one", "other"))):
        train.see(uid, texts)
    for uid, texts in (("x", ("other", "one")), ("y", ("two", "three")), ("z", ("one other", ""))):
        dev.see(uid, texts)
    assert train.warnings() == []
    assert dev.warnings() == ["1 of 3 rows has the same text as a row of train (uid y)"]


def test_rows_without_words() -> None:
    check = TextCheck(set(), training=True)
    for number in range(9):
        check.see(str(number), ("\u200b",))
    check.see_wordless(["0", "1"])
    check.see_wordless(["2", "3"])
    assert check.warnings() == ["4 of 9 rows have no word that the tokenizer knows (uids 0, 1, 2, ...)"]


@pytest.mark.parametrize(
    ("line", "header"),
    [
        ("sentence", True),
        ('"Text"', True),
        ("uid\tlabel\tpremise", True),
        ("a label", False),
        ("", False),
        ("7", False),
    ],
)
def test_headers(line: str, header: bool) -> None:
    assert looks_like_header(line.split("\t")) is header
