"""Tiny models with random weights, written as normal Hugging Face folders: one BERT-style, one RoBERTa-style."""

from __future__ import annotations

import string
from pathlib import Path

import torch
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
