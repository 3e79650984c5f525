"""The benchmark of the optimizers: every row is there, its figures are measured or absent, and it alters no options."""

from __future__ import annotations

import copy
import csv
import math
import weakref
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import BertConfig

from module.optim import AdamaxW, PATSAdamax
from scripts import bench_optim
from tests.reference.adamax import Adamax
from tests.reference.pats import PATS
from tests.tiny_models import SHAPE

COLUMNS = (
    "model,optimizer,backend,ms_median,ms_min,ratio_to_torch_adamax_foreach,ratio_to_adamaxw,floor_ms,ratio_to_floor,"
    "peak_memory_percent,perturbed_parameters,parameters,device,torch,date"
)
FIGURES = ("ms_median", "ms_min", "ratio_to_torch_adamax_foreach", "floor_ms", "ratio_to_floor")
OURS = ["AdamaxW", "PATSAdamax", "PATSAdamW", "SAGEAdamax", "SAGEAdamW"]
MEASURED_ON_CPU = [
    ("torch Adamax", "loop"),
    ("torch Adamax", "foreach"),
    ("torch AdamW", "foreach"),
    ("torch AdamW", "fused"),
    *((name, backend) for name in OURS for backend in ("foreach", "numba")),
    ("Algorithm 1", "loop"),
]


@pytest.fixture
def groups() -> list[dict]:
    torch.manual_seed(0)
    return bench_optim.encoder_groups(BertConfig(vocab_size=50, **SHAPE), torch.device("cpu"))


@pytest.mark.parametrize("interpret", ["", "1"])
def test_a_run_on_a_cpu(
    interpret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", interpret)
    BertConfig(vocab_size=50, **SHAPE).save_pretrained(tmp_path / "mini")
    file = tmp_path / "made" / "figures.csv"
    flags = ["--models", str(tmp_path / "mini"), "--rounds", "1", "--device", "cpu", "--csv", str(file)]
    assert bench_optim.main(flags) == 0

    shown = capsys.readouterr().out
    assert f"torch {torch.__version__}" in shown and "triton " in shown and "\nmini: " in shown
    refused = [line.split()[0] for line in shown.splitlines() if line.endswith("triton    not measured (needs a GPU)")]
    assert refused == OURS
    table = shown.split("\n\n")[1].splitlines()[2:]
    assert len({len(line) for line in table if "not measured" not in line}) == 1
    overhead = [line.split() for line in shown.split("\n\n")[2].splitlines()[2:]]
    assert [row[:2] for row in overhead[1:]] == [[name, way] for name in OURS[:2] for way in ("foreach", "numba")]
    assert all(0 < float(bare) < float(step) for _, backend, step, *bares in overhead[1:] for bare in bares)

    text = file.read_text(encoding="utf-8")
    assert text.splitlines()[0] == COLUMNS
    rows = list(csv.DictReader(text.splitlines()))
    assert [(row["optimizer"], row["backend"]) for row in rows if row["backend"] != "triton"] == MEASURED_ON_CPU
    assert [row["optimizer"] for row in rows if row["backend"] == "triton"] == OURS
    for row in rows:
        assert row["peak_memory_percent"] == ""
        if row["backend"] == "triton":
            assert not any(row[name] for name in FIGURES)
        else:
            assert all(0 < float(row[name]) < math.inf for name in FIGURES)
            assert float(row["ms_min"]) <= float(row["ms_median"])


@pytest.mark.parametrize(
    "flags", [["--models", "nowhere"], ["--rounds", "0"], ["--models", "minilm", "--csv", "README.md/x.csv"]], ids=str
)
def test_bad_flags_are_refused_before_anything_is_measured(
    flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench_optim.main([*flags, "--device", "cpu"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and "parameters" not in captured.out


def test_parameters_of_the_real_encoders() -> None:
    counts = {}
    for name in bench_optim.MODELS:
        with torch.device("meta"):
            model = bench_optim.AutoModel.from_config(bench_optim.find_config(name)[1])
        counts[name] = sum(param.numel() for param in model.parameters())
    assert counts == {"minilm": 22_713_216, "bert_base": 109_482_240, "roberta_large": 355_359_744}


def test_rows_leave_the_groups_alone_and_keep_their_own_options(groups: list[dict]) -> None:
    before = [set(group) for group in groups]
    backends = [row.new(groups).param_groups[0].get("backend") for row in bench_optim.ROWS if row.optimizer in OURS]
    assert backends == ["foreach", "numba", "triton"] * 5
    assert [set(group) for group in groups] == before


def test_nothing_is_left_of_an_optimizer_when_its_turn_is_over(groups: list[dict]) -> None:
    kept = []
    for row in bench_optim.ROWS:
        if row.backend != "triton":
            optimizer = row.new(groups)
            optimizer.step()
            kept.append(weakref.ref(optimizer))
    del optimizer
    assert [ref() for ref in kept] == [None] * len(MEASURED_ON_CPU)


def test_algorithm_1_is_the_paper_s() -> None:
    torch.manual_seed(0)
    start, grad = torch.randn(400, 500, dtype=torch.float64), torch.randn(400, 500, dtype=torch.float64)
    plain, noisy = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    plain.grad = noisy.grad = grad
    groups = [{"params": [plain], "perturb": False}, {"params": [noisy], "perturb": True}]
    optimizer, paper = bench_optim.Algorithm1(groups), bench_optim.PAPER
    base = Adamax(lr=bench_optim.LR, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0)
    constants = {"beta": paper.sensitivity_beta, "lambda_": paper.noise_lambda, "gamma": paper.noise_gamma}
    reference = PATS(base, **constants, epsilon=paper.noise_eps, sensitivity="signed", form="variance")
    stepped = reference.step(start, grad, torch.zeros_like(start))
    optimizer.step()
    torch.testing.assert_close(plain.detach(), stepped, rtol=0, atol=1e-15)
    noise = ((noisy.detach() - stepped) / reference.sigma())[reference.sigma() > 1e-5]
    drawn = noise[noise.abs() > 1e-6]
    assert len(drawn) / len(noise) == pytest.approx(paper.noise_p, abs=0.01)
    assert drawn.mean().item() == pytest.approx(0, abs=0.03) and drawn.std().item() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("kind", [AdamaxW, PATSAdamax])
def test_book_keeping_is_a_step_that_counts_and_changes_nothing_else(kind: type[AdamaxW]) -> None:
    """And afterwards the mathematics is back."""
    param = bench_optim.fill(nn.ParameterList([torch.empty(15)]))[0]
    optimizer = kind([{"params": [param], "perturb": True}], backend="foreach")
    optimizer.step()
    before, state = param.detach().clone(), copy.deepcopy(dict(optimizer.state[param]))
    with bench_optim.without_mathematics([15]):
        optimizer.step()
    assert optimizer.state[param].pop("step") == state.pop("step") + 1 == 2
    assert torch.equal(param, before)
    torch.testing.assert_close(dict(optimizer.state[param]), state, rtol=0, atol=0)
    optimizer.step()
    assert not torch.equal(param, before)
