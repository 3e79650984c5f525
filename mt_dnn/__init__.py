"""Multi-task training: configuration, batches, the loop, evaluation, checkpoints and logs.

`load` takes up a model that is trained:

    from mt_dnn import load
    load("runs/reviews").predict(["Does what it says."])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mt_dnn.api import Model, Prediction, load

__all__ = ["Model", "Prediction", "load"]


def __getattr__(name: str) -> Any:
    """`mt_dnn.api` when it is first asked for: it brings torch and transformers, for which commands need not wait."""
    if name in __all__:
        from mt_dnn import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
