"""An encoder's folder is no classifier: what needs a head refuses it, whatever the family; the encoder itself loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from transformers.models.auto import modeling_auto

from data_utils.task_def import DataFormat, TaskDef, TaskType
from module.headless import AUTO_CLASSES, SIGN, stoppers
from mt_dnn.model import MTDNN, build_model, export_model
from tests.tiny_models import FAMILIES, write_tiny_bert, write_tiny_encoder

COLA = TaskDef(name="cola", data_format=DataFormat.PremiseOnly, task_type=TaskType.Classification)
FAMILY_CLASSES = {
    (model_type, auto)
    for auto, names in {
        "AutoModelForSequenceClassification": modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        "AutoModelForTokenClassification": modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
        "AutoModelForQuestionAnswering": modeling_auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
        "AutoModelForMultipleChoice": modeling_auto.MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES,
    }.items()
    for model_type in names
    if model_type in FAMILIES
}


def exported(source: Path, folder: Path) -> MTDNN:
    model = build_model(str(source), [COLA], dropout_p=0.1, seed=1)
    export_model(model, model.state_dict(), folder, [COLA], transformers.AutoTokenizer.from_pretrained(source))
    return model


@pytest.fixture(scope="module")
def best(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An exported model of each family."""
    root = tmp_path_factory.mktemp("families")
    for model_type in FAMILIES:
        model = build_model(
            str(write_tiny_encoder(root / model_type / "source", model_type)), [COLA], dropout_p=0.1, seed=1
        )
        export_model(model, model.state_dict(), root / model_type / "best", [COLA], None)
    return {model_type: root / model_type / "best" / "encoder" for model_type in FAMILIES}


@pytest.mark.parametrize(("model_type", "auto"), sorted(FAMILY_CLASSES))
def test_what_needs_a_head_refuses_the_folder(model_type: str, auto: str, best: dict[str, Path]) -> None:
    assert auto in AUTO_CLASSES
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        getattr(transformers, auto).from_pretrained(best[model_type])


@pytest.mark.parametrize("model_type", FAMILIES)
def test_the_encoder_loads_as_it_was(model_type: str, best: dict[str, Path]) -> None:
    source = transformers.AutoModel.from_pretrained(best[model_type].parents[1] / "source").state_dict()
    loaded, info = transformers.AutoModel.from_pretrained(best[model_type], output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"]
    assert loaded.state_dict().keys() == source.keys()
    assert all(torch.equal(value, source[name]) for name, value in loaded.state_dict().items())


@pytest.mark.parametrize("task", ["text-classification", "token-classification"])
def test_no_pipeline_predicts_with_a_random_head(task: str, tmp_path: Path) -> None:
    exported(write_tiny_bert(tmp_path / "source"), tmp_path / "best")
    encoder = tmp_path / "best" / "encoder"
    with pytest.raises(ValueError, match="Could not load model"):
        transformers.pipeline(task, str(encoder))
    states = transformers.pipeline("feature-extraction", str(encoder))("the sailor", return_tensors=True)
    assert states.shape[-1] == 32
    assert "export.py" in (encoder / "README.md").read_text()
    assert "architectures" not in json.loads((encoder / "config.json").read_text())


def test_a_head_can_be_asked_for_all_the_same(tmp_path: Path) -> None:
    exported(write_tiny_bert(tmp_path / "source"), tmp_path / "best")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "best" / "encoder", num_labels=5, ignore_mismatched_sizes=True
    )
    assert model.classifier.weight.shape == (5, 32)


def test_our_models_load_it_and_folders_from_before(tmp_path: Path) -> None:
    model = exported(write_tiny_bert(tmp_path / "source"), tmp_path / "best")
    again = build_model(str(tmp_path / "best" / "encoder"), [COLA], dropout_p=0.1, seed=1)
    model.encoder.model.save_pretrained(tmp_path / "before")
    before = build_model(str(tmp_path / "before"), [COLA], dropout_p=0.1, seed=1)
    for name, value in model.encoder.state_dict().items():
        assert torch.equal(again.encoder.state_dict()[name], value) and torch.equal(
            before.encoder.state_dict()[name], value
        )


def test_one_number_a_class_is_all_that_is_added(tmp_path: Path) -> None:
    model = transformers.AutoModel.from_pretrained(write_tiny_bert(tmp_path))
    added = stoppers(model)
    assert added.keys() == {"classifier.weight", "qa_outputs.weight", SIGN}
    assert all(value.shape == (1,) for value in added.values())
