"""A model folder whose files do not agree, ask for too much or are of another kind is refused before it is used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from module.encoder import load_encoder

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
CONFIG = transformers.BertConfig(vocab_size=60, max_position_embeddings=40, **SMALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    transformers.BertModel(CONFIG).save_pretrained(tmp_path)
    return tmp_path


def change_config(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


class Made(TorchDispatchMode):
    """Counts the elements of the largest tensor that is made with memory."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and not result.is_meta:
            self.elements = max(self.elements, result.numel())
        return result


CONFIGS = {
    "text as size": ({"hidden_size": "x"}, "Field 'hidden_size' expected int, got str"),
    "no size": ({"vocab_size": None}, "Field 'vocab_size' expected int, got NoneType"),
    "a size of 0": ({"hidden_size": 0}, "config.json: hidden_size is 0, allowed: 1 to 65536"),
    "no layers": ({"num_hidden_layers": 0}, "num_hidden_layers is 0, allowed: 1 to 1000"),
    "negative": (
        {"num_hidden_layers": -1, "num_attention_heads": -2},
        "num_hidden_layers is -1, allowed: 1 to 1000; num_attention_heads is -2",
    ),
    "enormous": ({"vocab_size": 10**12}, "vocab_size is 1000000000000, allowed"),
    "a billion layers": ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, allowed"),
    "more than the weights hold": (
        {"hidden_size": 2**16, "intermediate_size": 2**20, "num_hidden_layers": 9},
        "parameters, but the weights take",
    ),
    "a large vocabulary": ({"vocab_size": 2**24}, "parameters, but the weights take"),
    "more than any integer": ({"type_vocab_size": 10**30}, "cannot be loaded"),
    "another width": ({"hidden_size": 64}, "37 tensors have another shape than config.json says: embeddings."),
    "a larger vocabulary": ({"vocab_size": 61}, "embeddings.weight is (60, 32) where config.json says (61, 32)"),
    "more layers": ({"num_hidden_layers": 3}, "the weights lack 16 of the 55 tensors of config.json's model: encoder."),
    "fewer layers": ({"num_hidden_layers": 1}, "the weights hold layers that config.json does not: encoder.layer.1."),
    "an unknown activation": ({"hidden_act": "sin"}, "KeyError: 'sin'"),
    "an odd setting": ({"chunk_size_feed_forward": "x"}, "TypeError"),
    "no dictionary of labels": ({"id2label": [1]}, "AttributeError | Field 'id2label'"),
    "an unknown type": ({"model_type": "berd"}, "berd"),
    "a list as type": ({"model_type": []}, "TypeError"),
    "quantized": ({"quantization_config": {"quant_method": "fp8"}}, "quantized weights cannot be trained"),
    "weights elsewhere": ({"transformers_weights": "../model.safetensors"}, "inside the model directory"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_that_does_not_fit(folder: Path, case: str) -> None:
    values, message = CONFIGS[case]
    change_config(folder, **values)
    with Made() as made, pytest.raises(ValueError, match="cannot be loaded") as caught:
        load_encoder(str(folder), seed=0)
    assert any(words in str(caught.value) for words in message.split(" | "))  # words differ by version
    assert "\n" not in str(caught.value)
    assert made.elements < 1_000_000, "nothing may be built or filled first"


@pytest.mark.parametrize("text", ["", "null", "[]", '"bert"', "{}", "[" * 100_000, "\xff", '{"model_type": "bert"'])
def test_a_config_that_is_none(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_encoder(str(folder), seed=0)


def test_a_config_cannot_choose_a_kernel_to_download(folder: Path) -> None:
    change_config(folder, attn_implementation="kernels-community/flash-attn2")
    assert load_encoder(str(folder), seed=0).can_pack


def test_weights_of_another_model(folder: Path) -> None:
    """Every tensor would be random, and training would go on."""
    save_file({"something": torch.zeros(40_000)}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="the weights lack 37 of the 39 tensors"):
        load_encoder(str(folder), seed=0)


def test_weights_with_other_heads_and_no_pooler_load(folder: Path) -> None:
    """What a checkpoint of a masked language model looks like."""
    path = folder / "model.safetensors"
    saved = {f"bert.{name}": tensor for name, tensor in load_file(path).items() if not name.startswith("pooler.")}
    save_file(saved | {"cls.predictions.bias": torch.zeros(60)}, path, metadata={"format": "pt"})
    encoder = load_encoder(str(folder), seed=0)
    assert encoder.untrained == {"pooler.dense.weight", "pooler.dense.bias"}
    name = "encoder.layer.1.output.dense.weight"
    assert torch.equal(encoder.model.get_parameter(name), saved[f"bert.{name}"])


@pytest.mark.parametrize("index", ["null", "{}", "[]", '{"weight_map": 3}', '{"weight_map": {"a": 3}}'])
def test_an_index_that_is_none(folder: Path, index: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_encoder(str(folder), seed=0)


def test_sound_shards_load(folder: Path) -> None:
    expected = load_encoder(str(folder), seed=0).model.state_dict()
    transformers.BertModel.from_pretrained(folder).save_pretrained(folder / "shards", max_shard_size="20KB")
    assert (folder / "shards" / "model.safetensors.index.json").is_file()
    loaded = load_encoder(str(folder / "shards"), seed=0).model.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())


def test_parts_of_a_distributed_checkpoint(folder: Path) -> None:
    """What torch raises for damaged ones gets through every `except Exception`."""
    (folder / "shard-00000-model-00001-of-00001.safetensors").write_bytes(b"x")
    with pytest.raises(ValueError, match="shard-00000-model-00001-of-00001.safetensors is part of a distributed"):
        load_encoder(str(folder), seed=0)
