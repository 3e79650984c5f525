"""An optimizer of one's own by name: what it is given, and what is wrong with one that training could not use."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from module.optim import build_optimizer, parse_options
from module.optim.own import is_own
from tests.module.optim.toy import take_steps, toy_params

HEAD = "import torch\nfrom torch.optim import Optimizer\n"
SIGN = (
    HEAD
    + """
class Sign(Optimizer):
    def __init__(self, params, lr=1e-3, beta=0.9, weight_decay=0.0):
        super().__init__(params, dict(lr=lr, beta=beta, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                m = self.state[p].setdefault("momentum", torch.zeros_like(p))
                m.lerp_(p.grad, 1 - group["beta"])
                p.add_(m.sign() + group["weight_decay"] * p, alpha=-group["lr"])
"""
)
Write = Callable[[str], str]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a module that Python finds; its name is that of the test's folder."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(text: str) -> str:
        name = f"own_{tmp_path.name}"
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return name

    return write


def groups() -> list[dict[str, Any]]:
    some = {"name": "encoder layers", "names": ["a", "b"], "perturb": True, "weight_decay": 0.02}
    return [{"params": toy_params(), **some}]


def test_it_gets_rate_decay_and_its_own_arguments_and_steps(written: Write) -> None:
    name = f"{written(SIGN)}:Sign"
    torch.manual_seed(3)
    before = torch.get_rng_state()
    optimizer = build_optimizer(name, groups(), lr=0.5, weight_decay=0.1, options={"beta": 0.5})
    assert torch.equal(torch.get_rng_state(), before), "the trial drew from the run's own stream"
    (group,) = optimizer.param_groups
    assert type(optimizer).__name__ == "Sign" and not optimizer.state
    assert (group["lr"], group["beta"], group["weight_decay"], group["perturb"]) == (0.5, 0.5, 0.02, True)
    take_steps(optimizer, 1, 2)
    assert not torch.equal(group["params"][0], toy_params()[0])


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta", "Rprop"])
def test_those_of_torch_can_be_used(name: str) -> None:
    optimizer = build_optimizer(f"torch.optim:{name}", groups(), lr=1e-3)
    assert type(optimizer) is getattr(torch.optim, name) and optimizer.param_groups[0]["lr"] == 1e-3


def test_eps_goes_to_who_takes_it() -> None:
    assert build_optimizer("torch.optim:Adam", groups(), lr=1e-3, eps=1e-5).param_groups[0]["eps"] == 1e-5
    with pytest.raises(ValueError, match="torch.optim:SGD has no argument eps; it has lr, momentum"):
        build_optimizer("torch.optim:SGD", groups(), lr=1e-3, eps=1e-5)


def test_arguments_are_read_as_python_writes_them_and_nothing_is_executed() -> None:
    text = "momentum=0.9, betas=(0.9, 0.95),nesterov=true,foreach=None,mode=fast,n=3,x=[1,2],y=__import__('os')"
    assert parse_options(text) == {
        "momentum": 0.9,
        "betas": (0.9, 0.95),
        "nesterov": True,
        "foreach": None,
        "mode": "fast",
        "n": 3,
        "x": [1, 2],
        "y": "__import__('os')",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("momentum", "expected arguments such as momentum=0.9,nesterov=true, got 'momentum'"),
        ("momentum=", "expected arguments such as"),
        ("a b=1", "expected arguments such as"),
        ("n=1,n=2", "n stands twice"),
        ("lr=1", "lr has a flag of its own, --learning_rate"),
        ("n=1,eps=1", "eps has a flag of its own, --adam_eps"),
    ],
)
def test_arguments_that_are_none(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_options(text)


def test_names_of_classes_are_told_from_names() -> None:
    assert is_own("torch.optim:SGD") and is_own("mine:Own")
    assert not any(map(is_own, ["adamax", "mine", "mine:", ":Own", "a b:Own", "mine:Own()", "../mine:Own", "m:O:P"]))


def changed(old: str, new: str) -> str:
    assert old in SIGN
    return SIGN.replace(old, new)


COUNTING = "self.count = getattr(self, 'count', 0) + 1"
BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "no class": ("x = 1\n", {}, "not a class derived from torch.optim.Optimizer; own_.* has none"),
    "another class": (SIGN.replace("Sign", "Other"), {}, r"has \['Optimizer', 'Other'\]"),
    "a function": ("def Sign(params): pass\n", {}, "not a class derived from torch.optim.Optimizer"),
    "an import that fails": ("import no_such_thing\n", {}, "own_.* imports no_such_thing, which is not installed"),
    "a syntax error": ("class\n", {}, "importing own_.* fails: SyntaxError"),
    "an unknown argument": (SIGN, {"options": {"betta": 1}}, "has no argument betta; it has lr, beta, weight_decay"),
    "an argument without a value": (
        changed("beta=0.9, weight_decay=0.0", "*, beta, weight_decay=0.0"),
        {},
        "needs values for beta: --optim_options beta=…",
    ),
    "no decay": (
        changed(", weight_decay=0.0", "").replace("weight_decay=weight_decay", "weight_decay=0"),
        {"weight_decay": 0.1},
        "has no argument weight_decay; it has lr, beta",
    ),
    "a constructor that refuses": (SIGN, {"lr": "x"}, "TypeError: "),
    "a step that needs a closure": (changed("closure=None", "closure"), {}, "TypeError: .*closure"),
    "a number in its state": (
        changed("m.lerp_", "self.state[p]['n'] = 1; m.lerp_"),
        {},
        "its state 'n' is of type int; checkpoints hold tensors alone",
    ),
    "another shape": (
        changed("m.lerp_", "self.state[p]['rows'] = p.sum(-1, keepdim=True); m.lerp_"),
        {},
        "its state 'rows' has the shape",
    ),
    "settings that are no JSON": (
        changed("beta=beta,", "beta=beta, table=torch.zeros(2),"),
        {},
        "its settings are not what JSON can hold: Object of type Tensor",
    ),
    "state kept elsewhere": (
        changed("for group in", f"{COUNTING}\n        for group in")
        .replace("group['lr']", "x")
        .replace('alpha=-group["lr"]', 'alpha=-group["lr"] / self.count'),
        {},
        "restored from its state_dict it does not go on as it would have: all that it remembers must stand in",
    ),
}


@pytest.mark.parametrize(("text", "given", "message"), BAD.values(), ids=BAD.keys())
def test_what_training_could_not_use_is_told_before_it_begins(
    text: str, given: dict[str, Any], message: str, written: Write
) -> None:
    with pytest.raises(ValueError, match=message):
        build_optimizer(f"{written(text)}:Sign", groups(), **{"lr": 1e-3, **given})


def test_a_module_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="nowhere.at_all:Sign: there is no module nowhere; Python looks for it beside"):
        build_optimizer("nowhere.at_all:Sign", groups(), lr=1e-3)


def test_a_step_of_the_trial_is_no_step_of_the_run() -> None:
    optimizer = build_optimizer("torch.optim:SGD", groups(), lr=1e-3, options={"momentum": 0.9})
    assert all(torch.equal(a, b) for a, b in zip(optimizer.param_groups[0]["params"], toy_params(), strict=True))
    assert not optimizer.state and math.isclose(optimizer.param_groups[0]["momentum"], 0.9)


def test_a_trial_reseeds_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch.manual_seed` seeds the streams of all devices, and `fork_rng(devices=[])` brings back the CPU's alone."""
    seeds: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    before = torch.get_rng_state()
    build_optimizer("torch.optim:RAdam", groups(), lr=1e-3)
    assert not seeds and torch.equal(torch.get_rng_state(), before)
