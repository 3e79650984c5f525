"""A step that is told `found_inf` changes nothing, and training goes on as if it had not been asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from module.optim import AdamaxW, PATSAdamax, PATSAdamW, RecAdam, RecAdamax, SAGEAdamax, SAGEAdamW
from module.optim.backends import why_not_numba
from tests.module.optim.toy import equal, take_steps, toy_params
from tests.triton_marks import DEVICE, needs_triton

OPTIONS: dict[type[Optimizer], dict[str, Any]] = {
    AdamaxW: {},
    PATSAdamax: {"noise_lambda": 1e-3},
    PATSAdamW: {"noise_lambda": 1e-3, "sensitivity": "magnitude", "noise_form": "std"},
    SAGEAdamax: {},
    SAGEAdamW: {},
    RecAdam: {"anneal_t0": 2.0, "pretrain_cof": 20.0},
    RecAdamax: {"anneal_t0": 2.0, "pretrain_cof": 20.0, "anneal_fun": "linear"},
}
NO_NUMBA = why_not_numba(torch.empty(1))
MARKS = {"foreach": (), "triton": needs_triton, "numba": pytest.mark.skipif(NO_NUMBA is not None, reason=str(NO_NUMBA))}
CASES = [pytest.param(cls, backend, marks=marks) for cls in OPTIONS for backend, marks in MARKS.items()]


def run(
    cls: type[Optimizer], backend: str, finite: Sequence[bool], dtype: torch.dtype = torch.float32, **how: Any
) -> tuple[Optimizer, list[nn.Parameter]]:
    """A step for each of `finite`; those that are not have gradients of NaN and infinity, and say so."""
    device = "cpu" if backend == "numba" else DEVICE
    params = [nn.Parameter(param.detach().to(device)) for param in toy_params(dtype)]
    optimizer = cls(params, lr=1e-2, weight_decay=0.1, backend=backend, **OPTIONS[cls], **how)
    taken = 0
    for good in finite:
        if good:
            taken += 1
            take_steps(optimizer, taken, taken, found_inf=torch.zeros(1, device=device))
            continue
        for number, param in enumerate(params):
            param.grad = torch.full_like(param, math.nan if number % 2 else math.inf)
        before = snapshot(optimizer, params) if taken else []
        optimizer.step(grad_factor=torch.tensor(0.5, device=device), found_inf=torch.ones((), device=device))
        assert not before or same(before, snapshot(optimizer, params))
    return optimizer, params


def snapshot(optimizer: Optimizer, params: list[nn.Parameter]) -> list[Tensor]:
    values = [value for param in params for value in optimizer.state[param].values()]
    return [tensor.detach().clone() for tensor in [*params, *values]]


def same(left: list[Tensor], right: list[Tensor]) -> bool:
    return len(left) == len(right) and all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize(("cls", "backend"), CASES)
def test_a_skipped_step_changes_nothing(cls: type[Optimizer], backend: str) -> None:
    """At the first step, between others, and twice in a row; noise and averages go on where they were."""
    plain, params = run(cls, backend, [True] * 4)
    skipping, others = run(cls, backend, [False, True, True, False, False, True, True])
    assert equal(params, others)
    assert same(snapshot(plain, params), snapshot(skipping, others))


@needs_triton
@pytest.mark.parametrize("cls", [PATSAdamax, SAGEAdamW])
def test_nor_do_the_kernels_with_master_weights_and_sums_of_their_own(
    cls: type[Optimizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("module.kernels.launch.MOST_PARTIALS", 0)
    how = {"dtype": torch.bfloat16, "master_weights": True, "state_dtype": "bfloat16"}
    plain, params = run(cls, "triton", [True] * 3, **how)
    skipping, others = run(cls, "triton", [True, False, True, True], **how)
    assert same(snapshot(plain, params), snapshot(skipping, others))


class ReadBack(TorchDispatchMode):
    """Counts how often a tensor's value goes to the host."""

    def __init__(self, tensor: Tensor) -> None:
        super().__init__()
        self.pointer, self.times = tensor.data_ptr(), 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            self.times += args[0].data_ptr() == self.pointer
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("ends", [0.0, 1.0])
def test_lists_read_found_inf_once_however_many_there_are(ends: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU each time would wait for all that was asked of it before."""
    monkeypatch.setattr("module.optim.buckets.CPU_BUCKET_ELEMENTS", 1)
    params = toy_params()
    optimizer = PATSAdamax([{"params": [param]} for param in params], lr=1e-2, backend="foreach")
    for param in params:
        param.grad = torch.ones_like(param)
    found_inf = torch.full((), ends)
    with ReadBack(found_inf) as read:
        optimizer.step(found_inf=found_inf)
    assert (len(params) > 1, read.times) == (True, 1)
