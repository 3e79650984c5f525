"""Which parameters are perturbed and decayed, over the families of encoders."""

from __future__ import annotations

import re

import pytest
import torch
import transformers
from torch import nn

from module.encoder import Encoder
from module.heads import ClassificationHead
from module.optim import encoder_param_groups, with_recall
from mt_dnn.model import MTDNN

SHAPE = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
SMALL = {**SHAPE, "vocab_size": 11, "max_position_embeddings": 12}
LAYER = r"encoder\.layer\.[01]\."
DISENTANGLED = {
    "relative_attention": True,
    "pos_att_type": ["c2p", "p2c"],
    "position_buckets": 4,
    "max_position_embeddings": 12,
}

# Model type -> configuration, and what the names of the perturbed parameters look like below the base model.
FAMILIES: dict[str, tuple[dict, str]] = {
    "bert": (SMALL, LAYER),
    "roberta": (SMALL, LAYER),
    "xlm-roberta": (SMALL, LAYER),
    "electra": ({**SMALL, "embedding_size": 6}, LAYER),
    "mpnet": (SMALL, LAYER),
    "deberta": ({**SMALL, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}, LAYER),
    "deberta-v2": ({**SMALL, **DISENTANGLED, "conv_kernel_size": 3}, LAYER),
    "distilbert": (
        {"dim": 8, "n_layers": 2, "n_heads": 2, "hidden_dim": 16, "vocab_size": 11},
        r"transformer\.layer\.[01]\.",
    ),
    "albert": ({**SMALL, "embedding_size": 6}, r"encoder\.albert_layer_groups\.0\."),
    "modernbert": (
        {**SMALL, "pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2},
        r"layers\.[01]\.",
    ),
}
NORM = re.compile(r"(LayerNorm|layer_norm|layernorm|_norm|norm)\.(weight|bias)$")

BERT_LAYER = [
    f"{part}.{kind}"
    for part in (
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
    )
    for kind in ("weight", "bias")
]


def make(model_type: str, *, head: bool) -> transformers.PreTrainedModel:
    config = transformers.AutoConfig.for_model(model_type, **FAMILIES[model_type][0])
    with torch.random.fork_rng():
        auto = transformers.AutoModelForSequenceClassification if head else transformers.AutoModel
        return auto.from_config(config)


def names_of(model: nn.Module, groups: list[dict], *, perturb: bool | None = None) -> set[str]:
    """Names of the parameters in the groups, in those with `perturb` as given where it is."""
    names = {id(param): name for name, param in model.named_parameters()}
    chosen = [group for group in groups if perturb is None or group["perturb"] is perturb]
    return {names[id(param)] for group in chosen for param in group["params"]}


def test_bert_exactly() -> None:
    model = make("bert", head=True)
    perturbed = names_of(model, encoder_param_groups(model), perturb=True)
    assert perturbed == {f"bert.encoder.layer.{i}.{name}" for i in (0, 1) for name in BERT_LAYER}


def test_this_projects_model() -> None:
    heads = nn.ModuleDict({"layers": ClassificationHead(8, 2, 0.1, seed=0)})  # a task of an unlucky name
    model = MTDNN(Encoder(make("bert", head=False)), heads)
    groups = encoder_param_groups(model)
    perturbed = {f"encoder.model.encoder.layer.{i}.{name}" for i in (0, 1) for name in BERT_LAYER}
    assert names_of(model, groups, perturb=True) == perturbed
    assert names_of(model, groups) == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize("head", [False, True], ids=["base", "with head"])
@pytest.mark.parametrize("family", FAMILIES)
def test_families(family: str, head: bool, weight_decay: float) -> None:
    """All of the layers but their normalisation is perturbed, nothing outside them; every parameter is there once."""
    model = make(family, head=head)
    prefix = f"{model.base_model_prefix}." if head else ""
    layers = re.compile(re.escape(prefix) + FAMILIES[family][1])
    groups = encoder_param_groups(model, weight_decay=weight_decay)

    every = {name for name, _ in model.named_parameters()}
    expected = {name for name in every if layers.match(name) and not NORM.search(name)}
    assert len(expected) >= 4
    assert names_of(model, groups, perturb=True) == expected
    members = [id(param) for group in groups for param in group["params"]]
    assert len(members) == len(set(members)) == len(every)
    for group in groups:
        assert group["params"]
        for name in names_of(model, [group]):
            spared = name.endswith("bias") or NORM.search(name) is not None
            assert group["weight_decay"] == (0.0 if spared else weight_decay), name


def test_names_and_order_of_the_groups() -> None:
    model = make("bert", head=True)
    assert [g["name"] for g in encoder_param_groups(model)] == ["encoder layers", "other"]
    decayed = encoder_param_groups(model, weight_decay=0.1)
    expected = ["encoder layers", "encoder layers, no decay", "other", "other, no decay"]
    assert [g["name"] for g in decayed] == expected
    assert [g["weight_decay"] for g in decayed] == [0.1, 0.0, 0.1, 0.0]
    assert all(g.keys() == {"name", "params", "names", "perturb", "weight_decay"} for g in decayed)
    named = dict(model.named_parameters())
    assert all(named[name] is param for g in decayed for name, param in zip(g["names"], g["params"], strict=True))


def test_frozen_are_left_out_and_tied_stand_once() -> None:
    model = transformers.AutoModelForMaskedLM.from_config(make("bert", head=False).config)
    model.bert.embeddings.requires_grad_(False)
    model.bert.encoder.layer[0].requires_grad_(False)
    groups = encoder_param_groups(model)
    members = [id(param) for group in groups for param in group["params"]]
    assert len(members) == len(set(members))
    assert names_of(model, groups) == {name for name, param in model.named_parameters() if param.requires_grad}
    assert names_of(model, groups, perturb=True) == {f"bert.encoder.layer.1.{name}" for name in BERT_LAYER}


class MyRMSNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))


