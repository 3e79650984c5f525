"""Optimizers: PATS and SAGE on Adamax and AdamW, their plain bases, NoisyTune, groups and schedule."""

from module.optim.adamax import AdamaxW
from module.optim.base import ListOptimizer, SensitivityOptimizer
from module.optim.noisytune import noisytune_
from module.optim.param_groups import encoder_param_groups
from module.optim.pats import PATSAdamax, PATSAdamW, PATSConfig
from module.optim.registry import OPTIMIZERS, build_optimizer
from module.optim.sage import SAGEAdamax, SAGEAdamW, SAGEConfig
from module.optim.schedule import linear_schedule
from module.optim.summary import TensorSummary

__all__ = [
    "OPTIMIZERS",
    "AdamaxW",
    "ListOptimizer",
    "PATSAdamW",
    "PATSAdamax",
    "PATSConfig",
    "SAGEAdamW",
    "SAGEAdamax",
    "SAGEConfig",
    "SensitivityOptimizer",
    "TensorSummary",
    "build_optimizer",
    "encoder_param_groups",
    "linear_schedule",
    "noisytune_",
]
