"""The optimizers by name, and how each is built from one set of settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.optim.optimizer import Optimizer

from module.optim.adamax import AdamaxW
from module.optim.pats import PATSAdamax, PATSAdamW, PATSConfig
from module.optim.sage import SAGEAdamax, SAGEAdamW, SAGEConfig

BETAS = (0.9, 0.999)


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec:
    """One optimizer: its class, and which of the method settings it takes."""

    factory: Callable[..., Optimizer]
    perturbs: bool = False
    adapts: bool = False


OPTIMIZERS: dict[str, OptimizerSpec] = {
    "adamax": OptimizerSpec(factory=AdamaxW),
    "adamw": OptimizerSpec(factory=torch.optim.AdamW),
    "sage_adamax": OptimizerSpec(factory=SAGEAdamax, adapts=True),
    "sage_adamw": OptimizerSpec(factory=SAGEAdamW, adapts=True),
    "pats_adamax": OptimizerSpec(factory=PATSAdamax, perturbs=True),
    "pats_adamw": OptimizerSpec(factory=PATSAdamW, perturbs=True),
}


def build_optimizer(
    name: str,
    groups: Sequence[dict[str, Any]],
    *,
    lr: float,
    weight_decay: float = 0.0,
    eps: float | None = None,
    pats: PATSConfig | None = None,
    sage: SAGEConfig | None = None,
    seed: int = 0,
) -> Optimizer:
    """Build an optimizer by name over groups such as `encoder_param_groups` gives.

    `eps` None takes the optimizer's own default; `pats`, `sage` and `seed` go to those they concern. Raises ValueError
    for an unknown name and for values out of range.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {name!r}; choose from {', '.join(OPTIMIZERS)}")
    spec = OPTIMIZERS[name]
    options: dict[str, Any] = {"lr": lr, "betas": BETAS, "weight_decay": weight_decay}
    if eps is not None:
        options["eps"] = eps
    if spec.perturbs:
        options |= {**asdict(pats or PATSConfig()), "seed": seed}
    if spec.adapts:
        options |= asdict(sage or SAGEConfig())
    if name == "adamw":
        options["fused"] = True  # torch's own kernel, on CPUs and GPUs alike
    return spec.factory(list(groups), **options)
