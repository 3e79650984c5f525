"""What the launcher promises beside the mathematics: windows, addresses that follow, numbers on the device, capture."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from module.optim import AdamaxW, PATSAdamax, RecAdam, SAGEAdamW
from tests.triton_marks import DEVICE, needs_triton

pytestmark = needs_triton
NOISE = {"noise_lambda": 1e-3, "noise_eps": 1e-3, "seed": 5}
PULLED = functools.partial(RecAdam, anneal_t0=2.0, pretrain_cof=20.0)
SHAPES = ((70, 64), (33,), (16, 16), (48,))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("module.kernels.launch.INTERPRETED_BLOCK", 2048)


def make_params(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(3)
    return [nn.Parameter(torch.randn(shape, generator=generator).to(DEVICE, dtype)) for shape in SHAPES]


def set_grads(params: list[nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for param in params:
        param.grad = torch.randn(param.shape, generator=generator).to(param)


def run(cls: type = PATSAdamax, steps: int = 3, params: list[nn.Parameter] | None = None) -> list[nn.Parameter]:
    params = make_params() if params is None else params
    optimizer = cls(params, backend="triton", **(NOISE if cls is PATSAdamax else {}))
    for step in range(steps):
        set_grads(params, step)
        optimizer.step()
    return params


def equal(left: list[nn.Parameter], right: list[nn.Parameter]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_windows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One window over all tensors, one a tensor, or what the cache holds: the same bits."""
    usual = run()
    for elements in (1, 5000, 10**9):
        monkeypatch.setattr("module.kernels.launch._window", lambda device, n=elements: n)
        assert equal(run(), usual)


def test_sums_by_a_kernel_of_their_own_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for tensors with so many blocks that adding them up in each would take longer than the step."""
    usual = run()
    monkeypatch.setattr("module.kernels.launch.MOST_PARTIALS", 0)
    assert equal(run(), usual)


def test_windows_hold_whole_tensors_up_to_their_size() -> None:
    from module.kernels.tables import _windows

    sizes, programs = np.array([5, 5, 30, 0, 5]), np.array([0, 1, 2, 5, 5, 6])
    assert _windows(sizes, programs, 10) == [(0, 2), (2, 3), (5, 1)]
    assert _windows(sizes, programs, 100) == [(0, 6)]
    assert _windows(np.array([0]), np.array([0, 0]), 10) == []


@pytest.mark.parametrize("cls", [AdamaxW, PATSAdamax, SAGEAdamW])
def test_wide_loads_and_single_ones_agree(cls: type) -> None:
    """Parameters that start in the middle of an allocation, and so at no multiple of 16 bytes."""
    aligned = run(cls)
    buffers = [torch.empty(param.numel() + 1, device=DEVICE) for param in aligned]
    shifted = [nn.Parameter(buffer[1:].view(shape)) for buffer, shape in zip(buffers, SHAPES, strict=True)]
    with torch.no_grad():
        for param, start in zip(shifted, make_params(), strict=True):
            param.copy_(start)
    assert all(param.data_ptr() % 16 for param in shifted)
    assert equal(run(cls, params=shifted), aligned)


@pytest.mark.parametrize("cls", [AdamaxW, PATSAdamax, SAGEAdamW, PULLED])
def test_rate_and_factor_on_the_device_are_those_by_value(cls: Callable[..., Optimizer]) -> None:
    by_value, on_device = make_params(), make_params()
    lr = torch.tensor(0.01, device=DEVICE)
    optimizers = [cls(by_value, lr=0.01, backend="triton"), cls(on_device, lr=lr, backend="triton", capturable=True)]
    factors = [0.25, torch.tensor(0.25, device=DEVICE)]
    for step in range(3):
        for params, optimizer, factor in zip((by_value, on_device), optimizers, factors, strict=True):
            set_grads(params, step)
            optimizer.step(grad_factor=factor)
        optimizers[0].param_groups[0]["lr"] /= 2
        lr /= 2  # what a scheduler does to a tensor
    assert equal(by_value, on_device)


def test_addresses_follow_what_moves() -> None:
    """Gradients are allocated anew each step, a parameter may get other memory, state may be loaded."""
    params = make_params()
    optimizer = PATSAdamax(params, backend="triton", **NOISE)
    for step in range(3):
        set_grads(params, step)
        optimizer.step()
        old = [param.data for param in params]
        held = [tensor.clone() for tensor in old]
        for param in params:
            param.data = param.data.clone()
        optimizer.load_state_dict(optimizer.state_dict())
    assert equal(params, run())
    assert all(torch.equal(tensor, before) for tensor, before in zip(old, held, strict=True))


def test_tables_are_kept_for_sets_of_parameters_with_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads take turns in multi-task training. The number of tables kept is bounded."""
    monkeypatch.setattr("module.kernels.launch.KEPT_TABLES", 2)
    params = make_params()
    optimizer = AdamaxW(params, backend="triton")
    for step in range(8):
        set_grads(params, step)
        params[step % 4].grad = None
        optimizer.step()
        assert len(optimizer._kernels["triton"]._tables) <= 3
    assert [optimizer.state[param]["step"].item() for param in params] == [6.0] * 4


def test_sizes_without_elements_are_no_launch() -> None:
    params = [nn.Parameter(torch.empty(0, 4, device=DEVICE))]
    run(params=params)
    assert params[0].shape == (0, 4)


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE != "cuda", reason="a CUDA graph needs a CUDA device")
@pytest.mark.parametrize("cls", [AdamaxW, PATSAdamax, SAGEAdamW, PULLED])
def test_a_captured_step_is_an_eager_one(cls: Callable[..., Optimizer]) -> None:
    eager, captured = make_params(), make_params()
    options = {"lr": torch.tensor(0.01, device=DEVICE), "capturable": True}
    options |= NOISE if cls is PATSAdamax else {}
    first, second = (cls(params, backend="triton", **options) for params in (eager, captured))
    for params, optimizer in ((eager, first), (captured, second)):
        set_grads(params, 0)
        optimizer.step()  # outside of the graph: makes state and tables
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        second.step()
    for step in range(1, 4):
        set_grads(eager, step)
        first.step()
        for source, target in zip(eager, captured, strict=True):
            target.grad.copy_(source.grad)
        graph.replay()
    assert equal(eager, captured)
    set_grads(captured, 9)  # an eager step after a replay finds its own addresses
    set_grads(eager, 9)
    first.step()
    second.step()
    assert equal(eager, captured)


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE != "cuda", reason="only a GPU is synchronised with")
def test_a_step_does_not_synchronise() -> None:
    params = make_params()
    optimizer = PATSAdamax(params, **NOISE)
    set_grads(params, 0)
    optimizer.step()
    torch.cuda.set_sync_debug_mode("error")
    one = torch.ones((), device=DEVICE)
    try:
        optimizer.step(grad_factor=one, found_inf=one)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert optimizer.state[params[0]]["step"].is_cuda and optimizer.state[params[0]]["step"].item() == 1
