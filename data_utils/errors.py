"""The two ways in which a command ends early, each with one clear message: wrong input, and a run that had to stop."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Sequence

Main = Callable[[Sequence[str] | None], int]


class InputError(ValueError):
    """Bad input from the user. Entry points print the message, without a traceback, and exit with code 2."""


class StoppedError(RuntimeError):
    """Work that cannot go on through no fault of the input, or was told to stop. Printed like that; exit code 1."""


def raise_all(problems: Sequence[str]) -> None:
    """Raise one `InputError` that lists every problem, a line each; do nothing when there are none."""
    if problems:
        raise InputError("\n".join(problems))


def entry_point(main: Main) -> Callable[..., int]:
    """Decorate a `main(argv)` so that what ends it early becomes one message on standard error and an exit code.

    Of several processes of one run (`torchrun` numbers them in RANK) only the first speaks: they fail together.
    """

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        try:
            return main(argv)
        except InputError as error:
            message, code = f"error: {error}", 2
        except StoppedError as error:
            message, code = f"stopped: {error}", 1
        except BrokenPipeError:  # the reader has seen enough, as `head` has; Python would say so once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return 1
        except KeyboardInterrupt:
            message, code = "stopped: interrupted", 1
        if os.environ.get("RANK", "0") == "0":
            with contextlib.suppress(OSError):  # nobody there to read it
                print(message, file=sys.stderr, flush=True)
        return code

    return run
