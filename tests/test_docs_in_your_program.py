"""docs/in-your-program.md: each of its programs trains as it stands, in a folder where the models it names lie."""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import BertModel

from tests.tiny_models import write_tiny_bert

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/in-your-program.md").read_text(encoding="utf-8")
PROGRAMS = dict(re.findall(r"^## (.+?)\n```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
NEEDS = {  # what to install beside torch and transformers
    "A plain loop": [],
    "Hugging Face Trainer": ["accelerate"],
    "accelerate": ["accelerate"],
    "Lightning": ["lightning"],
    "sentence-transformers": ["sentence_transformers", "datasets", "accelerate"],
}
UPDATES = 6  # three epochs of two batches, in every program


@pytest.fixture
def pats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The package under the wheel's name, as `tests/test_wheel.py` builds it."""
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages/pats").symlink_to(ROOT / "module")
    monkeypatch.syspath_prepend(tmp_path / "packages")
    yield importlib.import_module("pats.optim")
    for name in [name for name in sys.modules if name.split(".")[0] == "pats"]:
        del sys.modules[name]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a program runs: tiny models under the names of those it loads. Hubs and reports are out of reach."""
    for name in ("bert-base-uncased", "all-MiniLM-L6-v2"):
        write_tiny_bert(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for variable in ("HF_HUB_OFFLINE", "ACCELERATE_USE_CPU"):
        monkeypatch.setenv(variable, "1")
    return tmp_path


@contextlib.contextmanager
def dropouts_seen() -> Iterator[set[bool]]:
    """Whether the dropout modules that were called meanwhile were in training mode."""
    seen: set[bool] = set()

    def note(module: nn.Module, args: Any) -> None:
        if isinstance(module, nn.Dropout):
            seen.add(module.training)

    hook = register_module_forward_pre_hook(note)
    yield seen
    hook.remove()


def optimizer_of(names: dict[str, Any]) -> Any:
    """The optimizer a program made, out of what a library wraps it in."""
    optimizer = names["optimizer"] if "optimizer" in names else names["trainer"].optimizers[0]
    return getattr(optimizer, "optimizer", optimizer)


def test_the_page_has_five_programs() -> None:
    assert list(PROGRAMS) == list(NEEDS)


def test_the_page_can_stand_alone() -> None:
    """It is also the description of the package, where a link into the repository leads nowhere."""
    assert not re.findall(r"\]\((?!https?://)", PAGE)


@pytest.mark.parametrize("heading", NEEDS)
def test_programs_train(heading: str, pats: Any, folder: Path) -> None:
    for library in NEEDS[heading]:
        pytest.importorskip(library, reason=f"{library} is not installed")
    torch.manual_seed(0)
    names: dict[str, Any] = {"__name__": "__main__"}
    with dropouts_seen() as seen:
        exec(compile(PROGRAMS[heading], f"{heading}.py", "exec"), names)
    assert True in seen  # dropout was on

    optimizer, model = optimizer_of(names), names["model"]
    assert isinstance(optimizer, pats.PATSAdamax)
    assert {int(state["step"]) for state in optimizer.state.values()} == {UPDATES}
    assert {group["lr"] for group in optimizer.param_groups} == {0.0}  # the schedule came to its end
    assert_trained(model, optimizer, write_tiny_bert(folder / "untrained"))


def assert_trained(model: nn.Module, optimizer: torch.optim.Optimizer, untrained: Path) -> None:
    """The layers' matrices and biases, and they alone, have sensitivities; every matrix of them has moved."""
    params = {re.sub(r"^.*?(?=encoder\.layer\.)", "", name): param for name, param in model.named_parameters()}
    before = {
        name: param for name, param in BertModel.from_pretrained(untrained).named_parameters() if "layer." in name
    }
    noisy = {name for name, param in params.items() if "sensitivity" in optimizer.state.get(param, {})}
    assert noisy == {name for name in before if "LayerNorm" not in name}
    moved = {name for name in noisy if not torch.equal(params[name].cpu(), before[name])}
    assert moved >= {name for name in noisy if name.endswith("weight")}
