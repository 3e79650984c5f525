"""The model itself as a Hugging Face folder: configuration with label names, weights, tokenizer."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers.utils import CONFIG_NAME

from data_utils.task_def import TaskDef
from module.encoder import Encoder, quiet_transformers
from mt_dnn.export.custom_model import EncoderWithHeadConfig
from mt_dnn.export.heads import (
    BASE,
    OPTIONS,
    USES,
    Place,
    family_class,
    linear_of,
    named_layers,
    place_of,
    pooler_of,
)
from mt_dnn.model import MTDNN

TOKENIZER_CONFIG_FILE = "tokenizer_config.json"


def write_classifier(model: MTDNN, task: TaskDef, folder: Path) -> None:
    """Write the encoder with the task's head into `folder`, for the Auto class of the task's kind.

    Raises:
        InputError: the head is none that can be written, see `linear_of`.
    """
    linear, place = linear_of(model, task), place_of(model.encoder, task)
    build = _custom(model.encoder, task, linear) if place is None else _native(model.encoder, task, linear, place)
    with quiet_transformers():
        build.save_pretrained(folder)


def write_encoder(encoder: Encoder, folder: Path) -> None:
    """Write the encoder alone, for `AutoModel`.

    The pooler comes along where the family has one like it (`OPTIONS`), be it ours (`--pooler new`) or its own.
    """
    state, place = encoder.model.state_dict(), OPTIONS.get(encoder.config.model_type)
    if encoder.pooler is not None and place is not None and place.pooler.startswith(BASE):
        where = place.pooler.removeprefix(BASE)
        state |= {f"{where}.{name}": value for name, value in pooler_of(encoder).state_dict().items()}
    with quiet_transformers():
        encoder.model.save_pretrained(folder, state_dict=state)
    _settle(folder / CONFIG_NAME)


def write_tokenizer(
    tokenizer: transformers.PreTrainedTokenizerBase, max_length: int, *, type_ids: bool, folder: Path
) -> None:
    """Write the tokenizer: it cuts rows to `max_length` tokens where asked to, and gives type ids only if they count.

    An encoder without them stumbles over those of a tokenizer that was made for another family.
    """
    written = copy.deepcopy(tokenizer)
    written.model_max_length = max_length
    written.save_pretrained(folder)
    names = [name for name in tokenizer.model_input_names if type_ids or name != "token_type_ids"]
    _settle(folder / TOKENIZER_CONFIG_FILE, model_input_names=names)


def _settle(path: Path, **more: Any) -> None:
    """Add to a configuration, and take out what names Python code of others, which was not run here either."""
    settings = json.loads(path.read_bytes()) | more
    settings.pop("auto_map", None)
    path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _labelled(task: TaskDef) -> dict[str, Any]:
    use = USES[task.type_name]
    names = use.labels(task)
    return {
        "id2label": dict(enumerate(names)),
        "label2id": {name: i for i, name in enumerate(names)},
        "problem_type": use.problem_type,
    }


def _copy(config: transformers.PreTrainedConfig) -> transformers.PreTrainedConfig:
    """A configuration to change, without the place it came from and the name of code that was not run."""
    copied = copy.deepcopy(config)
    copied._name_or_path = ""
    if hasattr(copied, "auto_map"):
        del copied.auto_map
    return copied


def _native(encoder: Encoder, task: TaskDef, linear: nn.Linear, place: Place) -> transformers.PreTrainedModel:
    """The family's own class with our weights; every name must be found on both sides."""
    config = _copy(encoder.config)
    for name, value in (_labelled(task) | dict(place.settings)).items():
        setattr(config, name, value)
    cls = family_class(USES[task.type_name].auto, config)
    with quiet_transformers(), torch.random.fork_rng(devices=[]), torch.device("meta"):
        model = cls(config)
    base, wanted = cls.base_model_prefix, model.state_dict().keys()
    state = {f"{base}.{name}": value for name, value in encoder.model.state_dict().items()}
    # The encoder's own pooler is left out where the class has none: the head's first layer stands elsewhere.
    state = {name: value for name, value in state.items() if name in wanted or not name.startswith(f"{base}.pooler")}
    for where, layer in named_layers(place, base, encoder, linear).items():
        state |= {f"{where}.{name}": value for name, value in layer.state_dict().items()}
    model.load_state_dict(state, strict=True, assign=True)
    return model


def _custom(encoder: Encoder, task: TaskDef, linear: nn.Linear) -> transformers.PreTrainedModel:
    """`custom_model` with our weights, which brings its code along."""
    use, base = USES[task.type_name], _copy(encoder.config)
    own_pooler = use.pooled and encoder.pooler is None
    config = EncoderWithHeadConfig(base_config=base, own_pooler=own_pooler, **_labelled(task))
    EncoderWithHeadConfig.register_for_auto_class()
    use.custom.register_for_auto_class(use.auto)
    with quiet_transformers(), torch.random.fork_rng(devices=[]), torch.device("meta"):
        model = use.custom(config)
    state = {f"encoder.{name}": value for name, value in encoder.model.state_dict().items()}
    if not own_pooler:
        state = {name: value for name, value in state.items() if not name.startswith("encoder.pooler.")}
    layers = {"classifier": linear} | ({"pooler": pooler_of(encoder)} if use.pooled and not own_pooler else {})
    for where, layer in layers.items():
        state |= {f"{where}.{name}": value for name, value in layer.state_dict().items()}
    model.load_state_dict(state, strict=True, assign=True)
    return model
