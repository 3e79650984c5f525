"""Where torch has the same algorithm, the results are equal to the last bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from module.optim import AdamaxW, PATSAdamax, PATSAdamW
from tests.module.optim.toy import equal, take_steps, toy_params

OPTIONS: dict[str, Any] = {"lr": 3e-3, "betas": (0.9, 0.999), "eps": 1e-8}
DTYPES = [torch.float32, torch.float64]  # for narrower parameters torch keeps narrower averages, and results differ
NOISE_OFF = {"lambda": {"noise_lambda": 0.0}, "p": {"noise_p": 0.0}}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_adamax_without_decay_is_torchs(dtype: torch.dtype) -> None:
    ours, theirs = toy_params(dtype), toy_params(dtype)
    take_steps(AdamaxW(ours, **OPTIONS), 1, 50)
    take_steps(torch.optim.Adamax(theirs, foreach=True, **OPTIONS), 1, 50)
    assert equal(ours, theirs)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_base_of_pats_adamw_is_torchs(weight_decay: float, dtype: torch.dtype) -> None:
    ours, theirs = toy_params(dtype), toy_params(dtype)
    options = {**OPTIONS, "backend": "foreach"}  # torch's square root is not always the nearest number, Numba's is
    take_steps(PATSAdamW(ours, noise_lambda=0.0, weight_decay=weight_decay, **options), 1, 50)
    take_steps(torch.optim.AdamW(theirs, foreach=True, weight_decay=weight_decay, **OPTIONS), 1, 50)
    assert equal(ours, theirs)


def test_decay_is_decoupled_as_in_adamw() -> None:
    """A step with decay is decay, then the step without it."""
    ours, by_hand = toy_params(), toy_params()
    take_steps(AdamaxW(ours, weight_decay=0.1, **OPTIONS), 1, 1)
    with torch.no_grad():
        for param in by_hand:
            param.mul_(1 - 3e-3 * 0.1)
    take_steps(torch.optim.Adamax(by_hand, foreach=True, **OPTIONS), 1, 1)
    assert equal(ours, by_hand)


@pytest.mark.parametrize("off", NOISE_OFF)
def test_pats_without_noise_is_the_base_and_keeps_no_sensitivity(off: str) -> None:
    ours, base = toy_params(), toy_params()
    optimizer = PATSAdamax(ours, weight_decay=0.1, **NOISE_OFF[off], **OPTIONS)
    take_steps(optimizer, 1, 20)
    take_steps(AdamaxW(base, weight_decay=0.1, **OPTIONS), 1, 20)
    assert equal(ours, base)
    assert all(state.keys() == {"step", "exp_avg", "exp_inf"} for state in optimizer.state.values())


@pytest.mark.parametrize("cls", [PATSAdamax, PATSAdamW])
def test_unperturbed_groups_get_the_base_step(cls: type[PATSAdamax | PATSAdamW]) -> None:
    ours, base = toy_params(), toy_params()
    groups = [{"params": ours[:2], "perturb": True}, {"params": ours[2:], "perturb": False}]
    optimizer = cls(groups, noise_lambda=1e-3, **OPTIONS)
    take_steps(optimizer, 1, 10)
    take_steps(cls(base, noise_lambda=0.0, **OPTIONS), 1, 10)
    assert equal(ours[2:], base[2:])
    assert not any(torch.equal(a, b) for a, b in zip(ours[:2], base[:2], strict=True))
    assert ["sensitivity" in optimizer.state[param] for param in ours] == [True, True, False, False, False]
