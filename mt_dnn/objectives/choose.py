"""The objective that a configuration asks for."""

from __future__ import annotations

from mt_dnn.config import TrainConfig
from mt_dnn.objectives.distill import Distillation
from mt_dnn.objectives.objective import Criterion, Objective
from mt_dnn.objectives.plain import Plain, criterion


def build_objective(config: TrainConfig) -> Objective:
    """What a run of `config` minimises."""
    return Plain(build_criterion(config))


def build_criterion(config: TrainConfig) -> Criterion:
    """What an objective has for the loss of a task's logits: against its labels, or a teacher's too."""
    distill = config.distill
    if distill.distill_from is None:
        return criterion
    return Distillation(distill.distill_weight, distill.distill_temperature)
