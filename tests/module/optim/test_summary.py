"""`sensitivity_summary` and `sensitivity_sample` say what a second computation from the state says."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from module.optim import AdamaxW, PATSAdamax, PATSAdamW, SAGEAdamax, SAGEAdamW, SensitivityOptimizer
from tests.module.optim.toy import take_steps, toy_params

KEEPERS = [PATSAdamax, PATSAdamW, SAGEAdamax, SAGEAdamW]


def groups() -> list[dict]:
    params = toy_params()
    return [{"params": params[:3], "names": ["a", "b", "c"]}, {"params": params[3:4], "perturb": False}]


def sensitivities(optimizer: Optimizer) -> list[np.ndarray]:
    states = [optimizer.state[param] for group in optimizer.param_groups for param in group["params"]]
    return [state["sensitivity"].double().numpy().ravel() for state in states if "sensitivity" in state]


@pytest.mark.parametrize("cls", KEEPERS)
def test_statistics_are_those_of_the_state(cls: type[SensitivityOptimizer]) -> None:
    optimizer = cls(groups())
    assert optimizer.sensitivity_summary() == {}
    assert len(optimizer.sensitivity_sample()) == 0
    take_steps(optimizer, 1, 3)
    summary = optimizer.sensitivity_summary()
    assert list(summary) == ["a", "b", "c"]
    for one, values in zip(summary.values(), map(np.abs, sensitivities(optimizer)), strict=True):
        assert one.elements == len(values)
        np.testing.assert_allclose([one.mean, one.std], [values.mean(), values.std()], rtol=1e-5, atol=1e-9)
        np.testing.assert_allclose(one.quantiles, np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95]), rtol=1e-5)


@pytest.mark.parametrize("form", ["std", "variance"])
@pytest.mark.parametrize("sensitivity", ["signed", "magnitude"])
def test_noise_is_what_equation_4_says(sensitivity: str, form: str) -> None:
    p, lambda_, gamma, eps = 0.3, 1e-3, 0.3, 1e-4
    noise = {"noise_p": p, "noise_lambda": lambda_, "noise_gamma": gamma, "noise_eps": eps}
    optimizer = PATSAdamax(groups(), sensitivity=sensitivity, noise_form=form, **noise)
    take_steps(optimizer, 1, 3)
    for one, s in zip(optimizer.sensitivity_summary().values(), sensitivities(optimizer), strict=True):
        ratio = s.sum() / (len(s) * s + np.sign(s) * eps) if sensitivity == "signed" else s.mean() / (s + eps)
        r = lambda_ * np.maximum(ratio - gamma, 0)
        sigma = r if form == "std" else np.sqrt(r)
        assert one.elements == 1 or 0 < one.share_with_noise < 1
        np.testing.assert_allclose(one.share_with_noise, (sigma > 0).mean(), rtol=1e-6)
        np.testing.assert_allclose(one.share_perturbed, p * (sigma > 0).mean(), rtol=1e-6)
        np.testing.assert_allclose(one.mean_noise_scale, sigma[sigma > 0].mean(), rtol=1e-3)
        expected = np.quantile(sigma[sigma > 0], [0.05, 0.25, 0.5, 0.75, 0.95])
        np.testing.assert_allclose(one.noise_quantiles, expected, rtol=1e-3)
    assert {(one.share_perturbed, one.noise_quantiles) for one in sage_summary().values()} == {(None, None)}


def test_noise_that_follows_the_rate_is_told_as_it_is_at_that_rate() -> None:
    def scales(optimizer: SensitivityOptimizer) -> list[float]:
        take_steps(optimizer, 1, 3)
        return [one.mean_noise_scale for one in optimizer.sensitivity_summary().values()]

    following = PATSAdamax(groups(), noise_schedule="lr", lr=0.0)
    for group in following.param_groups:
        group["initial_lr"], group["lr"] = 1.0, 1e-9
    constant = PATSAdamax(groups(), noise_p=1e-12, lr=1e-9)  # p is so small that no noise moves the weights apart
    for group in following.param_groups:
        group["noise_p"] = 1e-12
    np.testing.assert_allclose(scales(following), 1e-9 * np.array(scales(constant)), rtol=1e-5)


def sage_summary() -> dict:
    optimizer = SAGEAdamax(groups())
    take_steps(optimizer, 1, 2)
    return optimizer.sensitivity_summary()


def test_share_perturbed_is_what_a_step_perturbs() -> None:
    """Counted: elements that a step without a rate moves."""
    param = nn.Parameter(torch.randn(100_000, generator=torch.Generator().manual_seed(1)))
    optimizer = PATSAdamax([param], lr=0.0, noise_lambda=0.1, noise_gamma=1e-4)
    before = param.detach().clone()
    take_steps(optimizer, 1, 1)
    moved = (param.detach() != before).double().mean().item()
    assert moved == pytest.approx(optimizer.sensitivity_summary()["0.0"].share_perturbed, abs=0.006)


def test_tensors_without_names_go_by_group_and_place_and_without_state_are_left_out() -> None:
    params = toy_params()
    optimizer = PATSAdamax([{"params": params[:2]}, {"params": [nn.Parameter(torch.empty(0)), *params[2:]]}])
    take_steps(optimizer, 1, 1)
    assert list(optimizer.sensitivity_summary()) == ["0.0", "0.1", "1.1", "1.2", "1.3"]
    named = PATSAdamax([("weight", params[0]), ("bias", params[1])])
    take_steps(named, 1, 1)
    assert list(named.sensitivity_summary()) == ["weight", "bias"]
    twice = PATSAdamax([{"params": [param], "names": ["weight"]} for param in params[:2]])
    take_steps(twice, 1, 1)
    assert list(twice.sensitivity_summary()) == ["weight", "weight (1.0)"]
    assert not hasattr(AdamaxW(toy_params()), "sensitivity_summary")


def test_sample_is_even_over_all_elements() -> None:
    params = [nn.Parameter(torch.full((n,), value)) for n, value in ((3000, 1.0), (1000, 2.0))]
    optimizer = SAGEAdamax(params)
    for param in params:
        param.grad = torch.ones_like(param)
    optimizer.step()
    sample = optimizer.sensitivity_sample(size=400)
    assert len(sample) == 400
    assert (sample == sample.max()).double().mean().item() == 0.25


def test_it_changes_nothing() -> None:
    optimizer = PATSAdamax(groups())
    take_steps(optimizer, 1, 2)
    random, before = torch.get_rng_state(), json.dumps([s.tolist() for s in sensitivities(optimizer)])
    optimizer.sensitivity_summary()
    optimizer.sensitivity_sample()
    assert torch.equal(random, torch.get_rng_state())
    assert before == json.dumps([s.tolist() for s in sensitivities(optimizer)])
