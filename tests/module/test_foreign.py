"""A folder without an encoder, or a model of another kind: the message says what it is and what is needed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import transformers

from module.encoder import load_encoder

SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
TEXT = {**SMALL, "vocab_size": 60, "max_position_embeddings": 40}
IMAGES = {**SMALL, "image_size": 32, "patch_size": 16}
T5 = {"d_model": 16, "d_ff": 16, "num_layers": 1, "num_heads": 1, "d_kv": 8, "vocab_size": 60}
XLM = {"emb_dim": 32, "n_layers": 1, "n_heads": 2, "vocab_size": 60}

MODELS: dict[str, tuple[Callable[[], transformers.PreTrainedModel], str]] = {
    "a decoder": (
        lambda: transformers.GPT2Model(transformers.GPT2Config(vocab_size=60, n_embd=32, n_layer=1, n_head=1)),
        "its model type is gpt2, a decoder, whose first token sees nothing of its row; needed is an encoder",
    ),
    "BERT as a decoder": (
        lambda: transformers.BertModel(transformers.BertConfig(**TEXT, is_decoder=True)),
        "its model type is bert, a decoder, ",
    ),
    "T5": (
        lambda: transformers.T5Model(transformers.T5Config(**T5)),
        "its model type is t5, an encoder-decoder; nor was its encoder alone pretrained with a first token",
    ),
    "T5's encoder alone": (
        lambda: transformers.T5EncoderModel(transformers.T5Config(**T5)),
        "its model type is t5, an encoder-decoder; nor was its encoder alone pretrained with a first token",
    ),
    "characters": (
        lambda: transformers.CanineModel(transformers.CanineConfig(**SMALL, max_position_embeddings=64)),
        "its model type is canine, which reads no tokens of a vocabulary; needed is an encoder",
    ),
    "layouts": (
        lambda: transformers.LiltModel(transformers.LiltConfig(**TEXT)),
        "its model type is lilt, which also reads where each word stands on a page (bbox), and rows here are text",
    ),
    "XLM": (
        lambda: transformers.XLMModel(transformers.XLMConfig(**XLM)),
        "its model type is xlm, which has neither layers in one list, as the optimizers need, nor a fast tokenizer, "
        "as the features need; XLM-R (xlm-roberta-base) has both",
    ),
    "a language to choose": (
        lambda: transformers.XmodModel(transformers.XmodConfig(**TEXT)),
        'its model type is xmod, which needs a language: add "default_language", such as "en_XX", to config.json',
    ),
    "images": (
        lambda: transformers.ViTModel(transformers.ViTConfig(**IMAGES)),
        "its model type is vit, whose input is image; needed is an encoder",
    ),
    "images and text": (
        lambda: transformers.CLIPModel(transformers.CLIPConfig(text_config=dict(TEXT), vision_config=dict(IMAGES))),
        "its model type is clip, whose input is image; needed is an encoder",
    ),
    "speech": (
        lambda: transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(**SMALL, conv_dim=[8] * 7)),
        "its model type is wav2vec2, whose input is audio; needed is an encoder",
    ),
}


@pytest.mark.parametrize("case", MODELS)
def test_models_of_another_kind(case: str, tmp_path: Path) -> None:
    make, message = MODELS[case]
    make().save_pretrained(tmp_path)
    assert message in refusal(tmp_path)


def refusal(folder: Path) -> str:
    with pytest.raises(ValueError, match="cannot be loaded: ") as caught:
        load_encoder(str(folder), seed=0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    transformers.BertModel(transformers.BertConfig(**TEXT)).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


WEIGHTS = {
    "tf_model.h5": "there is tf_model.h5 (TensorFlow), which torch does not read",
    "flax_model.msgpack": "there is flax_model.msgpack (Flax)",
    "onnx/model.onnx": "there is onnx/model.onnx (ONNX)",
    "bert-Q4.gguf": "there is bert-Q4.gguf (GGUF, quantized weights for llama.cpp)",
    "README.md": "in it; give the Hugging Face folder of the PyTorch model, with config.json and model.safetensors",
}


@pytest.mark.parametrize("with_config", [True, False])
@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_of_another_make(name: str, with_config: bool, bert: Path) -> None:
    (bert / "model.safetensors").unlink()
    (bert / name).parent.mkdir(exist_ok=True)
    (bert / name).write_bytes(b"x" * 100)
    missing = "no model.safetensors or pytorch_model.bin in it; "
    if not with_config:
        (bert / "config.json").unlink()
        missing = "no config.json in it; "
    message = refusal(bert)
    assert missing in message
    assert WEIGHTS[name] in message
    assert message.endswith("give the Hugging Face folder of the PyTorch model, with config.json and model.safetensors")


@pytest.mark.parametrize("inner", ["0_Transformer", "checkpoint-10"])
def test_a_model_one_folder_below(inner: str, bert: Path) -> None:
    shutil.copytree(bert, bert.parent / "outer" / inner)
    assert f"no config.json in it; a model lies in {inner} below it: give that folder" in refusal(bert.parent / "outer")


@pytest.mark.parametrize("whole_model_too", [True, False])
def test_an_adapter(whole_model_too: bool, bert: Path, tmp_path: Path) -> None:
    """Where peft is installed, `transformers` would load its base in place of the model beside it."""
    folder = bert if whole_model_too else tmp_path
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/base"}))
    message = refusal(folder)
    assert "it holds an adapter (adapter_config.json), not a whole model; merge it into its base with peft" in message
    assert "AutoModel.from_pretrained('org/base'), FOLDER).merge_and_unload().save_pretrained(OUTPUT)" in message


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_a_damaged_adapter(text: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(text)
    assert "AutoModel.from_pretrained(BASE), FOLDER)" in refusal(tmp_path)


def test_a_model_type_that_transformers_does_not_know(bert: Path) -> None:
    (bert / "config.json").write_text('{"model_type": "model2vec"}')
    assert refusal(bert).endswith(f"transformers {transformers.__version__} knows no model type model2vec")
