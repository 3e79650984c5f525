"""Where a family of encoders keeps a head that computes what ours does, in the classes that `transformers` has for it.

Our heads read the first token through dense and tanh (the encoder's pooler, or ours), then a linear layer; or all
tokens through a linear layer alone. Families with another function there cannot hold ours: DistilBERT has a ReLU for
the tanh, ELECTRA a GELU, ModernBERT a normalisation behind it. They get `custom_model`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import transformers
from torch import nn

from data_utils.errors import InputError
from data_utils.task_def import TaskDef
from module.encoder import Encoder
from mt_dnn.export import custom_model
from mt_dnn.model import MTDNN

BASE = "BASE."
"""Stands in `Place.pooler` for where a class keeps the encoder itself, such as `bert.`."""


@dataclass(frozen=True)
class Use:
    """What becomes of a kind of task at Hugging Face.

    Attributes:
        auto: the class of `transformers` that loads it.
        custom: ours, for families that cannot hold our head.
        pooled: whether the head reads the pooled first token.
        tag: the model card's `pipeline_tag`.
        labels: names of the outputs, in their order.
        problem_type: as `config.json` has it.
    """

    auto: str
    custom: type[custom_model.EncoderWithHead]
    pooled: bool
    tag: str
    labels: Callable[[TaskDef], tuple[str, ...]]
    problem_type: str | None = None


_LABELS = attrgetter("label_names")
USES: Mapping[str, Use] = {
    "Classification": Use(
        "AutoModelForSequenceClassification",
        custom_model.EncoderForSequenceClassification,
        pooled=True,
        tag="text-classification",
        labels=_LABELS,
    ),
    "Regression": Use(
        "AutoModelForSequenceClassification",
        custom_model.EncoderForSequenceClassification,
        pooled=True,
        tag="text-classification",
        labels=lambda task: (task.name,),
        problem_type="regression",
    ),
    "Ranking": Use(
        "AutoModelForMultipleChoice",
        custom_model.EncoderForMultipleChoice,
        pooled=True,
        tag="multiple-choice",
        labels=lambda task: ("score",),
    ),
    "SeqenceLabeling": Use(
        "AutoModelForTokenClassification",
        custom_model.EncoderForTokenClassification,
        pooled=False,
        tag="token-classification",
        labels=_LABELS,
    ),
    "Span": Use(
        "AutoModelForQuestionAnswering",
        custom_model.EncoderForQuestionAnswering,
        pooled=False,
        tag="question-answering",
        labels=lambda task: ("start", "end"),
    ),
}
"""By task type."""


@dataclass(frozen=True)
class Place:
    """Where a class keeps the two layers of a head.

    Attributes:
        pooler: dense layer before the tanh; "" where tokens are read as they are.
        linear: the layer that gives the logits.
        settings: of `config.json`, under which the class computes what our head does.
    """

    pooler: str
    linear: str
    settings: Mapping[str, Any] = field(default_factory=dict)


_IN_BASE = Place(BASE + "pooler.dense", "classifier")
_BEFORE_LINEAR = Place("classifier.dense", "classifier.out_proj")
_CONTEXT_POOLER = Place("pooler.dense", "classifier", {"pooler_hidden_act": "tanh"})
_SUMMARY = Place(
    "sequence_summary.summary",
    "classifier",
    {"summary_type": "first", "summary_use_proj": True, "summary_activation": "tanh"},
)
ROWS: Mapping[str, Place] = {
    "bert": _IN_BASE,
    "albert": Place(BASE + "pooler", "classifier"),
    "roberta": _BEFORE_LINEAR,
    "xlm-roberta": _BEFORE_LINEAR,
    "camembert": _BEFORE_LINEAR,
    "mpnet": _BEFORE_LINEAR,
    "longformer": _BEFORE_LINEAR,
    "deberta": _CONTEXT_POOLER,
    "deberta-v2": _CONTEXT_POOLER,
}
OPTIONS: Mapping[str, Place] = {
    "bert": _IN_BASE,
    "albert": ROWS["albert"],
    "roberta": _IN_BASE,
    "xlm-roberta": _IN_BASE,
    "camembert": _IN_BASE,
    "mpnet": _IN_BASE,
    "electra": _SUMMARY,
    "deberta-v2": _CONTEXT_POOLER,
}
_LINEAR_ALONE = ("bert", "albert", "roberta", "xlm-roberta", "camembert", "mpnet", "electra", "distilbert", "deberta")
TOKENS: Mapping[str, Place] = dict.fromkeys((*_LINEAR_ALONE, "deberta-v2"), Place("", "classifier"))
SPANS: Mapping[str, Place] = dict.fromkeys((*_LINEAR_ALONE, "deberta-v2"), Place("", "qa_outputs"))

PLACES: Mapping[str, Mapping[str, Place]] = {
    "Classification": ROWS,
    "Regression": ROWS,
    "Ranking": OPTIONS,
    "SeqenceLabeling": TOKENS,
    "Span": SPANS,
}
"""By task type and model type; what is not listed gets `custom_model`."""


def place_of(encoder: Encoder, task: TaskDef) -> Place | None:
    """Where the encoder's family keeps a head like the task's; None where it has to be `custom_model`."""
    return PLACES[task.type_name].get(encoder.config.model_type)


LAYERS = {"linear.weight", "linear.bias"}
"""What a head consists of that can be written."""


def family_class(auto: str, config: transformers.PreTrainedConfig) -> type[transformers.PreTrainedModel]:
    """The class that `transformers` has for this use of this family."""
    return getattr(transformers, auto)._model_mapping[type(config)]


def linear_of(model: MTDNN, task: TaskDef) -> nn.Linear:
    """The task's linear layer.

    Raises:
        InputError: its head consists of something else, such as SAN's answer module, which nothing here can write.
    """
    head = model.heads[task.name]
    if task.type_name not in USES or {name for name, _ in head.named_parameters()} != LAYERS:
        raise InputError(
            f"--task {task.name}: its head ({type(head).__name__}) is not a linear layer, and export.py writes no "
            "other; predict.py takes it as it is, and --encoder_only writes the encoder without it"
        )
    linear: nn.Linear = getattr(head, "linear")  # noqa: B009 - torch's types know no attributes of a module
    return linear


def pooler_of(encoder: Encoder) -> nn.Linear:
    """The dense layer that the first token goes through before the tanh."""
    pooler: Any = encoder.pooler if encoder.pooler is not None else encoder.model.pooler
    dense: nn.Linear = pooler if isinstance(pooler, nn.Linear) else pooler.dense
    return dense


def named_layers(place: Place, base: str, encoder: Encoder, linear: nn.Linear) -> dict[str, nn.Linear]:
    """The head's layers by their names in a class that keeps the encoder under the name `base`."""
    layers = {place.linear: linear}
    if place.pooler:
        layers[place.pooler.replace(BASE, base + ".")] = pooler_of(encoder)
    return layers
