"""Little worlds for runs that are killed: an encoder, a few tasks and the runs to make on them, all from nothing.

The encoder is a BERT of two layers with random weights and no tokenizer, the rows are random token ids whose labels
follow from them by rules (one label in ten is wrong, so that scores keep moving). A scenario of all kinds of task has a
world of its own, `tests.miniature_kinds`. No network is needed.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from transformers import BertConfig, BertModel

from module.encoder import quiet_transformers
from tests.miniature_kinds import write_miniature_kinds

SHAPE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 32,
    "initializer_range": 0.1,  # wide enough to tell words apart without pretraining
}
CLS, SEP, WORDS = 2, 3, range(5, 25)
BRIGHT = range(5, 13)  # the words that the labels ask for
ROWS = {"train": 64, "dev": 40}

TASKS = {
    "bright": {
        "data_format": "PremiseOnly",
        "task_type": "Classification",
        "n_class": 2,
        "metric_meta": ["ACC", "AUC"],
    },
    "which": {
        "data_format": "PremiseAndOneHypothesis",
        "task_type": "Classification",
        "n_class": 3,
        "metric_meta": ["F1MAC"],
    },
    "share": {"data_format": "PremiseOnly", "task_type": "Regression", "metric_meta": ["Pearson", "Spearman"]},
}

SCENARIOS = {
    "pats": "--train_datasets bright,which,share --optim pats_adamax --pats_lambda 1e-5 --batch_size 4 "
    "--grad_accumulation_step 2 --epochs 4 --save_per_updates 4 --eval_per_updates 5 --keep_checkpoints 2 "
    "--dev_predictions",
    "pats_lr": "--train_datasets bright,share --optim pats_adamw --pats_noise_schedule lr --pats_lambda 1e-7 "
    "--weight_decay 0.01 --sampler sqrt --batch_size 6 --epochs 5 --save_per_updates 3 --keep_checkpoints 1 "
    "--packing off --tensorboard",
    "sage": "--train_datasets which,bright --optim sage_adamw --sampler round_robin --batch_size 4 "
    "--grad_accumulation_step 3 --epochs 8 --eval_per_updates 3 --log_per_updates 3 --keep_checkpoints 1",
    "noisytune": "--train_datasets bright --baseline noisytune --batch_size 8 --epochs 60 --early_stopping 6 "
    "--eval_per_updates 4 --save_per_updates 5 --keep_checkpoints 2 --learning_rate 5e-3",
    "smart": "--train_datasets bright,which,share --baseline smart --optim pats_adamax --pats_lambda 1e-5 --adv_k 2 "
    "--batch_size 6 --grad_accumulation_step 2 --epochs 3 --save_per_updates 3 --keep_checkpoints 2",
    "freelb": "--train_datasets which --baseline freelb --optim adamw --batch_size 8 --epochs 6 --eval_per_updates 5 "
    "--save_per_updates 4 --keep_checkpoints 1 --dev_predictions",
    "rdrop": "--train_datasets share,bright --baseline rdrop --optim sage_adamax --batch_size 8 --epochs 5 "
    "--save_per_updates 3 --keep_checkpoints 2 --packing off",
    "recadam": "--train_datasets bright,share --optim recadam_adamax --recadam_anneal_t0 20 --recadam_anneal_k 0.2 "
    "--recadam_pretrain_cof 50 --baseline mixout --mixout_p 0.5 --batch_size 8 --epochs 6 --save_per_updates 5 "
    "--eval_per_updates 7 --keep_checkpoints 2",
    "kinds": "--train_datasets cola,share,ner,pick,asked --optim pats_adamax --pats_lambda 1e-5 --batch_size 6 "
    "--epochs 2 --save_per_updates 5 --eval_per_updates 8 --keep_checkpoints 2 --dev_predictions",
}
"""Runs by name, as flags: every method, sampler and layout of rows, with what happens inside epochs in several rhythms.

Soft labels of a teacher are left to `tests/mt_dnn/test_distill.py`. Noise is strong enough to change what is learned,
and `noisytune` stops early. `kinds` has all kinds of task.
"""
KINDS = "kinds"


@dataclass(frozen=True)
class World:
    """Where the features, the encoder and the task file lie."""

    data_dir: Path
    encoder: Path
    task_def: Path

    @classmethod
    def below(cls, folder: Path) -> World:
        """What `make_world` leaves in a folder."""
        return cls(folder, folder / "encoder", folder / "tasks.yml")

    def flags(self, output_dir: Path, wanted: str) -> list[str]:
        """The command line of a run with the flags in `wanted`, such as one of `SCENARIOS`."""
        here = {"data_dir": self.data_dir, "init_checkpoint": self.encoder, "task_def": self.task_def}
        fixed = [f"--{name}={path}" for name, path in {**here, "output_dir": output_dir}.items()]
        common = ["--device", "cpu", "--learning_rate", "3e-3", "--log_per_updates", "1", "--no-tensorboard"]
        return [*fixed, *common, "--sensitivity_per_updates", "2", *wanted.split()]


def make_world(folder: Path, rows: dict[str, int] = ROWS) -> World:
    """Write encoder, task file and features below `folder`; the same bytes every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertModel(BertConfig(vocab_size=WORDS.stop, **SHAPE))
    with quiet_transformers():
        model.save_pretrained(folder / "encoder")
    (folder / "tasks.yml").write_text(yaml.safe_dump(TASKS, sort_keys=False), encoding="utf-8")
    for task in TASKS:
        for split, count in rows.items():
            rng = random.Random(f"{task} {split}")
            lines = [json.dumps(_row(task, f"{split}{i}", rng)) for i in range(count)]
            (folder / f"{task}_{split}.json").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return World.below(folder)


def make_worlds(folder: Path, scenarios: Iterable[str]) -> dict[str, World]:
    """The world of each scenario, in folders below `folder`; most share one."""
    others = [scenario for scenario in scenarios if scenario != KINDS]
    worlds = dict.fromkeys(others, make_world(folder / "texts")) if others else {}
    if KINDS in scenarios:
        root = folder / KINDS
        root.mkdir(parents=True)
        with quiet_transformers(), contextlib.redirect_stdout(io.StringIO()):  # what prepro_std.py says of the rows
            worlds[KINDS] = World(*write_miniature_kinds(root), root / "tasks.yml")
    return worlds


def _row(task: str, uid: str, rng: random.Random) -> dict[str, object]:
    """One row of features: two sentences of random words, and the label that follows from them."""
    sentences = [rng.choices(WORDS, k=rng.randint(3, 8)) for _ in range(2)]
    shares = [_share(sentence) for sentence in sentences]
    label: float
    if task == "share":
        label = round(sum(shares) + rng.gauss(0, 0.1), 3)
    elif rng.random() < 0.1:
        label = rng.randrange(TASKS[task]["n_class"])
    elif task == "bright":
        label = int(sum(shares) > 0.4)
    else:
        label = 0 if shares[0] > shares[1] else 1 if shares[0] < shares[1] else 2
    tokens = [CLS, *sentences[0], SEP, *sentences[1], SEP]
    second = len(sentences[0]) + 2
    types = [int(i >= second) for i in range(len(tokens))]
    return {"uid": uid, "label": label, "token_id": tokens, "type_id": types}


def _share(sentence: Sequence[int]) -> float:
    return sum(word in BRIGHT for word in sentence) / len(sentence)
