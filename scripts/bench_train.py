r"""Training speed: this toolkit beside Hugging Face Trainer, same encoder, rows and batch size, in one run.

    python -m scripts.bench_train      # on the quickstart's data, once scripts/quickstart.sh has made it
    python -m scripts.bench_train --data_dir data/canonical_data/all-MiniLM-L6-v2 --tasks cola,mrpc \
        --task_def experiments/glue/glue_task_def.yml --precisions fp32,bf16 --trainers fused,grouped --csv speed.csv

All take turns, so that whatever else the machine does falls on all of them; the ratio of each round and its median are
what counts, against the first optimizer of `--optims`. Timed are updates only (batches, forward, backward, clipping,
optimizer), after a warm-up; then passes over the dev split; then whole processes, from their start to the end of the
first update. Trainer pads each batch to its longest row, with the settings that `--trainers` names:

- same: our optimizer, the first of `--optims`;
- fused: its own fused AdamW;
- grouped: that, and batches of rows of like length, which are no longer drawn at random.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import datetime
import io
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils.data import Dataset

from data_utils.errors import entry_point, raise_all
from data_utils.features import FeatureSet
from mt_dnn.allocator import keep_freed_memory
from mt_dnn.config import load_config
from mt_dnn.record.run_folder import device_name, versions
from mt_dnn.sections import AT_LOG
from mt_dnn.setup import build_trainer, make_optimizer
from mt_dnn.trainer import Trainer

WARM_UP = 5
TRAINERS = ("same", "fused", "grouped")
COLUMNS = (
    "task",
    "precision",
    "measured",
    "who",
    "samples_per_second",
    "reference_over_this",
    "rounds",
    "device",
    "date",
)

FIRST_UPDATE = """
import sys
from mt_dnn.allocator import keep_freed_memory
from mt_dnn.config import load_config
from mt_dnn.setup import build_trainer
keep_freed_memory()
trainer = build_trainer(load_config(sys.argv[1:], ""))
trainer.update(trainer.sampler.epoch(0)[0], 1)
"""
"""What a process does until its first update is done, without the run's folder."""


class Rows(Dataset):
    """The features of one task as Hugging Face Trainer takes them."""

    def __init__(self, features: FeatureSet, type_ids: bool) -> None:
        self.features = features
        self.type_ids = type_ids

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, row: int) -> dict[str, Any]:
        inside = slice(self.features.offsets[row], self.features.offsets[row + 1])
        item = {"input_ids": self.features.token_ids[inside].tolist(), "labels": self.features.labels[row].item()}
        return item | ({"token_type_ids": self.features.type_ids[inside].tolist()} if self.type_ids else {})


def now() -> float:
    """The time, in seconds, at which all that was asked of a GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class StopWatch(transformers.TrainerCallback):
    """Times Trainer's updates from the end of the warm-up to the end of the last one."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the time."""
        if state.global_step == WARM_UP:
            self.started = now()
        if state.global_step == state.max_steps:
            self.seconds = now() - self.started


def ours(flags: list[str], updates: int) -> Iterator[float]:
    """Samples a second of `updates` updates, each time asked for."""
    trainer = build_trainer(load_config(flags, ""))
    update = trainer.update.apply_deferred if trainer.config.loop.finite_check == AT_LOG else trainer.update
    draws = itertools.chain.from_iterable(map(trainer.sampler.epoch, itertools.count()))
    while True:
        for draw in itertools.islice(draws, WARM_UP):
            update(draw, 0)
        started, rows = now(), 0
        for draw in itertools.islice(draws, updates):
            update(draw, 0)
            rows += len(draw.rows)
        yield rows / (now() - started)


def ours_evaluated(flags: list[str]) -> Iterator[float]:
    """Samples a second of a pass over the dev split, metrics included, each time asked for."""
    trainer = build_trainer(load_config(flags, ""))
    (item,) = trainer.state.data.values()
    while True:
        started = time.perf_counter()
        trainer.evaluator.score(item.task, item.dev)
        yield sum(map(len, item.dev.values())) / (time.perf_counter() - started)


def theirs(flags: list[str], updates: int, setting: str) -> Iterator[float]:
    """The same of Hugging Face Trainer, with dynamic padding; `setting` is one of `TRAINERS`."""
    while True:
        trainer, watch = hugging_face(build_trainer(load_config(flags, "")), updates, setting)
        with contextlib.redirect_stdout(io.StringIO()):  # where it prints its own summary
            trainer.train()
        yield updates * trainer.args.per_device_train_batch_size / watch.seconds


def theirs_evaluated(flags: list[str]) -> Iterator[float]:
    """The same of Hugging Face Trainer; its predictions come without metrics."""
    plan = build_trainer(load_config(flags, ""))
    (item,) = plan.state.data.values()
    trainer, _ = hugging_face(plan, 1, "fused")
    splits = [Rows(split, plan.collator.uses_type_ids) for split in item.dev.values()]
    while True:
        started = time.perf_counter()
        for split in splits:
            trainer.predict(split)
        yield sum(map(len, splits)) / (time.perf_counter() - started)


