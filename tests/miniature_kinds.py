"""A miniature of three kinds of task: CoLA's judgements, named entities and a choice among one to three options."""

from __future__ import annotations

import random
from pathlib import Path

import prepro_std
from tests.miniature_glue import OBJECTS, SUBJECTS, VERBS
from tests.tiny_models import write_tiny_bert

TASKS = """
cola: {data_format: PremiseOnly, task_type: Classification, metric_meta: [MCC]}
ner: {data_format: Seqence, task_type: SeqenceLabeling, labels: [O, B-who, I-who, X, CLS, SEP], metric_meta: [SeqEval]}
pick: {data_format: PremiseAndMultiHypothesis, task_type: Ranking, metric_meta: [ACC]}
"""
NAMES = ["cola", "ner", "pick"]


def cola_row(rng: random.Random, number: int) -> list[str]:
    words = f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)}".split()
    good = number % 3 > 0
    return [str(int(good)), " ".join(words if good else words[::-1])]


def ner_row(rng: random.Random, number: int) -> list[str]:
    who, rest = rng.choice(SUBJECTS).split(), f"{rng.choice(VERBS)} \u200b tea".split(" ")
    tags = ["B-who", *["I-who"] * (len(who) - 1), *["O"] * len(rest)]
    return [repr(tags), repr(who + rest)]


def pick_row(rng: random.Random, number: int) -> list[str]:
    count = number % 3 + 1
    right, options = rng.randrange(count), rng.sample(OBJECTS, count)
    ids, labels = [str(i) for i in range(count)], [str(int(i == right)) for i in range(count)]
    return [",".join(ids), ",".join(labels), f"she saw {options[right]}", *options]


def write_miniature_kinds(root: Path) -> tuple[Path, Path]:
    """Write task file, rows, features and tiny encoder; returns the folders of the last two."""
    encoder, canonical = write_tiny_bert(root / "tiny-bert"), root / "canonical"
    canonical.mkdir()
    (root / "tasks.yml").write_text(TASKS)
    for name, make in zip(NAMES, (cola_row, ner_row, pick_row), strict=True):
        for split, count in {"train": 24, "dev": 9, "test": 5}.items():
            rng = random.Random(name + split)
            lines = ["\t".join([f"u{i}", *make(rng, i)]) for i in range(count)]
            (canonical / f"{name}_{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    flags = ["--model", str(encoder), "--root_dir", str(canonical), "--workers", "1"]
    assert prepro_std.main([*flags, "--task_def", str(root / "tasks.yml")]) == 0
    return canonical / "tiny-bert", encoder
