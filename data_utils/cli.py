"""What command lines share: `argparse` whose mistakes are one message and exit code 2, paths, times in words."""

from __future__ import annotations

import argparse
import difflib
import itertools
import os
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn

from data_utils.errors import InputError
from data_utils.mt_dnn_flags import PAGE, Counterpart, counterpart_line
from data_utils.strict import shown


class Parser(argparse.ArgumentParser):
    """`argparse` with one-line errors in place of the usage text of fifty flags.

    Of unknown flags that are MT-DNN's (`mt_dnn`, the table of its command of the same name) a line says what they are
    here.
    """

    def __init__(self, *args: Any, mt_dnn: Mapping[str, Counterpart] = MappingProxyType({}), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.mt_dnn = mt_dnn

    def parse_args(self, args: Any = None, namespace: Any = None) -> argparse.Namespace:  # type: ignore[override]
        """As always, but MT-DNN's flags are told first: what is missing may be what they stand for."""
        given = itertools.takewhile(lambda token: token != "--", sys.argv[1:] if args is None else args)
        flags = dict.fromkeys(token.partition("=")[0] for token in given if token.startswith("--"))
        unknown = [flag for flag in flags if flag not in self._option_string_actions]
        lines = {flag: counterpart_line(flag[2:], self.mt_dnn) for flag in unknown}
        if any(lines.values()):
            problems = [line or f"{flag}: no such flag" for flag, line in lines.items()]
            self.error("\n".join([*problems, f"(MT-DNN's flags and ours side by side: {PAGE})"]))
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise the message as an `InputError`, with the nearest flags there are to unknown ones."""
        if message.startswith("unrecognized arguments:"):
            unknown = [token.partition("=")[0] for token in message.split() if token.startswith("--")]
            near = {flag: difflib.get_close_matches(flag, self._option_string_actions, n=1) for flag in unknown}
            message += "".join(f"\n{flag}: did you mean {found[0]}?" for flag, found in near.items() if found)
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


def columns(rows: Sequence[Sequence[str]], words: int = 1) -> list[str]:
    """Rows as lines of aligned columns: the first `words` of them to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(w) if i < words else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
