"""What is trained on: encoders with random weights, made from a configuration, and rows of random words, by seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizer

import prepro_std

TASK_DEF = "experiments/glue/glue_task_def.yml"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

SHAPES: dict[str, Callable[[], BertConfig]] = {
    "bert_base": BertConfig,
    "bert_large": partial(
        BertConfig, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
    ),
    "tiny": partial(
        BertConfig,
        vocab_size=500,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    ),
}


def words_of_a_row(task: str, rng: random.Random) -> list[int]:
    """Words of each text of a row. CoLA has 11 tokens a row in the median, MRPC 53 in two texts; tails to the right."""
    if task == "cola":
        return [min(45, max(2, round(rng.lognormvariate(2.15, 0.4))))]
    return [min(50, max(6, round(rng.gauss(25, 6.5)))) for _ in range(2)]


def write_encoder(shape: str, folder: Path) -> Path:
    """A Hugging Face folder with a model of this shape and a tokenizer whose every word is one token."""
    config = SHAPES[shape]()
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    vocabulary = [*SPECIAL, *(f"w{i}" for i in range(config.vocab_size - len(SPECIAL)))]
    longest = config.max_position_embeddings
    BertTokenizer(vocab={token: i for i, token in enumerate(vocabulary)}, model_max_length=longest).save_pretrained(
        folder
    )
    return folder


def write_features(encoder: Path, folder: Path, rows: int, tasks: tuple[str, ...] = ("cola", "mrpc")) -> Path:
    """Features of random rows with the lengths of CoLA and MRPC; returns what `--data_dir` takes."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = BertConfig.from_pretrained(encoder).vocab_size - len(SPECIAL)
    for task in tasks:
        for split, count in (("train", rows), ("dev", 32)):
            rng = random.Random(f"{task} {split}")
            lines = []
            for uid in range(count):
                texts = [" ".join(f"w{rng.randrange(vocabulary)}" for _ in range(n)) for n in words_of_a_row(task, rng)]
                lines.append("\t".join([str(uid), str(rng.randrange(2)), *texts]) + "\n")
            (folder / f"{task}_{split}.tsv").write_text("".join(lines), encoding="utf-8")
    flags = ["--model", str(encoder), "--root_dir", str(folder), "--task_def", TASK_DEF, "--workers", "1"]
    if prepro_std.main(flags) != 0:
        raise RuntimeError("prepro_std.py could not make the features")
    return folder / encoder.name


def training_flags(encoder: Path, features: Path, task: str, output: Path) -> list[str]:
    """Flags of train.py for one task."""
    data = ["--data_dir", str(features), "--init_checkpoint", str(encoder), "--task_def", TASK_DEF]
    return [*data, "--train_datasets", task, "--output_dir", str(output), "--no-tensorboard"]
