"""The one exception that means: the user's input is wrong, and here is what to do about it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence

Main = Callable[[Sequence[str] | None], int]


class InputError(ValueError):
    """Bad input from the user. Entry points print the message, without a traceback, and exit with code 2."""


def raise_all(problems: Sequence[str]) -> None:
    """Raise one `InputError` that lists every problem, a line each; do nothing when there are none."""
    if problems:
        raise InputError("\n".join(problems))


def entry_point(main: Main) -> Callable[..., int]:
    """Decorate a `main(argv)` so that an `InputError` becomes its message on standard error and exit code 2."""

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        try:
            return main(argv)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2

    return run
