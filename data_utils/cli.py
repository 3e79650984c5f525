"""`argparse` for entry points: every mistake is an `InputError`, so that it becomes one message and exit code 2."""

from __future__ import annotations

import argparse
import os
from typing import NoReturn

from data_utils.errors import InputError
from data_utils.strict import shown


class Parser(argparse.ArgumentParser):
    """`argparse` with one-line errors in place of the usage text of fifty flags."""

    def error(self, message: str) -> NoReturn:
        """Raise the message as an `InputError`."""
        raise InputError(f"{message}\n(all flags: {self.prog} --help)")


def path_text(text: str) -> str:
    """The type of flags that hold a path; "" would quietly mean the current folder.

    Raises:
        ArgumentTypeError: no path of this system can be that: "", a NUL, half a surrogate pair, a name too long.
    """
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got ''")
    try:
        os.lstat(os.path.expanduser(text))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", error)
        raise argparse.ArgumentTypeError(f"{shown(text)} cannot be a path: {reason}") from None
    return text
