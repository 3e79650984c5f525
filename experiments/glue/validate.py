"""Whether a zip is what GLUE's server takes: everything that is wrong with it, a line each.

    python -m experiments.glue.validate submission.zip

The server says little about what it refuses, and takes two submissions a day. Exit codes: 0 all right, 2 something is
wrong.
"""

from __future__ import annotations

import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from data_utils.cli import Parser, path_text
from data_utils.errors import InputError, entry_point, raise_all
from data_utils.strict import listed, shown
from experiments.glue.official import HEADER, HIGHEST, LOWEST, OfficialFile, official_files

BOM = b"\xef\xbb\xbf"
MAX_BYTES = 1 << 26  # ten times QQP's file
MAX_NAMED = 5  # of rows in one message
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError)


def problems_of(path: Path, files: Sequence[OfficialFile]) -> list[str]:
    """What is wrong with a zip, a line a problem; none if the server takes it.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                return ["not a zip file"]
            with zipfile.ZipFile(file) as archive:
                return list(_problems(archive, files))
    except zipfile.BadZipFile as error:
        return [f"a damaged zip file: {error}"]
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', error)}") from None


def _problems(archive: zipfile.ZipFile, files: Sequence[OfficialFile]) -> Iterator[str]:
    """Of the zip as a whole, then of each file in it."""
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    wanted = {one.name: one for one in files}
    spelled = {name.lower(): name for name in wanted}
    found = Counter(entry.filename.rpartition("/")[2] for entry in entries)
    for name in wanted:
        if not found[name]:
            yield f"{name} is missing"
        elif found[name] > 1:
            yield f"{name} is there {found[name]} times"
    for entry in entries:
        folder, _, name = entry.filename.rpartition("/")
        if name not in wanted:
            hint = f"; it is spelled {spelled[name.lower()]}" if name.lower() in spelled else ""
            yield f"{shown(entry.filename)} is none of the {len(files)} files{hint}"
            continue
        if folder:
            yield f"{name} lies in the folder {shown(folder)}; the files must lie at the top of the zip"
        for problem in _file_problems(archive, entry, wanted[name]):
            yield f"{name}: {problem}"


def _file_problems(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, official: OfficialFile) -> list[str]:
    if entry.flag_bits & 1:
        return ["is encrypted"]
    if entry.file_size > MAX_BYTES:
        return [f"has {entry.file_size:,} bytes; no file of a submission is so large"]
    try:
        return list(content_problems(archive.read(entry), official))
    except DAMAGE as error:
        return [f"is damaged: {error}"]


def content_problems(data: bytes, official: OfficialFile) -> Iterator[str]:
    """What is wrong with the content of one file."""
    if data.startswith(BOM):
        yield "begins with a byte-order mark; save it as UTF-8 without one"
        data = data.removeprefix(BOM)
    if not data:
        yield "is empty"
        return
    try:
        lines = data.decode("utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        yield f"line {data.count(10, 0, error.start) + 1}: not valid UTF-8"
        return
    if windows := sum(line.endswith("\r") for line in lines):
        yield rf"{windows:,} lines end in \r\n (Windows); expected \n"
        lines = [line.removesuffix("\r") for line in lines]
    header, expected = lines[0].split("\t"), "index, prediction (tab-separated)"
    headless = len(header) == len(HEADER) and header[0].isdecimal()
    if tuple(header) != HEADER:
        found = "there is no header" if headless else f"the header is {shown(lines[0])}"
        yield f"{found}, expected {expected}"
    numbered = [(number, line.split("\t")) for number, line in enumerate(lines, start=1)]
    yield from _row_problems(numbered if headless else numbered[1:], official)


def _row_problems(rows: Sequence[tuple[int, Sequence[str]]], official: OfficialFile) -> Iterator[str]:
    """Of the lines after the header: their numbers and columns."""
    whole = [(number, row) for number, row in rows if len(row) == len(HEADER)]
    if torn := [number for number, row in rows if len(row) != len(HEADER)]:
        yield f"{len(torn):,} lines have not two columns: {_numbers(torn, 'line')}"
    if len(whole) != official.rows:
        yield f"{len(whole):,} rows, expected {official.rows:,}"
    yield from _index_problems([(number, row[0]) for number, row in whole], official.rows)
    judge = _judge(official.labels)
    wrong: dict[str, list[int]] = {}
    for number, (_, prediction) in whole:
        if problem := judge(prediction):
            wrong.setdefault(problem, []).append(number)
    for problem, numbers in list(wrong.items())[:MAX_NAMED]:
        yield f"{problem}: {_numbers(numbers, 'line')}"
    if len(wrong) > MAX_NAMED:
        yield f"and {len(wrong) - MAX_NAMED:,} further wrong predictions"


def _index_problems(indices: Sequence[tuple[int, str]], rows: int) -> Iterator[str]:
    """Of the first column: every number from 0 on, once, in order."""
    no_number = [number for number, text in indices if not (text.isascii() and text.isdecimal() and len(text) < 10)]
    if no_number:
        yield f"the index is not a whole number: {_numbers(no_number, 'line')}"
        unread = set(no_number)
        indices = [one for one in indices if one[0] not in unread]
    values = [int(text) for _, text in indices]
    counts = Counter(values)
    if absent := [index for index in range(rows) if index not in counts]:
        yield f"the index has gaps: {_numbers(absent, 'index')} missing"
    if repeated := sorted(index for index, count in counts.items() if count > 1):
        yield f"the index has a value twice: {_numbers(repeated, 'index')}"
    if beyond := sorted(index for index in counts if index >= rows):
        yield f"the index goes beyond {rows - 1:,}: {_numbers(beyond, 'index')}"
    if back := [indices[i][0] for i in range(1, len(values)) if values[i] < values[i - 1]]:
        yield f"the index is not in order: {_numbers(back, 'line')}"


def _judge(labels: Sequence[str]) -> Callable[[str], str]:
    """What is wrong with a prediction, "" for nothing."""

    def word(text: str) -> str:
        return "" if text in labels else f"unknown label {shown(text)}, allowed are {listed(labels)}"

    def score(text: str) -> str:
        try:
            value = float(text) if text.isascii() and "_" not in text else None
        except ValueError:
            value = None
        if value is None:
            return f"{shown(text)} is not a number"
        return "" if LOWEST <= value <= HIGHEST else f"the score {text} is not in {LOWEST:g} to {HIGHEST:g}"

    return word if labels else score


def _numbers(values: Sequence[int], what: str) -> str:
    """Such as `line 3, 4, 5, 6, 7 and 12 more`."""
    more = f" and {len(values) - MAX_NAMED:,} more" if len(values) > MAX_NAMED else ""
    return f"{what} {', '.join(map(str, values[:MAX_NAMED]))}{more}"


def check(path: Path) -> None:
    """Print that a zip is all right, or raise `InputError` with all that is wrong."""
    files = official_files()
    raise_all([f"{path}: {problem}" for problem in problems_of(path, files)])
    print(f"{path}: all {len(files)} files are as GLUE's server takes them")


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`; returns the exit code."""
    parser = Parser(description="Say what is wrong with a GLUE submission.", allow_abbrev=False)
    parser.add_argument("zip", type=path_text, help="the file to be submitted")
    check(Path(parser.parse_args(argv).zip))
    return 0


if __name__ == "__main__":
    sys.exit(main())
