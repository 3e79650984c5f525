"""Families of encoders and kinds of task: what was exported gives the logits of our own model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from torch import Tensor, nn

from data_utils.errors import InputError
from data_utils.kinds.kind import TOKEN
from data_utils.task_def import TaskDef
from mt_dnn.export.folder import write_classifier, write_encoder
from mt_dnn.export.heads import USES
from mt_dnn.model import MTDNN, build_model
from tests.tiny_models import FAMILIES, write_tiny_encoder

DEFINITIONS = {
    "mood": {"data_format": "PremiseOnly", "task_type": "Classification", "labels": ["poor", "fair", "good"]},
    "mark": {"data_format": "PremiseOnly", "task_type": "Regression", "n_class": 1},
    "choice": {"data_format": "PremiseAndMultiHypothesis", "task_type": "Ranking"},
    "names": {"data_format": "Seqence", "task_type": "SeqenceLabeling", "labels": ["O", "B-PER", "I-PER", "X"]},
    "asked": {"data_format": "MRC", "task_type": "Span"},
}
TASKS = {name: TaskDef.from_dict(name, raw) for name, raw in DEFINITIONS.items()}
WITH_CODE = {
    "electra": {"mood", "mark"},  # GELU
    "distilbert": {"mood", "mark", "choice"},  # ReLU
    "modernbert": set(TASKS),  # a normalisation
    "longformer": {"choice", "names", "asked"},  # the first token does not see the whole row
}
LABELS = {
    "mood": {0: "poor", 1: "fair", 2: "good"},
    "mark": {0: "mark"},
    "choice": {0: "score"},
    "names": {0: "O", 1: "B-PER", 2: "I-PER", 3: "X"},
    "asked": {0: "start", 1: "end"},
}


def tiny(folder: Path, model_type: str, pooler: str = "checkpoint") -> MTDNN:
    """A model with a head for each of `TASKS`; all of its parameters are random, biases too."""
    source = write_tiny_encoder(folder, model_type)
    model = build_model(str(source), list(TASKS.values()), dropout_p=0.1, seed=1, pooler=pooler).eval()
    torch.manual_seed(2)
    parts = [*model.heads.parameters(), *(model.encoder.pooler.parameters() if model.encoder.pooler else [])]
    for parameter in parts:
        parameter.data.normal_(std=0.5)
    return model


def batch(model: MTDNN) -> dict[str, Tensor]:
    """Four rows of token ids, padded; of two options each where options are wanted."""
    pad = model.encoder.config.pad_token_id or 0
    ids = torch.randint(5, 60, (4, 9), generator=torch.Generator().manual_seed(3))
    mask = (torch.arange(9) < torch.tensor([[9], [3], [6], [2]])).long()
    inputs = {"input_ids": torch.where(mask == 1, ids, pad), "attention_mask": mask}
    return inputs | ({"token_type_ids": (mask.cumsum(1) > 4) * mask} if model.encoder.uses_type_ids else {})


@torch.no_grad()
def assert_same_logits(model: MTDNN, task: TaskDef, folder: Path, *, trust: bool) -> transformers.PreTrainedModel:
    auto = getattr(transformers, USES[task.type_name].auto)
    loaded = auto.from_pretrained(folder, trust_remote_code=trust).eval()
    inputs = batch(model)
    mask = inputs["attention_mask"].bool()
    places = {"token_places": torch.arange(36).view(4, 9)} if task.kind.level == TOKEN else {}
    ours = model(task.name, {**inputs, **places})
    if task.type_name == "Ranking":
        theirs = loaded(**{name: value.view(2, 2, 9) for name, value in inputs.items()}).logits
        assert theirs.shape == (2, 2)
        theirs = theirs.view(4, 1)
    elif task.type_name == "Span":
        output = loaded(**inputs)
        ours, theirs = ours[mask], torch.stack([output.start_logits, output.end_logits], dim=-1)[mask]
    else:
        theirs = loaded(**inputs).logits
        ours, theirs = (ours[mask], theirs[mask]) if places else (ours, theirs)
    assert ours.std() > 0.05, "logits that say nothing"
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-5)
    return loaded


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("model_type", FAMILIES)
def test_the_logits_are_ours(model_type: str, name: str, tmp_path: Path) -> None:
    model, task = tiny(tmp_path / "source", model_type), TASKS[name]
    write_classifier(model, task, tmp_path / "out")
    code = name in WITH_CODE.get(model_type, set())
    assert sorted(path.name for path in (tmp_path / "out").glob("*.py")) == ["custom_model.py"] * code
    loaded = assert_same_logits(model, task, tmp_path / "out", trust=code)
    assert loaded.config.id2label == LABELS[name]
    assert loaded.config.label2id == {label: i for i, label in LABELS[name].items()}
    assert loaded.config.problem_type == ("regression" if name == "mark" else None)
    assert str(tmp_path) not in (tmp_path / "out" / "config.json").read_text()


@pytest.mark.parametrize("name", ["mood", "choice", "names"])
@pytest.mark.parametrize("model_type", ["bert", "albert", "roberta", "mpnet", "longformer"])
def test_a_new_pooler_takes_the_place_of_the_encoders(model_type: str, name: str, tmp_path: Path) -> None:
    model = tiny(tmp_path / "source", model_type, "new")
    write_classifier(model, TASKS[name], tmp_path / "out")
    assert_same_logits(model, TASKS[name], tmp_path / "out", trust=True)


RIGHT = {
    "mood": {"labels": torch.tensor([2, 0, -100, 1])},
    "mark": {"labels": torch.tensor([0.5, 3.0, -1.0, 2.0])},
    "choice": {"labels": torch.tensor([1, 0])},
    "names": {"labels": torch.where(torch.arange(36).view(4, 9) % 3 == 1, -100, torch.arange(36).view(4, 9) % 4)},
    "asked": {"start_positions": torch.tensor([0, 2, 9, 4]), "end_positions": torch.tensor([8, 3, 40, 0])},
}


@pytest.mark.parametrize("name", TASKS)
def test_the_code_that_goes_along_has_the_loss_of_the_familys_class(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, task = tiny(tmp_path / "source", "bert"), TASKS[name]
    auto = getattr(transformers, USES[task.type_name].auto)
    write_classifier(model, task, tmp_path / "native")
    monkeypatch.setattr("mt_dnn.export.folder.place_of", lambda *_: None)  # as if BERT had no class of its own
    write_classifier(model, task, tmp_path / "custom")
    rows = {key: value.view(2, 2, 9) if name == "choice" else value for key, value in batch(model).items()}
    both = (auto.from_pretrained(tmp_path / one, trust_remote_code=True).eval() for one in ("native", "custom"))
    native, custom = both
    assert type(native).__module__.startswith("transformers.models.bert") and not custom.accepts_loss_kwargs
    theirs, ours = native(**rows, **RIGHT[name]).loss, custom(**rows, **RIGHT[name]).loss
    torch.testing.assert_close(ours, theirs)
    ours.backward()
    assert custom.classifier.weight.grad.abs().sum() > 0


def test_the_code_that_goes_along_hears_what_models_are_asked_for(tmp_path: Path) -> None:
    model = tiny(tmp_path / "source", "modernbert")
    write_classifier(model, TASKS["mood"], tmp_path / "out")
    auto = transformers.AutoModelForSequenceClassification
    loaded, rows = auto.from_pretrained(tmp_path / "out", trust_remote_code=True).eval(), batch(model)
    plain = loaded(**rows)
    assert plain.hidden_states is None and len(loaded(**rows, output_hidden_states=True).hidden_states) == 3
    (logits,) = loaded(**rows, return_dict=False)
    assert torch.equal(logits, plain.logits)
    places = torch.arange(9).flip(0).expand(4, 9)
    assert not torch.equal(loaded(**rows, position_ids=places).logits, plain.logits)


def test_code_is_not_run_unasked_nor_another_head_made_up(tmp_path: Path) -> None:
    """`transformers` has a class for DistilBERT, which must not take the place of ours."""
    write_classifier(tiny(tmp_path / "source", "distilbert"), TASKS["mood"], tmp_path / "out")
    for trust in ({}, {"trust_remote_code": False}):
        with pytest.raises(ValueError, match="trust_remote_code=True"):
            transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", **trust)


def test_the_code_that_goes_along_imports_nothing_of_ours(tmp_path: Path) -> None:
    write_classifier(tiny(tmp_path / "source", "electra"), TASKS["mood"], tmp_path / "out")
    code = (tmp_path / "out" / "custom_model.py").read_text()
    imports = {line.split()[1].split(".")[0] for line in code.splitlines() if line.startswith(("import ", "from "))}
    assert imports == {"inspect", "typing", "torch", "transformers"}


def test_the_encoders_own_settings_stay_as_they_are(tmp_path: Path) -> None:
    model = tiny(tmp_path / "source", "deberta-v2")
    before = model.encoder.config.to_dict()
    write_classifier(model, TASKS["mood"], tmp_path / "out")
    assert model.encoder.config.to_dict() == before
    assert json.loads((tmp_path / "out" / "config.json").read_text())["pooler_hidden_act"] == "tanh"


def test_a_head_of_more_than_a_linear_layer_is_refused(tmp_path: Path) -> None:
    model = tiny(tmp_path / "source", "bert")
    model.heads["mood"].answer = nn.GRUCell(4, 4)
    with pytest.raises(InputError, match="--task mood: its head .* is not a linear layer, and export.py"):
        write_classifier(model, TASKS["mood"], tmp_path / "out")


@pytest.mark.parametrize("pooler", ["checkpoint", "new"])
@pytest.mark.parametrize("model_type", ["bert", "albert", "roberta", "distilbert"])
def test_the_encoder_alone_keeps_its_states_and_its_pooler(model_type: str, pooler: str, tmp_path: Path) -> None:
    model = tiny(tmp_path / "source", model_type, pooler)
    write_encoder(model.encoder, tmp_path / "out")
    loaded, info = transformers.AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    inputs = batch(model)
    with torch.no_grad():
        ours, theirs = model.encoder(**inputs), loaded.eval()(**inputs)
    torch.testing.assert_close(theirs.last_hidden_state, ours.last_hidden_state, atol=1e-5, rtol=1e-5)
    if model_type != "distilbert":
        torch.testing.assert_close(theirs.pooler_output, ours.pooled, atol=1e-5, rtol=1e-5)
