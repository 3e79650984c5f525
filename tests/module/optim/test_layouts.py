"""Buckets are kept from step to step, and put together anew whenever something is no longer what it was."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from module.optim import AdamaxW, PATSAdamax, SAGEAdamW, noisytune_
from module.optim.base import KEPT_LAYOUTS, ListOptimizer
from tests.module.optim.toy import equal, take_steps, toy_params
from tests.triton_marks import needs_triton


def collections(optimizer: ListOptimizer, steps: Callable[[], None]) -> int:
    """How often the steps put buckets together."""
    with mock.patch.object(optimizer, "_collect", wraps=optimizer._collect) as collect:
        steps()
    return collect.call_count


@pytest.mark.parametrize("cls", [AdamaxW, PATSAdamax, SAGEAdamW])
def test_steps_that_look_alike_share_their_buckets(cls: type[ListOptimizer]) -> None:
    optimizer = cls(toy_params())
    assert collections(optimizer, lambda: take_steps(optimizer, 1, 5)) == 1


def test_gradients_are_not_kept_alive() -> None:
    params = toy_params()
    optimizer = PATSAdamax(params)
    take_steps(optimizer, 1, 2)
    optimizer.step(grad_factor=0.5)
    grads = [weakref.ref(param.grad) for param in params]
    optimizer.zero_grad()
    assert [grad() for grad in grads] == [None] * len(params)


@pytest.mark.parametrize("cls", [AdamaxW, PATSAdamax, SAGEAdamW])
def test_state_that_is_replaced_or_dropped_is_not_kept_alive(cls: type[ListOptimizer]) -> None:
    """As where a program moves an optimizer's state to another device for a while."""
    params = toy_params()
    optimizer, same = cls(params), cls(toy_params())
    take_steps(optimizer, 1, 2)
    take_steps(same, 1, 3)
    old = [weakref.ref(value) for state in optimizer.state.values() for value in state.values()]
    for state in optimizer.state.values():
        for name in list(state):
            state[name] = state[name].clone()
    assert [one() for one in old] == [None] * len(old)
    take_steps(optimizer, 3, 3)
    assert equal(params, same.param_groups[0]["params"])
    gone = [weakref.ref(param) for param in params]
    optimizer.param_groups.clear()
    optimizer.state.clear()
    params.clear()
    assert [one() for one in gone] == [None] * len(gone)


def replace_state(optimizer: Optimizer, param: nn.Parameter) -> None:
    optimizer.state[param]["exp_avg"] = torch.full_like(param, 5.0)


def rewind(optimizer: Optimizer, param: nn.Parameter) -> None:
    optimizer.state[param]["step"].zero_()


def forget(optimizer: Optimizer, param: nn.Parameter) -> None:
    del optimizer.state[param]


def widen(optimizer: Optimizer, param: nn.Parameter) -> None:
    param.data = param.data.double()


def transpose(optimizer: Optimizer, param: nn.Parameter) -> None:
    param.data = param.data.t().contiguous().t()


def narrow_averages(optimizer: Optimizer, param: nn.Parameter) -> None:
    optimizer.param_groups[0]["state_dtype"] = "bfloat16"


def switch_off(optimizer: Optimizer, param: nn.Parameter) -> None:
    optimizer.param_groups[0]["perturb"] = False


CHANGES = [replace_state, rewind, forget, widen, transpose, narrow_averages, switch_off]


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_is_seen(change: Callable[[Optimizer, nn.Parameter], None]) -> None:
    """As by an optimizer that has kept nothing."""
    runs: list[list[Tensor]] = []
    for keeps in (True, False):
        params = toy_params()
        optimizer = PATSAdamax(params, lr=1e-2, noise_lambda=1e-3)
        take_steps(optimizer, 1, 3)
        change(optimizer, params[0])
        if not keeps:
            optimizer._layouts.clear()
        take_steps(optimizer, 4, 6)
        runs.append(params)
    assert equal(*runs)


def test_a_group_that_has_grown_moves_the_noise_of_the_next_one() -> None:
    """Positions count the elements of all groups before."""
    runs = []
    for keeps in (True, False):
        first, added, second = (nn.Parameter(torch.ones(50)) for _ in range(3))
        optimizer = PATSAdamax([{"params": [first]}, {"params": [second]}], noise_lambda=1.0, noise_p=1.0)
        take_steps(optimizer, 1, 1)
        optimizer.param_groups[0]["params"].append(added)
        if not keeps:
            optimizer._layouts.clear()
        take_steps(optimizer, 2, 2)
        runs.append([first, second, added])
    assert equal(*runs)


