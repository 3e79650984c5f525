"""A clone in which a reader of our pages has come far: data of every kind, features, finished runs; in miniature."""

from __future__ import annotations

import json
import random
from pathlib import Path

import yaml

import export
import prepro_std
import train
from experiments.glue import glue_prepro
from tests.clone import write_clone
from tests.miniature_glue import SUBJECTS, VERBS
from tests.miniature_kinds import asked_paragraph, pick_row
from tests.tiny_models import write_tiny_bert

ENCODER = "downloads/all-MiniLM-L6-v2"
ROWS, FEATURES, TASKS = "data/canonical_data", "data/canonical_data/all-MiniLM-L6-v2", "tasks.yml"
"""Of all suites' tasks and of the table's."""
MTL, REVIEWS, MODEL = "runs/mtl", "runs/reviews", "model"
"""A run of many tasks, one of the table's alone, and what export.py makes of that."""

LONGEST = 64
"""Tokens that the encoder takes."""
SIZES = {"train": 24, "dev": 8, "test": 4}


def write_page_clone(folder: Path) -> None:
    """Fill the folder, which is the current one."""
    write_clone(folder)
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/activate").touch()
    write_tiny_bert(folder / "my-model")
    (folder / "new.txt").write_text("a joy\na bore\n")
    table = ["--table", "reviews.csv", "--text", "review", "--label", "stars", "--task", "reviews"]
    common = ["--model", ENCODER, "--workers", "1", "--max_seq_len", str(LONGEST)]
    assert prepro_std.main(["--root_dir", ROWS, *table, *common]) == 0
    assert glue_prepro.main(["--glue_dir", "data/glue", "--output_dir", ROWS]) == 0
    for split, count in SIZES.items():
        write_other_kinds(folder / ROWS, split, count)
    files = [folder / ROWS / "reviews_task_def.yml", *sorted(folder.glob("experiments/*/*_task_def.yml"))]
    tasks = {name: entry for file in files for name, entry in yaml.safe_load(file.read_text()).items()}
    (folder / TASKS).write_text(yaml.safe_dump(tasks))
    assert prepro_std.main(["--root_dir", ROWS, "--task_def", TASKS, *common]) == 0
    fixed = ["--data_dir", FEATURES, "--task_def", TASKS, "--init_checkpoint", ENCODER, "--epochs", "1"]
    fixed += ["--max_seq_len", str(LONGEST), "--no-tensorboard"]
    for output, names in ((MTL, "cola,rte,mnli"), (REVIEWS, "reviews")):
        assert train.main([*fixed, "--train_datasets", names, "--output_dir", output]) == 0
    assert export.main(["--checkpoint", REVIEWS, "--output", MODEL]) == 0


def write_other_kinds(rows: Path, split: str, count: int) -> None:
    """Rows of the suites beside GLUE, those of all kinds."""
    rng = random.Random(split)
    lines: dict[str, list[list[str]]] = {"wnut": [], "copa": [], "snli": []}
    for i in range(count):
        words = f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)}".split()
        lines["wnut"].append([json.dumps(["B-person", *["O"] * (len(words) - 1)]), json.dumps(words)])
        lines["copa"].append(pick_row(rng, 3 * i + 1))
        lines["snli"].append([("entailment", "neutral", "contradiction")[i % 3], " ".join(words), "a joy"])
    for task, made in lines.items():
        text = "".join("\t".join([f"u{i}", *row]) + "\n" for i, row in enumerate(made))
        (rows / f"{task}_{split}.tsv").write_text(text, encoding="utf-8")
    paragraphs = [asked_paragraph(rng, 4 * i, labelled=True) for i in range(count)]
    for task in ("squad", "xquad"):
        (rows / f"{task}_{split}.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