class Unusual(nn.Module):
    """Layers under a name that nobody knows, normalisation of its own making, and one matrix used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.storeys = nn.ModuleList([nn.Linear(4, 4), MyRMSNorm(), nn.RMSNorm(4), nn.Linear(4, 4)])
        self.storeys[3].weight = self.storeys[0].weight
        self.out = nn.Linear(4, 2)


def test_layers_can_be_named_by_a_pattern() -> None:
    model = Unusual()
    groups = encoder_param_groups(model, layers=r"^storeys$")
    assert names_of(model, groups, perturb=True) == {"storeys.0.weight", "storeys.0.bias", "storeys.3.bias"}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters())) == 7


NOTHING = {
    "unknown names": lambda: encoder_param_groups(Unusual()),
    "pattern without a match": lambda: encoder_param_groups(make("bert", head=False), layers="storeys"),
}


@pytest.mark.parametrize("case", NOTHING)
def test_no_layers_found_says_what_to_pass(case: str) -> None:
    with pytest.raises(ValueError, match="no trainable encoder layers found in .*; pass layers='regular expression"):
        NOTHING[case]()


def test_a_heads_own_layers_are_not_the_encoders() -> None:
    model = torch.nn.Module()
    model.encoder = make("bert", head=False)
    model.heads = torch.nn.ModuleDict({"cola": torch.nn.Module()})
    model.heads["cola"].layers = torch.nn.ModuleList([torch.nn.Linear(3, 3)])
    perturbed = [p for group in encoder_param_groups(model) if group["perturb"] for p in group["params"]]
    assert all(p is not model.heads["cola"].layers[0].weight for p in perturbed)
    with pytest.raises(ValueError, match="is not a regular expression"):
        encoder_param_groups(model, layers="(")


def test_all_frozen_is_said_and_no_pattern_asked_for() -> None:
    with pytest.raises(ValueError, match="all parameters of encoder.layer are frozen, .* take a plain optimizer"):
        encoder_param_groups(make("bert", head=False).requires_grad_(False))


def test_parameters_that_a_wrapper_has_flattened_are_not_called_frozen() -> None:
    model = make("bert", head=False)
    for param in model.parameters():
        param.data = param.data.flatten()
    with pytest.raises(ValueError, match="no matrices found in encoder.layer of BertModel: .* before the model is"):
        encoder_param_groups(model)


class Scaled(nn.Module):
    """One layer with normalisation of every make, a layer scale, and the bias of a convolution's own."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.Linear(4, 4)
        self.no_norm = transformers.models.mobilebert.modeling_mobilebert.NoNorm(4)
        self.batch, self.group, self.layer = nn.BatchNorm1d(4), nn.GroupNorm(2, 4), nn.LayerNorm((2, 4))
        self.gamma = nn.Parameter(torch.ones(4))
        self.q_bias = nn.Parameter(torch.ones(4))


