"""What a run records of its parameters' sensitivities: an event a line, histograms and curves for TensorBoard."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import torch

from module.optim import SensitivityOptimizer
from mt_dnn.record.run_log import RunLog

LEAST = 1e-12  # shown for sensitivities of zero, which have no logarithm
DIGITS = 4


def log_sensitivity(optimizer: torch.optim.Optimizer, log: RunLog, step: int) -> None:
    """Write one event with a summary for each tensor; nothing for optimizers that keep none."""
    if not isinstance(optimizer, SensitivityOptimizer):
        return
    summaries = optimizer.sensitivity_summary()
    tensors = {name: _rounded(asdict(summary)) for name, summary in summaries.items()}
    log.sensitivities(step, tensors=tensors)
    log.histogram("log10 of sensitivity", optimizer.sensitivity_sample().clamp_(min=LEAST).log10_(), step)
    perturbed = [summary for summary in summaries.values() if summary.share_perturbed is not None]
    log.scalar("sensitivity/mean", _mean((one.mean, one.elements) for one in summaries.values()), step)
    if perturbed:
        shares = [(one.share_perturbed or 0.0, one.elements) for one in perturbed]
        noisy = [share * elements for share, elements in shares]
        scales = [one.mean_noise_scale or 0.0 for one in perturbed]
        log.scalar("noise/share_perturbed", _mean(shares), step)
        log.scalar("noise/mean_scale", _mean(zip(scales, noisy, strict=True)), step)


def _mean(pairs: Iterable[tuple[float, float]]) -> float:
    """Of tensors' means, each with the number of elements that it is of; 0 of none."""
    total = count = 0.0
    for mean, elements in pairs:
        total += mean * elements
        count += elements
    return total / count if count else 0.0


def _rounded(value: Any) -> Any:
    """Floats cut to a few significant digits: a figure shows no more, and the file stays small."""
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, (tuple, list)):
        return [_rounded(one) for one in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
