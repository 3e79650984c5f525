"""In the company of the rest of torch: compiled, frozen and adapted models, schedules, options, backends in turn."""

from __future__ import annotations

import copy
import importlib.util
import pickle
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from module.optim import (
    AdamaxW,
    PATSAdamax,
    PATSAdamW,
    RecAdam,
    RecAdamax,
    SAGEAdamax,
    SAGEAdamW,
    backends,
    encoder_param_groups,
)
from tests.module.optim.toy import equal, take_steps, toy_params
from tests.triton_marks import DEVICE, needs_triton

CLASSES = [AdamaxW, PATSAdamax, PATSAdamW, SAGEAdamax, SAGEAdamW, RecAdam, RecAdamax]
PATS = CLASSES[1:3]
BACKENDS = ["foreach", pytest.param("triton", marks=needs_triton)]
Options = dict[str, Any]


def noisy(cls: type[Optimizer], noise_lambda: float = 1e-3) -> Options:
    """Noise that shows within a few steps, for those that have noise; a pull that ends within them."""
    if cls in (RecAdam, RecAdamax):
        return {"anneal_t0": 1.0, "pretrain_cof": 20.0}
    return {"noise_lambda": noise_lambda} if cls in PATS else {}


def device_params(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    """The toy parameters where the kernels can be tested."""
    return [nn.Parameter(param.detach().to(DEVICE)) for param in toy_params(dtype)]


def take_device_steps(optimizer: Optimizer, first: int, last: int) -> None:
    params = [param for group in optimizer.param_groups for param in group["params"]]
    for step in range(first, last + 1):
        generator = torch.Generator().manual_seed(step)
        for param in params:
            param.grad = torch.randn(param.shape, generator=generator).to(param)
        optimizer.step()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the interpreter, whose usual block would be mostly empty here."""
    if importlib.util.find_spec("triton") is not None:
        monkeypatch.setattr("module.kernels.launch.INTERPRETED_BLOCK", 2048)


class Stack(nn.Module):
    """Two encoder layers and a head, named as in Hugging Face's models."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.encoder.layer:
            x = torch.tanh(layer(x))
        return self.head(self.norm(x))


def seeded_stack() -> Stack:
    torch.manual_seed(0)
    return Stack()


def train(model: nn.Module, optimizer: Optimizer, steps: int) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(4, 8, generator=generator)).square().mean().backward()
        optimizer.step()


# Models


def test_a_compiled_model_trains_as_an_eager_one() -> None:
    """In the same groups, though `torch.compile` puts a prefix before all names."""
    eager, compiled = seeded_stack(), seeded_stack()
    wrapped = torch.compile(compiled, backend="aot_eager", fullgraph=True)
    for model in (eager, wrapped):
        groups = encoder_param_groups(model, weight_decay=0.01)
        assert [(group["name"], len(group["params"])) for group in groups] == [
            ("encoder layers", 2),
            ("encoder layers, no decay", 2),
            ("other", 1),
            ("other, no decay", 3),
        ]
        train(model, PATSAdamax(groups, lr=1e-2, noise_lambda=1e-3), steps=4)
    torch.testing.assert_close(compiled.state_dict(), eager.state_dict())
    assert not torch.equal(eager.head.weight, seeded_stack().head.weight)


@pytest.mark.parametrize("cls", CLASSES)
def test_frozen_parameters_stay_and_count_their_own_steps_once_unfrozen(cls: type[Optimizer]) -> None:
    """From then on they are updated as by a new optimizer: also their noise, which is keyed by their own steps."""
    late, early = nn.Parameter(torch.linspace(1, 2, 40), requires_grad=False), nn.Parameter(torch.linspace(-1, 1, 60))
    alone = nn.Parameter(late.detach().clone())
    optimizer, fresh = (cls(params, lr=1e-2, weight_decay=0.1, **noisy(cls)) for params in ([late, early], [alone]))

    def step() -> None:
        optimizer.zero_grad()
        (late.cos().sum() + early.cos().sum()).backward()
        optimizer.step()

    for _ in range(3):
        step()
    assert torch.equal(late, alone) and late not in optimizer.state
    late.requires_grad_()
    for _ in range(2):
        step()
        fresh.zero_grad()
        alone.cos().sum().backward()
        fresh.step()
    assert [optimizer.state[param]["step"] for param in (late, early)] == [2, 5]
    assert torch.equal(late, alone) and not torch.equal(late, torch.linspace(1, 2, 40))


