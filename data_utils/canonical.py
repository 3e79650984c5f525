r"""Canonical rows: tab-separated UTF-8, one example a line, no header, read and written without any guessing.

The columns of the four formats (MT-DNN's):

    PremiseOnly               uid  label  premise
    PremiseAndOneHypothesis   uid  label  premise  hypothesis
    PremiseAndMultiHypothesis uid  the options' uids, comma-separated  their labels, likewise  premise  hypothesis...
    Seqence                   uid  list of labels  list of tokens       (JSON lists or Python list literals)

The label of a row of a test split may be empty. Quotes are ordinary characters. Lines end at `\n` only:
`str.splitlines` would also cut at U+0085 and U+2028, which occur inside real text. One `\r` before the `\n`, a
byte-order mark and a missing last `\n` are accepted. A text may be empty (one of the two questions is, in a few rows of
QQP), but not all texts of a row.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from data_utils.errors import InputError, raise_all
from data_utils.row_checks import looks_like_header
from data_utils.strict import encodable, parse_json, shown
from data_utils.task_def import DataFormat, TaskDef

MAX_REPORTED = 10
TAB = "\t"
NO_LABEL = "the label is empty; only rows of a split whose name ends in test may be without one"


class Answer(NamedTuple):
    """An answer to a question: a piece of its passage, and the character at which it begins there."""

    text: str
    start: int


class Row(NamedTuple):
    """One example.

    Attributes:
        uid: its name, unique in the file.
        labels: as written: one label, one an option for PremiseAndMultiHypothesis, one a token for Seqence; none for
            MRC. "" stands for one that is not known, for MRC, too.
        premise: the first text, "" for Seqence, the passage for MRC.
        hypotheses: none, the second text, the options' texts, or the question for MRC.
        option_uids: the options' names for PremiseAndMultiHypothesis, else none.
        tokens: the words of a Seqence row, else none.
        answers: for MRC; none for a question without an answer, or not known.
    """

    uid: str
    labels: tuple[str, ...]
    premise: str = ""
    hypotheses: tuple[str, ...] = ()
    option_uids: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    answers: tuple[Answer, ...] = ()


class Problems:
    """Collects what is wrong in one file; keeps the first ten and counts the rest."""

    def __init__(self, path: Path | str) -> None:
        self.path = path
        self.count = 0
        self._messages: list[str] = []

    def add(self, line_number: int, message: str) -> None:
        """Note a problem of one line (counted from 1)."""
        self.count += 1
        if self.count <= MAX_REPORTED:
            self._messages.append(f"{self.path}:{line_number}: {message}")

    def messages(self) -> list[str]:
        """The first ten, each with file and line, and a last line that counts the others."""
        rest = self.count - len(self._messages)
        return self._messages + [f"{self.path}: and {rest} more lines like these"] * (rest > 0)


def canonical_path(root_dir: str | Path, task_name: str, split: str, data_format: DataFormat | None = None) -> Path:
    """Where a split's canonical rows lie: `<root_dir>/<task>_<split>.tsv`; for MRC `.json`, see `squad_json`."""
    return Path(root_dir) / f"{task_name}_{split}.{'json' if data_format is DataFormat.MRC else 'tsv'}"


def read_lines(path: Path) -> Iterator[str]:
    r"""The lines of a UTF-8 text file, without their ends (`\n` or `\r\n`) and without a byte-order mark.

    Raises:
        InputError: the file is missing, unreadable, empty, or not UTF-8 (with the line of the first bad byte).
    """
    try:
        file = path.open("rb")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', error)}") from None
    with file:
        yield from decoded_lines(file, path)


def decoded_lines(file: BinaryIO, name: Path | str) -> Iterator[str]:
    """What `read_lines` gives, of a file that is open; `name` is for messages."""
    number = 0
    try:
        for number, data in enumerate(file, start=1):  # a binary file's lines end at b"\n" and nowhere else
            if number == 1:
                data = data.removeprefix(b"\xef\xbb\xbf")
            yield data.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
        bad = f"byte 0x{error.object[error.start]:02x}"
        raise InputError(f"{name}:{number}: not valid UTF-8 ({bad}); save the file as UTF-8") from None
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}") from None
    if number == 0:
        raise InputError(f"{name}: the file is empty; expected one example a line")


