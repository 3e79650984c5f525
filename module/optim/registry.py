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
from .own import build_own, is_own
from .pats import PATSAdamax, PATSAdamW, PATSConfig
from .recadam import RecAdam, RecAdamax, RecAdamConfig
from .sage import SAGEAdamax, SAGEAdamW, SAGEConfig

BETAS = (0.9, 0.999)


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec:
    """One optimizer: its class, and which of the method settings it takes."""

    factory: type[Optimizer]
    perturbs: bool = False
    adapts: bool = False
    recalls: bool = False


OPTIMIZERS: dict[str, OptimizerSpec] = {
    "adamax": OptimizerSpec(factory=AdamaxW),
    "adamw": OptimizerSpec(factory=torch.optim.AdamW),
    "sage_adamax": OptimizerSpec(factory=SAGEAdamax, adapts=True),
    "sage_adamw": OptimizerSpec(factory=SAGEAdamW, adapts=True),
    "pats_adamax": OptimizerSpec(factory=PATSAdamax, perturbs=True),
    "pats_adamw": OptimizerSpec(factory=PATSAdamW, perturbs=True),
    "recadam_adamax": OptimizerSpec(factory=RecAdamax, recalls=True),
    "recadam_adamw": OptimizerSpec(factory=RecAdam, recalls=True),
}


def spec_of(name: str) -> OptimizerSpec:
    """What is known of an optimizer: a class of one's own neither perturbs nor adapts. KeyError for unknown names."""
    return OptimizerSpec(factory=Optimizer) if is_own(name) else OPTIMIZERS[name]


def build_optimizer(
    name: str,
    groups: Sequence[dict[str, Any]],
    *,
    lr: float,
    weight_decay: float = 0.0,
    eps: float | None = None,
    pats: PATSConfig | None = None,
    sage: SAGEConfig | None = None,
    recadam: RecAdamConfig | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Optimizer:
    """Build an optimizer by name over groups such as `encoder_param_groups` gives.

    `eps` None takes the optimizer's own default; `pats`, `sage`, `recadam` and `seed` go to those they concern.
    `options` are further arguments of a class of one's own. Raises ValueError for an unknown name, for values out of
    range, and for a class that training could not use.
    """
    if is_own(name):
        return build_own(name, groups, lr=lr, weight_decay=weight_decay, eps=eps, options=options or {})
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {name!r}; choose from {', '.join(OPTIMIZERS)}, or package.module:Class")
    spec = OPTIMIZERS[name]
    values: dict[str, Any] = {"lr": lr, "betas": BETAS, "weight_decay": weight_decay}
    if eps is not None:
        values["eps"] = eps
    if spec.perturbs:
        values |= {**asdict(pats or PATSConfig()), "seed": seed}
    if spec.adapts:
        values |= asdict(sage or SAGEConfig())
    if spec.recalls:
        values |= asdict(recadam or RecAdamConfig())
    if name == "adamw":
        values["fused"] = True  # torch's own kernel, on CPUs and GPUs alike
    return spec.factory(list(groups), **values)