class Adapted(nn.Module):
    """A frozen linear layer with a trained product of two small matrices beside it, LoRA's way."""

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, linear.in_features) / 3)
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + x @ self.down.T @ self.up.T


@pytest.mark.parametrize("rank", [1, 8])
@pytest.mark.parametrize("cls", PATS)
def test_small_matrices_beside_frozen_layers_are_trained_and_perturbed(cls: type[Optimizer], rank: int) -> None:
    """The product starts at zero, with no sensitivity anywhere: that must not become noise without bounds."""
    ends = []
    for noise_lambda in (0.0, 1e-4):
        model = seeded_stack().requires_grad_(False)
        model.encoder.layer = nn.ModuleList([Adapted(layer, rank) for layer in model.encoder.layer])
        small = {name for name, _ in model.named_parameters() if name.endswith(("down", "up"))}
        groups = encoder_param_groups(model, weight_decay=0.01)
        perturbed = {id(param) for group in groups if group["perturb"] for param in group["params"]}
        assert perturbed == {id(model.get_parameter(name)) for name in small}
        before = {name: value.clone() for name, value in model.state_dict().items()}
        optimizer = cls(groups, lr=1e-3, noise_lambda=noise_lambda)
        train(model, optimizer, steps=1)
        after = model.state_dict()
        assert all((after[name] - before[name]).abs().max() <= 0.0011 for name in small)  # the rate, and decay
        train(model, optimizer, steps=4)
        assert {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])} == small
        ends.append(model.state_dict())
    assert all(torch.isfinite(value).all() for value in ends[1].values())
    assert {name for name in small if not torch.equal(ends[0][name], ends[1][name])} == small


# Gradients


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cls", CLASSES)
def test_a_zero_gradient_is_a_gradient_and_a_missing_one_is_none(cls: type[Optimizer], backend: str) -> None:
    """Zero: a step is counted, averages decay, the parameter moves on. Missing: nothing is touched."""
    param = nn.Parameter(torch.linspace(1, 2, 50, device=DEVICE))
    optimizer = cls([param], lr=1e-2, backend=backend, **noisy(cls))
    for _ in range(2):  # SAGEAdamW's first step moves nothing
        param.grad = torch.ones_like(param)
        optimizer.step()
    held = copy.deepcopy((param.detach(), optimizer.state[param]))

    optimizer.zero_grad(set_to_none=True)
    optimizer.step()
    torch.testing.assert_close((param.detach(), optimizer.state[param]), held, rtol=0, atol=0)

    param.grad = torch.ones_like(param)
    optimizer.zero_grad(set_to_none=False)
    optimizer.step()
    state, before = optimizer.state[param], held[1]
    assert state["step"] == 3
    torch.testing.assert_close(state["exp_avg"], 0.9 * before["exp_avg"])
    if "sensitivity" in state:
        torch.testing.assert_close(state["sensitivity"], 0.75 * before["sensitivity"])
    assert (param != held[0]).all()


