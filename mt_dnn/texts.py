"""Texts to predict, as they come: a row a line, in a file or from standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from data_utils.canonical import Problems, decoded_lines, read_lines
from data_utils.errors import raise_all
from data_utils.row_checks import TextCheck, looks_like_header
from data_utils.task_def import DataFormat, TaskDef

STANDARD_INPUT = "-"
TEXTS = {DataFormat.PremiseOnly: 1, DataFormat.PremiseAndOneHypothesis: 2}
"""How many texts a row of each format has."""

EXPECTED = {1: "one text", 2: "two texts with a tab between them"}


def read_text_rows(source: str, task: TaskDef, check: TextCheck) -> list[list[str]]:
    """The texts of each line.

    Args:
        source: a file's path, or `-` for standard input.
        task: says how many texts a line has.
        check: sees every row, under the number of its line, from 1.

    Raises:
        InputError: blank lines, lines with another number of texts, a file that cannot be read or is empty.
    """
    count = TEXTS[task.data_format]
    name, lines = _lines(source)
    rows, problems = [], Problems(name)
    for number, line in enumerate(lines, start=1):
        texts = line.split("\t")
        if not line.strip():
            problems.add(number, f"blank line; expected {EXPECTED[count]}")
        elif len(texts) != count:
            header = "; this looks like a header: leave it out" if number == 1 and looks_like_header(texts) else ""
            problems.add(number, f"{len(texts)} texts, expected {count} (tabs stand between texts){header}")
        else:
            check.see(str(number), texts)
        rows.append(texts)
    raise_all(problems.messages())
    return rows


def _lines(source: str) -> tuple[str, Iterator[str]]:
    """The source's name for messages, and its lines."""
    if source == STANDARD_INPUT:
        return "standard input", decoded_lines(sys.stdin.buffer, "standard input")
    return source, read_lines(Path(source))
