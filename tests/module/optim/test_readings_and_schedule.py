"""PATS's readings without noise, and noise that follows the learning rate."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

from module.optim import AdamaxW, PATSAdamax, PATSAdamW
from tests.module.optim.toy import equal, take_steps, toy_params
from tests.triton_marks import DEVICE, needs_triton

READINGS = list(itertools.product(("signed", "magnitude"), ("variance", "std"), ("constant", "lr")))
BACKENDS = ["foreach", pytest.param("triton", marks=needs_triton)]


@pytest.mark.parametrize("cls", [PATSAdamax, PATSAdamW])
@pytest.mark.parametrize("off", [{"noise_lambda": 0.0}, {"noise_p": 0.0}], ids=str)
@pytest.mark.parametrize(("sensitivity", "form", "schedule"), READINGS)
def test_without_noise_every_reading_is_the_base_to_the_last_bit(
    sensitivity: str, form: str, schedule: str, off: dict[str, float], cls: type[PATSAdamax | PATSAdamW]
) -> None:
    reading = {"sensitivity": sensitivity, "noise_form": form, "noise_schedule": schedule}
    ours, base = toy_params(), toy_params()
    take_steps(cls(ours, lr=1e-2, **reading, **off), 1, 5)
    plain = AdamaxW(base, lr=1e-2) if cls is PATSAdamax else cls([{"params": base, "perturb": False}], lr=1e-2)
    take_steps(plain, 1, 5)
    assert equal(ours, base)


def following(backend: str, share: float, schedule: str = "lr", **peak: float) -> torch.Tensor:
    """What one step at `share` of the peak rate adds to a tensor beyond the step without noise."""
    weights = torch.linspace(0.1, 1, 200)
    added = []
    for noise in (1e-4, 0.0):
        param = nn.Parameter(weights.clone().to(DEVICE if backend == "triton" else "cpu"))
        options = {"noise_lambda": noise, "noise_p": 1.0, "noise_schedule": schedule, "backend": backend}
        optimizer = PATSAdamax([{"params": [param], **peak}], lr=1e-3 * share, **options)
        param.grad = torch.ones_like(param)
        optimizer.step()
        added.append(param.detach().cpu())
    return added[0] - added[1]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0, 1 + 1e-7])
def test_noise_goes_with_the_rates_share_of_its_peak(share: float, backend: str) -> None:
    full = following(backend, share, schedule="constant")
    assert (full.abs() > 1e-4).double().mean() > 0.9
    torch.testing.assert_close(following(backend, share, initial_lr=1e-3), min(share, 1) * full, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_peak_that_nobody_noted_is_an_error(backend: str) -> None:
    with pytest.raises(RuntimeError, match="noise_schedule='lr' needs the peak rate, .* make the scheduler before"):
        following(backend, 1.0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_rate_above_the_peak_that_was_noted_is_an_error(backend: str) -> None:
    """CyclicLR notes its lowest rate as `initial_lr`."""
    with pytest.raises(RuntimeError, match="rate 0.003 is above its peak as the group notes it, 0.001; set .*max_lr"):
        following(backend, 3.0, initial_lr=1e-3)
    assert following(backend, 3.0, initial_lr=1e-3, max_lr=3e-3).any()


def test_torchs_schedulers_note_the_peak() -> None:
    for make in (lambda o: LambdaLR(o, lambda step: 0.5), lambda o: OneCycleLR(o, max_lr=2e-3, total_steps=10)):
        ours = PATSAdamax([nn.Parameter(torch.ones(3))], lr=1e-3, noise_schedule="lr")
        make(ours)
        group = ours.param_groups[0]
        group["params"][0].grad = torch.ones(3)
        ours.step()
        (one,) = ours.sensitivity_summary().values()
        # One element of mean sensitivity has σ = √(λ(1 - γ)), here times the rate's share of the peak.
        peak = 2e-3 if "max_lr" in group else 1e-3
        expected = group["lr"] / peak * (2e-6 * (1 - 2e-3)) ** 0.5
        assert one.mean_noise_scale == pytest.approx(expected, rel=1e-3)
