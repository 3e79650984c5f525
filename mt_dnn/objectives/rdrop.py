"""R-Drop (Liang et al., NeurIPS 2021): two outputs with different dropout should agree.

With P₁ and P₂ what the model says with two dropout masks (Eq. 1 to 4 of the paper, halved):

    minimise  ½ [ L(P₁) + L(P₂) + α · ½ (KL(P₁‖P₂) + KL(P₂‖P₁)) ]

Half of the paper's objective, so that α weighs what it weighs there, and without dropout it is plain fine-tuning at the
same learning rate. A regression has (y₁ - y₂)² in place of the KLs' mean, as in the authors' code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from data_utils.task_def import TaskDef
from module.optim.hyperparameters import Hyperparameters, hyperparameter
from mt_dnn.batching import Batch
from mt_dnn.objectives.divergence import divergence, divergences
from mt_dnn.objectives.objective import Criterion, Forward, Objective, Setting
from mt_dnn.objectives.plain import criterion

SYMMETRIC = "SymKlCriterion"
"""KL(P₁‖P₂) + KL(P₂‖P₁)."""

PLACES = ("first_tokens", "token_places")
"""The encoder's inputs that count the places of all lines."""


@dataclass(frozen=True, kw_only=True)
class RDropConfig(Hyperparameters):
    """R-Drop."""

    alpha: float = hyperparameter(
        1.0, symbol="α", flag="rdrop_alpha", within="(0, ∞)", help="weight of the two outputs' disagreement"
    )


@dataclass(frozen=True)
class RDrop(Objective):
    """The criterion of both outputs, and how far they are apart.

    Attributes:
        config: hyper-parameters.
        criterion: what stands for the task's loss.
    """

    config: RDropConfig
    criterion: Criterion = criterion

    @property
    def passes(self) -> int:
        """One of all rows twice, as the authors' code has it."""
        return 2

    def remarks(self, setting: Setting) -> Iterator[tuple[str, str]]:
        """Beside the cost, whether two outputs differ at all."""
        yield from super().remarks(setting)
        if not setting.encoder_drops_out:
            heads = "differ by the heads' dropout alone"
            apart = heads if setting.model_drops_out else "are the same: this is plain fine-tuning"
            yield "note", f"nothing drops out in the encoder, so R-Drop's two outputs {apart}"

    def __call__(self, forward: Forward, task: TaskDef, batch: Batch) -> Iterator[Tensor]:
        """See `Objective`."""
        one, other = forward(task.name, twice(batch.inputs)).chunk(2)
        if SYMMETRIC in divergences(task):
            apart = divergence(task, SYMMETRIC, one, other, batch) / 2
        else:
            apart = divergence(task, divergences(task)[0], one, other, batch)
        yield (self.criterion(task, one, batch) + self.criterion(task, other, batch) + self.config.alpha * apart) / 2


def twice(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's inputs for the same lines twice, one after the other."""
    places = inputs["input_ids"].numel()
    return {name: torch.cat([value, value + places if name in PLACES else value]) for name, value in inputs.items()}