@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("cls", CLASSES)
def test_grad_factor_is_multiplying_the_gradients_first(
    cls: type[Optimizer], dtype: torch.dtype, as_tensor: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit, also for a tensor in pieces, and without writing to them."""
    monkeypatch.setattr("module.optim.buckets.CPU_BUCKET_ELEMENTS", 300)
    params, others = toy_params(dtype), toy_params(dtype)
    optimizer, other = (cls(each, lr=1e-2, **noisy(cls)) for each in (params, others))
    for step in range(1, 4):
        factor = 0.3 / step
        generator = torch.Generator().manual_seed(step)
        gradients = [torch.randn(param.shape, generator=generator, dtype=dtype) for param in params]
        for param, its_other, gradient in zip(params, others, gradients, strict=True):
            param.grad, its_other.grad = gradient.clone(), gradient * factor
        optimizer.step(grad_factor=torch.tensor(factor, dtype=dtype) if as_tensor else factor)
        other.step()
        assert equal([param.grad for param in params], gradients)
    assert equal(params, others)
    torch.testing.assert_close(optimizer.state_dict()["state"], other.state_dict()["state"], rtol=0, atol=0)


@needs_triton
@pytest.mark.parametrize("cls", CLASSES)
def test_the_kernels_take_gradients_of_any_layout(cls: type[Optimizer]) -> None:
    ends = []
    for transposed in (False, True):
        param = nn.Parameter(torch.linspace(1, 2, 60, device=DEVICE).view(12, 5))
        optimizer = cls([param], lr=1e-2, backend="triton", **noisy(cls))
        for step in (1, 2, 3):
            gradient = torch.randn(12, 5, generator=torch.Generator().manual_seed(step)).to(DEVICE)
            param.grad = gradient.T.contiguous().T if transposed else gradient
            assert param.grad.is_contiguous() != transposed
            optimizer.step()
        ends.append(param.detach())
    assert torch.equal(*ends)


# Learning rates

SCHEDULES: dict[str, Callable[[Optimizer], LRScheduler]] = {
    "step": lambda optimizer: lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.3),
    "lambda": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step)),
    "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=5),
    "one cycle, of momentum too": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=9),
    "warm-up, then decay": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer,
        [lr_scheduler.LinearLR(optimizer, total_iters=2), lr_scheduler.ExponentialLR(optimizer, 0.5)],
        milestones=[2],
    ),
    "on a plateau": lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, patience=0),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("cls", [AdamaxW, PATSAdamax, SAGEAdamW])
def test_torchs_schedules_drive_a_tensor_rate_as_they_drive_a_number(cls: type[Optimizer], schedule: str) -> None:
    """Two groups with rates of their own; a float64 tensor, so that the schedule computes with the same numbers."""
    ends = []
    for make in (float, lambda rate: torch.tensor(rate, dtype=torch.float64)):
        params = toy_params()
        groups = [{"params": params[:3]}, {"params": params[3:], "lr": make(1e-2)}]
        optimizer = cls(groups, lr=make(1e-3), **noisy(cls))
        rates = SCHEDULES[schedule](optimizer)
        trace = []
        for step in range(1, 7):
            trace += [float(group["lr"]) for group in optimizer.param_groups]
            take_steps(optimizer, step, step)
            rates.step(*([1.0] if schedule == "on a plateau" else []))
        assert len(set(trace)) > 2  # they change
        assert isinstance(optimizer.param_groups[0]["lr"], type(make(1.0)))
        ends.append(params)
    assert equal(*ends)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_float32_rate_is_the_number_that_it_holds(cls: type[Optimizer]) -> None:
    rate, ends = torch.tensor(1e-3), []
    for lr in (rate, rate.item()):
        params = toy_params()
        take_steps(cls(params, lr=lr, weight_decay=0.1, **noisy(cls)), 1, 4)
        ends.append(params)
    assert equal(*ends)
    assert rate == torch.tensor(1e-3)


# Options

BASE: Options = {"lr": 1e-2, "weight_decay": 0.0, "noise_lambda": 1e-2, "noise_p": 0.5}
OTHER: Options = {
    "lr": 2e-2,
    "betas": (0.5, 0.6),
    "eps": 0.1,
    "weight_decay": 0.5,
    "sensitivity_beta": 0.1,
    "noise_lambda": 2e-2,
    "noise_gamma": 0.9,
    "noise_p": 0.6,
    "noise_eps": 0.1,
    "sensitivity": "magnitude",
    "noise_form": "std",
    "noise_schedule": "lr",
    "seed": 1,
    "perturb": False,
    "backend": "triton",
    "capturable": True,
    "state_dtype": "bfloat16",
    "master_weights": True,
}
OF_KERNELS = ("backend", "capturable")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs_triton if name in OF_KERNELS else ()) for name in OTHER]
)
def test_a_groups_own_option_holds_for_that_group_alone(name: str) -> None:
    """There it is what the same option for all would be; noise is keyed by position, so all runs have all groups."""
    own = {name: OTHER[name]}

    def run(for_all: Options, for_first: Options) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        params = device_params(torch.bfloat16 if name == "master_weights" else torch.float32)
        in_groups, as_arguments = (for_all, {}) if name == "perturb" else ({}, for_all)  # that one is no argument
        in_groups = {**in_groups, "initial_lr": 2 * BASE["lr"]}  # as a scheduler notes it, for `noise_schedule`
        groups = [{"params": params[:2], **in_groups, **for_first}, {"params": params[2:], **in_groups}]
        fixed = {**BASE, "backend": "auto" if name in OF_KERNELS else "foreach"}
        take_device_steps(PATSAdamax(groups, **{**fixed, **as_arguments}), 1, 3)
        return params[:2], params[2:]

    mixed, plain, other = run({}, own), run({}, {}), run(own, {})
    assert equal(mixed[0], other[0]) and not equal(mixed[0], plain[0])
    assert equal(mixed[1], plain[1]) and not equal(mixed[1], other[1])


def test_no_option_is_forgotten_above() -> None:
    assert PATSAdamax(toy_params()).defaults.keys() == OTHER.keys()


# Backends


@pytest.fixture
def reasons(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """For changing what the reasons against the kernels depend on: those are looked up once in a process."""
    backends._why_not_device.cache_clear()
    yield monkeypatch
    backends._why_not_device.cache_clear()


def refusal(param: Tensor, **options: Any) -> str:
    """What a step says that refuses; it changes nothing before."""
    param = nn.Parameter(param)
    param.grad = param.detach()
    before = param.detach().clone() if param.is_contiguous() else None
    optimizer = PATSAdamax([param], **options)
    with pytest.raises(RuntimeError) as raised:
        optimizer.step()
    assert not optimizer.state
    assert before is None or torch.equal(param, before)
    return str(raised.value)


NEEDS = "backend='triton' needs the Triton kernels, but "


def test_kernels_are_refused_on_a_cpu(reasons: pytest.MonkeyPatch) -> None:
    reasons.delenv("TRITON_INTERPRET", raising=False)
    if importlib.util.find_spec("triton") is None:
        reasons.setattr("importlib.util.find_spec", lambda name: object())
    assert refusal(torch.ones(3), backend="triton") == NEEDS + "the parameter is on cpu, not cuda"
    assert refusal(torch.ones(3), capturable=True) == (
        "capturable=True needs the Triton kernels, but the parameter is on cpu, not cuda"
    )


def test_kernels_are_refused_without_triton(reasons: pytest.MonkeyPatch) -> None:
    reasons.setattr("importlib.util.find_spec", lambda name: None)
    assert refusal(torch.ones(3, device=DEVICE), backend="triton") == NEEDS + "Triton is not installed"


def test_kernels_are_refused_on_an_old_gpu(reasons: pytest.MonkeyPatch) -> None:
    reasons.setattr("importlib.util.find_spec", lambda name: object())
    reasons.setattr("torch.cuda.get_device_capability", lambda device: (7, 5))
    param: Any = SimpleNamespace(device=torch.device("cuda"))
    with pytest.raises(RuntimeError, match=r"the GPU's compute capability is 7\.5, and Triton needs 8\.0"):
        backends.pick_backend("triton", param, capturable=False)
    assert backends.pick_backend("auto", param, capturable=False) == "foreach"


@needs_triton
@pytest.mark.parametrize(
    ("param", "reason"),
    [
        (
            torch.ones(3, device=DEVICE, dtype=torch.float64),
            "the parameter is torch.float64, and the kernels compute in float32",
        ),
        (torch.ones(3, 4, device=DEVICE).T, "the parameter is not contiguous"),
        (
            torch.ones(1, device=DEVICE).expand(2**31),
            "the parameter has 2,147,483,648 elements, and the kernels count to 2**31 - 1",
        ),
    ],
    ids=["float64", "not contiguous", "too large"],
)
def test_kernels_are_refused_for_some_parameters(param: Tensor, reason: str) -> None:
    assert refusal(param, backend="triton") == NEEDS + reason


@needs_triton
def test_capturable_on_the_foreach_backend_is_refused() -> None:
    said = refusal(torch.ones(3, device=DEVICE), backend="foreach", capturable=True)
    assert said == "capturable=True needs the Triton kernels, but backend is foreach"


def test_where_kernels_are_refused_auto_takes_lists(reasons: pytest.MonkeyPatch) -> None:
    reasons.setattr("importlib.util.find_spec", lambda name: None)
    params = [nn.Parameter(torch.ones(3, device=DEVICE)), nn.Parameter(torch.ones(3, 4, device=DEVICE).T)]
    optimizer = PATSAdamax(params)
    for param in params:
        param.grad = torch.ones_like(param)
    optimizer.step()
    assert {state["step"].device.type for state in optimizer.state.values()} == {"cpu"}


@needs_triton
@pytest.mark.parametrize("cls", CLASSES)
def test_backends_may_take_turns(cls: type[Optimizer]) -> None:
    """They keep the same state but for where the steps are counted."""
    params, others = device_params(), device_params()
    optimizer, foreach = (cls(each, lr=1e-2, backend="foreach", **noisy(cls, 0.0)) for each in (params, others))
    for first, backend, counted_on in ((1, "foreach", "cpu"), (3, "triton", DEVICE), (5, "foreach", "cpu")):
        optimizer.param_groups[0]["backend"] = backend
        take_device_steps(optimizer, first, first + 1)
        take_device_steps(foreach, first, first + 1)
        assert all(state["step"] == first + 1 for state in optimizer.state.values())
        assert {state["step"].device.type for state in optimizer.state.values()} == {counted_on}
    torch.testing.assert_close(params, others, rtol=1e-4, atol=1e-4)
    assert not equal(params, others)  # the kernels have been at work


@needs_triton
@pytest.mark.parametrize("how", [copy.deepcopy, lambda optimizer: pickle.loads(pickle.dumps(optimizer))])
@pytest.mark.parametrize("cls", [AdamaxW, PATSAdamax, SAGEAdamW])
def test_a_copy_of_an_optimizer_that_ran_kernels_goes_on_alike(
    cls: type[Optimizer], how: Callable[[Optimizer], Optimizer]
) -> None:
    """With kernels of its own: those of the first hold the addresses of its tensors."""
    optimizer = cls(device_params(), lr=1e-2, backend="triton", **noisy(cls))
    take_device_steps(optimizer, 1, 2)
    copied = how(optimizer)
    assert optimizer._kernels and not copied._kernels
    held = copy.deepcopy(optimizer.param_groups[0]["params"])
    take_device_steps(copied, 3, 4)
    assert equal(optimizer.param_groups[0]["params"], held)
    take_device_steps(optimizer, 3, 4)
    assert equal(optimizer.param_groups[0]["params"], copied.param_groups[0]["params"])
    assert not equal(optimizer.param_groups[0]["params"], held)
