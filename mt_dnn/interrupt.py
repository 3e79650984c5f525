"""SIGTERM, SIGINT and SIGHUP: noted when they come, heeded where a run can be saved."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any

from mt_dnn.distributed import Ranks

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class InterruptedRun(Exception):  # noqa: N818  # no error: the run ends where it was asked to
    """A signal asked the run to stop; its state is that after the last update."""


class StopSignals:
    """Notes signals while its `with` block runs; a second SIGINT interrupts at once, as it always does.

    Outside the main thread Python delivers no signals, and nothing is noted; nor is a SIGHUP that `nohup` has hidden.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._received = ""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            hidden = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS if number not in hidden}
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        for number, handler in self._before.items():
            # When one of several processes ends early, torchrun sends the others SIGTERM: while they close their files
            # and are about to say why the run stopped, which that must not cut short.
            ending = kind is not None and self._ranks.size > 1 and number == signal.SIGTERM
            signal.signal(number, signal.SIG_IGN if ending else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = signal.Signals(number).name
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if self._ranks.first:
            with contextlib.suppress(OSError):  # a terminal that was closed must not keep the run from being saved
                # Not `print`, which may be what the signal interrupts.
                os.write(2, f"\n{self._received}: saving, then stopping; Ctrl-C stops without saving\n".encode())

    def heed(self) -> None:
        """Raise `InterruptedRun` if a signal has come to any of the processes. All of them must ask at once."""
        if self._ranks.any(bool(self._received)):
            raise InterruptedRun(next(name for name in self._ranks.gather(self._received) if name))
