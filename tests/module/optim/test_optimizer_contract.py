"""What users of `torch.optim` expect: checks, closures, groups, sparse gradients, schedulers, scaled gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import Optimizer
from torch.testing._internal.two_tensor import TwoTensor

from module.optim import AdamaxW, PATSAdamax, PATSAdamW, RecAdam, RecAdamax, SAGEAdamax, SAGEAdamW
from tests.module.optim.toy import equal, take_steps, toy_params

PATS, SAGE, RECADAM = [PATSAdamax, PATSAdamW], [SAGEAdamax, SAGEAdamW], [RecAdam, RecAdamax]
CLASSES = [AdamaxW, *PATS, *SAGE, *RECADAM]
NAN = float("nan")


def moving(cls: type[Optimizer]) -> dict[str, Any]:
    """RecAdam hardly moves before t0, so that it is put at the start: then it is its base."""
    return {"anneal_fun": "linear", "anneal_t0": 0.0} if cls in RECADAM else {}


BAD_OPTIONS: list[tuple[list[type[Optimizer]], dict[str, Any], str]] = [
    (CLASSES, {"lr": -1}, "Invalid learning rate: -1"),
    (CLASSES, {"lr": NAN}, "Invalid learning rate: nan"),
    (CLASSES, {"lr": torch.tensor([0.1, 0.2])}, "Tensor lr must be 1-element"),
    (CLASSES, {"lr": torch.tensor(-0.1)}, "Invalid learning rate: -0.1"),
    (CLASSES, {"lr": torch.tensor(0.1, device="meta")}, "lr as a Tensor on a GPU needs capturable=True"),
    (CLASSES, {"backend": "cuda"}, "Invalid backend: 'cuda'; choose from auto, foreach, triton"),
    (CLASSES, {"state_dtype": "float16"}, "Invalid state_dtype: 'float16'; choose from float32, bfloat16"),
    (CLASSES, {"eps": -1e-8}, "Invalid epsilon value: -1e-08"),
    (CLASSES, {"betas": (0.9,)}, "Invalid betas: (0.9,); there are two"),
    (SAGE, {"eps": 1e-23}, "Invalid epsilon value: 1e-23; its square must be a float32 above zero"),
    (CLASSES, {"betas": (1.0, 0.9)}, "Invalid beta parameter at index 0: 1.0"),
    (CLASSES, {"betas": (0.9, -0.1)}, "Invalid beta parameter at index 1: -0.1"),
    (CLASSES, {"weight_decay": -0.1}, "Invalid weight_decay value: -0.1"),
    (PATS + SAGE, {"sensitivity_beta": 1.0}, "Invalid sensitivity_beta value: 1.0"),
    (PATS, {"noise_lambda": -1e-6}, "Invalid noise_lambda value: -1e-06"),
    (PATS, {"noise_lambda": float("inf")}, "Invalid noise_lambda value: inf"),
    (PATS, {"noise_gamma": -1}, "Invalid noise_gamma value: -1"),
    (PATS, {"noise_p": 1.5}, "Invalid noise_p value: 1.5"),
    (PATS, {"noise_p": NAN}, "Invalid noise_p value: nan"),
    (PATS, {"noise_eps": 0.0}, "Invalid noise_eps value: 0.0"),
    (PATS, {"noise_form": "sd"}, "Invalid noise_form value: 'sd'; must be one of variance, std"),
    (PATS, {"sensitivity": "sign"}, "Invalid sensitivity value: 'sign'; must be one of signed, magnitude"),
    (PATS, {"noise_schedule": "cosine"}, "Invalid noise_schedule value: 'cosine'; must be one of constant, lr"),
    (RECADAM, {"anneal_k": 0.0}, "Invalid anneal_k value: 0.0"),
    (RECADAM, {"anneal_t0": -1.0}, "Invalid anneal_t0 value: -1.0"),
    (RECADAM, {"anneal_fun": "constant"}, "Invalid anneal_fun value: 'constant'; must be one of sigmoid, linear"),
    (RECADAM, {"pretrain_cof": NAN}, "Invalid pretrain_cof value: nan"),
    (PATS, {"seed": -1}, "Invalid seed: -1; it must be an int from"),
    (PATS, {"seed": 1.5}, "Invalid seed: 1.5; it must be an int from"),
]
TABLE = [(cls, options, message) for classes, options, message in BAD_OPTIONS for cls in classes]


@pytest.mark.parametrize(("cls", "options", "message"), TABLE)
def test_bad_options(cls: type[Optimizer], options: dict[str, Any], message: str) -> None:
    """As an argument, as a group's own option, and in a group added later."""
    with pytest.raises(ValueError) as as_argument:
        cls(toy_params(), **options)
    with pytest.raises(ValueError) as in_group:
        cls([{"params": toy_params(), **options}])
    optimizer = cls(toy_params())
    with pytest.raises(ValueError) as added:
        optimizer.add_param_group({"params": toy_params(), **options})
    assert len(optimizer.param_groups) == 1
    for raised in (as_argument, in_group, added):
        assert message in str(raised.value)


