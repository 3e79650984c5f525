"""Two optimizers of one seed that train at once are noticed; copies and runs one after the other are not."""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from module.optim import AdamaxW, PATSAdamax, PATSAdamW
from tests.module.optim.toy import take_steps, toy_params

SEEDS = itertools.count(7_000_000)
SAME_NOISE = "draw the same noise: both have seed="


@pytest.fixture
def seed() -> int:
    """One that no other test has: the warning comes once a seed."""
    return next(SEEDS)


@pytest.fixture
def silence() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def moved(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [param.detach() for group in optimizer.param_groups for param in group["params"]]


def test_the_danger_is_real(seed: int) -> None:
    """Two parameters of equal values and gradients, an optimizer each: with one seed they get the same noise."""
    ends = []
    for own in ((seed, seed), (seed, seed + 1000)):
        pair = [PATSAdamax([nn.Parameter(torch.ones(500))], noise_lambda=1e-2, noise_p=1.0, seed=one) for one in own]
        for optimizer in pair:
            take_steps(optimizer, 1, 1)
        ends.append(torch.equal(*(moved(optimizer)[0] for optimizer in pair)))
    assert ends == [True, False]


def test_one_optimizer_a_parameter(seed: int) -> None:
    """As a fused backward pass has it; told once."""
    optimizers = [PATSAdamax([param], seed=seed) for param in toy_params()]
    with pytest.warns(UserWarning, match=SAME_NOISE + str(seed)) as told:
        for step in (1, 2, 3):
            for optimizer in optimizers:
                take_steps(optimizer, step, step)
    assert len(told) == 1 and "seed + i" in str(told[0].message)


def test_two_models_in_one_loop(seed: int) -> None:
    one, other = PATSAdamax(toy_params(), seed=seed), PATSAdamW(toy_params(), seed=seed)
    take_steps(one, 1, 1)
    take_steps(other, 1, 1)
    with pytest.warns(UserWarning, match=SAME_NOISE):
        take_steps(one, 2, 2)


@pytest.mark.usefixtures("silence")
class TestNoWarning:
    def test_for_seeds_of_their_own(self, seed: int) -> None:
        optimizers = [PATSAdamax([param], seed=seed + 1000 * (1 + i)) for i, param in enumerate(toy_params())]
        for step in (1, 2):
            for optimizer in optimizers:
                take_steps(optimizer, step, step)

    def test_for_runs_one_after_the_other(self, seed: int) -> None:
        first, second = PATSAdamax(toy_params(), seed=seed), PATSAdamax(toy_params(), seed=seed)
        take_steps(first, 1, 3)
        take_steps(second, 1, 3)

    def test_for_what_goes_on_with_a_copy_or_a_saved_state(self, seed: int) -> None:
        first = PATSAdamax(toy_params(), seed=seed)
        take_steps(first, 1, 2)
        take_steps(copy.deepcopy(first), 3, 4)
        again = PATSAdamax(toy_params(), seed=seed)
        again.load_state_dict(first.state_dict())
        take_steps(again, 3, 4)

    def test_for_one_that_is_gone(self, seed: int) -> None:
        first, second = PATSAdamax(toy_params(), seed=seed), PATSAdamax(toy_params(), seed=seed)
        take_steps(first, 1, 1)
        take_steps(second, 1, 1)
        del second
        take_steps(first, 2, 3)

    def test_where_only_one_has_noise(self, seed: int) -> None:
        noisy = PATSAdamax(toy_params(), seed=seed)
        for step in (1, 2):
            for optimizer in (noisy, PATSAdamax(toy_params(), noise_lambda=0, seed=seed), AdamaxW(toy_params())):
                take_steps(optimizer, step, step)
