"""A miniature of all five kinds of task.

CoLA's judgements, a share of red in per cent, named entities, a choice among one to three options, and
questions about passages of one to three windows.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import prepro_std
from tests.miniature_glue import OBJECTS, SUBJECTS, VERBS
from tests.tiny_models import write_tiny_bert

TASKS = """
cola: {data_format: PremiseOnly, task_type: Classification, metric_meta: [MCC]}
share: {data_format: PremiseOnly, task_type: Regression, label_mean: 20, label_std: 25}
ner: {data_format: Seqence, task_type: SeqenceLabeling, labels: [O, B-who, I-who, X, CLS, SEP], metric_meta: [SeqEval]}
pick: {data_format: PremiseAndMultiHypothesis, task_type: Ranking, metric_meta: [ACC]}
asked: {data_format: MRC, task_type: Span, unanswerable: true, metric_meta: [EmF1, EM]}
"""
SPLITS = {"train": 24, "dev": 9, "test": 5}
"""Rows, or questions; those of test have no answers."""
WINDOW = 48
"""Tokens a row; the encoder takes 64."""


def cola_row(rng: random.Random, number: int) -> list[str]:
    words = f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)}".split()
    good = number % 3 > 0
    return [str(int(good)), " ".join(words if good else words[::-1])]


def share_row(rng: random.Random, number: int) -> list[str]:
    words = rng.choices(["red", "tea"], k=rng.randint(2, 9))
    return [f"{100 * words.count('red') / len(words):.1f}", " ".join(words)]


def ner_row(rng: random.Random, number: int) -> list[str]:
    who, rest = rng.choice(SUBJECTS).split(), f"{rng.choice(VERBS)} \u200b tea".split(" ")
    tags = ["B-who", *["I-who"] * (len(who) - 1), *["O"] * len(rest)]
    return [repr(tags), repr(who + rest)]


def pick_row(rng: random.Random, number: int) -> list[str]:
    count = number % 3 + 1
    right, options = rng.randrange(count), rng.sample(OBJECTS, count)
    ids, labels = [str(i) for i in range(count)], [str(int(i == right)) for i in range(count)]
    return [",".join(ids), ",".join(labels), f"she saw {options[right]}", *options]


ROWS = {"cola": cola_row, "share": share_row, "ner": ner_row, "pick": pick_row}


def asked_paragraph(rng: random.Random, number: int, *, labelled: bool) -> dict[str, Any]:
    """A passage with one question; every fourth has no answer."""
    facts = [f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)} {rng.choice(OBJECTS)}" for _ in range(number % 5 * 3 + 1)]
    passage, fact = " . ".join(facts), rng.choice(facts)
    who = next(subject for subject in SUBJECTS if fact.startswith(subject))
    entry: dict[str, Any] = {"id": f"u{number}", "question": f"who {fact.removeprefix(who).strip()} ?"}
    if labelled and number % 4 == 3:
        entry |= {"question": "who slept ?", "is_impossible": True, "answers": []}
    elif labelled:
        entry["answers"] = [{"text": who, "answer_start": passage.index(fact)}]
    return {"context": passage, "qas": [entry]}


def write_miniature_kinds(root: Path) -> tuple[Path, Path]:
    """Write task file, rows, features and tiny encoder; returns the folders of the last two."""
    encoder, canonical = write_tiny_bert(root / "tiny-bert"), root / "canonical"
    canonical.mkdir()
    (root / "tasks.yml").write_text(TASKS)
    for split, count in SPLITS.items():
        for name, make in ROWS.items():
            rng = random.Random(name + split)
            lines = ["\t".join([f"u{i}", *make(rng, i)]) for i in range(count)]
            (canonical / f"{name}_{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        rng = random.Random("asked" + split)
        paragraphs = [asked_paragraph(rng, i, labelled=split != "test") for i in range(count)]
        (canonical / f"asked_{split}.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    flags = ["--model", str(encoder), "--root_dir", str(canonical), "--workers", "1", "--max_seq_len", str(WINDOW)]
    assert prepro_std.main([*flags, "--task_def", str(root / "tasks.yml")]) == 0
    return canonical / "tiny-bert", encoder
