"""docs/optimizers.md says what the code does: its examples train, its tables hold the code's arguments and defaults."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from module.optim import (
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
    encoder_param_groups,
    linear_schedule,
    noisytune_,
    with_recall,
)
from module.optim.hyperparameters import Hyperparameters

DOC = (Path(__file__).parents[1] / "docs" / "optimizers.md").read_text(encoding="utf-8")
SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 30}


def sections() -> dict[str, str]:
    """Text by heading, of whatever level. Examples have no comment lines, which would look like headings."""
    parts = re.split(r"^#+ (.+)$", DOC, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


SECTIONS = sections()
EXAMPLES = {
    heading: blocks
    for heading, text in SECTIONS.items()
    if (blocks := re.findall(r"```python\n(.*?)```", text, re.DOTALL))
}

# --- The examples run as they stand, each section's in one namespace, after the import line at the top.


class Rows(torch.utils.data.Dataset):
    """Eight rows of five tokens; the label is the parity of the first."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"input_ids": torch.arange(5) + i, "labels": torch.tensor(i % 2)}


@pytest.fixture
def namespace(tmp_path: Path) -> dict[str, Any]:
    """What the reader has at hand: a model, batches or a data set, and `Trainer`'s arguments."""
    pytest.importorskip("accelerate", reason="Hugging Face's Trainer needs accelerate, which is not installed")
    torch.manual_seed(0)
    quiet = {"report_to": [], "disable_tqdm": True, "logging_strategy": "no", "save_strategy": "no", "use_cpu": True}
    names: dict[str, Any] = {
        "torch": torch,
        "Trainer": Trainer,
        "model": BertForSequenceClassification(BertConfig(**SHAPE)),
        "batches": [{name: value[None] for name, value in Rows()[i].items()} for i in range(4)],
        "train_dataset": Rows(),
        "args": TrainingArguments(str(tmp_path), max_steps=3, per_device_train_batch_size=4, **quiet),
    }
    (imports,) = EXAMPLES["Optimizers"]
    exec(imports.replace("from pats.", "from module."), names)  # as the clone has it
    return names


def test_imports_are_all_there(namespace: dict[str, Any]) -> None:
    classes = {AdamaxW, PATSAdamax, PATSAdamW, RecAdam, RecAdamax, SAGEAdamax, SAGEAdamW}
    functions = {encoder_param_groups, linear_schedule, noisytune_, with_recall}
    assert classes | functions <= {value for value in namespace.values() if callable(value)}


@pytest.mark.parametrize("heading", [heading for heading in EXAMPLES if heading != "Optimizers"])
def test_examples_train(heading: str, namespace: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    model: nn.Module = namespace["model"]
    layers = {name for group in encoder_param_groups(model) if group["perturb"] for name in group["names"]}
    for block in EXAMPLES[heading]:
        before = {name: param.detach().clone() for name, param in model.named_parameters()}
        namespace.pop("trainer", None)
        exec(block, namespace)
        trainer = namespace.get("trainer")
        optimizer = namespace["optimizer"] if trainer is None else trainer.optimizer.optimizer
        assert isinstance(optimizer, PATSAdamax)
        matrices = {name for name, param in model.named_parameters() if param.dim() > 1}
        assert [name for name in matrices if torch.equal(model.get_parameter(name), before[name])] == []
        with_sensitivity = {
            name for name, param in model.named_parameters() if "sensitivity" in optimizer.state.get(param, {})
        }
        assert with_sensitivity == layers
    if heading == "Looking inside":
        assert len(capsys.readouterr().out.splitlines()) == len(layers)
        assert namespace["histogram"].hist.sum() == sum(model.get_parameter(name).numel() for name in layers)


def test_the_pattern_for_layers_finds_them() -> None:
    (pattern,) = re.findall(r'such as `(r".+?")`', SECTIONS["What is perturbed"])
    model = nn.Module()
    model.trunk = nn.Module()
    model.trunk.blocks = nn.ModuleList([nn.Linear(2, 2, bias=False)])
    (group,) = encoder_param_groups(model, layers=ast.literal_eval(pattern))
    assert group["names"] == ["trunk.blocks.0.weight"]
    assert group["perturb"]
    (group,) = encoder_param_groups(model.trunk, layers=ast.literal_eval(pattern))
    assert group["names"] == ["blocks.0.weight"]


def test_noisytunes_line_runs(namespace: dict[str, Any]) -> None:
    (line,) = re.findall(r"`(noisytune_\(.+?\))`", SECTIONS["In your own loop"])
    before = namespace["model"].base_model.embeddings.word_embeddings.weight.detach().clone()
    exec(line, namespace)
    assert not torch.equal(before, namespace["model"].base_model.embeddings.word_embeddings.weight)


# --- The tables of arguments.


class Row(NamedTuple):
    """One argument's row: its default as a value, its range as it is written."""

    default: Any
    range: str


def arguments(of: str) -> dict[str, Row]:
    """The rows of one table of arguments."""
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in SECTIONS[f"Arguments of {of}"].splitlines()
        if line.startswith("| `")
    ]
    return {name.strip("`"): Row(ast.literal_eval(default.strip("`")), span) for name, _, default, span, _ in cells}


