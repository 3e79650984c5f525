"""Runs of train.py that crash at an update of one's choice, without a process of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

import train
from mt_dnn.sampling import Draw
from mt_dnn.update import Updater


class PlugPulledError(Exception):
    """Stands for a crash."""


def train_until(step: int, argv: Sequence[str]) -> None:
    """Train, and crash before the update of this number (counted from 1) is applied; it must come to that."""

    def crashing(apply: Callable[[Updater, Draw, int], Any]) -> Callable[[Updater, Draw, int], Any]:
        def pull_the_plug(self: Updater, draw: Draw, number: int) -> Any:
            if number == step:
                raise PlugPulledError
            return apply(self, draw, number)

        return pull_the_plug

    with pytest.MonkeyPatch.context() as patch:
        for name in ("__call__", "apply_deferred"):
            patch.setattr(Updater, name, crashing(getattr(Updater, name)))
        with pytest.raises(PlugPulledError):
            train.main(list(argv))
