"""An exported model's heads are taken over whole, or refused with what is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from data_utils.errors import InputError
from data_utils.task_def import DataFormat, TaskDef, TaskType
from mt_dnn.model import HEADS_FILE, MTDNN, TASKS_FILE, build_model, export_model

COLA = TaskDef(name="cola", data_format=DataFormat.PremiseOnly, task_type=TaskType.Classification)
STSB = TaskDef(name="stsb", data_format=DataFormat.PremiseAndOneHypothesis, task_type=TaskType.Regression)
WEIGHT = "heads.cola.linear.weight"


def build(source: Path) -> MTDNN:
    return build_model(str(source), [COLA], dropout_p=0.1, seed=3)


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two tasks' heads on an encoder without a pooler of its own, so that ours is among them.

    There is no manifest, as if whatever a test changes had been written like that.
    """
    monkeypatch.setattr("mt_dnn.model.damage", lambda folder, required: None)
    config = transformers.DistilBertConfig(vocab_size=60, dim=32, n_layers=1, n_heads=2, hidden_dim=48)
    transformers.DistilBertModel(config).save_pretrained(tmp_path / "source")
    model = build_model(str(tmp_path / "source"), [COLA, STSB], dropout_p=0.1, seed=1)
    export_model(model, model.state_dict(), tmp_path / "best", [COLA, STSB], None)
    return tmp_path / "best"


def test_heads_of_the_same_task_and_the_pooler_come_along(exported: Path) -> None:
    saved = load_file(exported / HEADS_FILE)
    save_file({name: tensor.half() for name, tensor in saved.items()}, exported / HEADS_FILE)
    taken = {name: value for name, value in build(exported).state_dict().items() if "encoder.model." not in name}
    assert len(taken) == 4
    for name, value in taken.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, saved[name].half().float()), name


def test_a_heads_dropout_is_its_tasks_else_the_runs(exported: Path) -> None:
    """Zero is a value, too."""
    tasks = [dataclasses.replace(COLA, dropout_p=0.0), dataclasses.replace(STSB, dropout_p=0.4)]
    tasks.append(dataclasses.replace(COLA, name="sst"))
    heads = build_model(str(exported), tasks, dropout_p=0.3, seed=1).heads
    assert {name: head.dropout.p for name, head in heads.items()} == {"cola": 0.0, "stsb": 0.4, "sst": 0.3}


def test_a_new_head_starts_by_its_tasks_name_whatever_else_is_trained(exported: Path) -> None:
    named = {name: dataclasses.replace(COLA, name=name) for name in ("one", "other")}
    both = build_model(str(exported), list(named.values()), dropout_p=0.1, seed=1).heads
    alone = build_model(str(exported), [named["other"]], dropout_p=0.1, seed=1).heads
    assert torch.equal(both["other"].linear.weight, alone["other"].linear.weight)
    assert not torch.equal(both["one"].linear.weight, both["other"].linear.weight)


def test_a_head_for_other_labels_starts_anew(exported: Path) -> None:
    three = TaskDef(name="cola", data_format=DataFormat.PremiseOnly, task_type=TaskType.Classification, n_class=3)
    model = build_model(str(exported), [three], dropout_p=0.1, seed=3)
    assert model.heads["cola"].linear.weight.shape == (3, 32)
    why = f"new head (in {exported} its labels are 0, 1; here its labels are 0, 1, 2)"
    assert model.head_origins == {"cola": why}


def test_a_head_of_another_type_starts_anew(exported: Path) -> None:
    """A ranking has no labels either, and its head is of the same shape as a regression's."""
    ranking = TaskDef(name="stsb", data_format=DataFormat.PremiseAndMultiHypothesis, task_type=TaskType.Ranking)
    model = build_model(str(exported), [ranking], dropout_p=0.1, seed=3)
    assert model.head_origins == {"stsb": f"new head (in {exported} it is of type Regression; here Ranking)"}
    weight = "heads.stsb.linear.weight"
    assert not torch.equal(model.state_dict()[weight], load_file(exported / HEADS_FILE)[weight])


