"""One update: gradients are clipped; what overflows in float16 (here on a CPU), or is not finite, changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mt_dnn.config import load_config
from mt_dnn.setup import build_trainer
from mt_dnn.trainer import Trainer
from tests.conftest import Workshop
from tests.mt_dnn.test_nonfinite import bad_on, explodes


@pytest.fixture
def scaled(workshop: Workshop, tmp_path: Path) -> Trainer:
    trainer = build_trainer(load_config(workshop.flags(tmp_path, "--train_datasets", "cola", "--warmup", "0"), ""))
    trainer.state.precision.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    return trainer


def test_an_overflow_halves_the_scale_and_has_no_turn_in_the_schedule(
    scaled: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *_ = scaled.sampler.epoch(0)
    schedule, before = scaled.state.schedule, [param.detach().clone() for param in scaled.parallel.model.parameters()]
    with monkeypatch.context() as patch:
        explodes(patch, 1)
        updated = scaled.update(first, 1)
    assert updated.overflow and not updated.problem and not math.isfinite(updated.grad_norm)
    assert (scaled.state.precision.scaler.get_scale(), schedule.last_epoch) == (4.0, 0)
    assert all(torch.equal(a, b) for a, b in zip(before, scaled.parallel.model.parameters(), strict=True))
    assert not scaled.update(second, 2).overflow
    assert (scaled.state.precision.scaler.get_scale(), schedule.last_epoch) == (4.0, 1)
    assert not all(torch.equal(a, b) for a, b in zip(before, scaled.parallel.model.parameters(), strict=True))


def test_after_a_loss_that_is_not_finite_the_next_update_is_applied(
    scaled: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scaler has unscaled gradients that no step took."""
    first, second, *_ = scaled.sampler.epoch(0)
    with monkeypatch.context() as patch:
        bad_on(patch, {1}, math.nan)
        assert "loss nan" in scaled.update(first, 1).problem
    assert scaled.state.schedule.last_epoch == 0
    updated = scaled.update(second, 2)
    assert not updated.problem and not updated.overflow
    assert scaled.state.schedule.last_epoch == 1


@pytest.mark.parametrize("spoil", [explodes, lambda patch, call: bad_on(patch, {call}, math.nan)], ids=["norm", "loss"])
def test_an_update_that_nobody_looks_at_is_left_out_for_its_norm_or_its_loss(
    spoil: Callable[[pytest.MonkeyPatch, int], None],
    workshop: Workshop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flags = ["--train_datasets", "cola", "--warmup", "0", "--optim", "pats_adamax", "--finite_check", "log"]
    trainer = build_trainer(load_config(workshop.flags(tmp_path, *flags), ""))
    before = [param.detach().clone() for param in trainer.parallel.model.parameters()]
    with monkeypatch.context() as patch:
        spoil(patch, 1)
        pending = trainer.update.apply_deferred(trainer.sampler.epoch(0)[0], 1)
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.parallel.model.parameters(), strict=True))
    (updated,) = trainer.update.resolve([pending])
    assert "the update was not applied" in updated.problem


def averages_norm(trainer: Trainer) -> float:
    """The norm of the first averages of all parameters, which after one update are a tenth of the gradients."""
    averages = [state["exp_avg"] for state in trainer.state.optimizer.state.values()]
    return torch.cat([average.flatten() for average in averages]).norm().item()


@pytest.mark.parametrize("flags", ["--optim adamax", "--optim adamw", "--optim adamax --finite_check log"])
def test_gradients_above_the_limit_are_scaled_to_it_and_those_below_are_left_alone(
    flags: str, workshop: Workshop, tmp_path: Path
) -> None:
    found = {}
    for limit in ("0", "0.01", "1e6"):
        more = ["--train_datasets", "cola", "--dropout_p", "0", "--global_grad_clipping", limit, *flags.split()]
        trainer = build_trainer(load_config(workshop.flags(tmp_path, *more), ""))
        draw = trainer.sampler.epoch(0)[0]
        torch.manual_seed(0)
        if "log" in flags:
            (updated,) = trainer.update.resolve([trainer.update.apply_deferred(draw, 1)])
        else:
            updated = trainer.update(draw, 1)
        assert updated.grad_norm > 0.02
        found[limit] = averages_norm(trainer)
        assert limit == "0.01" or found[limit] == pytest.approx(updated.grad_norm / 10, rel=1e-3)
    assert found["0.01"] == pytest.approx(0.001, rel=1e-3)
    assert found["0"] == found["1e6"]
