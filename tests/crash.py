"""Runs of train.py that crash at an update of one's choice, without a process of their own."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import train
from mt_dnn.sampling import Draw
from mt_dnn.update import Updated, Updater


class PlugPulledError(Exception):
    """Stands for a crash."""


def train_until(step: int, argv: Sequence[str]) -> None:
    """Train, and crash before the update of this number (counted from 1) is applied; it must come to that."""
    apply = Updater.__call__

    def pull_the_plug(self: Updater, draw: Draw, number: int) -> Updated:
        if number == step:
            raise PlugPulledError
        return apply(self, draw, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Updater, "__call__", pull_the_plug)
        with pytest.raises(PlugPulledError):
            train.main(list(argv))
