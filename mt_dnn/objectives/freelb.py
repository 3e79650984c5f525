"""FreeLB (Zhu et al., ICLR 2020): train on the perturbed word embeddings of each step of an ascent of the loss.

The paper's symbols (Algorithm 1): K `steps`, α `step_size`, ε `max_norm`; the start's magnitude, there ε too, is
`init_magnitude`. With d numbers in the embeddings of a sequence, norms over all of them:

    δ₀ ~ U(-m, m)/√d,   δ ← Π_ε(δ + α · g/‖g‖), with g the gradient of the loss in δ
    minimise the mean of L(f(x + δ)) over δ₀, …, δ_{K-1}

The gradient for the weights is a by-product of the one for δ, so each of the K passes does both. Dropout hides the same
in all passes of a batch (the paper's section 3.3): the loss that δ ascends stays one function.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from data_utils.task_def import TaskDef
from module.optim.hyperparameters import Hyperparameters, hyperparameter
from mt_dnn.batching import Batch
from mt_dnn.objectives.embeddings import Tokens, moved
from mt_dnn.objectives.objective import Criterion, Forward, Objective
from mt_dnn.objectives.plain import criterion, task_loss


@dataclass(frozen=True, kw_only=True)
class FreeLBConfig(Hyperparameters):
    """FreeLB."""

    # The defaults are those of the authors' script for STS-B on RoBERTa-large; those for other tasks are near.

    steps: int = hyperparameter(
        3, symbol="K", flag="freelb_steps", within="[1, ∞)", help="ascent steps an update, a pass each"
    )
    step_size: float = hyperparameter(
        0.1, symbol="α", flag="freelb_step_size", within="[0, ∞)", help="length of an ascent step"
    )
    init_magnitude: float = hyperparameter(
        0.16,
        symbol="m",
        flag="freelb_init_magnitude",
        within="[0, ∞)",
        help="magnitude of the perturbation's start; 0 starts from none",
    )
    max_norm: float = hyperparameter(
        0.28, symbol="ε", flag="freelb_max_norm", within="[0, ∞)", help="largest norm of a perturbation; 0: no limit"
    )


@dataclass(frozen=True)
class FreeLB(Objective):
    """The mean of the criterion over the steps of an ascent.

    Attributes:
        config: hyper-parameters.
        width: of the word embeddings.
        criterion: what stands for the task's loss.
    """

    perturbs_embeddings = True
    follows_gradients = True

    config: FreeLBConfig
    width: int
    criterion: Criterion = criterion

    @property
    def passes(self) -> int:
        """One a step."""
        return self.config.steps

    @property
    def terms(self) -> int:
        """One a step."""
        return self.config.steps

    def __call__(self, forward: Forward, task: TaskDef, batch: Batch) -> Iterator[Tensor]:
        """See `Objective`."""
        tokens = Tokens.of(batch)
        delta = self._start(tokens)
        masks = _Dropout(delta.device)
        for step in range(1, self.config.steps + 1):
            delta.requires_grad_(step < self.config.steps)  # the last one goes nowhere
            masks.repeat()
            yield task_loss(forward, task, moved(batch, tokens.to_lines(delta)), self.criterion) / self.config.steps
            if delta.grad is not None:
                delta = self._ascend(delta.detach(), delta.grad, tokens)

    def _start(self, tokens: Tokens) -> Tensor:
        """δ₀, (tokens, width)."""
        delta = torch.zeros(len(tokens.places), self.width, device=tokens.places.device)
        if self.config.init_magnitude > 0:
            numbers = (tokens.lengths * self.width).repeat_interleave(tokens.lengths, output_size=len(delta))
            delta.uniform_(-1, 1).mul_(self.config.init_magnitude / numbers.sqrt().unsqueeze(1))
        return delta

    def _ascend(self, delta: Tensor, gradient: Tensor, tokens: Tokens) -> Tensor:
        delta = delta + self.config.step_size * tokens.direction(gradient, "l2", "sequence")
        limit = self.config.max_norm
        return tokens.within(delta, limit, "l2", "sequence") if limit else delta


class _Dropout:
    """The random stream that dropout draws from, to be wound back to where it is now."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        on_gpu = device.type == "cuda"
        self._state = torch.cuda.get_rng_state(device) if on_gpu else torch.get_rng_state()

    def repeat(self) -> None:
        """Wind back, so that the next forward pass has the masks of the first one."""
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(self._state, self._device)
        else:
            torch.set_rng_state(self._state)
