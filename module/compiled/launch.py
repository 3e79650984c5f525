"""From a bucket of tensors and a step's gradients to calls of the compiled functions.

The same calls as `kernels/launch.py` has for Triton. Nothing is kept from step to step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import kernels, workers
from .kernels import ADAMAX, ADAMW, PAIR_DISTANCE, Adaptation, Base, Drawing, Noise, Numbers

if TYPE_CHECKING:
    from ..optim.buckets import Bucket, Factor, Gradients

ROW = 16 * 2 * PAIR_DISTANCE
"""Elements of a row of work, which one thread does: whole strips of pairs. A change alters how means are rounded."""

TINY = float(np.finfo(np.float32).tiny)
"""The least that is divided by."""

RULES = {"adamax": ADAMAX, "adamw": ADAMW, "sage_adamax": ADAMAX, "sage_adamw": ADAMW}


class Entered(NamedTuple):
    """A bucket whose step has been counted: what to do, where the tensors are, and the count of each."""

    work: np.ndarray
    addresses: np.ndarray
    steps: np.ndarray


class Compiled:
    """Runs the compiled functions on float32 tensors on a CPU."""

    def descend(
        self, rule: str, bucket: Bucket, gradients: Gradients, group: dict[str, Any], averages: tuple[str, str]
    ) -> None:
        """Do a plain step of `rule`: "adamax" or "adamw"."""
        work, addresses, steps = _enter(bucket, gradients, averages)
        base, numbers = _base(rule, gradients.factor, group), _numbers(group, steps)
        workers.run(kernels.plain_steps, work, addresses, base, numbers)

    def descend_with_noise(
        self,
        rule: str,
        bucket: Bucket,
        gradients: Gradients,
        group: dict[str, Any],
        averages: tuple[str, str],
        peak: float | Tensor | None = None,
    ) -> None:
        """Do a step of PATS on `rule`; with `peak`, a learning rate, the noise is scaled by rate / `peak`."""
        work, addresses, steps = _enter(bucket, gradients, (*averages, "sensitivity"))
        base, numbers = _base(rule, gradients.factor, group), _numbers(group, steps)
        signed = group["sensitivity"] == "signed"
        partials = np.zeros(len(work))
        weight = np.float32(1 - group["sensitivity_beta"])
        workers.run(kernels.average_sensitivity, work, addresses, partials, base.factor, weight, signed)
        eps, sizes = group["noise_eps"], np.maximum(bucket.sizes, 1)
        drawing = Drawing(
            steps=steps,
            positions=np.array(bucket.positions, np.int64),
            means=_means(bucket, work, partials, sizes),
            leasts=np.maximum(eps / sizes if signed else np.full(len(sizes), eps), TINY).astype(np.float32),
        )
        variance = group["noise_form"] == "variance"
        share = 1.0 if peak is None else min(1.0, float(group["lr"]) / max(float(peak), TINY))
        noise = Noise(
            seed=np.uint64(group["seed"]),
            p=np.float32(group["noise_p"]),
            scale=np.float32(share * (math.sqrt(group["noise_lambda"]) if variance else group["noise_lambda"])),
            gamma=np.float32(group["noise_gamma"]),
            signed=signed,
            variance=variance,
        )
        workers.run(kernels.noisy_steps, work, addresses, base, numbers, noise, drawing)

    def descend_with_pull(
        self,
        rule: str,
        bucket: Bucket,
        gradients: Gradients,
        group: dict[str, Any],
        averages: tuple[str, str],
        rate_and_pull: Callable[[int], tuple[float, float]],
    ) -> None:
        """Do a step of RecAdam on `rule`; what a parameter's count of steps makes of rate and pull is given."""
        work, addresses, steps = _enter(bucket, gradients, (*averages, "pretrained"))
        base = _base(rule, gradients.factor, group)
        numbers = _numbers(group, steps, lambda step: rate_and_pull(step)[0])
        pulls = np.array([rate_and_pull(step)[1] for step in steps.tolist()], np.float32)
        rest = base._replace(kept=np.float32(1))  # decay comes before the pull
        workers.run(kernels.pulled_steps, work, addresses, rest, numbers, base.kept, pulls)

    def descend_by_sensitivity(
        self, rule: str, bucket: Bucket, gradients: Gradients, group: dict[str, Any], averages: tuple[str, str]
    ) -> None:
        """Do a step of SAGE: `rule` is "sage_adamax" or "sage_adamw"."""
        adapts, bias_corrected = bool(group["perturb"]), rule == "sage_adamw"
        work, addresses, steps = _enter(bucket, gradients, (*averages, "sensitivity") if adapts else averages)
        lr, decay = float(group["lr"]), group["weight_decay"]
        (beta1, beta2), beta0 = group["betas"], group["sensitivity_beta"]
        counts = steps.astype(np.float64)
        rates, corrections = np.full(len(counts), lr), np.ones(len(counts))
        if bias_corrected:
            rates = lr * np.sqrt(1 - beta2**counts) / (1 - beta1**counts)
            corrections = 1 - beta0**counts
        adaptation = Adaptation(
            adapts=adapts,
            weight0=np.float32(1 - beta0),
            eps_squared=np.float32(group["eps"] ** 2),
            decay=np.float32(0 if bias_corrected else decay),
        )
        base = _base(rule, gradients.factor, group)
        base = base if bias_corrected else base._replace(kept=np.float32(1))
        numbers = Numbers(-rates.astype(np.float32), np.ones(len(counts), np.float32))
        workers.run(kernels.sage_steps, work, addresses, base, numbers, adaptation, corrections.astype(np.float32))


