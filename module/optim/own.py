"""Optimizers of one's own by name, `package.module:Class`, with the signature of those in `torch.optim`.

Training saves and restores an optimizer through its `state_dict`, as JSON and tensors alone. Whether that is enough is
tried out on two small parameters, before there is anything to lose.
"""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer

OWN_NAME = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
FLAG_OF = {"lr": "learning_rate", "weight_decay": "weight_decay", "eps": "adam_eps"}
"""Arguments that have a flag of their own."""
WORDS = {"true": True, "false": False, "none": None}


def is_own(name: str) -> bool:
    """Whether a name is that of a class, and not one of the optimizers that are built in."""
    return re.fullmatch(OWN_NAME, name) is not None


def parse_options(text: str) -> dict[str, Any]:
    """Arguments such as `momentum=0.9,betas=(0.9,0.95),nesterov=true` by name; ValueError for anything else.

    Values are numbers, tuples, `true`, `false`, `none`, or else text; nothing is executed.
    """
    found: dict[str, Any] = {}
    for part in re.split(r",(?=\s*[A-Za-z_]\w*\s*=)", text):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value or not name.isidentifier():
            raise ValueError(f"expected arguments such as momentum=0.9,nesterov=true, got {part.strip()[:40]!r}")
        if name in FLAG_OF:
            raise ValueError(f"{name} has a flag of its own, --{FLAG_OF[name]}")
        if name in found:
            raise ValueError(f"{name} stands twice")
        found[name] = _value(value)
    return found


def _value(text: str) -> Any:
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def load_optimizer(name: str) -> type[Optimizer]:
    """The class of this name; ValueError where it cannot be imported, or is no optimizer."""
    module_name, _, class_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ValueError(f"{name}: {module_name} imports {error.name}, which is not installed") from None
        where = "beside train.py, installed with pip, or in a folder of PYTHONPATH"
        raise ValueError(f"{name}: there is no module {error.name}; Python looks for it {where}") from None
    except Exception as error:  # whatever a module does when it is imported
        raise ValueError(f"{name}: importing {module_name} fails: {type(error).__name__}: {error}") from error
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, Optimizer)):
        there = [one for one, value in vars(module).items() if isinstance(value, type) and issubclass(value, Optimizer)]
        raise ValueError(f"{name}: not a class derived from torch.optim.Optimizer; {module_name} has {there or 'none'}")
    return found


def build_own(
    name: str,
    groups: Sequence[dict[str, Any]],
    *,
    lr: float,
    weight_decay: float,
    eps: float | None,
    options: Mapping[str, Any],
) -> Optimizer:
    """Build an optimizer of one's own, after a trial; ValueError for one that training could not use, and why."""
    factory = load_optimizer(name)
    known = inspect.signature(factory).parameters
    given = {"lr": lr, **options, **({} if eps is None else {"eps": eps})}
    if weight_decay or "weight_decay" in known:
        given["weight_decay"] = weight_decay
    anything = any(one.kind is one.VAR_KEYWORD for one in known.values())
    if unknown := [one for one in given if one not in known and not anything]:
        raise ValueError(f"{name} has no argument {', '.join(unknown)}; it has {', '.join(list(known)[1:])}")
    named = [one for one in known.values() if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)][1:]
    if needed := [one.name for one in named if one.default is one.empty and one.name not in given]:
        raise ValueError(f"{name} needs values for {', '.join(needed)}: --optim_options {needed[0]}=…")
    try:
        with torch.random.fork_rng(devices=[]):  # a trial, on the CPU, leaves the run's own stream alone
            problem = _trial(factory, given)
        optimizer = factory(list(groups), **given) if not problem else None
    except Exception as error:  # whatever it does
        raise ValueError(f"{name}: {type(error).__name__}: {error}") from error
    if optimizer is None:
        raise ValueError(f"{name}: {problem}")
    return optimizer


def _trial(factory: type[Optimizer], given: Mapping[str, Any]) -> str:
    """Why a run could not be saved and resumed with this optimizer; "" if it can."""
    params = _params()
    optimizer = factory(_groups(params), **given)
    for step in range(2):
        _step(optimizer, params, step)
    if problem := _unsaved(optimizer):
        return problem
    state = copy.deepcopy(optimizer.state_dict())
    others = [torch.nn.Parameter(param.detach().clone()) for param in params]
    again = factory(_groups(others), **given)
    again.load_state_dict(state)
    for one, own in ((optimizer, params), (again, others)):
        _step(one, own, 2)
    same = all(torch.equal(a, b) for a, b in zip(params, others, strict=True))
    remedy = "all that it remembers must stand in self.state and in its groups"
    return "" if same else f"restored from its state_dict it does not go on as it would have: {remedy}"


def _params() -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.linspace(-1, 1, 12).reshape(3, 4)), torch.nn.Parameter(torch.linspace(1, 2, 4))]


def _groups(params: Sequence[Tensor]) -> list[dict[str, Any]]:
    """Two groups with the keys of `encoder_param_groups`."""
    names = ("encoder layers", "other")
    more = [{"name": name, "names": [name], "perturb": name == names[0], "weight_decay": 0.0} for name in names]
    return [{"params": [param], **one} for param, one in zip(params, more, strict=True)]


def _step(optimizer: Optimizer, params: Sequence[Tensor], number: int) -> None:
    """One step; in the second a parameter has no gradient, as a head has none in a step of another task."""
    torch.default_generator.manual_seed(number)  # the CPU's alone: `torch.manual_seed` would reseed GPUs, too
    for i, param in enumerate(params):
        param.grad = None if (i, number) == (1, 1) else torch.randn_like(param)
    optimizer.step()


def _unsaved(optimizer: Optimizer) -> str:
    """What of an optimizer's state a checkpoint cannot hold."""
    for group in optimizer.param_groups:
        for param in group["params"]:
            for name, value in optimizer.state.get(param, {}).items():
                if not isinstance(value, Tensor):
                    return f"its state {name!r} is of type {type(value).__name__}; checkpoints hold tensors alone"
                if value.shape not in (param.shape, torch.Size()):
                    return f"its state {name!r} has the shape {tuple(value.shape)} for a parameter of another one"
        settings = {key: value for key, value in group.items() if key != "params"}
        try:
            json.dumps(settings)
        except (TypeError, ValueError) as error:
            return f"its settings are not what JSON can hold: {error}"
    return ""
