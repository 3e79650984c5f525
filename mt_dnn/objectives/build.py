"""The objective that a configuration asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from data_utils.errors import InputError, raise_all
from data_utils.task_def import TaskDef
from module.perturbation import check_perturbable, word_embeddings
from mt_dnn.config import TrainConfig
from mt_dnn.model import MTDNN
from mt_dnn.objectives.distill import Distillation
from mt_dnn.objectives.objective import Criterion, Objective
from mt_dnn.objectives.plain import Plain, criterion
from mt_dnn.objectives.registry import OBJECTIVES


def build_objective(config: TrainConfig, model: MTDNN, tasks: Sequence[TaskDef]) -> Objective:
    """What a run of `config` minimises.

    Args:
        config: the run's.
        model: the run's, not yet spread over processes.
        tasks: those that are trained.

    Raises:
        InputError: the model, or a task, is none that the objective can be used with.
    """
    kind = config.method.objective
    raise_all(kind.task_problems(tasks))
    values: dict[str, Any] = {"criterion": build_criterion(config)}
    if kind is not Plain:
        values["config"] = getattr(config, config.method.baseline)
    if kind.perturbs_embeddings:
        values["width"] = _width(model, config.method.baseline)
    return kind(**values)


def build_criterion(config: TrainConfig) -> Criterion:
    """What an objective has for the loss of a task's logits: against its labels, or a teacher's too."""
    distill = config.distill
    if distill.distill_from is None:
        return criterion
    return Distillation(distill.distill_weight, distill.distill_temperature)


def _width(model: MTDNN, baseline: str) -> int:
    """The width of the word embeddings, which are to be perturbed; `InputError` where they cannot be."""
    try:
        check_perturbable(model.encoder.model)
    except ValueError as error:
        raise InputError(f"--init_checkpoint: {error}; --baseline {baseline} needs one") from None
    return word_embeddings(model.encoder.model).embedding_dim


def idle_task_keys(config: TrainConfig) -> frozenset[str]:
    """The keys of a task's definition that have no effect in a run of `config`, beside those that never have one."""
    of_objectives = frozenset().union(*(objective.task_keys for objective in OBJECTIVES.values()))
    return of_objectives - config.method.objective.task_keys
