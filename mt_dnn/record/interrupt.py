"""Signals to a run: heeded where it can be saved, by all of its processes at once."""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType

from data_utils.signals import StopSignals
from mt_dnn.distributed import Ranks


class InterruptedRun(Exception):  # noqa: N818  # no error: the run ends where it was asked to
    """A signal asked the run to stop; its state is that after the last update."""


class RunSignals(StopSignals):
    """Notes signals to one of a run's processes; a second SIGINT interrupts at once, as it always does."""

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self._ranks = ranks

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        super().__exit__(kind, *error)
        # When one of several processes ends early, torchrun sends the others SIGTERM: while they close their files
        # and are about to say why the run stopped, which that must not cut short.
        if kind is not None and self._ranks.size > 1 and signal.SIGTERM in self._before:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def _note(self, number: int, frame: FrameType | None) -> None:
        super()._note(number, frame)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if self._ranks.first:
            name = signal.Signals(number).name
            with contextlib.suppress(OSError):  # a terminal that was closed must not keep the run from being saved
                # Not `print`, which may be what the signal interrupts.
                os.write(2, f"\n{name}: saving, then stopping; Ctrl-C stops without saving\n".encode())

    def raise_if_signalled(self) -> None:
        """Raise `InterruptedRun` if a signal has come to any of the processes. All of them must ask at once."""
        if self._ranks.any(self.count > 0):
            raise InterruptedRun(next(name for name in self._ranks.all_gather(self.first) if name))
