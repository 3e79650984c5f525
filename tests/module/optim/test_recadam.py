"""What RecAdam's paper says of it: weights are pulled to the pretrained ones, less and less; then it is its base."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from module.optim import AdamaxW, RecAdam, RecAdamax, RecAdamConfig
from module.optim.recadam import task_share
from tests.module.optim.toy import equal, take_steps, toy_params


@pytest.mark.parametrize("k", [0.05, 1.0, 1000.0])
def test_the_tasks_share_rises_from_nothing_to_one(k: float) -> None:
    how = {"anneal_fun": "sigmoid", "anneal_k": k, "anneal_t0": 100}
    shares = [task_share(step, **how) for step in range(1, 100_000, 99)]
    assert shares == sorted(shares)
    assert task_share(100, **how) == 0.5
    assert shares[0] < 0.01 and shares[-1] == 1.0


@pytest.mark.parametrize(("t0", "shares"), [(4, [0.25, 0.5, 0.75, 1.0, 1.0]), (0, [1.0] * 5)])
def test_a_linear_share_is_whole_at_t0(t0: float, shares: list[float]) -> None:
    assert [task_share(step, anneal_fun="linear", anneal_k=0.5, anneal_t0=t0) for step in range(1, 6)] == shares


@pytest.mark.parametrize(("given", "in_the_run"), [(0.0, 0.0), (0.25, 100.0), (1.0, 1.0), (250.0, 250.0)])
def test_a_t0_below_one_is_a_share_of_the_run(given: float, in_the_run: float) -> None:
    assert RecAdamConfig(anneal_t0=given).of_run(400).anneal_t0 == in_the_run
    RecAdam(toy_params(), anneal_t0=RecAdamConfig(anneal_t0=given).of_run(3).anneal_t0)  # however short a run is


def test_a_share_of_a_run_is_no_number_of_updates() -> None:
    """Taken for one, the pull would be over before it began."""
    with pytest.raises(ValueError, match=r"Invalid anneal_t0: 0\.1; here it counts updates: .*of_run\(updates\)"):
        RecAdam(toy_params(), anneal_t0=0.1)


def test_a_group_that_may_hold_a_new_head_is_warned_of() -> None:
    groups = [{"name": "encoder layers", "perturb": True}, {"name": "other", "perturb": False}]
    of = [{**group, "params": [param]} for group, param in zip(groups, toy_params(), strict=False)]
    with pytest.warns(UserWarning, match="'other' does not say `recall`: .*with_recall") as caught:
        RecAdamax([dict(group) for group in of])
    assert len(caught) == 1 and caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RecAdamax([{**group, "recall": group["perturb"]} for group in of])
        RecAdamax(toy_params())


def test_once_the_task_has_it_all_a_step_is_its_bases_to_the_last_bit() -> None:
    ours, base = toy_params(), toy_params()
    take_steps(RecAdamax(ours, lr=1e-2, anneal_k=1000.0, anneal_t0=0, weight_decay=0.1), 1, 10)
    take_steps(AdamaxW(base, lr=1e-2, weight_decay=0.1), 1, 10)
    assert equal(ours, base)


def test_weights_stay_near_the_pretrained_ones_and_leave_when_the_pull_ends() -> None:
    def distances(gamma: float) -> list[float]:
        params = toy_params()
        optimizer = RecAdam(params, lr=1e-2, anneal_k=0.1, anneal_t0=20, pretrain_cof=gamma)
        found = []
        for first, last in ((1, 20), (21, 80)):
            take_steps(optimizer, first, last)
            found.append(sum((a - b).norm().item() for a, b in zip(params, toy_params(), strict=True)))
        return found

    (held, left), (free, _) = distances(50.0), distances(0.0)
    assert held < free / 3, "the pull holds them"
    assert left > 5 * held, "and ends"


def test_a_pull_beyond_one_ends_at_the_pretrained_weights() -> None:
    """Rate times γ is 50: the formula by itself would throw the weights 49 times as far to the other side."""
    params = toy_params()
    optimizer = RecAdamax(params, lr=1e-2, anneal_t0=1000)
    take_steps(optimizer, 1, 1)
    with torch.no_grad():
        for param in params:
            param.add_(1.0)
    take_steps(optimizer, 2, 2)
    assert equal(params, toy_params())


def test_a_group_that_is_not_recalled_has_no_pretrained_weights_and_gets_the_plain_step() -> None:
    pulled, head = toy_params(), toy_params()
    optimizer = RecAdamax([{"params": pulled}, {"params": head, "recall": False}], lr=1e-2)
    take_steps(optimizer, 1, 5)
    base = toy_params()
    take_steps(AdamaxW([{"params": toy_params()}, {"params": base}], lr=1e-2), 1, 5)
    assert equal(head, base) and not equal(pulled, base)
    assert all("pretrained" in optimizer.state[param] for param in pulled)
    assert not any("pretrained" in optimizer.state[param] for param in head)


def test_the_pretrained_weights_are_a_copy_in_float32_and_go_with_the_state() -> None:
    params = toy_params(torch.bfloat16)
    optimizer = RecAdam(params, lr=1e-2, anneal_t0=0)
    take_steps(optimizer, 1, 5)
    fresh = [nn.Parameter(param.detach().clone()) for param in params]
    again = RecAdam(fresh, lr=1e-2, anneal_t0=0)
    again.load_state_dict(optimizer.state_dict())
    assert not equal(params, toy_params(torch.bfloat16))
    for other, before in zip(fresh, toy_params(torch.bfloat16), strict=True):
        kept = again.state[other]["pretrained"]
        assert kept.dtype == torch.float32 and torch.equal(kept, before.float())
    for each in (optimizer, again):
        take_steps(each, 6, 10)
    assert equal(params, fresh)


@pytest.mark.parametrize("options", [{"anneal_k": 0.0}, {"pretrain_cof": -1.0}])
def test_what_it_cannot_do_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Invalid"):
        RecAdam(toy_params(), **options)  # type: ignore[arg-type]
