"""RecAdam (Chen et al., EMNLP 2020, 'Recall and Learn'): learn the task while pretrained weights pull less and less.

The paper's symbols: θ* the pretrained weights (here the state `pretrained`); λ(t) the share of the task, with rate k
`anneal_k` and middle t0 `anneal_t0`; γ `pretrain_cof`, the strength of the pull; η the learning rate with its schedule.

    λ(t) = 1 / (1 + exp(-k (t - t0))), or min(1, t / t0)
    θ ← θ - η λ(t) d - η (1 - λ(t)) γ (θ - θ*)

d is the direction of Adam (the paper's) or of Adamax, t counts a parameter's steps from 1. Where η (1 - λ(t)) γ exceeds
1, it is 1: the pull ends at θ*, and does not overshoot. With the paper's rates and γ it never gets there.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.optim.optimizer import ParamsT

from .adamax import ListAdamax
from .adamw import ListAdamW
from .base import Group, TwoAverageOptimizer
from .buckets import PRETRAINED, Bucket, Gradients, Lists
from .hyperparameters import Hyperparameters, full_signature, hyperparameter

if TYPE_CHECKING:
    from ..compiled.launch import Compiled
    from ..kernels.launch import Kernels
    from .backends import Launcher


LATE = 0.2
"""The share of a run's updates above which the pull takes more of it than the authors let it take."""


@dataclass(frozen=True, kw_only=True)
class RecAdamConfig(Hyperparameters):
    """RecAdam."""

    # The defaults are those of the authors' public script; the paper searches k from 0.05 to 1, t0 from 100 to 1000. Of
    # the script's other options, a "constant" share is the base itself, and a weight of both terms is a learning rate.
    anneal_fun: str = hyperparameter(
        "sigmoid",
        symbol="λ(t)",
        flag="recadam_anneal_fun",
        choices=("sigmoid", "linear"),
        help="how the task's share rises: around t0 by k, or evenly up to t0",
    )
    anneal_k: float = hyperparameter(
        0.5, symbol="k", flag="recadam_anneal_k", within="(0, ∞)", help="how fast the task takes over"
    )
    anneal_t0: float = hyperparameter(
        250.0,
        symbol="t0",
        flag="recadam_anneal_t0",
        within="[0, ∞)",
        help="the update in which task and pull weigh the same; `train.py` takes a value below 1 as a share of all",
    )
    pretrain_cof: float = hyperparameter(
        5000.0,
        symbol="γ",
        flag="recadam_pretrain_cof",
        within="[0, ∞)",
        help="strength of the pull to the pretrained weights; 0: none, the task is merely learned later",
    )

    def of_run(self, updates: int) -> RecAdamConfig:
        """For a run of so many updates: an `anneal_t0` below 1 is a share of them, as a warm-up is; one at least."""
        return replace(self, anneal_t0=max(1.0, self.anneal_t0 * updates)) if 0 < self.anneal_t0 < 1 else self

    def remarks(self, updates: int, lr: float) -> Iterator[str]:
        """Where the task comes too late, and where the pull is so strong that its strength says nothing."""
        middle = self.of_run(updates).anneal_t0
        if middle > updates * LATE:
            yield (
                f"of {updates:,} updates the first {middle:,g} hold the encoder to its pretrained weights; for so "
                "short a run take a lower --recadam_anneal_t0, such as 0.1, a tenth of it"
            )
        if (pull := lr * self.pretrain_cof) > 1:
            yield (
                f"--recadam_pretrain_cof times the learning rate is {pull:g}, and a pull above 1 counts as 1: up to "
                "anneal_t0 the encoder stands still"
            )

    def problems(self) -> list[str]:
        """As of any record, and a `k` that would have no effect."""
        idle = self.anneal_fun == "linear" and self.anneal_k != type(self).anneal_k
        return super().problems() + ["--recadam_anneal_k would have no effect with --recadam_anneal_fun linear"] * idle


ANNEALING = ("anneal_fun", "anneal_k", "anneal_t0")
"""The options that λ(t) depends on."""


