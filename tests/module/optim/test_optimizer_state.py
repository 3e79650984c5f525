"""Saving, loading, copying and pickling: what is restored goes on as if nothing had happened."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from module.optim import AdamaxW, PATSAdamax, PATSAdamW, RecAdam, RecAdamax, SAGEAdamax, SAGEAdamW
from tests.module.optim.toy import equal, take_steps, toy_params

CLASSES = [AdamaxW, PATSAdamax, PATSAdamW, SAGEAdamax, SAGEAdamW, RecAdam, RecAdamax]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def build(cls: type[Optimizer], params: list[nn.Parameter]) -> Optimizer:
    """With noise that shows in any dtype, and a seed that is not the default."""
    noise = {"noise_lambda": 1e-2, "seed": 3} if issubclass(cls, (PATSAdamax, PATSAdamW)) else {}
    pull = {"anneal_t0": 4.0, "pretrain_cof": 20.0} if issubclass(cls, (RecAdam, RecAdamax)) else {}
    plain = {"params": params[3:], "perturb": False, "recall": False}
    return cls([{"params": params[:3]}, plain], lr=1e-2, **noise, **pull)


def by_state_dict(optimizer: Optimizer, params: list[nn.Parameter]) -> Optimizer:
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    fresh = type(optimizer)([{"params": params[:3]}, {"params": params[3:]}])  # all options come from the file
    fresh.load_state_dict(torch.load(file, weights_only=True))
    return fresh


def by_deepcopy(optimizer: Optimizer, params: list[nn.Parameter]) -> Optimizer:
    held = [param for group in optimizer.param_groups for param in group["params"]]
    memo = {id(old): new for old, new in zip(held, params, strict=True)}
    return copy.deepcopy(optimizer, memo)


def by_pickle(optimizer: Optimizer, params: list[nn.Parameter]) -> Optimizer:
    loaded = pickle.loads(pickle.dumps(optimizer))
    held = [param for group in loaded.param_groups for param in group["params"]]
    for old, new in zip(held, params, strict=True):
        assert torch.equal(old, new)
        new.data = old.data  # so that the caller sees the steps
    return loaded


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("restore", [by_state_dict, by_deepcopy, by_pickle])
def test_restored_equals_uninterrupted(
    restore: Callable[[Optimizer, list[nn.Parameter]], Optimizer], cls: type[Optimizer], dtype: torch.dtype
) -> None:
    whole = toy_params(dtype)
    take_steps(build(cls, whole), 1, 9)

    params = toy_params(dtype)
    first = build(cls, params)
    take_steps(first, 1, 5)
    resumed = [nn.Parameter(param.detach().clone()) for param in params]
    second = restore(first, resumed)
    take_steps(first, 6, 6)  # goes its own way: nothing is shared
    take_steps(second, 6, 9)
    assert equal(resumed, whole)


@pytest.mark.parametrize("cls", CLASSES)
def test_averages_of_narrow_parameters_stay_float32(cls: type[Optimizer]) -> None:
    params = toy_params(torch.bfloat16)
    first = build(cls, params)
    take_steps(first, 1, 3)
    second = build(cls, params)
    second.load_state_dict(first.state_dict())
    for param in params:
        before, after = first.state[param], second.state[param]
        assert before.keys() == after.keys()
        for name, value in after.items():
            assert value.dtype == torch.float32 and value.device.type == "cpu"
            assert torch.equal(value, before[name])
            assert value.data_ptr() != before[name].data_ptr()
    some = first.state[params[1]]["exp_avg"]
    assert not torch.equal(some, some.bfloat16().float())  # the test can tell


def test_averages_of_double_parameters_stay_double_beside_narrow_ones() -> None:
    params = [nn.Parameter(torch.ones(3, dtype=dtype)) for dtype in (torch.float64, torch.float32)]
    optimizer = PATSAdamax(params, state_dtype="bfloat16")
    take_steps(optimizer, 1, 1)
    for name in ("exp_avg", "sensitivity"):
        assert [optimizer.state[param][name].dtype for param in params] == [torch.float64, torch.bfloat16]


def test_loads_what_torchs_adamax_saved() -> None:
    """The plain optimizers keep the same state; options that torch's lacks take their defaults."""
    theirs, ours = toy_params(), toy_params()
    torchs = torch.optim.Adamax(theirs, lr=1e-2)
    take_steps(torchs, 1, 3)
    with torch.no_grad():
        for old, new in zip(theirs, ours, strict=True):
            new.copy_(old)
    pats = PATSAdamax(ours, noise_lambda=0.0)
    pats.load_state_dict(torchs.state_dict())
    take_steps(torchs, 4, 6)
    take_steps(pats, 4, 6)
    assert equal(ours, theirs)
    assert pats.param_groups[0]["noise_form"] == "variance"


def test_what_a_state_dict_lacks_stays_as_the_optimizers_own_groups_have_it() -> None:
    """Torch's Adamax knows nothing of `perturb` and `names`: LayerNorm, embeddings and head stay unperturbed."""
    params = toy_params()
    groups = [{"params": params[:2], "names": ["a", "b"]}, {"params": params[2:], "perturb": False, "noise_p": 0.5}]
    theirs = torch.optim.Adamax([{"params": params[:2]}, {"params": params[2:]}], lr=1e-2)
    take_steps(theirs, 1, 1)
    pats = PATSAdamax(groups, lr=1.0)
    pats.load_state_dict(theirs.state_dict())
    first, second = pats.param_groups
    assert (first["perturb"], second["perturb"], second["noise_p"]) == (True, False, 0.5)
    assert first["names"] == ["a", "b"] and first["lr"] == 1e-2
    take_steps(pats, 2, 2)
    assert list(pats.sensitivity_summary()) == ["a", "b"]


