"""The two ways in which a command ends early, each with one clear message: wrong input, and a run that had to stop."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import sys
from collections.abc import Callable, Sequence

Main = Callable[[Sequence[str] | None], int]


class InputError(ValueError):
    """Bad input from the user. Entry points print the message, without a traceback, and exit with code 2."""


class StoppedError(RuntimeError):
    """Work that cannot go on through no fault of the input, or was told to stop. Printed like that; exit code 1."""


def speaks(error: BaseException) -> bool:
    """Whether this process is the one to print an error: the first of those that `torchrun` has started.

    Wrong input that not all of them have agreed on (`shared`) may be wrong on one machine only: there the first process
    of each machine prints it. An error may also know better (`speaker`).
    """
    if (speaker := getattr(error, "speaker", None)) is not None:
        return bool(speaker)
    alone = isinstance(error, InputError) and not getattr(error, "shared", False)
    return os.environ.get("LOCAL_RANK" if alone else "RANK", "0") == "0"


def raise_all(problems: Sequence[str]) -> None:
    """Raise one `InputError` that lists every problem, a line each; do nothing when there are none."""
    if problems:
        raise InputError("\n".join(problems))


def entry_point(main: Main) -> Callable[..., int]:
    """Decorate a `main(argv)` so that what ends it early becomes one message on standard error and an exit code.

    Of several processes of one run only one prints it, see `speaks`.
    """

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        if isinstance(sys.stdout, io.TextIOWrapper):  # it is something else in notebooks
            sys.stdout.reconfigure(errors="replace")  # for terminals that cannot show ± or λ
        try:
            return main(argv)
        except InputError as error:
            message, code, speaking = f"error: {error}", 2, speaks(error)
        except StoppedError as error:
            message, code, speaking = f"stopped: {error}", 1, speaks(error)
        except BrokenPipeError:  # the reader has seen enough, as `head` has; Python would say so once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return 1
        except KeyboardInterrupt as error:
            message, code, speaking = "stopped: interrupted", 1, speaks(error)
        if speaking:
            with contextlib.suppress(OSError):  # nobody there to read it
                print(message, file=sys.stderr, flush=True)
        return code

    return run
