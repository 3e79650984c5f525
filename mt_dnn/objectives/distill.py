"""Distillation: a criterion that has a student learn from a teacher's outputs, beside its labels or in place of them.

With the student's logits z and the teacher's t, both divided by the temperature T:

    loss = (1 - w) * loss(z, label) + w * T² * kd_loss(z / T, t / T)

w is `distill_weight`, and T² keeps the soft part's gradients as large as they are without a temperature (Hinton et al.
2015, "Distilling the Knowledge in a Neural Network", section 2). `kd_loss` is the task's: a divergence of
`module.divergences` by MT-DNN's names, of which the mean squared difference of logits is the limit of a high T (the
same, section 2.1). MT-DNN's distillation (Liu et al. 2019, "Improving Multi-Task Deep Neural Networks via Knowledge
Distillation for Natural Language Understanding") has equal weights and no temperature: the defaults.

It takes the place of the plain criterion in any objective, and asks for no further pass of the encoder. Tasks whose
batches have no teacher's outputs keep the plain one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from data_utils.errors import InputError, raise_all
from data_utils.task_def import TaskDef
from module.heads import HEADS
from mt_dnn.batching import SOFT, Batch
from mt_dnn.flags import option
from mt_dnn.objectives.plain import criterion

SOFT_CROSS_ENTROPY = "KlCriterion"
"""What stands for the cross-entropy against a teacher's probabilities: less by their own entropy, which is constant."""


@dataclass(frozen=True, kw_only=True)
class DistillConfig:
    """Distillation."""

    distill_from: str | None = option(
        None,
        path=True,
        help="a teacher's soft labels: a file that predict.py --soft_labels wrote, a folder with <task>_<split>.jsonl "
        "for tasks that have a teacher, or features: what these have under MT-DNN's key softlabel",
    )
    distill_weight: float = option(
        0.5, help="weight of the teacher's part of the loss; labels have the rest, and 1 leaves them out"
    )
    distill_temperature: float = option(1.0, help="logits are divided by it before the teacher's are compared")

    def problems(self) -> list[str]:
        """What is wrong with these values, a line each."""
        weight, temperature = self.distill_weight, self.distill_temperature
        bad = [f"--distill_weight must be in (0, 1], got {weight}"] * (not 0 < weight <= 1)
        bad += [f"--distill_temperature must be > 0 and finite, got {temperature}"] * (not 0 < temperature < math.inf)
        idle = ["--distill_weight"] * (weight != 0.5) + ["--distill_temperature"] * (temperature != 1)
        if idle and self.distill_from is None:
            bad.append(f"{', '.join(idle)} would have no effect without --distill_from")
        return bad


@dataclass(frozen=True)
class Distillation:
    """The criterion of a student; see the module's docstring for the formula.

    Attributes:
        weight: of the teacher's part, in (0, 1].
        temperature: T.
    """

    weight: float
    temperature: float

    def __call__(self, task: TaskDef, logits: Tensor, batch: Batch) -> Tensor:
        """The loss of a batch's logits, (): the sum over the batch's units, times the task's `loss_weight`."""
        if SOFT not in batch.targets:
            return criterion(task, logits, batch)
        student, teacher = (values / self.temperature for values in (logits.float(), batch.targets[SOFT]))
        apart = HEADS[task.type_name].divergence(kd_loss(task), student, teacher, batch.targets)
        soft = self.weight * self.temperature**2 * task.loss_weight * apart.sum()
        return soft if self.weight == 1 else soft + (1 - self.weight) * criterion(task, logits, batch)


def kd_loss(task: TaskDef) -> str:
    """The divergence that a task's `kd_loss` stands for; without one it is that of its loss, as in Hinton et al.

    Raises:
        InputError: none of those that fit the kind of task.
    """
    head, name = HEADS[task.type_name], task.kd_loss or task.loss
    if name in head.divergences:
        return name
    if name in head.losses:
        return SOFT_CROSS_ENTROPY
    fitting = ", ".join(dict.fromkeys([*head.losses, *head.divergences]))
    raise InputError(f"task {task.name!r}: {task.type_name} is not distilled with kd_loss {name}; use {fitting}")


def check_distillation(config: DistillConfig, tasks: Sequence[TaskDef]) -> None:
    """Raise `InputError` for a `kd_loss` of the tasks with a teacher that does not fit, or an idle temperature."""
    problems, names = [], set()
    for task in tasks:
        try:
            names.add(kd_loss(task))
        except InputError as error:
            problems.append(str(error))
    raise_all(problems)
    if config.distill_temperature != 1 and names == {"MseCriterion"}:
        raise InputError(
            "--distill_temperature would have no effect: it cancels out of MseCriterion, which is the kd_loss of "
            f"{', '.join(task.name for task in tasks)}; write kd_loss: KlCriterion into the task file"
        )