@pytest.mark.parametrize("seed", [np.int64(3), torch.tensor(3)])
def test_a_seed_of_another_library_is_kept_as_pythons_own(seed: Any) -> None:
    """So that a saved state holds it like any option."""
    (group,) = PATSAdamax(toy_params(), seed=seed).param_groups
    assert type(group["seed"]) is int and group["seed"] == 3


@pytest.mark.parametrize("cls", CLASSES)
def test_closure_is_run_with_gradients_and_its_loss_returned(cls: type[Optimizer]) -> None:
    param = nn.Parameter(torch.ones(3))
    optimizer = cls([{"params": [param], "perturb": False, "recall": False}], lr=0.1)

    def closure() -> float:
        optimizer.zero_grad()
        loss = (param**2).sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 3.0
    assert (param != 1).all()
    assert optimizer.step() is None


@pytest.mark.parametrize("cls", CLASSES)
def test_sparse_gradients_and_other_kinds_of_numbers_are_refused(cls: type[Optimizer]) -> None:
    table = nn.Embedding(5, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match=f"{cls.__name__} does not support sparse gradients"):
        cls(table.parameters()).step()
    param = nn.Parameter(torch.ones(2, dtype=torch.complex64))
    param.grad = torch.ones_like(param)
    with pytest.raises(RuntimeError, match="only real floating-point parameters can be optimized, got torch.complex64"):
        cls([param]).step()


@pytest.mark.parametrize("cls", CLASSES)
def test_groups_added_later_and_per_group_options(cls: type[Optimizer]) -> None:
    params = toy_params()
    optimizer = cls(params[:2], lr=1e-2, **moving(cls))
    optimizer.add_param_group({"params": params[2:], "lr": 0.0})
    take_steps(optimizer, 1, 2)
    moved = [not torch.equal(a, b) for a, b in zip(params, toy_params(), strict=True)]
    assert moved[:2] == [True, True]
    assert any(moved[2:]) == (cls in PATS)  # the noise does not scale with the learning rate


@pytest.mark.parametrize("cls", CLASSES)
def test_step_without_any_gradient_does_nothing(cls: type[Optimizer]) -> None:
    params = toy_params()
    optimizer = cls(params)
    optimizer.step()
    assert equal(params, toy_params())
    assert not optimizer.state


