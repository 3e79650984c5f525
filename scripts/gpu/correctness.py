"""Every kernel beside its float64 reference: on a GPU, or in Triton's interpreter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from module.optim import AdamaxW, PATSAdamax, PATSAdamW, SAGEAdamax, SAGEAdamW
from module.optim.backends import why_not_triton
from scripts.gpu.records import Writer
from tests.reference.adamax import Adamax
from tests.reference.adamw import AdamW
from tests.reference.pats import PATS
from tests.reference.philox import philox_noise
from tests.reference.sage import SageAdamax, SageAdamW

SEED = 7
RTOL, ATOL = 1e-4, 1e-5
"""Of parameters of size 1 after some steps in float32, as in tests/module/optim/test_follows_reference.py."""

BASE = {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1}
NOISE = {"sensitivity_beta": 0.6, "noise_lambda": 1e-3, "noise_gamma": 0.3, "noise_p": 0.5}
# An epsilon that bounds the noise where sensitivity is all but zero, or rounding there would be all that is compared.
EPSILON = {"signed": 1.0, "magnitude": 1e-3}

Step = Callable[[Tensor, Tensor, int], Tensor]
"""From parameter, gradient and the position of its first element to the parameter after a step."""


def base_options(eps: float) -> dict[str, Any]:
    """The base step's options, as the references spell them."""
    return {"lr": 0.01, "beta1": 0.8, "beta2": 0.95, "eps": eps, "weight_decay": 0.1}


def plain(reference: Any) -> Callable[[], Step]:
    """A maker of steps of a reference that draws no noise."""

    def make() -> Step:
        one = reference()
        return lambda theta, g, position: one.step(theta, g)

    return make


def pats(base: type[Adamax | AdamW], sensitivity: str, form: str) -> Callable[[], Step]:
    """A maker of PATS's steps, with the noise that the kernels draw."""

    def make() -> Step:
        one = PATS(
            base(**base_options(1e-8)),
            beta=0.6,
            lambda_=1e-3,
            gamma=0.3,
            epsilon=EPSILON[sensitivity],
            sensitivity=sensitivity,
            form=form,
        )

        def step(theta: Tensor, g: Tensor, position: int) -> Tensor:
            noise = philox_noise(tuple(theta.shape), 0.5, seed=SEED, step=one.base.t + 1, position=position)
            return one.step(theta, g, noise)

        return step

    return make


def cases() -> dict[str, tuple[type[Optimizer], dict[str, Any], Callable[[], Step]]]:
    """Optimizer, options and reference by name."""
    found: dict[str, tuple[type[Optimizer], dict[str, Any], Callable[[], Step]]] = {
        "adamax": (AdamaxW, {**BASE, "eps": 1e-8}, plain(lambda: Adamax(**base_options(1e-8)))),
    }
    bases: list[tuple[str, type[Optimizer], type[Adamax | AdamW]]] = [
        ("pats_adamax", PATSAdamax, Adamax),
        ("pats_adamw", PATSAdamW, AdamW),
    ]
    for name, kind, base in bases:
        for sensitivity in ("signed", "magnitude"):
            for form in ("std", "variance"):
                options = {**BASE, **NOISE, "eps": 1e-8, "noise_eps": EPSILON[sensitivity], "seed": SEED}
                options |= {"sensitivity": sensitivity, "noise_form": form}
                found[f"{name} {sensitivity} {form}"] = (kind, options, pats(base, sensitivity, form))
    sage = {**BASE, "eps": 1e-6, "sensitivity_beta": 0.6}
    for name, kind, reference in (("sage_adamax", SAGEAdamax, SageAdamax), ("sage_adamw", SAGEAdamW, SageAdamW)):
        maker = plain(lambda reference=reference: reference(**base_options(1e-6), beta0=0.6, adapts=True))
        found[name] = (kind, sage, maker)
    return found


def largest_excess(
    kind: type[Optimizer], options: dict[str, Any], maker: Callable[[], Step], sizes: list[int], count: int
) -> float:
    """Take `count` steps with the kernels and with the reference; the largest deviation in units of the tolerance."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator().manual_seed(0)
    expected = [torch.randn(size, generator=generator).double() for size in sizes]
    params = [nn.Parameter(value.float().to(device)) for value in expected]
    optimizer = kind([{"params": params, "perturb": True}], backend="triton", **options)
    steps, positions = [maker() for _ in sizes], [sum(sizes[:i]) for i in range(len(sizes))]
    for _ in range(count):
        for i, param in enumerate(params):
            grad = torch.randn(sizes[i], generator=generator)
            param.grad = grad.to(device)
            expected[i] = steps[i](expected[i], grad.double(), positions[i])
        optimizer.step()
    deviations = [
        ((param.detach().double().cpu() - value).abs() / (ATOL + RTOL * value.abs())).max().item()
        for param, value in zip(params, expected, strict=True)
    ]
    return float("nan") if any(value != value for value in deviations) else max(deviations)


def measure(write: Writer, folder: Path, *, tiny: bool) -> None:
    """One line for each kernel."""
    reason = why_not_triton(torch.empty(1, device="cuda" if torch.cuda.is_available() else "cpu"))
    if reason is not None:
        write("kernels", status="skipped", note=reason)
        return
    sizes, count = ([1, 1023], 3) if tiny else ([1, 130, 1023, 65536, 100_003], 12)  # the interpreter is slow
    for name, (kind, options, maker) in cases().items():
        try:
            excess = largest_excess(kind, options, maker, sizes, count)
        except Exception as error:  # the next kernel may do
            write(name, status="FAILED", note=f"{type(error).__name__}: {error}"[:300])
            continue
        write(name, excess, "x tolerance", goal="at most 1", status="ok" if excess <= 1 else "FAILED")
