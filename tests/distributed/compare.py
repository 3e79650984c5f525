"""Two runs side by side: equal to the last bit, or but for rounding."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.test_train import events, results

LEARNING_RATE = 1e-3
"""What runs that are compared but for rounding train with."""

ROUNDING = 1e-5
"""Sums taken in another order differ in the last bits, about 1e-7 of the value, and updates hand that on."""

CONTINUOUS = ("--pats_sensitivity", "magnitude", "--pats_noise_form", "std")
"""The reading of PATS that runs are compared with but for rounding: its noise changes as little as the gradients do. A
signed sensitivity of about zero may change its sign, and with it whether an element gets much noise or none."""

UNSEEN = re.compile(r"\b(key|k|k_lin)\.bias$|^heads\.(pick|asked)\.linear\.bias$")
"""Attention does not see a bias of its keys, nor a softmax over options or tokens one that all of their scores have.
The gradient is zero but for rounding, and so is what moves it."""


def newest_checkpoint(run: Path) -> Path:
    return sorted((run / "checkpoints").iterdir())[-1]


def tensors(run: Path, stem: str) -> dict[str, Tensor]:
    """A file of a run's newest checkpoint."""
    return load_file(newest_checkpoint(run) / f"{stem}.safetensors")


def assert_same_run(one: Path, other: Path) -> None:
    """All that two runs have left is the same, but for the times they took."""
    assert (one / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    for key in ("tasks", "average", "updates", "skipped_updates", "processes"):
        assert results(one)[key] == results(other)[key], key
    assert newest_checkpoint(one).name == newest_checkpoint(other).name
    for stem in ("model", "optimizer", "random"):
        mine, theirs = tensors(one, stem), tensors(other, stem)
        assert mine.keys() == theirs.keys()
        assert not [name for name in mine if not torch.equal(mine[name], theirs[name])], stem
    best = "best/encoder/model.safetensors"
    assert (one / best).read_bytes() == (other / best).read_bytes()


def assert_close_run(one: Path, other: Path) -> None:
    """The same updates and evaluations, with the same results but for rounding."""
    assert [event[:2] for event in timeline(one)] == [event[:2] for event in timeline(other)]
    assert results(one)["updates"] == results(other)["updates"]
    for mine, theirs in zip(events(one, "train"), events(other, "train"), strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=ROUNDING)
        assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=ROUNDING)
    assert_close_weights(one, other)
    for task, scores in results(one)["tasks"].items():
        # Predictions lie close together after so few updates, and a correlation makes much of small differences.
        assert scores["last"]["score"] == pytest.approx(results(other)["tasks"][task]["last"]["score"], abs=0.1)


def assert_close_weights(one: Path, other: Path) -> None:
    """Tensor by tensor, on average a two-hundredth apart of what a single update moves a weight, or less.

    On average, as Adamax and AdamW divide by gradients: one that is nearly nought is mostly rounding.
    """
    mine, theirs = tensors(one, "model"), tensors(other, "model")
    assert mine.keys() == theirs.keys()
    apart = {name: (mine[name] - theirs[name]).square().mean().sqrt().item() for name in mine}
    assert not {k: v for k, v in apart.items() if not v <= LEARNING_RATE / 200 and not UNSEEN.search(k)}


def timeline(run: Path) -> list[tuple[str, int, Any]]:
    """All of a run's events: name, update, and the event itself."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [(event["event"], event["step"], event) for event in lines]
