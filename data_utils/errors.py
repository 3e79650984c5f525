"""The ways in which a command ends early, each with one clear message and an exit code of its own.

2: the input is wrong. 3: it was told to stop, and the same command goes on. 4: another process is at work there. 1: all
else.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import sys
from collections.abc import Callable, Sequence

Main = Callable[[Sequence[str] | None], int]


class _Told:
    """What entry points know of an error besides its message.

    Attributes:
        shared: whether all processes of a run have it, as they have agreed.
        speaker: whether this process prints it; None: the first one does, see `speaks`.
    """

    shared: bool = False
    speaker: bool | None = None


class InputError(_Told, ValueError):
    """Bad input from the user. Entry points print the message, without a traceback."""

    exit_code = 2


class BusyError(InputError):
    """Another process is at work where this one wants to be: the same command may do later."""

    exit_code = 4


class StoppedError(_Told, RuntimeError):
    """Work that cannot go on through no fault of the input. Printed like that."""

    exit_code = 1


class SignalledError(StoppedError):
    """Work that a signal has told to stop: the same command goes on, for train.py with `--resume`."""

    exit_code = 3


def speaks(error: BaseException) -> bool:
    """Whether this process is the one to print an error: the first of those that `torchrun` has started.

    Wrong input that not all of them have agreed on (`shared`) may be wrong on one machine only: there the first process
    of each machine prints it. An error's `speaker`, if set, decides.
    """
    if isinstance(error, _Told) and error.speaker is not None:
        return error.speaker
    alone = isinstance(error, InputError) and not error.shared
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
            message, code, speaking = f"error: {error}", error.exit_code, speaks(error)
        except StoppedError as error:
            message, code, speaking = f"stopped: {error}", error.exit_code, speaks(error)
        except BrokenPipeError:  # the reader has seen enough, as `head` has; Python would say so once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return 1
        except KeyboardInterrupt as error:
            message, code, speaking = "stopped: interrupted", SignalledError.exit_code, speaks(error)
        if speaking:
            with contextlib.suppress(OSError):  # nobody there to read it
                print(message, file=sys.stderr, flush=True)
        return code

    return run
