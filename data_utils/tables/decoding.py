"""Bytes to lines, in any encoding; a byte that does not belong is told with its line."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO

from data_utils.errors import InputError

BLOCK = 1 << 16
MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def table_lines(file: BinaryIO, name: str, encoding: str | None) -> Iterator[str]:
    r"""The lines of a file with their ends, which are `\n` and nothing else, without a byte-order mark.

    Args:
        file: open for reading; a pipe will do.
        name: for messages.
        encoding: None for UTF-8.

    Raises:
        InputError: a byte that the encoding does not have, with its line, or a file that cannot be read.
    """
    decoder = codecs.getincrementaldecoder(encoding or "utf-8")()
    rest, number, first = "", 1, True
    while True:
        try:
            data = file.read(BLOCK)
        except OSError as error:
            raise InputError(f"{name}: cannot be read: {error.strerror}") from None
        state = decoder.getstate()
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeError:
            decoder.setstate(state)
            raise _undecodable(decoder, data, name, number + rest.count("\n"), encoding) from None
        if first and text:
            text, first = text.removeprefix("\ufeff"), False
        *lines, rest = (rest + text).split("\n")
        number += len(lines)
        yield from (line + "\n" for line in lines)
        if not data:
            break
    if rest:
        yield rest


def _undecodable(
    decoder: codecs.IncrementalDecoder, data: bytes, name: str, number: int, encoding: str | None
) -> InputError:
    """The error for a block with a bad byte; feeds it byte by byte, which is slow, to find the line."""
    found = "the file ends within a character"
    for i in range(len(data)):
        try:
            number += decoder.decode(data[i : i + 1]).count("\n")
        except UnicodeDecodeError as error:
            found = f"byte 0x{error.object[error.start]:02x}"
            break
        except UnicodeError as error:  # of utf-16 without its mark
            found = str(error)
            break
    mark = next((likely for start, likely in MARKS.items() if data.startswith(start)), None)
    cure = f"it looks like --encoding {mark}" if mark else "--encoding says another, such as cp1252 or utf-16"
    return InputError(f"{name}:{number}: not valid {encoding or 'UTF-8'} ({found}); {cure}")