def compiled_noise(like: Tensor, p: float, *, seed: int, step: int, position: int) -> Tensor:
    """Return the noise that a step adds: float32, zero where z = 0; `position` is the tensor's first element's.

    For tests and inspection: a step draws it on the fly.
    """
    out = np.zeros(like.numel(), np.float32)
    kernels.draw_noise(out, np.float32(p), np.uint64(seed), np.uint64(step), np.uint64(position))
    return torch.from_numpy(out).view(like.shape)


def _enter(bucket: Bucket, gradients: Gradients, averages: tuple[str, ...]) -> Entered:
    """Count the step of each tensor."""
    torch._foreach_add_(bucket.counters, torch.tensor(1.0, device="cpu"), alpha=1.0)
    for param in bucket.params:  # what autograd has kept of it is out of date, as after any change in place
        torch.autograd.graph.increment_version(param)
    rows = [bucket.params, gradients.tensors, *(bucket.state[name] for name in averages)]
    starts = np.array(bucket.starts, np.int64)
    ends = starts + np.array([param.numel() for param in bucket.params], np.int64)
    addresses = np.array([[tensor.data_ptr() for tensor in row] for row in rows], np.int64) - 4 * starts
    return Entered(_work(starts, ends), addresses, np.array(torch.stack(bucket.counters).tolist(), np.int64))


def _work(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Cut tensors into rows of work, at the same elements wherever a shard begins."""
    first, last = starts // ROW, -(-ends // ROW)
    counts = np.where(ends > starts, last - first, 0)
    tensor = np.repeat(np.arange(len(starts)), counts)
    block = np.arange(len(tensor)) - (np.cumsum(counts) - counts)[tensor] + first[tensor]
    begin, end = np.maximum(block * ROW, starts[tensor]), np.minimum((block + 1) * ROW, ends[tensor])
    return np.stack([tensor, begin, end], axis=1)


def _base(rule: str, factor: Factor, group: dict[str, Any]) -> Base:
    beta1, beta2 = group["betas"]
    return Base(
        rule=RULES[rule],
        factor=np.float32(1.0 if factor is None else float(factor)),
        weight1=np.float32(1 - beta1),
        beta2=np.float32(beta2),
        weight2=np.float32(1 - beta2),
        eps=np.float32(group["eps"]),
        kept=np.float32(1 - float(group["lr"]) * group["weight_decay"]),
    )


def _numbers(group: dict[str, Any], steps: np.ndarray, rate: Callable[[int], float] | None = None) -> Numbers:
    """The bias corrections, as the list-wise step computes them: in float64, by Python's own power.

    `rate` is the learning rate by step, where it is not the group's.
    """
    (beta1, beta2), lr = group["betas"], float(group["lr"])
    each = {
        step: (((rate(step) if rate else lr) / (1 - beta1**step)) * -1, (1 - beta2**step) ** 0.5)
        for step in set(steps.tolist())
    }
    both = np.array([each[step] for step in steps.tolist()], np.float32).reshape(-1, 2)
    return Numbers(np.ascontiguousarray(both[:, 0]), np.ascontiguousarray(both[:, 1]))


def _means(bucket: Bucket, work: np.ndarray, partials: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return s̄ of each tensor; zero, which brings no noise, where it is not finite: a NaN among the gradients."""
    sums = torch.from_numpy(np.bincount(work[:, 0], weights=partials, minlength=len(sizes)))
    if bucket.sharding is not None:
        bucket.sharding.sum_over_shards(sums)
    means: np.ndarray = sums.numpy() / sizes
    return np.where(np.isfinite(means), means, 0.0).astype(np.float32)
