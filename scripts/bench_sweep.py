"""A study's throughput on this machine's cores: few runs at a time with many threads, or many with few, in one go.

    python -m scripts.bench_sweep --data_dir data/canonical_data/all-MiniLM-L6-v2 \
        --init_checkpoint downloads/all-MiniLM-L6-v2 --task rte

It measures as a sweep does that chooses its layout: start-up and a few updates, in all places of a layout at once. Runs
an hour are reckoned from both for runs of `--epochs`; evaluations and checkpoints are left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from data_utils.cli import columns
from data_utils.errors import InputError, entry_point
from studies.sweeps.devices import available_cores, cpu_slots
from studies.sweeps.layout import UPDATES, Trial, halvings, try_layout


def row(trial: Trial, first: Trial) -> tuple[str, ...]:
    """A line of the table; the ratio is to the first layout's runs an hour."""
    hourly, before = (3600 / one.seconds_for(one.runs) * one.runs for one in (trial, first))
    start_up = trial.start_up / (trial.start_up + trial.training)
    numbers = (trial.start_up, trial.training, hourly, hourly / before)
    return (
        f"{trial.runs} × {trial.share.threads}",
        *(f"{number:.2f}" for number in numbers),
        f"{100 * start_up:.0f} %",
        f"{trial.share.memory / 2**30:.2f}",
    )


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each layout."""
    parser = argparse.ArgumentParser(description="Runs an hour of a sweep, by runs at a time and threads.")
    parser.add_argument("--data_dir", required=True, help="features")
    parser.add_argument("--init_checkpoint", required=True)
    parser.add_argument("--task_def", default="experiments/glue/glue_task_def.yml")
    parser.add_argument("--task", default="rte")
    parser.add_argument("--optim", default="pats_adamax")
    parser.add_argument("--epochs", default="3")
    parser.add_argument("--updates", type=int, default=UPDATES, help="timed updates of each process")
    args = parser.parse_args(argv)
    flags = ["--data_dir", args.data_dir, "--init_checkpoint", args.init_checkpoint, "--task_def", args.task_def]
    flags += ["--train_datasets", args.task, "--optim", args.optim, "--epochs", args.epochs]
    cores, rows, first = len(available_cores()), [], None
    for threads in halvings(cores):
        trial = try_layout(flags, cpu_slots(cores // threads, threads), args.updates)
        if trial is None:
            raise InputError(f"{cores // threads} at a time: a process ended; train.py --dry_run says why")
        first = first or trial
        rows.append(row(trial, first))
    header = ("runs × threads", "start-up s", "updates s", "runs an hour", "ratio", "start-up", "GiB a run")
    print("\n".join(columns([header, *rows], words=1)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
