"""What command lines share: `argparse` whose mistakes are one message and exit code 2, paths, times in words."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import NoReturn

from data_utils.errors import InputError
from data_utils.strict import shown


class Parser(argparse.ArgumentParser):
    """`argparse` with one-line errors in place of the usage text of fifty flags."""

    def error(self, message: str) -> NoReturn:
        """Raise the message as an `InputError`."""
        raise InputError(f"{message}\n(all flags: {self.prog} --help)")


def path_text(text: str) -> str:
    """The type of flags that hold a path, `~` for the home folder; "" would quietly mean the current folder.

    A shell expands `~` itself, but not in `--flag=~/x`, and nobody does in YAML.

    Raises:
        ArgumentTypeError: no path of this system can be that: "", a NUL, half a surrogate pair, a name too long.
    """
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got ''")
    try:
        text = os.path.expanduser(text)
        os.lstat(text)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", error)
        raise argparse.ArgumentTypeError(f"{shown(text)} cannot be a path: {reason}") from None
    return text


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines of aligned columns: the first to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
