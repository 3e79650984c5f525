"""The optimizers by name, and how each is built from one set of settings.

Beside the names of `OPTIMIZERS` any class with the signature of `torch.optim` is one: see `own`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.optim.optimizer import Optimizer

from .adamax import AdamaxW
from .hyperparameters import Hyperparameters
from .own import build_own, is_own
from .pats import PATSAdamax, PATSAdamW, PATSConfig
from .recadam import RecAdam, RecAdamax, RecAdamConfig
from .sage import SAGEAdamax, SAGEAdamW, SAGEConfig

BETAS = (0.9, 0.999)


@dataclass(frozen=True)
class Method:
    """What an optimizer does beside its base's step.

    Attributes:
        hyperparameters: its own.
        key: of a parameter group; says whether the group is treated.
        treatment: what is done to such a group, in words for a plan.
        draws: whether it takes a `seed`.
    """

    hyperparameters: type[Hyperparameters]
    key: str
    treatment: str
    draws: bool = False


PATS = Method(PATSConfig, key="perturb", treatment="perturbed", draws=True)
SAGE = Method(SAGEConfig, key="perturb", treatment="adaptive rate")
RECADAM = Method(RecAdamConfig, key="recall", treatment="drawn to the pretrained weights")


@dataclass(frozen=True)
class OptimizerSpec:
    """One optimizer: its class, and its method; None for a plain base."""

    factory: type[Optimizer]
    method: Method | None = None

    @property
    def recalls(self) -> bool:
        """Whether its groups have to tell pretrained weights from new ones: see `with_recall`."""
        return self.method is RECADAM


OPTIMIZERS: dict[str, OptimizerSpec] = {
    "adamax": OptimizerSpec(AdamaxW),
    "adamw": OptimizerSpec(torch.optim.AdamW),
    "sage_adamax": OptimizerSpec(SAGEAdamax, SAGE),
    "sage_adamw": OptimizerSpec(SAGEAdamW, SAGE),
    "pats_adamax": OptimizerSpec(PATSAdamax, PATS),
    "pats_adamw": OptimizerSpec(PATSAdamW, PATS),
    "recadam_adamax": OptimizerSpec(RecAdamax, RECADAM),
    "recadam_adamw": OptimizerSpec(RecAdam, RECADAM),
}
"""To add one: its file, and a line here; for train.py a section of its configuration, if there are hyper-parameters."""


def spec_of(name: str) -> OptimizerSpec:
    """What is known of an optimizer; of a user's own class only that it is one. KeyError for unknown names."""
    return OptimizerSpec(Optimizer) if is_own(name) else OPTIMIZERS[name]


def build_optimizer(
    name: str,
    groups: Sequence[dict[str, Any]],
    *,
    lr: float,
    weight_decay: float = 0.0,
    eps: float | None = None,
    hyperparameters: Hyperparameters | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Optimizer:
    """Build an optimizer by name over groups such as `encoder_param_groups` gives.

    `eps` and `hyperparameters` None take the optimizer's own defaults; hyper-parameters are its method's, such as
    `PATSConfig(noise_lambda=1e-6)`, and `seed` goes to those that draw. `options` are further arguments of a class of
    one's own. Raises ValueError for an unknown name, for values out of range or of another method, and for a class that
    training could not use.
    """
    if is_own(name):
        return build_own(name, groups, lr=lr, weight_decay=weight_decay, eps=eps, options=options or {})
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {name!r}; choose from {', '.join(OPTIMIZERS)}, or package.module:Class")
    spec = OPTIMIZERS[name]
    values: dict[str, Any] = {"lr": lr, "betas": BETAS, "weight_decay": weight_decay}
    if eps is not None:
        values["eps"] = eps
    values |= _own_values(name, spec.method, hyperparameters, seed)
    if name == "adamw":
        values["fused"] = True  # torch's own kernel, on CPUs and GPUs alike
    return spec.factory(list(groups), **values)


def _own_values(name: str, method: Method | None, given: Hyperparameters | None, seed: int) -> dict[str, Any]:
    """The arguments that an optimizer has beside those of its base."""
    expected = None if method is None else method.hyperparameters
    if given is not None and type(given) is not expected:
        raise ValueError(f"{name} takes {expected.__name__ if expected else 'no hyper-parameters'}, got {given!r}")
    if method is None:
        return {}
    return {**asdict(given or method.hyperparameters()), **({"seed": seed} if method.draws else {})}
