"""What has to hold before a pretrained model's files are believed: they come from anywhere, and are often damaged.

`transformers` runs no code that it was not told to trust, but it makes random weights where there are none, leaves out
layers, makes room for whatever a `config.json` asks for, and says little. These checks say what is wrong.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
import transformers

from .foreign import WEIGHTS_FILES, check_weights_file, why_no_encoder

LARGEST = {
    "num_hidden_layers": 1000,
    "num_attention_heads": 1000,
    "hidden_size": 2**16,
    "intermediate_size": 2**20,
    "vocab_size": 2**24,
    "max_position_embeddings": 2**24,
}
"""Far above any real encoder: what `config.json` may ask for before the model is built to see how large it gets."""

LOOSE_WEIGHTS = frozenset({".pt", ".pth", ".bin", ".ckpt"})
"""Endings of single files, such as MT-DNN's checkpoints."""

SHARD = re.compile(r"shard-\d+-model-\d+-of-\d+\.safetensors")
"""What a model that was saved by several processes consists of; `transformers` reads it before all others."""


def check_place(name_or_dir: str) -> None:
    """Raise `ValueError` for a file, and for what looks like a folder but is none."""
    path = Path(name_or_dir)
    looks_local = name_or_dir.startswith((".", "/", "~")) or name_or_dir.count("/") > 1
    looks_local |= "/" in name_or_dir and Path(name_or_dir).parent.is_dir()  # downloads/…, where there is a downloads
    if not path.is_dir() and (path.is_file() or path.suffix in LOOSE_WEIGHTS):
        raise ValueError(
            f"{name_or_dir!r} is a file of weights; give a Hugging Face model folder or a hub name instead"
        )
    if looks_local and not path.is_dir():
        raise ValueError(f"no folder {name_or_dir!r}; give a Hugging Face model folder or a hub name")


def check_config(config: transformers.PreTrainedConfig) -> None:
    """Look at a `config.json` before the model is built.

    Raises:
        ValueError: no encoder of text, see `why_no_encoder`; sizes that no encoder has; quantized weights, which cannot
            be trained.
    """
    if reason := why_no_encoder(config):
        raise ValueError(reason)
    found = {key: getattr(config, key, None) for key in LARGEST}
    bad = [
        f"{key} is {size}, allowed: 1 to {LARGEST[key]}"
        for key, size in found.items()
        if isinstance(size, int) and not 1 <= size <= LARGEST[key]
    ]
    if getattr(config, "quantization_config", None) is not None:
        bad.append("quantization_config: quantized weights cannot be trained; give the model in float")
    if bad:
        raise ValueError("config.json: " + "; ".join(bad))


def check_files(config: transformers.PreTrainedConfig, folder: Path) -> None:
    """Look at a model folder before anything is read into memory.

    Raises:
        ValueError: there are no weights that torch reads, its index names a file outside the folder, `config.json`
            describes a far larger model than the folder can hold (`transformers` would make room for all of it before
            it compares any shape), or the weights are parts of a distributed checkpoint.
    """
    check_weights_file(folder)
    if shards := sorted(path.name for path in folder.iterdir() if SHARD.match(path.name)):
        raise ValueError(f"{shards[0]} is part of a distributed checkpoint; save the model as one, or in plain shards")
    names = (getattr(config, "transformers_weights", None), *WEIGHTS_FILES)
    used = next((name for name in names if isinstance(name, str) and (folder / name).is_file()), "")
    if used.endswith(".index.json"):
        shards = json.loads((folder / used).read_text(encoding="utf-8"))["weight_map"].values()
        if outside := sorted({shard for shard in shards if shard != Path(shard).name}):
            raise ValueError(f"{used} names a file outside its folder: {outside[0]}")
    stored = sum(path.stat().st_size for path in folder.iterdir() if path.suffix in (".safetensors", ".bin"))
    with torch.device("meta"):  # shapes only
        model = transformers.AutoModel.from_config(config, trust_remote_code=False)
    described = sum(parameter.numel() for parameter in model.parameters())
    if used and described > 2 * stored:  # a parameter takes a byte or more, and all but a pooler are stored
        raise ValueError(f"config.json describes {described:,} parameters, but the weights take {stored:,} bytes")


def check_weights(model: transformers.PreTrainedModel, info: dict[str, Any]) -> None:
    """Raise `ValueError` unless the checkpoint held what the model consists of: no tensor random, no layer left out.

    A pooler may be missing, and heads of another use may be left over.
    """
    if mismatched := sorted(info["mismatched_keys"]):
        name, stored, described = mismatched[0]
        shapes = f"{tuple(stored)} where config.json says {tuple(described)}"
        raise ValueError(f"{len(mismatched)} tensors have another shape than config.json says: {name} is {shapes}")
    if missing := sorted(name for name in info["missing_keys"] if not name.startswith("pooler.")):
        parts = len(list(model.parameters()))
        raise ValueError(
            f"the weights lack {len(missing)} of the {parts} tensors of config.json's model: {missing[0]}, ..."
        )
    layers = {re.sub(r"\d+", "#", name) for name, _ in model.named_parameters() if re.search(r"\.\d+\.", name)}
    if extra := sorted(key for key in info["unexpected_keys"] if re.sub(r"\d+", "#", key).endswith(tuple(layers))):
        raise ValueError(f"the weights hold layers that config.json does not: {extra[0]}, ...")


def reason_of(error: Exception) -> str:
    """An error in one line, without the advice to run the code after all, which two libraries give."""
    text = " ".join(str(error).split())
    if "trust_remote_code" in text:
        return "it needs Python code that comes with it, and such code is never run"
    if unknown := re.search(r"model type (\S+) but Transformers does not recognize", text):
        return f"transformers {transformers.__version__} knows no model type {unknown[1].strip('`')}"
    if type(error).__name__ == "UnpicklingError":  # by name, as `pickle` is imported nowhere
        return "its weights are damaged or hold more than tensors, which is never run; give them as safetensors"
    return text if isinstance(error, (OSError, ValueError)) and text else f"{type(error).__name__}: {text}"
