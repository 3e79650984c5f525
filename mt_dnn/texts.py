"""Texts to predict, as they come: a row a line, in a file or from standard input."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from data_utils.canonical import Problems, Row, decoded_lines, read_lines
from data_utils.errors import InputError, raise_all
from data_utils.row_checks import TextCheck, looks_like_header
from data_utils.strict import parse_json
from data_utils.task_def import DataFormat, TaskDef

STANDARD_INPUT = "-"


class Shape(NamedTuple):
    """What a line of texts is: between `least` and `most` texts with tabs between them, in words for messages."""

    least: int
    most: int
    words: str


SHAPES = {
    DataFormat.PremiseOnly: Shape(1, 1, "one text"),
    DataFormat.PremiseAndOneHypothesis: Shape(2, 2, "two texts with a tab between them"),
    DataFormat.PremiseAndMultiHypothesis: Shape(2, 10_000, "a text and its options with tabs between them"),
    DataFormat.MRC: Shape(2, 2, "a passage and a question with a tab between them"),
    DataFormat.Seqence: Shape(1, 1, "words with spaces between them"),
}


def read_text_rows(source: str, task: TaskDef, check: TextCheck) -> list[Row]:
    """The texts of each line as a row without labels; its uid is the number of its line, from 1.

    Options are named by their places, from 0.

    Args:
        source: a file's path, or `-` for standard input.
        task: says what a line is: see `SHAPES`.
        check: sees every row.

    Raises:
        InputError: blank lines, lines with another number of texts, a file that cannot be read or is empty.
    """
    shape = SHAPES.get(task.data_format)
    if shape is None:
        raise InputError(f"--texts: {task.name} has rows of {task.data_format.value}; make features, see --data_dir")
    name, lines = _lines(source)
    rows, problems = [], Problems(name)
    for number, line in enumerate(lines, start=1):
        texts, table = line.split("\t"), _like_a_table(line) if number == 1 else ""
        if not line.strip():
            problems.add(number, f"blank line; expected {shape.words}")
        elif not shape.least <= len(texts) <= shape.most:
            header = "; this looks like a header: leave it out" if number == 1 and looks_like_header(texts) else ""
            hint = f"; {table}" if table else header
            problems.add(number, f"{len(texts)} text{'s' * (len(texts) > 1)}, expected {shape.words}{hint}")
        else:
            if table:
                check.note(f"the first line is taken as a row; {table}")
            check.see(str(number), texts)
            rows.append(_row(str(number), texts, task.data_format))
    raise_all(problems.messages())
    return rows


def _like_a_table(line: str) -> str:
    """That a first line looks like that of a table without tabs, and what reads one; "" where it does not."""
    form = "csv" if "," in line and looks_like_header(line.split(",")) else ""
    with contextlib.suppress(InputError):
        if line.startswith("{") and isinstance(parse_json(line), dict):
            form = "jsonl"
    words = {"csv": "the header of a CSV table", "jsonl": "JSON lines"}
    return f"it looks like {words[form]}: --table FILE --table_format {form} --text COLUMN reads one" if form else ""


def _row(uid: str, texts: list[str], data_format: DataFormat) -> Row:
    if data_format is DataFormat.Seqence:
        words = tuple(texts[0].split())
        return Row(uid, ("",) * len(words), tokens=words)
    options = tuple(texts[1:])
    if data_format is DataFormat.PremiseAndMultiHypothesis:
        # Places, as features without names have them, and as their labels count.
        return Row(uid, ("",) * len(options), texts[0], options, tuple(map(str, range(len(options)))))
    return Row(uid, ("",), texts[0], options)


def _lines(source: str) -> tuple[str, Iterator[str]]:
    """The source's name for messages, and its lines."""
    if source == STANDARD_INPUT:
        return "standard input", decoded_lines(sys.stdin.buffer, "standard input")
    return source, read_lines(Path(source))
