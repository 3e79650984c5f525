"""The one exception that means: the user's input is wrong, and here is what to do about it."""

from __future__ import annotations

from collections.abc import Sequence


class InputError(ValueError):
    """Bad input from the user. Entry points print the message, without a traceback, and exit with code 2."""


def raise_all(problems: Sequence[str]) -> None:
    """Raise one `InputError` that lists every problem, a line each; do nothing when there are none."""
    if problems:
        raise InputError("\n".join(problems))