def test_the_model_says_where_each_head_comes_from(exported: Path, tmp_path: Path) -> None:
    rte = TaskDef(name="rte", data_format=DataFormat.PremiseOnly, task_type=TaskType.Classification)
    stsb = TaskDef(name="stsb", data_format=DataFormat.PremiseOnly, task_type=TaskType.Classification)
    assert build_model(str(exported), [COLA, rte, stsb], dropout_p=0.1, seed=3).head_origins == {
        "cola": f"head taken over from {exported}",
        "rte": f"new head ({exported} has heads for cola, stsb)",
        "stsb": f"new head (in {exported} it is of type Regression; here Classification)",
    }
    assert build(tmp_path / "source").head_origins == {"cola": "new head"}


HEADS: dict[str, tuple[Callable[[dict[str, Tensor]], object], str]] = {
    "a name without dots": (lambda saved: saved.update(x=torch.zeros(1)), "x belongs to none of its tasks"),
    "a task it does not have": (
        lambda saved: saved.update({"heads.rte.linear.bias": torch.zeros(2)}),
        "heads.rte.linear.bias belongs to none of its tasks",
    ),
    "a part of the encoder": (
        lambda saved: saved.update({"encoder.model.embeddings.LayerNorm.bias": torch.zeros(32)}),
        "encoder.model.embeddings.LayerNorm.bias belongs to none",
    ),
    "a tensor is missing": (lambda saved: saved.pop(WEIGHT), f"{WEIGHT} is not there, expected float (2, 32)"),
    "the pooler is missing": (
        lambda saved: saved.pop("encoder.pooler.dense.bias"),
        "encoder.pooler.dense.bias is not there, expected float (32,)",
    ),
    "a tensor too many": (
        lambda saved: saved.update({"heads.cola.x": torch.zeros(1)}),
        "heads.cola.x is float (1,), expected not there",
    ),
    "another shape": (
        lambda saved: saved.update({WEIGHT: torch.zeros(3, 32)}),
        f"{WEIGHT} is float (3, 32), expected float (2, 32)",
    ),
    "another type": (
        lambda saved: saved.update({WEIGHT: torch.zeros(2, 32, dtype=torch.int64)}),
        f"{WEIGHT} is torch.int64 (2, 32), expected float (2, 32)",
    ),
}


@pytest.mark.parametrize("case", HEADS)
def test_heads_that_do_not_fit(exported: Path, case: str) -> None:
    change, message = HEADS[case]
    saved = load_file(exported / HEADS_FILE)
    change(saved)
    save_file(saved, exported / HEADS_FILE)
    with pytest.raises(InputError) as caught:
        build(exported)
    assert str(caught.value).startswith(f"--init_checkpoint: {exported / HEADS_FILE}: {message}")


TASKS = ["", "null", "[]", "3", '{"cola": 3}', '{"cola": {}}', "[" * 100_000, "\xff"]


@pytest.mark.parametrize("text", TASKS, ids=lambda text: ascii(text[:20]))
def test_tasks_that_are_none(exported: Path, text: str) -> None:
    (exported / TASKS_FILE).write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match="is not a whole exported model: "):
        build(exported)


def test_heads_of_a_run_are_drawn_anew_where_asked_for(exported: Path) -> None:
    kept, new = (build_model(str(exported), [COLA], dropout_p=0.1, seed=9, heads=how) for how in ("checkpoint", "new"))
    assert new.head_origins == {"cola": "new head (--heads new)"}
    assert kept.head_origins == {"cola": f"head taken over from {exported}"}
    assert not torch.equal(kept.heads["cola"].linear.weight, new.heads["cola"].linear.weight)
    one, two = kept.encoder.state_dict(), new.encoder.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
