"""The method's section of a run's configuration: which optimizer trains, and which remedy beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from module.optim import OPTIMIZERS, OWN_NAME, is_own, parse_options
from module.optim.noisytune import NOISYTUNE_LAMBDA
from mt_dnn.flags import option
from mt_dnn.objectives import Objective, Plain
from mt_dnn.objectives.registry import OBJECTIVES

MIXOUT = "mixout"
"""The baseline that trains mixed weights, with any optimizer."""

BESIDE_ANY = (MIXOUT, *OBJECTIVES)
"""Baselines that leave the optimizer to `--optim`; `OBJECTIVES` change what an update minimises."""

BASELINES = ("none", "sage", "noisytune", *BESIDE_ANY)


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """Optimizer and method."""

    optim: str = option(
        "adamax",
        choices=tuple(OPTIMIZERS),
        pattern=OWN_NAME,
        alias="optimizer",
        help="optimizer, or a class of your own as package.module:Class",
    )
    optim_options: str | None = option(
        None, help="arguments of a class of your own, such as momentum=0.9,nesterov=true"
    )
    baseline: str = option(
        "none",
        choices=BASELINES,
        help="another remedy: sage and noisytune turn a plain --optim into themselves; "
        f"{', '.join(BESIDE_ANY[:-1])} and {BESIDE_ANY[-1]} go with any",
    )
    learning_rate: float = option(1e-4, help="peak learning rate")
    head_lr_factor: float = option(
        1.0, help="learning rate of heads, times --learning_rate; for tasks without a head_lr_factor of their own"
    )
    weight_decay: float = option(0.0, help="decoupled weight decay; never on biases and normalisation")
    adam_eps: float | None = option(None, help="the optimizer's eps; none: 1e-8, for SAGE 1e-6")
    noisytune_lambda: float | None = option(
        None, help=f"NoisyTune: intensity of the one-off noise; --baseline noisytune alone takes {NOISYTUNE_LAMBDA}"
    )

    def problems(self) -> list[str]:
        """What is wrong with these values, a line each."""
        bad = [f"--learning_rate must be > 0, got {self.learning_rate}"] * (not self.learning_rate > 0)
        factor = self.head_lr_factor
        bad += [f"--head_lr_factor must be > 0 and finite, got {factor}"] * (not 0 < factor < math.inf)
        bad += [f"--weight_decay must be >= 0, got {self.weight_decay}"] * (not self.weight_decay >= 0)
        for name in ("adam_eps", "noisytune_lambda"):
            value = getattr(self, name)
            bad += [f"--{name} must be > 0, got {value}"] * (value is not None and not value > 0)
        if self.optim_options is not None:
            try:
                parse_options(self.optim_options)
            except ValueError as error:
                bad.append(f"--optim_options: {error}")
        return bad + self._contradictions()

    def _contradictions(self) -> list[str]:
        bad = []
        if self.optim_options is not None and not is_own(self.optim):
            bad.append("--optim_options would have no effect: it needs an --optim of the form package.module:Class")
        plain = self.optim in ("adamax", "adamw")
        if self.baseline in ("sage", "noisytune") and not plain:
            bad.append(f"--baseline {self.baseline} contradicts --optim {self.optim}: it goes with adamax or adamw")
        if self.baseline == "sage" and self.noisytune_lambda is not None:
            bad.append("--baseline sage contradicts --noisytune_lambda: they are two baselines")
        return bad

    @property
    def optimizer_name(self) -> str:
        """The optimizer that runs, `--baseline sage` taken into account."""
        return f"sage_{self.optim}" if self.baseline == "sage" and self.optim in ("adamax", "adamw") else self.optim

    @property
    def objective(self) -> type[Objective]:
        """What is minimised: one of `OBJECTIVES`, or `Plain`."""
        return OBJECTIVES.get(self.baseline, Plain)

    @property
    def noisytune_intensity(self) -> float:
        """NoisyTune's lambda, 0 for no noise before training."""
        if self.noisytune_lambda is not None:
            return self.noisytune_lambda
        return NOISYTUNE_LAMBDA if self.baseline == "noisytune" else 0.0

    @property
    def label(self) -> str:
        """The method's name in tables: the optimizer, with the other remedies that are on."""
        beside = self.baseline if self.baseline in BESIDE_ANY else ""
        return self.optimizer_name + f"+{beside}" * bool(beside) + "+noisytune" * bool(self.noisytune_intensity)
