"""Optimizers: PATS, SAGE and RecAdam on Adamax and AdamW, their plain bases, NoisyTune, groups and schedule."""

from .adamax import AdamaxW
from .base import ListOptimizer, SensitivityOptimizer
from .noisytune import noisytune_
from .own import OWN_NAME, is_own, parse_options
from .param_groups import encoder_param_groups, with_recall
from .pats import PATSAdamax, PATSAdamW, PATSConfig
from .recadam import RecAdam, RecAdamax, RecAdamConfig
from .registry import OPTIMIZERS, build_optimizer, spec_of
from .sage import SAGEAdamax, SAGEAdamW, SAGEConfig
from .schedule import linear_schedule
from .summary import TensorSummary

__all__ = [
    "OPTIMIZERS",
    "OWN_NAME",
    "AdamaxW",
    "ListOptimizer",
    "PATSAdamW",
    "PATSAdamax",
    "PATSConfig",
    "RecAdam",
    "RecAdamConfig",
    "RecAdamax",
    "SAGEAdamW",
    "SAGEAdamax",
    "SAGEConfig",
    "SensitivityOptimizer",
    "TensorSummary",
    "build_optimizer",
    "encoder_param_groups",
    "is_own",
    "linear_schedule",
    "noisytune_",
    "parse_options",
    "spec_of",
    "with_recall",
]