def test_masters_that_are_asked_for_midway_are_made() -> None:
    params = toy_params(torch.bfloat16)
    optimizer = AdamaxW(params)
    take_steps(optimizer, 1, 2)
    optimizer.param_groups[0]["master_weights"] = True
    take_steps(optimizer, 3, 3)
    assert all("master_param" in optimizer.state[param] for param in params)


def test_a_gradient_that_has_become_sparse_is_refused() -> None:
    param = nn.Parameter(torch.ones(4, 2))
    optimizer = AdamaxW([param])
    take_steps(optimizer, 1, 1)
    param.grad = torch.ones(4, 2).to_sparse()
    with pytest.raises(RuntimeError, match="does not support sparse gradients"):
        optimizer.step()


def test_averages_stay_where_they_are_when_a_parameter_is_laid_out_anew() -> None:
    """Its sensitivities are transposed then, and its noise is picked by places: these must be of the same element."""
    ends = []
    for transposed in (True, False):
        params = toy_params()[:1]
        optimizer = PATSAdamax(params, lr=1e-2, noise_lambda=1e-3, backend="foreach")
        if transposed:
            transpose(optimizer, params[0])
        take_steps(optimizer, 1, 2)
        params[0].data = params[0].data.contiguous()
        assert optimizer.state[params[0]]["sensitivity"].is_contiguous() != transposed
        take_steps(optimizer, 3, 4)
        ends.append(params[0].detach())
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-6)


def test_parameters_that_take_turns_keep_their_own_counts() -> None:
    """As heads do: the buckets of one turn must not take the steps of the other for their own."""
    params = toy_params()
    optimizer = PATSAdamax(params, noise_lambda=1e-3)

    def turns() -> None:
        for step in range(9):
            for place, param in enumerate(params):
                param.grad = None if place == 1 + step % 2 else torch.ones_like(param)
            optimizer.step()

    turns()
    counts = [optimizer.state[param]["step"].item() for param in params]
    assert counts == [9.0, 4.0, 5.0, 9.0, 9.0]


def test_layouts_are_bounded() -> None:
    params = [nn.Parameter(torch.ones(1)) for _ in range(7)]
    optimizer = AdamaxW(params)
    for number in range(1, 2**7):
        for place, param in enumerate(params):
            param.grad = torch.ones(1) if number >> place & 1 else None
        optimizer.step()
    assert len(optimizer._layouts) <= KEPT_LAYOUTS
    assert all(optimizer.state[param]["step"] == 64 for param in params)


def test_a_failed_step_does_not_keep_gradients_alive() -> None:
    params = toy_params()
    optimizer = AdamaxW(params, backend="foreach")
    take_steps(optimizer, 1, 1)
    grads = [weakref.ref(param.grad) for param in params]

    def fail(*bucket: object) -> None:
        raise MemoryError

    with mock.patch.object(AdamaxW, "_update", fail):
        try:  # `pytest.raises` would keep the frames, and with them the gradients
            optimizer.step()
        except MemoryError:
            optimizer.zero_grad()
    assert [grad() for grad in grads] == [None] * len(params)


@pytest.mark.parametrize("backend", ["foreach", pytest.param("triton", marks=needs_triton)])
def test_state_of_another_shape_is_refused(backend: str) -> None:
    """As after a vocabulary was enlarged: the kernels would write past its end."""
    old, new = nn.Parameter(torch.ones(10, 16)), nn.Parameter(torch.ones(20, 16))
    first = AdamaxW([old])
    old.grad = torch.ones_like(old)
    first.step()
    second = AdamaxW([new])
    second.load_state_dict(first.state_dict())
    second.param_groups[0]["backend"] = backend
    new.grad = torch.ones_like(new)
    with pytest.raises(RuntimeError, match=r"'exp_avg' is \(10, 16\) on cpu, and its parameter \(20, 16\) on cpu"):
        second.step()


def test_a_default_device_does_not_matter() -> None:
    params = toy_params()
    optimizer = PATSAdamax(params, noise_lambda=1e-3)
    take_steps(optimizer, 1, 1)
    try:
        torch.set_default_device("meta")
        optimizer.step()
        assert len(optimizer.sensitivity_sample()) > 0
        assert noisytune_(params) > 0
    finally:
        torch.set_default_device(None)
    assert optimizer.state[params[0]]["step"] == 2
