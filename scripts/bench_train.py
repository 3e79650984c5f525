r"""Training speed: this toolkit beside Hugging Face Trainer, same encoder, rows, batch size and optimizer, in one run.

    python -m scripts.bench_train      # on the quickstart's data, once scripts/quickstart.sh has made it
    python -m scripts.bench_train --data_dir data/canonical_data/all-MiniLM-L6-v2 --tasks cola,rte \
        --task_def experiments/glue/glue_task_def.yml

The two take turns, so that whatever else the machine does falls on both; the ratio of each round and its median are
what counts. Timed are updates only (batches, forward, backward, clipping, optimizer), after a warm-up.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import transformers
from torch.utils.data import Dataset

from data_utils.errors import entry_point
from data_utils.features import FeatureSet
from mt_dnn.config import load_config
from mt_dnn.record.run_folder import device_name, versions
from mt_dnn.setup import build_trainer, make_optimizer
from mt_dnn.trainer import Trainer

WARM_UP = 5


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
    draws = itertools.chain.from_iterable(map(trainer.sampler.epoch, itertools.count()))
    while True:
        for draw in itertools.islice(draws, WARM_UP):
            trainer.update(draw, 0)
        started, rows = now(), 0
        for draw in itertools.islice(draws, updates):
            trainer.update(draw, 0)
            rows += len(draw.rows)
        yield rows / (now() - started)


def theirs(flags: list[str], updates: int) -> Iterator[float]:
    """The same of Hugging Face Trainer: dynamic padding, the same optimizer class over the same groups."""
    while True:
        yield run_hugging_face(build_trainer(load_config(flags, "")), updates)


def run_hugging_face(plan: Trainer, updates: int) -> float:
    """Samples a second of Trainer over the rows and with the settings of `plan`."""
    (item,) = plan.state.data.values()
    config, name = plan.config, plan.config.data.init_checkpoint
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    transformers.set_seed(config.loop.seed)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(name, num_labels=item.task.n_class)
    optimizer = make_optimizer(model, config, [item.task])
    watch = StopWatch()
    with tempfile.TemporaryDirectory() as folder:
        args = transformers.TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=config.loop.batch_size,
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
        )
        trainer = transformers.Trainer(
            model=model,
            args=args,
            train_dataset=Rows(item.train, plan.collator.uses_type_ids),
            data_collator=transformers.DataCollatorWithPadding(transformers.AutoTokenizer.from_pretrained(name)),
            optimizers=(optimizer, None),
            callbacks=[watch],
        )
        trainer.train()
    return updates * config.loop.batch_size / watch.seconds


def compare(flags: list[str], updates: int, rounds: int) -> list[tuple[float, float]]:
    """Samples a second of ours and theirs, a pair a round."""
    mine, other = ours(flags, updates), theirs(flags, updates)
    return [(next(mine), next(other)) for _ in range(rounds)]


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each task and optimizer."""
    parser = argparse.ArgumentParser(description="Training speed beside Hugging Face Trainer.")
    parser.add_argument("--data_dir", default="data/quickstart/all-MiniLM-L6-v2", help="features (the quickstart's)")
    parser.add_argument("--task_def", default="experiments/quickstart/vader_task_def.yml")
    parser.add_argument("--init_checkpoint", default="downloads/all-MiniLM-L6-v2")
    parser.add_argument("--tasks", default="moviepol,amazonpol")
    parser.add_argument("--optims", default="adamw,adamax,pats_adamax")
    parser.add_argument("--batch_size", default="32")
    parser.add_argument("--updates", type=int, default=40, help="timed updates a round")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"{device_name(device)}, {versions()}, {args.init_checkpoint}, batch {args.batch_size}", flush=True)
    print("task      optimizer     ours  Trainer  ratio of each round; median", flush=True)
    common = ["--data_dir", args.data_dir, "--task_def", args.task_def, "--init_checkpoint", args.init_checkpoint]
    common += ["--output_dir", "unused"]
    for task in args.tasks.split(","):
        for optim in args.optims.split(","):
            flags = [*common, "--train_datasets", task, "--optim", optim, "--batch_size", args.batch_size]
            pairs = compare(flags, args.updates, args.rounds)
            ratios = [mine / other for mine, other in pairs]
            mine, other = (statistics.median(side) for side in zip(*pairs, strict=True))
            shown = " ".join(f"{ratio:.2f}" for ratio in ratios)
            median = statistics.median(ratios)
            print(f"{task:9} {optim:12} {mine:5.1f}  {other:7.1f}  {shown}; {median:.2f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
