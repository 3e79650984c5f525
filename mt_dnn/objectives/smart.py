"""SMART (Jiang et al., ACL 2020): outputs should not move when word embeddings do.

The paper's symbols: λs, here α, is `alpha`; η `step_size`; σ `noise_var`; ε `epsilon`; T_x̃, here K, `k`; ℓs the
divergence that a task file names as `adv_loss`.

    minimise  L(θ) + α · Σ ℓs(f(x + δ), f(x))
    δ:        from N(0, σ²); K times δ ← Π_ε(δ + η · g/‖g‖), with g the gradient of ℓs(f(x + δ), f(x)) in δ

This is the paper's smoothness-inducing regularisation (Eq. 3 and lines 6 to 10 of Algorithm 1). Its other half, Bregman
proximal point optimisation, is not here; `recadam_adamw`, which also holds weights back, is the nearest thing to it.
The paper's line 9 has g itself in place of g/‖g‖, which its authors' code (MT-DNN) has, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from data_utils.task_def import TaskDef
from module.optim.hyperparameters import Hyperparameters, hyperparameter
from mt_dnn.batching import Batch
from mt_dnn.objectives.divergence import divergence, divergences
from mt_dnn.objectives.embeddings import Tokens, moved
from mt_dnn.objectives.objective import Criterion, Forward, Objective, Setting
from mt_dnn.objectives.plain import criterion

SEEN_IN_BF16 = 3e-3
"""From here on the gradient in the perturbation is in bfloat16 what it is in float32 (MiniLM: their cosine is 0.98;
with the paper's 1e-5 it is 0.3)."""


@dataclass(frozen=True, kw_only=True)
class SMARTConfig(Hyperparameters):
    """SMART."""

    alpha: float = hyperparameter(
        1.0, symbol="α", flag="adv_alpha", within="(0, ∞)", help="weight of the smoothness term"
    )
    step_size: float = hyperparameter(
        1e-3, symbol="η", flag="adv_step_size", within="(0, ∞)", help="length of a step along the normalised gradient"
    )
    noise_var: float = hyperparameter(
        1e-5,
        symbol="σ",
        flag="adv_noise_var",
        within="(0, ∞)",
        help="standard deviation of the perturbation's start; MT-DNN's name for it says variance",
    )
    epsilon: float = hyperparameter(
        1e-5, symbol="ε", flag="adv_epsilon", within="(0, ∞)", help="largest norm of the perturbation"
    )
    norm_level: str = hyperparameter(
        "token",
        symbol="",
        flag="adv_norm_level",
        choices=("token", "sequence"),
        help="what a norm is taken of: each token's numbers, or those of a whole text",
    )
    p_norm: str = hyperparameter(
        "inf", symbol="p", flag="adv_p_norm", choices=("inf", "l2"), help="which norm: largest magnitude, or Euclidean"
    )
    k: int = hyperparameter(1, symbol="K", flag="adv_k", within="[1, ∞)", help="steps that find the perturbation")


@dataclass(frozen=True)
class Smart(Objective):
    """The criterion, and how far the output moves with the perturbation that moves it most.

    Dropout falls anew in each pass, as in the authors' code, so the term counts what dropout moves, too.

    Attributes:
        config: hyper-parameters.
        width: of the word embeddings.
        criterion: what stands for the task's loss.
    """

    perturbs_embeddings = True
    follows_gradients = True
    task_keys = frozenset({"adv_loss"})

    config: SMARTConfig
    width: int
    criterion: Criterion = criterion

    @classmethod
    def task_problems(cls, tasks: Sequence[TaskDef]) -> list[str]:
        """Tasks with an `adv_loss` that their outputs cannot be compared by."""
        return [
            f"--baseline smart: task {task.name!r}: adv_loss {measure(task)} does not fit a {task.type_name} task; use "
            f"{', '.join(divergences(task))}, or leave it out for {divergences(task)[0]}"
            for task in tasks
            if measure(task) not in divergences(task)
        ]

    @property
    def passes(self) -> int:
        """The clean one, K that find the perturbation (without gradients of weights), and the perturbed one."""
        return 2 + self.config.k

    def remarks(self, setting: Setting) -> Iterator[tuple[str, str]]:
        """Beside the cost, what it measures by, and whether rounding would hide the perturbation."""
        yield from super().remarks(setting)
        measures = ", ".join(f"{measure(task)} ({task.name})" for task in setting.tasks)
        yield "", f"the output's movement is measured by {measures} (adv_loss)"
        smallest = min(self.config.noise_var, self.config.epsilon)
        if setting.bf16 and not setting.encoder_drops_out and smallest < SEEN_IN_BF16:
            yield (
                "note",
                f"nothing drops out in the encoder, and a perturbation of {smallest:g} is lost where --bf16 rounds: "
                f"leave out --bf16, or take {SEEN_IN_BF16:g} or more for --adv_noise_var and --adv_epsilon",
            )

    def __call__(self, forward: Forward, task: TaskDef, batch: Batch) -> Iterator[Tensor]:
        """See `Objective`."""
        logits = forward(task.name, batch.inputs)
        tokens = Tokens.of(batch)
        delta = self._perturbation(forward, task, batch, tokens, logits.detach())
        perturbed = forward(task.name, moved(batch, tokens.to_lines(delta)).inputs)
        smoothness = divergence(task, measure(task), perturbed, logits, batch)
        yield self.criterion(task, logits, batch) + self.config.alpha * smoothness

    def _perturbation(self, forward: Forward, task: TaskDef, batch: Batch, tokens: Tokens, clean: Tensor) -> Tensor:
        """δ, (tokens, width); `clean` are the logits without it."""
        config = self.config
        delta = config.noise_var * torch.randn(len(tokens.places), self.width, device=clean.device)
        for _ in range(config.k):
            delta.requires_grad_()
            perturbed = forward(task.name, moved(batch, tokens.to_lines(delta)).inputs)
            distance = divergence(task, measure(task), perturbed, clean, batch)
            with torch.autocast(clean.device.type, enabled=False):  # for forward passes alone
                (gradient,) = torch.autograd.grad(distance, delta)
            step = config.step_size * tokens.direction(gradient, config.p_norm, config.norm_level)
            delta = tokens.within(delta.detach() + step, config.epsilon, config.p_norm, config.norm_level)
        return delta


def measure(task: TaskDef) -> str:
    """The name of ℓs: the task file's `adv_loss`, else the usual one of the task's kind."""
    return task.adv_loss or divergences(task)[0]
