"""SMART, FreeLB and R-Drop on a toy, against the papers' steps in float64, one text after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from data_utils.kinds.kind import Layout
from data_utils.task_def import DataFormat, TaskDef, TaskType
from mt_dnn.batching import Batch
from mt_dnn.objectives.freelb import FreeLB, FreeLBConfig
from mt_dnn.objectives.rdrop import RDrop, RDropConfig
from mt_dnn.objectives.smart import Smart, SMARTConfig
from tests.reference.divergences import divergence
from tests.reference.perturbations import freelb_start, freelb_step, smart_step

WIDTH = 4
TEXTS = [[1, 2, 3], [4, 5], [6, 1, 2, 3, 4]]
LABELS = [1, 0, 1]
TASK = TaskDef(
    name="toy", data_format=DataFormat.PremiseOnly, task_type=TaskType.Classification, n_class=2, loss_weight=1.5
)
PARAMETERS = TABLE, WEIGHT, OUT = [
    torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()
    for seed, shape in enumerate([(7, WIDTH), (WIDTH, WIDTH), (WIDTH, 2)])
]


def of_text(embeddings: Tensor) -> Tensor:
    """The toy's logits (2,) of one text's embeddings (tokens, width)."""
    return torch.tanh(embeddings @ WEIGHT.to(embeddings.dtype)).mean(0) @ OUT.to(embeddings.dtype)


def packed() -> tuple[Batch, Callable[[str, dict[str, Tensor]], Tensor]]:
    """The texts on two lines, with a gap, and a model that reads them there."""
    places = [(1, 0), (0, 0), (1, 3)]
    ids = torch.zeros((2, 8), dtype=torch.long)
    first = torch.tensor([line * 8 + start for line, start in places])
    for text, (line, start) in zip(TEXTS, places, strict=True):
        ids[line, start : start + len(text)] = torch.tensor(text)
    lengths = np.array([len(text) for text in TEXTS])
    rows = np.arange(len(TEXTS))
    layout = Layout(rows, rows, np.ones_like(rows), lengths, np.arange(lengths.sum()))
    batch = Batch({"input_ids": ids, "first_tokens": first}, {"label": torch.tensor(LABELS)}, layout)

    def forward(task: str, inputs: dict[str, Tensor]) -> Tensor:
        embeddings = TABLE.float()[inputs["input_ids"]] + inputs.get("perturbation", 0.0)
        flat = embeddings.flatten(0, 1)
        count = len(inputs["first_tokens"])
        spans = zip(inputs["first_tokens"].tolist(), np.tile(lengths, count // len(TEXTS)), strict=True)
        return torch.stack([of_text(flat[begin : begin + length]) for begin, length in spans])

    return batch, forward


@pytest.fixture(autouse=True)
def no_gradients() -> None:
    for parameter in PARAMETERS:
        parameter.grad = None


def assert_gradients(expected: Tensor) -> None:
    """The parameters have the gradients of a number in float64: what is detached in one of the two shows here."""
    for parameter, slope in zip(PARAMETERS, torch.autograd.grad(expected, PARAMETERS), strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, slope, rtol=1e-4, atol=1e-5 * slope.abs().max().item())


def gradient(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    at = at.clone().requires_grad_()
    return torch.autograd.grad(function(at), at)[0]


def symmetric_kl(p: Tensor, q: Tensor) -> Tensor:
    return ((p.softmax(-1) - q.softmax(-1)) * (p.log_softmax(-1) - q.log_softmax(-1))).sum()


def cross_entropy(logits: Tensor, label: int) -> Tensor:
    return F.cross_entropy(logits[None], torch.tensor([label]))


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("order", ["inf", "l2"])
def test_smart_is_its_papers_steps(order: str, level: str, steps: int) -> None:
    config: dict[str, Any] = {"alpha": 2.0, "noise_var": 0.1, "step_size": 0.3, "epsilon": 0.4, "k": steps}
    batch, forward = packed()
    torch.manual_seed(3)
    (term,) = Smart(SMARTConfig(p_norm=order, norm_level=level, **config), WIDTH)(forward, TASK, batch)
    torch.manual_seed(3)
    starts = (0.1 * torch.randn(sum(map(len, TEXTS)), WIDTH)).double().split([len(text) for text in TEXTS])
    term.backward()
    expected, differentiable = 0.0, torch.zeros(())
    for text, label, delta in zip(TEXTS, LABELS, starts, strict=True):
        embeddings = TABLE[torch.tensor(text)]
        clean = of_text(embeddings)
        for _ in range(steps):
            slope = gradient(lambda d, e=embeddings, c=clean: symmetric_kl(of_text(e + d), c), delta)
            delta = smart_step(delta, slope, step_size=0.3, epsilon=0.4, order=order, by_token=level == "token")
        moved = of_text(embeddings + delta)
        apart = divergence("SymKlCriterion", moved.tolist(), clean.tolist())
        expected += 1.5 * (cross_entropy(clean, label).item() + 2.0 * apart)
        differentiable = differentiable + 1.5 * (cross_entropy(clean, label) + 2.0 * symmetric_kl(moved, clean))
    assert term.item() == pytest.approx(expected, rel=1e-4)
    assert_gradients(differentiable)  # through both outputs, with the perturbation as it is


@pytest.mark.parametrize("max_norm", [0.0, 0.5])
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e-25])
def test_freelb_is_its_papers_steps(max_norm: float, scale: float) -> None:
    """Whatever factor the update gives each term's gradient: the loss scale, or one over the units."""
    batch, forward = packed()
    config = FreeLBConfig(steps=3, step_size=0.4, init_magnitude=0.6, max_norm=max_norm)
    torch.manual_seed(3)
    terms = []
    for term in FreeLB(config, WIDTH)(forward, TASK, batch):
        (term * scale).backward()
        terms.append(term.item())
    torch.manual_seed(3)
    uniform = torch.zeros(sum(map(len, TEXTS)), WIDTH).uniform_(-1, 1).double()
    expected = [torch.zeros(())] * 3
    for text, label, start in zip(TEXTS, LABELS, uniform.split([len(text) for text in TEXTS]), strict=True):
        embeddings, delta = TABLE[torch.tensor(text)], freelb_start(start, 0.6)
        for step in range(3):
            expected[step] = expected[step] + 1.5 * cross_entropy(of_text(embeddings + delta), label) / 3
            slope = gradient(lambda d, e=embeddings, y=label: cross_entropy(of_text(e + d), y), delta)
            delta = freelb_step(delta, slope, step_size=0.4, max_norm=max_norm)
    assert terms == pytest.approx([term.item() for term in expected], rel=1e-4)
    assert terms[0] < terms[1], "the ascent does not ascend"
    assert_gradients(scale * torch.stack(expected).sum())


