"""Optimizers: PATS and SAGE on Adamax and AdamW, their plain bases, NoisyTune, groups and schedule."""

from module.optim.adamax import AdamaxW
from module.optim.noisytune import noisytune_
from module.optim.param_groups import encoder_param_groups
from module.optim.pats import PATSAdamax, PATSAdamW
from module.optim.registry import OPTIMIZERS, PATSConfig, SAGEConfig, build_optimizer
from module.optim.sage import SAGEAdamax, SAGEAdamW
from module.optim.schedule import linear_schedule

__all__ = [
    "OPTIMIZERS",
    "AdamaxW",
    "PATSAdamW",
    "PATSAdamax",
    "PATSConfig",
    "SAGEAdamW",
    "SAGEAdamax",
    "SAGEConfig",
    "build_optimizer",
    "encoder_param_groups",
    "linear_schedule",
    "noisytune_",
]
