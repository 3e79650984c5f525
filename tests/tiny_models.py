"""Tiny models with random weights, written as normal Hugging Face folders.

One BERT-style and one RoBERTa-style with their tokenizers; of other families encoders alone.
"""

from __future__ import annotations

import string
from pathlib import Path

import torch
import transformers
from tokenizers import AddedToken, ByteLevelBPETokenizer
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
    RobertaTokenizer,
)

from tests.miniature_glue import miniature_texts

SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}

TEXT = {**SHAPE, "vocab_size": 60}
FAMILIES = {
    "bert": transformers.BertConfig(**TEXT),
    "roberta": transformers.RobertaConfig(**TEXT, pad_token_id=1, type_vocab_size=1, max_position_embeddings=66),
    "electra": transformers.ElectraConfig(**TEXT, embedding_size=16),
    "distilbert": transformers.DistilBertConfig(vocab_size=60, dim=32, n_layers=2, n_heads=2, hidden_dim=64),
    "mpnet": transformers.MPNetConfig(**TEXT),
    "deberta-v2": transformers.DebertaV2Config(
        **TEXT,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        position_buckets=8,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        type_vocab_size=0,
    ),
    "albert": transformers.AlbertConfig(**TEXT, embedding_size=16),
    "xlm-roberta": transformers.XLMRobertaConfig(**TEXT, pad_token_id=1, type_vocab_size=1, max_position_embeddings=66),
    "modernbert": transformers.ModernBertConfig(
        **TEXT, pad_token_id=0, bos_token_id=2, cls_token_id=2, eos_token_id=3, sep_token_id=3
    ),
    "longformer": transformers.LongformerConfig(**TEXT, attention_window=4, sep_token_id=2),
}
"""Configurations by model type."""


def write_tiny_encoder(folder: Path, model_type: str, seed: int = 0) -> Path:
    """An encoder of one of `FAMILIES`, without a tokenizer; all of its parameters are random, biases too."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = transformers.AutoModel.from_config(FAMILIES[model_type])
        for parameter in model.parameters():
            parameter.data.add_(0.2 * torch.randn_like(parameter))
        model.save_pretrained(folder)
    return folder


def write_tiny_bert(folder: Path, seed: int = 0) -> Path:
    """A BERT with a WordPiece vocabulary of the miniature's words and of all single characters."""
    folder = Path(folder)
    words = sorted({word for text in miniature_texts() for word in text.lower().split() if word.isalnum()})
    letters = sorted(set(string.printable.lower()) - set(string.whitespace)) + list("ëé猫“”🍵")
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters)]
    vocabulary = list(dict.fromkeys([*tokens, *words]))
    tokenizer = BertTokenizer(vocab={token: i for i, token in enumerate(vocabulary)}, model_max_length=64)
    tokenizer.save_pretrained(folder)
    config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **SHAPE)
    return _write_model(BertModel, config, folder, seed)


def write_tiny_roberta(folder: Path, seed: int = 0) -> Path:
    """A RoBERTa with a byte-level BPE trained on the miniature's text."""
    folder = Path(folder)
    trained = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    texts = [*miniature_texts() * 3, "wide    gaps" * 9]  # the real vocabulary has tokens for runs of spaces, too
    trained.train_from_iterator(texts, vocab_size=400, special_tokens=special, show_progress=False)
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary, merges = trained.save_model(str(folder))
    mask = AddedToken("<mask>", lstrip=True)  # swallows the space before it, as the real one does
    tokenizer = RobertaTokenizer(vocab=vocabulary, merges=merges, mask_token=mask, model_max_length=64)
    tokenizer.save_pretrained(folder)
    config = RobertaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=66, type_vocab_size=1, pad_token_id=1, **SHAPE
    )
    return _write_model(RobertaModel, config, folder, seed)


def _write_model(model: type[PreTrainedModel], config: BertConfig | RobertaConfig, folder: Path, seed: int) -> Path:
    with torch.random.fork_rng():  # leaves the test's own random stream alone
        torch.manual_seed(seed)
        model(config).save_pretrained(folder)
    return folder
