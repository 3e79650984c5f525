"""The objective that a configuration asks for."""

from __future__ import annotations

from mt_dnn.config import TrainConfig
from mt_dnn.objectives.objective import Objective
from mt_dnn.objectives.plain import plain


def build_objective(config: TrainConfig) -> Objective:
    """What a run of `config` minimises."""
    return plain
