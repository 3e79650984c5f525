"""Notices two optimizers of one program that draw the same noise.

Noise is keyed by (seed, step, position), and every optimizer counts positions from zero: two of one seed draw equal
noise. That is right for one that goes on with another's state, and for runs one after the other. It is wrong where both
train at once: one optimizer a parameter, two models in one program. The sign of it: one steps, the other steps, and the
first steps again.

A seed that depended on how many optimizers a process has made would need no warning, but then ranks that make different
numbers of them, and a program that resumes, would draw other noise.
"""

from __future__ import annotations

import warnings
import weakref
from dataclasses import dataclass, field

from torch.optim.optimizer import Optimizer


@dataclass
class _Drawn:
    """Who draws the noise of one seed; those that are gone do not count."""

    last: weakref.ref[Optimizer]
    all: weakref.WeakSet[Optimizer] = field(default_factory=weakref.WeakSet)
    told: bool = False


_DRAWN: dict[int, _Drawn] = {}


def note_draw(optimizer: Optimizer, seed: int) -> None:
    """Note that an optimizer draws the noise of a seed, and warn, once a seed, when two live ones do so in turns."""
    drawn = _DRAWN.get(seed)
    if drawn is None:
        drawn = _DRAWN[seed] = _Drawn(weakref.ref(optimizer))
    elif (last := drawn.last()) is optimizer:
        return
    elif last is not None and optimizer in drawn.all and not drawn.told:
        drawn.told = True
        warnings.warn(
            f"two optimizers that train at once draw the same noise: both have seed={seed}, and each counts its own "
            "elements from zero. Give each a seed of its own, such as seed + i, or put all parameters into one "
            "optimizer. Copies that are compared on purpose can ignore this",
            stacklevel=2,
        )
    drawn.last = weakref.ref(optimizer)
    drawn.all.add(optimizer)
