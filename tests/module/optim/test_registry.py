"""Optimizers by name: the right class, the right options, and errors that list the choices."""

from __future__ import annotations

import pytest
import torch

from module.optim import (
    OPTIMIZERS,
    AdamaxW,
    PATSAdamax,
    PATSAdamW,
    PATSConfig,
    RecAdam,
    RecAdamax,
    RecAdamConfig,
    SAGEAdamax,
    SAGEAdamW,
    SAGEConfig,
    build_optimizer,
)
from tests.module.optim.toy import take_steps, toy_params

EXPECTED = {
    "adamax": (AdamaxW, 1e-8),
    "adamw": (torch.optim.AdamW, 1e-8),
    "sage_adamax": (SAGEAdamax, 1e-6),
    "sage_adamw": (SAGEAdamW, 1e-6),
    "pats_adamax": (PATSAdamax, 1e-8),
    "pats_adamw": (PATSAdamW, 1e-8),
    "recadam_adamax": (RecAdamax, 1e-8),
    "recadam_adamw": (RecAdam, 1e-8),
}


def groups() -> list[dict]:
    return [{"name": "some", "params": toy_params(), "perturb": True, "weight_decay": 0.02}]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_builds_and_steps(name: str) -> None:
    own = RecAdamConfig(anneal_t0=0) if OPTIMIZERS[name].recalls else None  # later, it would stand still at first
    optimizer = build_optimizer(name, groups(), lr=1e-3, weight_decay=0.1, hyperparameters=own)
    cls, eps = EXPECTED[name]
    group = optimizer.param_groups[0]
    assert type(optimizer) is cls
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (1e-3, (0.9, 0.999), eps, 0.02)
    take_steps(optimizer, 1, 2)
    assert not torch.equal(group["params"][0], toy_params()[0])


def test_the_names_are_there() -> None:
    assert OPTIMIZERS.keys() == EXPECTED.keys()


OWN = {
    "pats": PATSConfig(
        noise_lambda=1e-5, noise_gamma=0.1, noise_p=0.3, noise_eps=1e-7, noise_form="std", sensitivity_beta=0.5
    ),
    "sage": SAGEConfig(sensitivity_beta=0.6),
    "recadam": RecAdamConfig(anneal_k=0.2, anneal_t0=100, pretrain_cof=10.0),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_settings_reach_the_optimizer(name: str) -> None:
    own = OWN.get(name.partition("_")[0])
    group = build_optimizer(name, groups(), lr=1e-3, eps=1e-5, hyperparameters=own, seed=9).param_groups[0]
    assert group["eps"] == 1e-5
    assert group.get("seed") == (9 if name.startswith("pats") else None)
    if own is not None:
        assert {key: group[key] for key in own.names()} == vars(own)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_settings_of_another_method_are_refused(name: str) -> None:
    expected = getattr(OPTIMIZERS[name].method, "hyperparameters", None)
    for own in OWN.values():
        if type(own) is not expected:
            named = "no hyper-parameters" if expected is None else expected.__name__
            with pytest.raises(ValueError, match=f"{name} takes {named}, got {type(own).__name__}"):
                build_optimizer(name, groups(), lr=1e-3, hyperparameters=own)


def test_config_defaults_are_the_classes_own() -> None:
    for name in ("pats_adamax", "pats_adamw", "sage_adamax", "sage_adamw", "recadam_adamax", "recadam_adamw"):
        assert build_optimizer(name, groups(), lr=1e-4).defaults == EXPECTED[name][0](groups()).defaults


def test_adamw_is_fused_and_close_to_ours() -> None:
    theirs = build_optimizer("adamw", groups(), lr=1e-3)
    ours = build_optimizer("pats_adamw", groups(), lr=1e-3, hyperparameters=PATSConfig(noise_lambda=0.0))
    assert theirs.param_groups[0]["fused"]
    for optimizer in (theirs, ours):
        take_steps(optimizer, 1, 20)
    for a, b in zip(theirs.param_groups[0]["params"], ours.param_groups[0]["params"], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_unknown_name_lists_the_choices() -> None:
    with pytest.raises(ValueError) as raised:
        build_optimizer("pats", groups(), lr=1e-3)
    for part in ("'pats'", *OPTIMIZERS):
        assert part in str(raised.value)


def test_bad_value_is_the_classes_error() -> None:
    with pytest.raises(ValueError, match="Invalid noise_p value: 2"):
        build_optimizer("pats_adamax", groups(), lr=1e-3, hyperparameters=PATSConfig(noise_p=2))
