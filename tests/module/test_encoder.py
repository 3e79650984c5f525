"""The encoder: packed rows equal padded ones for every type that may be packed, and loading says what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from module.encoder import PACKABLE, Encoder, load_encoder

SMALL = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
MORE = {"intermediate_size": 48, "max_position_embeddings": 40, "pad_token_id": 1}
SPECIFIC = {
    "distilbert": {"vocab_size": 60, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48, "pad_token_id": 1},
    "albert": {**SMALL, **MORE, "embedding_size": 16},
    "electra": {**SMALL, **MORE, "embedding_size": 16},
}


def tiny_encoder(model_type: str) -> Encoder:
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(model_type, **SPECIFIC.get(model_type, {**SMALL, **MORE}))
    return Encoder(transformers.AutoModel.from_config(config)).eval()


def rows_of_tokens(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(2, 60, size=rng.integers(3, 30)) for _ in range(count)]


@pytest.mark.parametrize("model_type", sorted(PACKABLE))
def test_packed_rows_equal_padded_rows(model_type: str, make_features) -> None:
    from mt_dnn.batching import Collator

    encoder = tiny_encoder(model_type)
    assert encoder.can_pack
    features = make_features(rows_of_tokens(9))
    pooled = {}
    for packing in (False, True):
        batch = Collator.for_encoder(encoder, packing=packing, max_length=64)(features, np.array([4, 0, 8, 2, 2, 7]))
        pooled[packing] = encoder(**batch.inputs).pooled
    assert batch.inputs["input_ids"].shape[0] < 6, "nothing was packed, so nothing was compared"
    torch.testing.assert_close(pooled[True], pooled[False], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model_type", sorted(PACKABLE))
def test_position_offset_is_the_models_own(model_type: str) -> None:
    """Shifted positions would change the output, so the packed test above would not catch a common shift."""
    encoder = tiny_encoder(model_type)
    ids = torch.tensor([[5, 6, 7, 8]])
    positions = torch.arange(4)[None] + encoder.position_offset
    with_ours = encoder(ids, attention_mask=torch.ones_like(ids), position_ids=positions).pooled
    torch.testing.assert_close(with_ours, encoder(ids, attention_mask=torch.ones_like(ids)).pooled)
    assert (encoder.position_offset > 0) == (model_type in {"roberta", "xlm-roberta", "camembert", "mpnet"})


@pytest.mark.parametrize("model_type", ["electra", "distilbert", "deberta-v2"])
def test_encoders_without_a_pooler_get_one(model_type: str) -> None:
    encoder = tiny_encoder(model_type)
    assert encoder.pooler is not None
    ids = torch.tensor([[5, 6, 7], [8, 9, 1]])
    pooled = encoder(ids, attention_mask=torch.tensor([[1, 1, 1], [1, 1, 0]])).pooled
    assert pooled.shape == (2, 32)
    assert pooled.abs().max() < 1


def test_an_encoders_own_pooler_is_used() -> None:
    encoder = tiny_encoder("bert")
    ids = torch.tensor([[5, 6, 7], [8, 9, 4]])
    mask = torch.ones_like(ids)
    assert encoder.pooler is None
    torch.testing.assert_close(
        encoder(ids, attention_mask=mask).pooled, encoder.model(ids, attention_mask=mask).pooler_output
    )


def test_missing_weights_come_from_the_seed_and_leave_the_global_streams_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint without pooler: one seed gives one pooler, another seed another, and nothing is drawn."""
    config = transformers.BertConfig(**SMALL, **MORE)
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    torch.manual_seed(7)
    before, seeds = torch.get_rng_state(), []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    first, again, other = (load_encoder(str(tmp_path), seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before) and not seeds
    assert first.untrained == {"pooler.dense.weight", "pooler.dense.bias"}
    weight = "pooler.dense.weight"
    assert torch.equal(first.model.get_parameter(weight), again.model.get_parameter(weight))
    assert not torch.equal(first.model.get_parameter(weight), other.model.get_parameter(weight))
    pretrained = {id(p) for p in first.pretrained_parameters()}
    assert id(first.model.get_parameter(weight)) not in pretrained
    assert len(pretrained) == len(list(first.model.parameters())) - 2


def test_bad_checkpoints_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    transformers.BertModel(transformers.BertConfig(**SMALL, **MORE)).save_pretrained(broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    decoder = tmp_path / "t5"
    transformers.T5Config(d_model=16, d_ff=16, num_layers=1, num_heads=1, d_kv=8, vocab_size=60).save_pretrained(
        decoder
    )
    cases = {
        str(tmp_path / "nowhere" / "at" / "all"): "no folder",
        "./nowhere": "no folder",
        str(tmp_path): "cannot be loaded",
        str(broken): "cannot be loaded",
        str(decoder): "cannot be loaded",
    }
    for name, expected in cases.items():
        with pytest.raises(ValueError, match=expected):
            load_encoder(name, seed=0)


def test_decoders_are_refused(tmp_path: Path) -> None:
    transformers.T5Model(
        transformers.T5Config(d_model=16, d_ff=16, num_layers=1, num_heads=1, d_kv=8, vocab_size=60)
    ).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="needed is an encoder"):
        load_encoder(str(tmp_path), seed=0)