def read_rows(path: str | Path, task: TaskDef, *, labelled: bool = True) -> list[Row]:
    """All rows of a canonical file; see `iter_rows` for what is checked."""
    return list(iter_rows(path, task, labelled=labelled))


def iter_rows(path: str | Path, task: TaskDef, *, labelled: bool = True) -> Iterator[Row]:
    """Read one canonical file row by row; every row is checked, none is dropped.

    Args:
        path: the file.
        task: whose rows they are.
        labelled: False where a label may be empty, as in a test split.

    Raises:
        InputError: at the end of the file, with file, line, what was found and what is expected, for up to ten bad
            lines and a count of the others: blank lines, a wrong number of columns, empty or repeated uids, labels
            that the task does not have. At once where the file cannot be read or is empty.
    """
    path = Path(path)
    parse = row_parser(task, labelled=labelled)
    problems, first_line_of = Problems(path), dict[str, int]()
    for number, line in enumerate(read_lines(path), start=1):
        try:
            row = parse(line)
        except InputError as error:
            header = "; this looks like a header, which canonical files do not have"
            problems.add(number, f"{error}{header if number == 1 and looks_like_header(line.split(TAB)) else ''}")
            continue
        earlier = first_line_of.setdefault(row.uid, number)
        if earlier != number:
            problems.add(number, f"the uid {shown(row.uid)} stands already in line {earlier}; uids must differ")
        yield row
    raise_all(problems.messages())


def count_lines(path: Path) -> int:
    r"""The number of lines of a file, whether or not the last one ends in `\n`; `InputError` if it cannot be read."""
    count, last = 0, b"\n"
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                count += block.count(b"\n")
                last = block
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    return count + (not last.endswith(b"\n"))


def row_parser(task: TaskDef, *, labelled: bool = True) -> Callable[[str], Row]:
    """The function that turns a line into a `Row` of the task, or raises `InputError` without file and line.

    `labelled` is False where a label may be empty.

    Raises:
        InputError: this toolkit does not read the task's data format.
    """
    if task.not_trained:
        raise InputError(f"task {task.name!r}: {task.not_trained}")
    columns = {
        DataFormat.PremiseOnly: _single_columns,
        DataFormat.PremiseAndOneHypothesis: _pair_columns,
        DataFormat.PremiseAndMultiHypothesis: _option_columns,
        DataFormat.Seqence: _sequence_columns,
    }.get(task.data_format)
    if columns is None:
        raise InputError(
            f"task {task.name!r}: rows of the format {task.data_format.value} are not read by this toolkit"
        )
    known = set() if labelled else {""}  # labels found good before: a check a row would be the slowest part of reading

    def parse(line: str) -> Row:
        if not line.strip():
            raise InputError("blank line; expected one example a line")
        row = columns(line.split("\t"))
        if not row.uid.strip():
            raise InputError("the uid (first column) is empty")
        for label in row.labels:
            if label not in known:
                if not label:
                    raise InputError(NO_LABEL)
                task.kind.check_label(task, label)
                known.add(label)
        if not (row.premise.strip() or any(text.strip() for text in row.hypotheses + row.tokens)):
            raise InputError("the row has no text")
        return row

    return parse


def _expect(fields: list[str], count: int, names: str) -> None:
    if len(fields) != count:
        raise InputError(f"{len(fields)} columns, expected {count}: {names} (tab-separated)")


def _single_columns(fields: list[str]) -> Row:
    _expect(fields, 3, "uid, label, premise")
    return Row(fields[0], (fields[1],), fields[2])


def _pair_columns(fields: list[str]) -> Row:
    _expect(fields, 4, "uid, label, premise, hypothesis")
    return Row(fields[0], (fields[1],), fields[2], (fields[3],))