def test_a_state_dict_of_before_the_signed_reading_says_what_it_is() -> None:
    params = toy_params()
    old = PATSAdamax(params, sensitivity="magnitude", noise_form="std")
    take_steps(old, 1, 2)
    saved = old.state_dict()
    for group in saved["param_groups"]:
        del group["sensitivity"], group["noise_schedule"]
    with pytest.warns(UserWarning, match="make the optimizer with sensitivity='magnitude', noise_form='std'"):
        PATSAdamax(toy_params()).load_state_dict(copy.deepcopy(saved))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = PATSAdamax(toy_params(), sensitivity="magnitude", noise_form="std")
        again.load_state_dict(saved)
    assert again.param_groups[0]["sensitivity"] == "magnitude"


def test_a_users_pre_hook_is_honoured() -> None:
    params = toy_params()
    first = AdamaxW(params)
    take_steps(first, 1, 2)
    second = AdamaxW(params)

    def forget(_: Optimizer, state_dict: dict) -> dict:
        return {"state": {0: state_dict["state"][0]}, "param_groups": state_dict["param_groups"]}

    second.register_load_state_dict_pre_hook(forget)
    second.load_state_dict(first.state_dict())
    assert list(second.state) == [params[0]]


@pytest.mark.parametrize("restore", [by_state_dict, by_deepcopy])
def test_what_is_restored_saves_the_same_again(
    restore: Callable[[Optimizer, list[nn.Parameter]], Optimizer],
) -> None:
    """Of what it restores, torch adds an option of its own to the defaults."""
    params = toy_params()
    optimizer = build(PATSAdamax, params)
    take_steps(optimizer, 1, 2)
    saved = copy.deepcopy(optimizer.state_dict())
    again = restore(optimizer, toy_params()).state_dict()
    assert list(again["param_groups"][0]) == list(saved["param_groups"][0])
    assert again["param_groups"] == saved["param_groups"]


OTHERS = {
    "other averages": (lambda p: PATSAdamW(p), "needs exp_inf, and it has .*exp_avg_sq"),
    "momentum": (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), "needs exp_avg, exp_inf, and it has momentum_buf"),
    "ascent": (lambda p: torch.optim.Adamax(p, maximize=True), "has maximize=True, which PATSAdamax cannot do"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_the_state_of_another_optimizer_is_refused_and_nothing_loaded(other: str) -> None:
    make, message = OTHERS[other]
    optimizer = make(toy_params())
    take_steps(optimizer, 1, 1)
    ours = PATSAdamax(toy_params(), lr=0.7)
    with pytest.raises(ValueError, match=message):
        ours.load_state_dict(optimizer.state_dict())
    assert not ours.state and ours.param_groups[0]["lr"] == 0.7


def test_options_from_a_file_are_checked_as_all_others() -> None:
    for option, value in {"noise_form": "Variance", "noise_lambda": -1.0, "betas": (1.5, 0.9)}.items():
        saved = PATSAdamax(toy_params()).state_dict()
        saved["param_groups"][0][option] = value
        with pytest.raises(ValueError, match="Invalid"):
            PATSAdamax(toy_params()).load_state_dict(saved)


@pytest.mark.parametrize("option", ["sensitivity", "noise_form", "noise_schedule"])
def test_a_group_that_is_changed_to_what_there_is_not_is_no_other_reading(option: str) -> None:
    optimizer = PATSAdamax(toy_params())
    take_steps(optimizer, 1, 1)
    optimizer.param_groups[0][option] = "Signed"
    with pytest.raises(ValueError, match=f"Invalid {option} value: 'Signed'"):
        take_steps(optimizer, 2, 2)


def test_a_master_copy_that_steps_have_passed_by_is_not_taken_up_again() -> None:
    param = nn.Parameter(torch.zeros(8, dtype=torch.bfloat16))
    optimizer = AdamaxW([param], lr=0.1, master_weights=True)

    def step() -> None:
        param.grad = torch.ones_like(param)
        optimizer.step()

    step()
    param.data = param.data.float()
    step()
    assert "master_param" not in optimizer.state[param]
    before = param.detach().clone()
    param.data = param.data.bfloat16()
    step()
    assert torch.allclose(param.float(), before - 0.1, atol=0.01)


def test_another_number_of_parameters_is_an_error() -> None:
    saved = AdamaxW(toy_params()).state_dict()
    with pytest.raises(ValueError, match="doesn't match the size"):
        AdamaxW(toy_params()[:2]).load_state_dict(saved)


def test_same_seed_same_run_other_seed_another() -> None:
    runs = []
    for seed in (1, 1, 2):
        params = toy_params()
        take_steps(PATSAdamax(params, noise_lambda=1e-4, seed=seed), 1, 3)
        runs.append(params)
    assert equal(runs[0], runs[1])
    assert not equal(runs[0], runs[2])


def test_global_random_stream_is_left_alone() -> None:
    optimizer = PATSAdamax(toy_params(), noise_lambda=1e-4)
    take_steps(optimizer, 1, 1)
    state = torch.random.get_rng_state()
    optimizer.step()
    assert torch.equal(state, torch.random.get_rng_state())