@pytest.mark.parametrize("cls", CLASSES)
def test_parameters_without_memory_of_their_own_get_lists(cls: type[Optimizer]) -> None:
    """Kernels go by addresses, and a tensor that wraps others, as a quantized one does, has none."""
    before = torch.randn(4, 4, generator=torch.Generator().manual_seed(1))
    plain, wrapper = nn.Parameter(before.clone()), nn.Parameter(TwoTensor(before.clone(), before.clone()))
    plain.grad, wrapper.grad = torch.ones(4, 4), TwoTensor(torch.ones(4, 4), torch.ones(4, 4))
    lists, ours = cls([plain], backend="foreach", **moving(cls)), cls([wrapper], **moving(cls))
    assert ours.backends() == ["foreach"]
    for optimizer in (lists, ours):
        optimizer.step()
        optimizer.param_groups[0]["params"][0].grad.mul_(2)  # SAGEAdamW moves nothing where nothing changes
        optimizer.step()
    assert torch.equal(wrapper.detach().a, plain) and not torch.equal(plain, before)
    with pytest.raises(RuntimeError, match="is a TwoTensor, which has no memory of its own"):
        cls([wrapper], backend="numba").backends()


@pytest.mark.parametrize("cls", CLASSES)
def test_gradients_are_not_changed(cls: type[Optimizer]) -> None:
    params = toy_params()
    optimizer = cls(params, weight_decay=0.1)
    take_steps(optimizer, 1, 1)
    before = [param.grad.clone() for param in params]
    optimizer.step()
    assert equal([param.grad for param in params], before)
    optimizer.zero_grad()
    assert all(param.grad is None for param in params)


@pytest.mark.parametrize("cls", CLASSES)
def test_how_tensors_are_bucketed_does_not_matter(cls: type[Optimizer], monkeypatch: pytest.MonkeyPatch) -> None:
    together, apart = toy_params(), toy_params()
    take_steps(cls(together), 1, 4)
    monkeypatch.setattr("module.optim.buckets.CPU_BUCKET_ELEMENTS", 1)
    take_steps(cls(apart), 1, 4)
    assert equal(together, apart)


@pytest.mark.parametrize("cls", CLASSES)
def test_mixed_dtypes_in_one_group(cls: type[Optimizer]) -> None:
    """Each moves, keeps its dtype, and has state in the arithmetic's dtype."""
    dtypes = [torch.float32, torch.bfloat16, torch.float64]
    params = [nn.Parameter(torch.ones(4, dtype=dtype)) for dtype in dtypes]
    optimizer = cls(params, lr=0.05, **moving(cls))
    take_steps(optimizer, 1, 3)
    for param, dtype in zip(params, dtypes, strict=True):
        assert param.dtype == dtype
        assert (param != 1).all()
        expected = torch.float64 if dtype == torch.float64 else torch.float32
        assert optimizer.state[param]["exp_avg"].dtype == expected


def test_grad_scaler_unscales_and_skips_bad_steps() -> None:
    param = nn.Parameter(torch.ones(3))
    optimizer = PATSAdamax([param], lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    scaler.scale((param * torch.tensor([1.0, float("inf"), 1.0])).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(param.detach(), torch.ones(3))
    optimizer.zero_grad()
    scaler.scale(param.sum()).backward()
    scaler.step(optimizer)
    torch.testing.assert_close(optimizer.state[param]["exp_avg"], torch.full((3,), 0.1))
    assert (param != 1).all()


@pytest.mark.parametrize("cls", CLASSES)
def test_a_compiled_step_is_the_step(cls: type[Optimizer]) -> None:
    plain, compiled = toy_params(), toy_params()
    ours, theirs = cls(plain, lr=1e-2), cls(compiled, lr=1e-2)
    step = torch.compile(theirs.step, backend="eager")
    for number in (1, 2, 3):
        for params, take in ((plain, ours.step), (compiled, step)):
            for place, param in enumerate(params):
                generator = torch.Generator().manual_seed(10 * number + place)
                param.grad = torch.randn(param.shape, generator=generator)
            take()
    assert equal(plain, compiled)


def test_schedulers_of_torch_change_the_rate() -> None:
    params = toy_params()
    optimizer = AdamaxW(params, lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.0)
    take_steps(optimizer, 1, 1)
    schedule.step()
    held = [param.detach().clone() for param in params]
    take_steps(optimizer, 2, 2)
    assert equal(params, held)
