"""What the fuzz tests share: spoiling bytes and command lines, and what must hold whatever comes of it."""

from __future__ import annotations

import contextlib
import io
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

SECONDS = 20  # for one example; the slowest take a tenth of it

SPACED = ["\n", "\n\n", "\t", "\r", "\r\n", "\ufeff", "\u0085", "\u2028", "\0", "a\0b", "\x1b", ": ", "- ", "&a [*a]"]
SPACED += ["&a {<<: *a}", "<<: {n_class: 3}", "!!bool maybe", "!!int ''", "!!timestamp x", "!!map [a, b]", "!!set {a}"]
SPACED += ["!!binary é", "!!python/object/apply:os.getcwd []", "? [a]", '{"a": 1, "a": 2}', "%YAML 9.1\n---"]
PLAIN = r"""
    , " ' : [ ] { } # \ \t é ٣ 0 1 -1 -0 007 0x1F 1_0 1:30 1e5 1e400 .5 2. 1.0 nan .nan NaN Infinity -Infinity .inf null
    ~ true yes on 2020-01-01 2020-13-45 ../../x /etc/x a/b .. *b [] {} [true] "\ud800" \ud83d\ude42 "\UFFFFFFFF"
"""
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
HUGE = [
    "[\n" * 1500,
    "{a: " * 2000,
    '{"a":' * 3000,
    "9" * 400,
    "9" * 5000,
    "0x" + "f" * 5000,
    "x" * 100_000,
    "-" * 5000,
]
WORDS = [word.encode() for word in [*SPACED, *PLAIN.split(), LAUGHS, *HUGE]]
WORDS += [b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\x80"]


def heavy(share: int) -> settings:
    """Fewer examples, for tests whose every example takes long."""
    return settings(max_examples=max(10, settings.default.max_examples // share))


def _span(draw: st.DrawFn, length: int) -> slice:
    start = draw(st.integers(0, length))
    return slice(start, draw(st.integers(start, min(length, start + draw(st.sampled_from((1, 8, length)))))))


def _delete(draw: st.DrawFn, data: bytes) -> bytes:
    span = _span(draw, len(data))
    return data[: span.start] + data[span.stop :]


def _double(draw: st.DrawFn, data: bytes) -> bytes:
    span = _span(draw, len(data))
    return data[: span.stop] + data[span.start :]


def _flip(draw: st.DrawFn, data: bytes) -> bytes:
    at = draw(st.integers(0, max(0, len(data) - 1)))
    return data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]


def _insert(draw: st.DrawFn, data: bytes) -> bytes:
    at = draw(st.integers(0, len(data)))
    return data[:at] + draw(st.sampled_from(WORDS)) + data[at:]


def _replace_word(draw: st.DrawFn, data: bytes) -> bytes:
    """A name or number becomes something else, or what stands elsewhere in the file."""
    words = [match.span() for match in re.finditer(rb"[\w.\-]+", data)]
    if not words:
        return _insert(draw, data)
    start, stop = draw(st.sampled_from(words))
    other = data[slice(*draw(st.sampled_from(words)))]
    return data[:start] + draw(st.sampled_from([*WORDS, other])) + data[stop:]


def _lines(draw: st.DrawFn, data: bytes) -> bytes:
    """A line is left out, stands twice, or moves."""
    lines = data.split(b"\n")
    line = lines.pop(draw(st.integers(0, len(lines) - 1)))
    for _ in range(draw(st.integers(0, 2))):
        lines.insert(draw(st.integers(0, len(lines))), line)
    return b"\n".join(lines)


def _cut(draw: st.DrawFn, data: bytes) -> bytes:
    return data[: draw(st.integers(0, len(data)))]


MUTATIONS: tuple[Callable[[st.DrawFn, bytes], bytes], ...] = (
    *(_replace_word, _replace_word, _insert, _lines),
    *(_flip, _delete, _double, _cut),
)


@st.composite
def mutated(draw: st.DrawFn, *whole: bytes) -> bytes:
    """One of some valid files with one to four things done to it."""
    data = draw(st.sampled_from(whole))
    for _ in range(draw(st.integers(1, 4))):
        data = draw(st.sampled_from(MUTATIONS))(draw, data)
    return data


ARGUMENTS = [
    "",
    " ",
    "-",
    "--",
    "-1",
    "-1e-4",
    "1e400",
    "1e300",
    "nan",
    "inf",
    "9" * 30,
    "9" * 5000,
    "1_0",
    "0x10",
    "٣",
]
ARGUMENTS += [
    "~",
    "~nobody-of-this-name",
    "a\0b",
    "x" * 300,
    "x" * 5000,
    "é猫",
    "\udc80",
    "a\nb",
    "../../x",
    "none",
    ".",
]
ARGUMENTS += [
    "/dev/null",
    "@x",
    "-h",
    "--no-such-flag",
    "--seed=",
    "--tasks",
    "--tasks=,",
    "--max_seq_len=0",
    "%s",
    "{}",
]


@st.composite
def argument_lists(draw: st.DrawFn, whole: Sequence[str], more: Sequence[str] = ()) -> list[str]:
    """A valid command line with one to three things done to it; `more` are further arguments to put in."""
    argv = list(whole)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(argv)))
        other = draw(st.sampled_from([*ARGUMENTS, *more]) | st.text(max_size=6))
        argv[at : at + draw(st.sampled_from((0, 1, 1, 1, 2)))] = draw(st.sampled_from(([other], [other], [])))
    return argv


@contextlib.contextmanager
def no_hang() -> Iterator[None]:
    """Interrupt what takes longer than `SECONDS`."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"not done after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(main: Callable[[Sequence[str]], int], argv: Sequence[str]) -> tuple[int, str]:
    """Exit code and standard error of an entry point; checks what holds for every command line."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=e) for e in ("strict", "backslashreplace"))
    with no_hang(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(argv)
        except SystemExit as stop:  # --help
            code = stop.code
    err.seek(0)
    message = err.read()
    assert code in (0, 2), message
    assert "Traceback" not in message
    assert code == 0 or message.startswith("error: "), message
    assert len(message) < 20_000, "a message, not a listing"
    return code, message


def check_places(message: str, path: Path) -> list[int]:
    """Every line of a message names the file; returns the lines of the file that it names."""
    lines = message.split("\n")
    assert all(line.startswith(f"{path}:") for line in lines), message
    places = [re.match(r":(\d+): ", line.removeprefix(str(path))) for line in lines]
    return [int(place[1]) for place in places if place]


def line_alone(content: bytes, number: int) -> bytes:
    """A file of one line of another, which keeps a byte-order mark that does not stand at the file's beginning."""
    return b"\xef\xbb\xbf" * (number > 1) + content.split(b"\n")[number - 1] + b"\n"
