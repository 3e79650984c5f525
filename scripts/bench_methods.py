r"""What an update costs with each method, beside the plain one: all methods in turn, in one run.

    python -m scripts.bench_methods --data_dir data/canonical_data/all-MiniLM-L6-v2 --tasks cola,mrpc \
        --output docs/bench_methods_cpu.csv

The methods are those that GLUE's recipes have. In each round every method does the same updates on the same rows, so
that whatever else the machine does falls on all of them; a method's cost is the median over rounds of its time beside
the plain method's. Timed are whole updates (batches, forward, backward, clipping, optimizer), after a warm-up.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import statistics
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from data_utils.atomic import StagedFiles
from data_utils.errors import entry_point
from mt_dnn.allocator import keep_freed_memory
from mt_dnn.config import load_config
from mt_dnn.record.run_folder import device_name, versions
from mt_dnn.setup import build_trainer
from studies.recipes import Recipes, Shared, as_arguments
from studies.suite import Suite
from studies.tables.comparison import BASELINE

WARM_UP = 2
RATIOS = ("ratio", "lowest", "highest")
COLUMNS = ("task", "precision", "method", "milliseconds", *RATIOS, "rounds", "updates", "device", "torch")


def methods(task: str) -> dict[str, list[str]]:
    """The methods of GLUE's recipes for a task as flags of train.py, the plain one first."""
    found = Shared.load(Recipes.of(Suite()).shared).methods
    flags = {name: as_arguments({"optim": "adamax", **method.for_task(task)}) for name, method in found.items()}
    return {BASELINE: flags.pop(BASELINE), **flags}


def seconds(flags: list[str], updates: int) -> Iterator[float]:
    """Seconds an update, each time asked for: `updates` further ones are done."""
    trainer = build_trainer(load_config(flags, ""))
    draws = itertools.chain.from_iterable(map(trainer.sampler.epoch, itertools.count()))
    step = 0
    while True:
        for timed in (WARM_UP, updates):
            started = time.perf_counter()
            for draw in itertools.islice(draws, timed):
                step += 1
                trainer.update(draw, step)
            if trainer.state.precision.device.type == "cuda":
                torch.cuda.synchronize()
        yield (time.perf_counter() - started) / updates


def measure(task: str, common: list[str], updates: int, rounds: int) -> dict[str, list[float]]:
    """Seconds an update of each method on a task, one a round."""
    warnings.filterwarnings("ignore", "two optimizers that train at once draw the same noise")  # they are compared
    common = [*common, "--train_datasets", task]
    running = {name: seconds([*common, *flags], updates) for name, flags in methods(task).items()}
    taken: dict[str, list[float]] = {name: [] for name in running}
    for _ in range(rounds):
        for name, one in running.items():
            taken[name].append(next(one))
    return taken


def rows(task: str, taken: Mapping[str, Sequence[float]]) -> Iterator[dict[str, str]]:
    """A row of the table for each method."""
    for name, times in taken.items():
        ratios = [own / plain for own, plain in zip(times, taken[BASELINE], strict=True)]
        yield {
            "task": task,
            "method": name,
            "milliseconds": f"{1000 * statistics.median(times):.1f}",
            "ratio": f"{statistics.median(ratios):.2f}",
            "lowest": f"{min(ratios):.2f}",
            "highest": f"{max(ratios):.2f}",
            "rounds": str(len(times)),
        }


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each task and method, and write them as CSV where `--output` says so."""
    parser = argparse.ArgumentParser(description="What an update costs with each method, beside the plain one.")
    parser.add_argument("--data_dir", default="data/canonical_data/all-MiniLM-L6-v2", help="features")
    parser.add_argument("--task_def", default="experiments/glue/glue_task_def.yml")
    parser.add_argument("--init_checkpoint", default="downloads/all-MiniLM-L6-v2")
    parser.add_argument("--tasks", default="cola")
    parser.add_argument("--batch_size", default="32")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--updates", type=int, default=5, help="timed updates a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", help="a CSV file")
    args = parser.parse_args(argv)
    keep_freed_memory()  # as train.py does
    device = device_name(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    precision = "bf16" if args.bf16 else "fp32"
    about = {"updates": str(args.updates), "device": device, "torch": versions()["torch"], "precision": precision}
    print(f"{device}, {versions()}, {args.init_checkpoint}, batch {args.batch_size}{', bf16' * args.bf16}", flush=True)
    table = []
    for task in args.tasks.split(","):
        common = ["--data_dir", args.data_dir, "--task_def", args.task_def, "--init_checkpoint", args.init_checkpoint]
        common += ["--batch_size", args.batch_size, "--output_dir", "unused"]
        taken = measure(task, [*common, *["--bf16"] * args.bf16], args.updates, args.rounds)
        for row in rows(task, taken):
            table.append(row | about)
            spread = f"{row['lowest']} to {row['highest']}"
            print(f"{task:8} {row['method']:24} {row['milliseconds']:>8} ms  {row['ratio']} ({spread})", flush=True)
    if args.output:
        with StagedFiles() as staged, staged.path(Path(args.output)).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