@pytest.mark.parametrize("kind", [TaskType.Classification, TaskType.Regression])
def test_rdrop_is_its_papers_objective_halved(kind: TaskType) -> None:
    """The second half of the lines has another output, as dropout would give it."""
    batch, forward = packed()
    shift = torch.tensor([0.3, -0.2])
    width = 2 if kind is TaskType.Classification else 1
    task = TaskDef(name="toy", data_format=DataFormat.PremiseOnly, task_type=kind, n_class=width)
    if kind is TaskType.Regression:
        batch = batch._replace(targets={"label": torch.tensor(LABELS, dtype=torch.float32)})

    def disturbed(name: str, inputs: dict[str, Tensor]) -> Tensor:
        assert len(inputs["input_ids"]) == 4
        both = forward(name, inputs)
        return (both + torch.cat([torch.zeros(3, 2), shift.expand(3, 2)]))[:, :width]

    (term,) = RDrop(RDropConfig(alpha=0.7))(disturbed, task, batch)
    term.backward()
    expected, differentiable = 0.0, torch.zeros(())
    for text, label in zip(TEXTS, LABELS, strict=True):
        one = of_text(TABLE[torch.tensor(text)])[:width]
        other = one + shift.double()[:width]
        if kind is TaskType.Classification:
            losses = cross_entropy(one, label) + cross_entropy(other, label)
            apart, moving = divergence("SymKlCriterion", one.tolist(), other.tolist()) / 2, symmetric_kl(one, other) / 2
        else:
            losses = ((one - label) ** 2 + (other - label) ** 2).sum()
            apart, moving = (one.item() - other.item()) ** 2, ((one - other) ** 2).sum()
        expected += (losses.item() + 0.7 * apart) / 2
        differentiable = differentiable + (losses + 0.7 * moving) / 2
    assert term.item() == pytest.approx(expected, rel=1e-4)
    assert_gradients(differentiable)


def test_freelbs_dropout_hides_the_same_in_every_step() -> None:
    batch, forward = packed()
    masks: list[Tensor] = []

    def with_dropout(name: str, inputs: dict[str, Tensor]) -> Tensor:
        masks.append(torch.rand(5))
        return forward(name, inputs)

    for _ in range(2):
        for term in FreeLB(FreeLBConfig(steps=3), WIDTH)(with_dropout, TASK, batch):
            term.backward()
    assert all(torch.equal(mask, masks[0]) for mask in masks[:3])
    assert all(torch.equal(mask, masks[3]) for mask in masks[3:])
    assert not torch.equal(masks[0], masks[3])