ALL = arguments("all classes")
PATS, SAGE, NOISYTUNE = ALL | arguments("PATS"), ALL | arguments("SAGE"), arguments("`noisytune_`")
RECADAM = ALL | arguments("RecAdam")
DOCUMENTED: list[tuple[Callable[..., Any], dict[str, Row]]] = [
    (AdamaxW, ALL),
    (PATSAdamax, PATS),
    (PATSAdamW, PATS),
    (SAGEAdamax, SAGE),
    (SAGEAdamW, SAGE),
    (RecAdam, RECADAM),
    (RecAdamax, RECADAM),
    (noisytune_, NOISYTUNE),
]


@pytest.mark.parametrize(("target", "rows"), DOCUMENTED, ids=lambda one: getattr(one, "__name__", ""))
def test_tables_hold_every_argument_with_the_codes_default(target: Callable[..., Any], rows: dict[str, Row]) -> None:
    parameters = {name: one.default for name, one in inspect.signature(target).parameters.items() if name != "params"}
    assert {name: row.default for name, row in rows.items()} == parameters


@pytest.mark.parametrize(("record", "table"), [(PATSConfig, PATS), (SAGEConfig, SAGE), (RecAdamConfig, RECADAM)])
def test_tables_say_what_the_records_say(record: type[Hyperparameters], table: dict[str, Row]) -> None:
    text = SECTIONS[f"Arguments of {record.__name__.removesuffix('Config')}"]
    for field in dataclasses.fields(record):
        about = field.metadata
        choices = ", ".join(f'`"{choice}"`' for choice in about["choices"])
        assert table[field.name] == Row(field.default, choices or str(about["within"]))
        (line,) = [line for line in text.splitlines() if line.startswith(f"| `{field.name}` ")]
        symbol, *_, meaning = [cell.strip() for cell in line.split("|")[2:-1]]
        assert (symbol, meaning) == (about["symbol"], about["help"])
        assert f"`--{about['flag']}`" in text or record is SAGEConfig


def within_and_without(row: Row) -> tuple[list[Any], list[Any]]:
    """Values at the edges of a documented range, and just outside of it."""
    if match := re.fullmatch(r"(each )?([\[(])(\S+), (\S+)([\])])", row.range):
        each, left, low, high, right = match.groups()
        step = 1 if isinstance(row.default, int) else 1e-6
        first = int(low)
        inside, outside = ([first], [first - step]) if left == "[" else ([first + step], [first])
        if high != "∞":
            last = 2**63 if high == "2**63" else int(high)
            inside.append(last if right == "]" else last - step)
            outside.append(last + step if right == "]" else last)
        if each:
            return [(one, one) for one in inside], [(one, 0.5) for one in outside] + [(0.5, one) for one in outside]
        return inside, outside
    values = [ast.literal_eval(one) for one in re.findall(r"`(.+?)`", row.range)]
    return values, ["nonsense"] if isinstance(row.default, str) else []


@pytest.mark.parametrize(("cls", "rows"), DOCUMENTED[:-1], ids=lambda one: getattr(one, "__name__", ""))
def test_ranges_are_the_codes(cls: type[torch.optim.Optimizer], rows: dict[str, Row]) -> None:
    for name, row in rows.items():
        inside, outside = within_and_without(row)
        assert inside, f"{name}: {row.range} is no range"
        for value in inside:
            cls([nn.Parameter(torch.ones(2))], **{name: value})
        for value in outside:
            with pytest.raises(ValueError, match="Invalid"):
                cls([nn.Parameter(torch.ones(2))], **{name: value})


# --- State.


def state_bytes(cls: type[torch.optim.Optimizer], perturb: bool, **options: Any) -> int:
    """Bytes that a step leaves for each element, without the step counter."""
    param = nn.Parameter(torch.ones(4, dtype=options.pop("dtype", torch.float32)))
    optimizer = cls([{"params": [param], "perturb": perturb, "recall": perturb}], **options)
    param.grad = torch.ones_like(param)
    optimizer.step()
    return sum(value.element_size() for name, value in optimizer.state[param].items() if name != "step")


@pytest.mark.parametrize("cls", [cls for cls, _ in DOCUMENTED[:-1]])
def test_state_is_as_large_as_the_first_table_says(cls: type[torch.optim.Optimizer]) -> None:
    rows = [line.split("|")[1:-1] for line in SECTIONS["Optimizers"].splitlines() if line.startswith("| `")]
    (numbers,) = [re.findall(r"\d+", row[3]) for row in rows if f"`{cls.__name__}`" in row[0]]
    assert [state_bytes(cls, True), state_bytes(cls, False)] == [int(numbers[0]), int(numbers[-1])]


def test_state_options_cost_what_the_text_says() -> None:
    text = SECTIONS["Backends and precision"]
    assert "stores 8 bytes a perturbed parameter instead of 12" in text
    assert state_bytes(PATSAdamax, True, state_dtype="bfloat16") == 8
    assert "`master_weights=True` adds 4 bytes a bf16 or fp16 parameter" in text
    assert state_bytes(PATSAdamax, True, dtype=torch.bfloat16, master_weights=True) == 12 + 4