def hugging_face(plan: Trainer, updates: int, setting: str) -> tuple[transformers.Trainer, StopWatch]:
    """Trainer over the rows and with the settings of `plan`, and what times it."""
    (item,) = plan.state.data.values()
    config, name = plan.config, plan.config.data.init_checkpoint
    total = plan.state.updates * config.loop.epochs
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    transformers.set_seed(config.loop.seed)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(name, num_labels=item.task.n_class)
    optimizer = make_optimizer(model, config, [item.task], total) if setting == "same" else None
    watch = StopWatch()
    more: dict[str, Any] = {"optim": "adamw_torch_fused"}
    if setting == "grouped":
        known = {field.name for field in dataclasses.fields(transformers.TrainingArguments)}
        old = "group_by_length" in known
        more |= {"group_by_length": True} if old else {"train_sampling_strategy": "group_by_length"}
    args = transformers.TrainingArguments(
        output_dir=tempfile.gettempdir(),  # nothing is written
        per_device_train_batch_size=config.loop.batch_size,
        per_device_eval_batch_size=config.loop.batch_size_eval,
        max_steps=WARM_UP + updates,
        max_grad_norm=config.loop.global_grad_clipping,
        warmup_steps=config.loop.warmup,
        learning_rate=config.method.learning_rate,
        bf16=config.loop.bf16,
        use_cpu=plan.state.precision.device.type == "cpu",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=10**9,
        **more,
    )
    args._n_gpu = 1  # on several it would run as many batches an update, and be counted as running one
    trainer = transformers.Trainer(
        model=model,
        args=args,
        train_dataset=Rows(item.train, plan.collator.uses_type_ids),
        data_collator=transformers.DataCollatorWithPadding(transformers.AutoTokenizer.from_pretrained(name)),
        optimizers=(optimizer, None),
        callbacks=[watch],
    )
    return trainer, watch


def cold_start(flags: list[str]) -> Iterator[float]:
    """Seconds from the start of a process to the end of its first update, imports included."""
    while True:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", FIRST_UPDATE, *flags], check=True, stdin=subprocess.DEVNULL)
        yield time.perf_counter() - started


def take_turns(measured: Mapping[str, Iterator[float]], rounds: int) -> dict[str, list[float]]:
    """The figures of all rounds, by name; each round asks everybody once."""
    found: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(rounds):
        for name, figures in measured.items():
            found[name].append(next(figures))
    return found


def table(found: Mapping[str, list[float]]) -> Iterator[dict[str, str]]:
    """A row for each name: its median, and how often as fast the first one is, by round."""
    reference = next(iter(found.values()))
    for name, figures in found.items():
        ratios = [first / own for first, own in zip(reference, figures, strict=True)]
        yield {
            "who": name,
            "samples_per_second": f"{statistics.median(figures):.1f}",
            "reference_over_this": f"{statistics.median(ratios):.2f}",
            "rounds": " ".join(f"{ratio:.2f}" for ratio in ratios),
        }


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each task, precision, optimizer and setting of Trainer; write them to `--csv`."""
    parser = argparse.ArgumentParser(description="Training speed beside Hugging Face Trainer.")
    parser.add_argument("--data_dir", default="data/quickstart/all-MiniLM-L6-v2", help="features (the quickstart's)")
    parser.add_argument("--task_def", default="experiments/quickstart/vader_task_def.yml")
    parser.add_argument("--init_checkpoint", default="downloads/all-MiniLM-L6-v2")
    parser.add_argument("--tasks", default="moviepol,amazonpol")
    parser.add_argument("--optims", default="adamax,adamw,pats_adamax")
    parser.add_argument("--trainers", default="same", help=f"of {', '.join(TRAINERS)}")
    parser.add_argument("--precisions", default="fp32", help="of fp32, bf16")
    parser.add_argument("--batch_size", default="32")
    parser.add_argument("--updates", type=int, default=40, help="timed updates a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--csv", type=Path, help="write the table here, too")
    args = parser.parse_args(argv)
    trainers, precisions = args.trainers.split(","), args.precisions.split(",")
    unknown = [f"--trainers {name}: not one of {', '.join(TRAINERS)}" for name in trainers if name not in TRAINERS]
    unknown += [f"--precisions {name}: not one of fp32, bf16" for name in precisions if name not in ("fp32", "bf16")]
    unknown += [f"--{name} must be at least 1" for name in ("updates", "rounds") if getattr(args, name) < 1]
    raise_all(unknown)
    keep_freed_memory()  # as train.py does; Trainer has it here, too
    device = device_name(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    print(f"{device}, {versions()}, {args.init_checkpoint}, batch {args.batch_size}", flush=True)
    print("task      precision  measured    who               samples/s  reference/this  by round", flush=True)
    common = ["--data_dir", args.data_dir, "--task_def", args.task_def, "--init_checkpoint", args.init_checkpoint]
    common += ["--output_dir", "unused", "--batch_size", args.batch_size]
    rows = []

    def show(task: str, precision: str, measured: str, found: Mapping[str, list[float]]) -> None:
        for row in table(found):
            start = f"{task:9} {precision:10} {measured:11} {row['who']:17}"
            print(
                f"{start} {row['samples_per_second']:>9}  {row['reference_over_this']:>14}  {row['rounds']}", flush=True
            )
            told = {"task": task, "precision": precision, "measured": measured}
            rows.append(told | row | {"device": device, "date": str(datetime.date.today())})

    optims = args.optims.split(",")
    for task, precision in itertools.product(args.tasks.split(","), precisions):
        flags = [*common, "--train_datasets", task, *(["--bf16"] if precision == "bf16" else [])]
        first = [*flags, "--optim", optims[0]]
        training = {name: ours([*flags, "--optim", name], args.updates) for name in optims}
        training |= {f"Trainer, {name}": theirs(first, args.updates, name) for name in trainers}
        show(task, precision, "training", take_turns(training, args.rounds))
        evaluation = {"ours": ours_evaluated(first), "Trainer": theirs_evaluated(first)}
        show(task, precision, "evaluation", take_turns(evaluation, args.rounds))
    start = [*common, "--train_datasets", args.tasks.split(",")[0], "--optim", optims[0]]
    seconds = take_turns({"cold start": cold_start(start)}, args.rounds)["cold start"]
    print(f"cold start to the end of the first update: {' '.join(f'{s:.1f}' for s in seconds)} s", flush=True)
    if args.csv:
        with args.csv.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
