"""The objective that a configuration asks for."""

from __future__ import annotations

from collections.abc import Sequence

from data_utils.errors import InputError, raise_all
from data_utils.task_def import TaskDef
from module.perturbation import check_perturbable, word_embeddings
from mt_dnn.config import TrainConfig
from mt_dnn.model import MTDNN
from mt_dnn.objectives.distill import Distillation
from mt_dnn.objectives.divergence import divergences
from mt_dnn.objectives.freelb import FreeLB
from mt_dnn.objectives.objective import Criterion, Objective
from mt_dnn.objectives.plain import Plain, criterion
from mt_dnn.objectives.rdrop import RDrop
from mt_dnn.objectives.smart import Smart, measure


def build_objective(config: TrainConfig, model: MTDNN, tasks: Sequence[TaskDef]) -> Objective:
    """What a run of `config` minimises.

    Args:
        config: the run's.
        model: the run's, not yet spread over processes.
        tasks: those that are trained.

    Raises:
        InputError: the model, or a task, is none that the objective can be used with.
    """
    loss = build_criterion(config)
    match config.method.objective:
        case "smart":
            check_measures(tasks)
            return Smart(config.smart, _width(model), loss)
        case "freelb":
            return FreeLB(config.freelb, _width(model), loss)
        case "rdrop":
            return RDrop(config.rdrop, loss)
    return Plain(loss)


def build_criterion(config: TrainConfig) -> Criterion:
    """What an objective has for the loss of a task's logits: against its labels, or a teacher's too."""
    distill = config.distill
    if distill.distill_from is None:
        return criterion
    return Distillation(distill.distill_weight, distill.distill_temperature)


def check_measures(tasks: Sequence[TaskDef]) -> None:
    """Raise `InputError` for tasks with an `adv_loss` that their outputs cannot be compared by."""
    raise_all(
        [
            f"--baseline smart: task {task.name!r}: adv_loss {measure(task)} does not fit a {task.type_name} task; use "
            f"{', '.join(divergences(task))}, or leave it out for {divergences(task)[0]}"
            for task in tasks
            if measure(task) not in divergences(task)
        ]
    )


def _width(model: MTDNN) -> int:
    """The width of the word embeddings, which are to be perturbed; `InputError` where they cannot be."""
    try:
        check_perturbable(model.encoder.model)
    except ValueError as error:
        raise InputError(f"--init_checkpoint: {error}; --baseline smart and freelb need one") from None
    return word_embeddings(model.encoder.model).embedding_dim


def idle_task_keys(config: TrainConfig) -> frozenset[str]:
    """The keys of a task's definition that have no effect in a run of `config`, beside those that never have one."""
    return frozenset() if config.method.objective == "smart" else frozenset({"adv_loss"})