def test_what_scales_is_neither_perturbed_nor_decayed() -> None:
    model = nn.Module()
    model.layers = nn.ModuleList([Scaled()])
    groups = encoder_param_groups(model, weight_decay=0.1)
    layer = "layers.0."
    assert names_of(model, groups, perturb=True) == {
        f"{layer}{n}" for n in ("attention.weight", "attention.bias", "q_bias")
    }
    decayed = [group for group in groups if group["weight_decay"]]
    assert names_of(model, decayed) == {"layers.0.attention.weight"}


def test_mobileberts_own_normalisation_is_not_perturbed() -> None:
    config = transformers.MobileBertConfig(
        **SMALL, embedding_size=8, intra_bottleneck_size=8, num_feedforward_networks=1, normalization_type="no_norm"
    )
    model = transformers.MobileBertModel(config)
    perturbed = names_of(model, encoder_param_groups(model), perturb=True)
    assert perturbed and not any("LayerNorm" in name for name in perturbed)
    assert all(model.get_parameter(name).dim() == 2 or name.endswith("bias") for name in perturbed)


def test_decoders_and_heads_are_not_encoders() -> None:
    shape = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "vocab_size": 11}
    more = {"decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_position_embeddings": 12}
    model = nn.Module()
    model.bart = transformers.BartModel(transformers.BartConfig(**shape, **more, pad_token_id=1))
    model.classifier = nn.Module()
    model.classifier.layers = nn.ModuleList([nn.Linear(3, 3)])
    perturbed = names_of(model, encoder_param_groups(model), perturb=True)
    assert perturbed and all(name.startswith("bart.encoder.layers.0.") for name in perturbed)
    both = names_of(model, encoder_param_groups(model, layers=r"\.layers$"), perturb=True)
    assert any(name.startswith("bart.decoder.") for name in both) and "classifier.layers.0.weight" in both


def test_two_encoders_in_a_module_dict_are_both_found() -> None:
    model = nn.ModuleDict({"question": make("bert", head=False), "answer": make("modernbert", head=False)})
    perturbed = names_of(model, encoder_param_groups(model), perturb=True)
    assert {name.split(".")[0] for name in perturbed} == {"question", "answer"}


def test_recall_splits_pretrained_weights_from_new_ones() -> None:
    """As docs/optimizers.md has it for a Hugging Face classifier: its head is not pulled to where it began."""
    model = transformers.BertForSequenceClassification(transformers.BertConfig(**SMALL))
    groups = encoder_param_groups(model, weight_decay=0.1)
    split = with_recall(groups, lambda name: name.startswith("bert.encoder."))
    assert sorted(name for group in split for name in group["names"]) == sorted(dict(model.named_parameters()))
    for group in split:
        assert [id(model.get_parameter(name)) for name in group["names"]] == [id(param) for param in group["params"]]
        assert {name.startswith("bert.encoder.") for name in group["names"]} == {group["recall"]}
    kept = [{name: group[name] for name in ("perturb", "weight_decay")} for group in groups]
    assert all({name: group[name] for name in ("perturb", "weight_decay")} in kept for group in split)
    assert len({group["name"] for group in split}) == len(split), "names tell them apart"