def task_share(step: int, *, anneal_fun: str, anneal_k: float, anneal_t0: float) -> float:
    """Return λ(t), from 0 to 1."""
    if anneal_fun == "linear":
        return min(1.0, step / anneal_t0) if anneal_t0 else 1.0
    exponent = anneal_k * (step - anneal_t0)
    if exponent >= 0:
        return 1 / (1 + math.exp(-exponent))
    return math.exp(exponent) / (1 + math.exp(exponent))  # the same; neither overflows


def rate_and_pull(step: int, group: Group) -> tuple[float, float]:
    """Return lr·λ(t), and how much of the way to the pretrained weights is gone."""
    lr = float(group["lr"])
    share = task_share(step, **{name: group[name] for name in ANNEALING})
    return lr * share, min(1.0, lr * (1 - share) * group["pretrain_cof"])


class _Recalling(TwoAverageOptimizer):
    """The pull before the step of the base that follows in the method resolution order."""

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        backend: str = "auto",
        capturable: bool = False,
        state_dtype: str = "float32",
        master_weights: bool = False,
        **recadam: Any,
    ) -> None:
        base = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        how = {"backend": backend, "capturable": capturable, "state_dtype": state_dtype}
        own = {**asdict(RecAdamConfig(**recadam)), "recall": True}
        super().__init__(params, {**base, **own, **how, "master_weights": master_weights})

    def _check(self, options: Mapping[str, Any]) -> None:
        super()._check(options)
        RecAdamConfig.check(options)
        if 0 < (middle := options["anneal_t0"]) < 1:  # as copied from a run's settings; as a number of updates, none
            raise ValueError(
                f"Invalid anneal_t0: {middle}; here it counts updates: RecAdamConfig(anneal_t0={middle})"
                ".of_run(updates).anneal_t0 is this share of a run's"
            )

    def add_param_group(self, param_group: Group) -> None:
        """Add a group, as in `torch.optim`; warns of one that may hold a new head and does not say `recall`."""
        if isinstance(param_group, dict) and "recall" not in param_group and not param_group.get("perturb", True):
            name = param_group.get("name", "a group")
            warnings.warn(
                f"{name!r} does not say `recall`: RecAdam holds all of it to where it begins, random numbers of a new "
                "head too; with_recall(groups, is_pretrained) tells them apart",
                stacklevel=5,  # who makes the optimizer
            )
        super().add_param_group(param_group)

    def _state_names(self, group: Group) -> tuple[str, ...]:
        names = super()._state_names(group)
        return (*names, PRETRAINED) if group["recall"] else names

    def _update(self, lists: Lists, group: Group) -> None:
        if not group["recall"]:
            super()._update(lists, group)
            return
        rate, pull = rate_and_pull(lists.step, group)
        if group["weight_decay"] != 0:
            torch._foreach_mul_(lists.params, 1 - group["lr"] * group["weight_decay"])
        if pull:
            torch._foreach_lerp_(lists.params, lists.state[PRETRAINED], pull)
        super()._update(lists, {**group, "lr": rate, "weight_decay": 0.0})

    def _launch(self, kernels: Launcher, bucket: Bucket, gradients: Gradients, group: Group) -> None:
        if not group["recall"]:
            super()._launch(kernels, bucket, gradients, group)
            return
        step = (self.kernel, bucket, gradients, group, self.averages)
        if bucket.backend == "triton":  # which counts on the device
            cast("Kernels", kernels).descend_with_pull(*step)
        else:
            cast("Compiled", kernels).descend_with_pull(*step, functools.partial(rate_and_pull, group=group))


_Recalling.__init__.__signature__ = full_signature(_Recalling.__init__, RecAdamConfig)  # type: ignore[attr-defined]


class RecAdam(_Recalling, ListAdamW):
    """RecAdam as published, on AdamW.

    `lr`, `betas`, `eps`, the decoupled `weight_decay`, `capturable`, `state_dtype` and `master_weights` are those of
    `AdamaxW`; the other arguments are the fields of `RecAdamConfig`. All can be set per group. Groups with `recall`
    False, such as a new head's, get the plain step: see `with_recall`. The pretrained weights are those that a
    parameter has in its first step; the state keeps them, one more copy in memory and in checkpoints. A loaded state
    without them takes the weights that are there then. Raises ValueError for values out of range.
    """


class RecAdamax(_Recalling, ListAdamax):
    """RecAdam on Adamax: `RecAdam` with the direction of `AdamaxW`."""