def _option_columns(fields: list[str]) -> Row:
    if len(fields) < 5:
        expected = "uid, option uids, option labels, premise and a hypothesis an option (tab-separated)"
        raise InputError(f"{len(fields)} columns, expected 5 or more: {expected}")
    uids, hypotheses = tuple(fields[1].split(",")), tuple(fields[4:])
    labels = tuple(fields[2].split(",")) if fields[2] else ("",) * len(uids)
    if not len(uids) == len(labels) == len(hypotheses):
        raise InputError(f"{len(uids)} option uids, {len(labels)} labels and {len(hypotheses)} hypotheses; must agree")
    return Row(fields[0], labels, fields[3], hypotheses, uids)


def _sequence_columns(fields: list[str]) -> Row:
    _expect(fields, 3, "uid, list of labels, list of tokens")
    tokens = _literal_list(fields[2], "tokens")
    labels = _literal_list(fields[1], "labels") if fields[1].strip() else ("",) * len(tokens)
    if len(labels) != len(tokens):
        raise InputError(f"{len(labels)} labels for {len(tokens)} tokens; expected one label a token")
    return Row(fields[0], labels, tokens=tokens)


def _literal_list(text: str, what: str) -> tuple[str, ...]:
    r"""A JSON list or a Python list literal of names or numbers; `literal_eval` executes nothing.

    JSON comes first: in both a list may read `["\ud83d\ude42"]`, which is one emoji there and two halves in Python.
    """
    try:
        value = parse_json(text)
    except InputError:
        value = _python_literal(text)
    if not isinstance(value, list) or not all(isinstance(v, (str, int)) and not isinstance(v, bool) for v in value):
        found = text if len(text) <= 60 else text[:57] + "..."
        raise InputError(f"the list of {what} is not a list of strings: {found}")
    try:
        names = tuple(str(v) for v in value)
    except ValueError:  # a number of more than 4300 digits
        raise InputError(f"the list of {what} holds a number that is too long") from None
    if not all(map(encodable, names)):
        raise InputError(f"the list of {what} holds half a surrogate pair, which is no character")
    return names


def _python_literal(text: str) -> Any:
    try:
        with warnings.catch_warnings():  # of escapes that Python does not know and keeps as they are
            warnings.simplefilter("ignore")
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def format_row(row: Row, data_format: DataFormat) -> str:
    """One line of a canonical file, without its end.

    Raises:
        InputError: a field holds what the format cannot carry, such as a tab or a line end.
    """
    if data_format is DataFormat.MRC:
        raise InputError("rows of the format MRC are JSON, not lines: see data_utils.squad_json")
    if data_format is DataFormat.Seqence:
        fields = [row.uid, repr(list(row.labels)), repr(list(row.tokens))]  # `repr`, as MT-DNN's readers expect
    elif data_format is DataFormat.PremiseAndMultiHypothesis:
        fields = [row.uid, ",".join(row.option_uids), ",".join(row.labels), row.premise, *row.hypotheses]
    else:
        fields = [row.uid, *row.labels, row.premise, *row.hypotheses]
    line = "\t".join(fields)
    if line.count("\t") != len(fields) - 1 or "\n" in line or line.endswith("\r"):
        raise InputError(f"the row {row.uid!r} holds a tab or a line end inside a field, which a TSV cannot carry")
    if row.option_uids and any("," in field for field in row.option_uids + row.labels):
        raise InputError(f"the row {row.uid!r} holds a comma inside an option's uid or label, which separates them")
    if line.startswith("\ufeff") or not encodable(line):
        raise InputError(f"the row {row.uid!r} starts with a byte-order mark, or holds half a surrogate pair")
    return line


def write_rows(path: Path, rows: Iterable[Row], data_format: DataFormat) -> int:
    """Write a canonical file and return the number of rows written.

    Raises:
        InputError: a field holds what the format cannot carry.
    """
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(format_row(row, data_format) + "\n")
            count += 1
    return count
