"""What a folder or a configuration is, where it is no encoder that can be trained here, and what helps.

Each of these is loaded without a word by `transformers`, or refused with advice that does not help.
"""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import transformers
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, WEIGHTS_INDEX_NAME, WEIGHTS_NAME

WEIGHTS_FILES = (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, WEIGHTS_NAME, WEIGHTS_INDEX_NAME)
"""What `transformers` looks for in a model folder, in its order."""

ADAPTER_CONFIG = "adapter_config.json"

WEIGHTS_OF_OTHERS = {
    ".gguf": "GGUF, quantized weights for llama.cpp",
    ".h5": "TensorFlow",
    ".mlmodel": "Core ML",
    ".msgpack": "Flax",
    ".onnx": "ONNX",
    ".ot": "Rust",
    ".tflite": "TensorFlow Lite",
}
"""Endings of weights that torch does not read."""

MORE_THAN_TEXT = {
    "bbox": "where each word stands on a page (bbox)",
    "xpath_tags_seq": "where each word stands in a page's markup (xpath)",
}
"""Arguments of a model's `forward` that rows of text have nothing for."""

NEEDED = "needed is an encoder such as BERT or RoBERTa"


def check_folder(folder: Path) -> None:
    """Raise `ValueError` for a folder without a model, with what it holds instead and what to give."""
    if (folder / ADAPTER_CONFIG).is_file():
        raise ValueError(_adapter(folder))
    if not (folder / CONFIG_NAME).is_file():
        inner = [f"{path.parent.relative_to(folder)}" for path in sorted(folder.glob(f"*/{CONFIG_NAME}"))]
        there = f"a model lies in {' and '.join(inner)} below it: give that folder" if inner else _what_lies_in(folder)
        raise ValueError(f"no {CONFIG_NAME} in it; {there}")


def check_weights_file(folder: Path) -> None:
    """Raise `ValueError` for a model folder without weights that torch reads, with what it holds instead."""
    if not any(folder.glob("*.safetensors")) and not any((folder / name).is_file() for name in WEIGHTS_FILES):
        raise ValueError(f"no {SAFE_WEIGHTS_NAME} or {WEIGHTS_NAME} in it; {_what_lies_in(folder)}")


def _adapter(folder: Path) -> str:
    base = "BASE"
    with contextlib.suppress(OSError, ValueError, TypeError, LookupError):
        base = repr(str(json.loads((folder / ADAPTER_CONFIG).read_bytes())["base_model_name_or_path"]))
    return (
        f"it holds an adapter ({ADAPTER_CONFIG}), not a whole model; merge it into its base with peft, "
        f"PeftModel.from_pretrained(AutoModel.from_pretrained({base}), FOLDER).merge_and_unload()"
        ".save_pretrained(OUTPUT), save the tokenizer there, too, and give OUTPUT"
    )


def _what_lies_in(folder: Path) -> str:
    """Weights of another make by name, and what is needed."""
    found = [*_weights_of_others(folder)]
    there = f"there is {', '.join(found)}, which torch does not read; " if found else ""
    return f"{there}give the Hugging Face folder of the PyTorch model, with {CONFIG_NAME} and {SAFE_WEIGHTS_NAME}"


def _weights_of_others(folder: Path) -> Iterator[str]:
    for path in sorted([*folder.glob("*.*"), *folder.glob("*/*.*")]):
        if path.suffix in WEIGHTS_OF_OTHERS:
            yield f"{path.relative_to(folder)} ({WEIGHTS_OF_OTHERS[path.suffix]})"


def why_no_encoder(config: transformers.PreTrainedConfig) -> str | None:
    """Why the model of this configuration cannot be trained here, with what is needed; None where it may be.

    A decoder's configuration does not say that it is one; that it has a causal and no masked language model does.
    """
    kind = config.model_type
    masked = kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    decodes = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not masked
    if decodes or getattr(config, "is_decoder", False):
        return f"its model type is {kind}, a decoder, whose first token sees nothing of its row; {NEEDED}"
    if config.is_encoder_decoder or (kind in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES and not masked):
        return (
            f"its model type is {kind}, an encoder-decoder; nor was its encoder alone pretrained with a first token "
            f"that stands for the row; {NEEDED}"
        )
    if kind in ("xlm", "flaubert"):
        instead = "XLM-R (xlm-roberta-base)" if kind == "xlm" else "CamemBERT (camembert-base)"
        return (
            f"its model type is {kind}, which has neither layers in one list, as the optimizers need, nor a fast "
            f"tokenizer, as the features need; {instead} has both"
        )
    if kind == "xmod" and getattr(config, "default_language", None) is None:
        return 'its model type is xmod, which needs a language: add "default_language", such as "en_XX", to config.json'
    return _needs_more(config)


def _needs_more(config: transformers.PreTrainedConfig) -> str | None:
    """What the model reads besides or instead of token ids."""
    kind, found = config.model_type, transformers.MODEL_MAPPING.get(type(config), None)
    model: Any = found[0] if isinstance(found, (list, tuple)) else found
    if model is not None:
        modalities = getattr(model, "input_modalities", "text")
        reads = {modalities} if isinstance(modalities, str) else set(modalities)
        if others := sorted(reads - {"text"}):
            return f"its model type is {kind}, whose input is {' and '.join(others)}; {NEEDED}"
        arguments = inspect.signature(model.forward).parameters
        if wanted := [what for name, what in MORE_THAN_TEXT.items() if name in arguments]:
            return f"its model type is {kind}, which also reads {wanted[0]}, and rows here are text alone; {NEEDED}"
    if getattr(config, "vocab_size", None) is None and not hasattr(type(config), "vocab_size"):
        return f"its model type is {kind}, which reads no tokens of a vocabulary; {NEEDED}"
    return None
