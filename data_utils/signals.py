"""SIGTERM, SIGINT and SIGHUP: noted when they come, heeded where it suits the program."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

STOPPING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


class StopSignals:
    """Notes signals that ask to stop while its `with` block runs; a SIGHUP that `nohup` has hidden stays hidden.

    Outside the main thread Python delivers no signals, and nothing is noted.

    Attributes:
        count: signals so far.
        first: the first one's name; "" before.
    """

    def __init__(self) -> None:
        self.count = 0
        self.first = ""
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            hidden = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
            self._before = {number: signal.signal(number, self._note) for number in STOPPING - hidden}
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self.first = self.first or signal.Signals(number).name
