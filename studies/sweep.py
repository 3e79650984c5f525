"""Run a grid of recipes × methods × seeds as one study, over all devices at hand; the same command again goes on.

    python -m studies.sweep --recipes bert_base/rte,bert_base/mrpc --methods adamax,sage,noisytune,pats \
        --seeds 1-5 --data_dir data/canonical_data/bert-base-uncased --output_dir study
    python -m studies.sweep --output_dir study                     # go on with what is in it
    python -m studies.sweep … --methods pats --vary pats_lambda=5e-7,1e-6
    python -m studies.sweep … --search pats --trials 40 --seeds 1-2
    python -m studies.sweep --task_def my_task_def.yml --data_dir my_rows --init_checkpoint bert-base-uncased \
        --methods adamax,pats --seeds 1-10 --output_dir study      # own data, without a recipe
    python -m studies.sweep … --emit slurm

Runs that are done are passed over, those that were cut resume, those that failed stay marked. Exit codes: 0 all runs
are done, 2 the input is wrong, 1 a run failed, 3 a signal came: runs have saved what they had then.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from data_utils.cli import Parser, path_text
from data_utils.errors import InputError, SignalledError, StoppedError, entry_point
from studies.own_data import LEARNING_RATE, own_data
from studies.study import Run, Status, Study, changing
from studies.suite import Suite, add_suite
from studies.sweeps.board import Board, State
from studies.sweeps.devices import AUTO, Slot, find_slots
from studies.sweeps.features import check_unchanged
from studies.sweeps.layout import settle
from studies.sweeps.live import View, make_view
from studies.sweeps.plan import Request, assignments, check, names, positive, seeds, variations
from studies.sweeps.search import Search
from studies.sweeps.slurm import write_slurm
from studies.sweeps.workers import Workers
from studies.throughput import throughput

PROG = "python -m studies.sweep"
TRIALS = 40


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the flags; `InputError` for unknown ones and for combinations in which one has no effect."""
    parser = Parser(prog=PROG, description="Run recipes × methods × seeds as one study.", allow_abbrev=False)
    parser.add_argument("--output_dir", required=True, type=path_text, help="the study's folder, new or not")
    add = parser.add_argument_group("what to add to the study; none of these: go on with what is in it")
    add.add_argument("--recipes", help="such as bert_base/rte,bert_base/mrpc; all: python -m studies.recipes")
    add.add_argument("--methods", help="such as adamax,sage,noisytune,pats; all: all that the recipes have")
    add.add_argument("--seeds", help="such as 1-5 or 1,3,7")
    add_suite(add)
    add.add_argument("--data_dir", type=path_text, help="features or canonical rows; default: those the study has")
    add.add_argument("--init_checkpoint", type=path_text, help="encoder; default: the study's, then the recipe's")
    add.add_argument(
        "--vary", action="append", default=[], metavar="FLAG=A,B", help="run methods with each value of a train.py flag"
    )
    add.add_argument(
        "--set", action="append", default=[], metavar="FLAG=VALUE", help="a train.py flag of all the study's runs"
    )
    add.add_argument("--search", metavar="METHOD", help="search the paper's Table 3 for one recipe, with Optuna")
    add.add_argument("--trials", type=int, help=f"of --search, earlier ones included (default: {TRIALS})")
    own = parser.add_argument_group("own data: in place of --recipes (docs/studies.md)")
    own.add_argument("--task_def", type=path_text, help="the task file of the data in --data_dir")
    own.add_argument("--tasks", help="such as a,b; mtl: all on one encoder (default: each that has training rows)")
    own.add_argument(
        "--learning_rate", help=f"of all methods but those that go by another's (default: {LEARNING_RATE:g})"
    )
    own.add_argument("--recipe_file", type=path_text, help="YAML: settings, learning_rates and methods of your own")
    how = parser.add_argument_group("how to run")
    how.add_argument("--devices", help="auto (all GPUs, else the CPU), cpu, or such as cuda:0,cuda:1 (default: auto)")
    how.add_argument("--runs_per_device", help="how many share a GPU or the CPU; default auto: by memory, by measuring")
    how.add_argument("--retry_failed", action="store_true", help="start runs again that failed")
    how.add_argument("--only", help="of the study's runs only these, such as bert_base/rte/pats/seed_1")
    how.add_argument("--emit", choices=("slurm",), help="write an array job for what is to do, and run nothing")
    args = parser.parse_args(argv)
    _check_combination(args)
    return args


def _check_combination(args: argparse.Namespace) -> None:
    def refuse(names: Sequence[str], reason: str) -> None:
        if given := [f"--{name}" for name in names if getattr(args, name) not in (None, False, [])]:
            raise InputError(f"{', '.join(given)}: {reason}")

    if args.task_def is not None:
        refuse(("recipes", "suite"), "cannot go with --task_def, which is for data without a recipe")
        if None in (args.data_dir, args.seeds, args.methods or args.search):
            raise InputError("--task_def needs --data_dir, --seeds and --methods (or --search)")
    else:
        refuse(("tasks", "learning_rate", "recipe_file"), "would have no effect without --task_def")
    if args.recipes is None and args.task_def is None:
        adding = ("suite", "methods", "seeds", "data_dir", "init_checkpoint", "vary", "set", "search")
        refuse(adding, "would have no effect without --recipes or --task_def")
    if args.search:
        refuse(("methods", "vary", "only", "emit"), "cannot go with --search")
    else:
        refuse(("trials",), "would have no effect without --search")
    if args.recipes is not None and None in (args.seeds, args.methods or args.search):
        raise InputError("--recipes needs --seeds and --methods (or --search)")
    if args.emit:
        refuse(("devices", "runs_per_device", "retry_failed", "only"), "would have no effect with --emit")
    if args.trials is not None and args.trials < 1:
        raise InputError(f"--trials: expected a whole number from 1, got {args.trials}")


def request_from(args: argparse.Namespace) -> Request:
    """What the flags ask to add; `InputError` for values that are none."""
    own = None
    if args.task_def is not None:
        rate = None if args.learning_rate is None else positive(args.learning_rate, "learning_rate")
        own = own_data(args.task_def, args.data_dir, args.tasks, args.init_checkpoint, rate, args.recipe_file)
    return Request(
        recipes=names(args.recipes, "recipes") if own is None else own.names,
        methods=(args.search,) if args.search else names(args.methods, "methods"),
        seeds=seeds(args.seeds),
        varied=variations(args.vary),
        overrides=assignments(args.set, "set"),
        data_dir=args.data_dir,
        init_checkpoint=args.init_checkpoint,
        suite=Suite.at(args.suite) if args.suite else own.suite if own is not None else None,
        own=own,
    )


def slots_from(args: argparse.Namespace) -> list[Slot]:
    """Where runs can be; `InputError` for devices that are not there."""
    return find_slots(*(AUTO if given is None else given for given in (args.devices, args.runs_per_device)))


def extend(folder: Path, request: Request) -> Study:
    """Add what is asked for to the study in a folder, once train.py has no objection; returns it.

    Raises:
        InputError: see `Request.add_to` and `check`; the study is as it was.
    """
    with changing(folder) as study:
        extended = request.add_to(study)
        known = set(study.runs)
        if new := [run for run in extended.runs if run not in known]:
            print(f"{len(new)} new runs; train.py looks at one of each kind first", flush=True)
            for note in check(extended, new):
                print(f"note: {note}", flush=True)
            extended.save()
    return extended


def chosen(study: Study, only: str | None) -> list[Run]:
    """The study's runs, or those named; `InputError` for one that it does not have."""
    by_path = {str(run.path): run for run in study.runs}
    wanted = list(by_path) if only is None else names(only, "only")
    if unknown := [name for name in wanted if name not in by_path]:
        there = next(iter(by_path), "no runs at all")
        raise InputError(f"--only {unknown[0]}: not in {study.folder}, which has, for example, {there}")
    return [by_path[name] for name in wanted]


def to_do(study: Study, runs: Sequence[Run], *, retry_failed: bool = False) -> list[Run]:
    """Those that have no end yet, or one that does not count."""
    wanted = {Status.WAITING, Status.CUT} | ({Status.FAILED} if retry_failed else set())
    return [run for run in runs if study.outcome(run).status in wanted]


def summary(study: Study, board: Board, since: float) -> str:
    """What became of the runs, how fast those were that began at `since` or later, and what to do next."""
    lines = [f"\n{board.counts()}"]
    ended = (study.outcome(run) for run, state in board.states.items() if state in (State.DONE, State.COLLAPSED))
    if speed := throughput(ended, since):
        lines.append(speed.words())
    for state in (State.FAILED, State.COLLAPSED):
        for run in [run for run, found in board.states.items() if found is state]:
            outcome = study.outcome(run)
            same = f"the same prediction for all rows of {', '.join(outcome.collapsed)}"
            lines.append(f"  {state.value}: {run.path}  {outcome.message if state is State.FAILED else same}")
    if State.FAILED in board.states.values():
        lines.append(f"logs: {study.folder / 'logs'}; once it is repaired: {_again(study.folder)} --retry_failed")
    if {State.CUT, State.ELSEWHERE, State.WAITING} & set(board.states.values()):
        lines.append(f"to go on: {_again(study.folder)}")
    return "\n".join([*lines, f"next: python -m studies.table {shlex.quote(str(study.folder))}"])


def _again(folder: Path) -> str:
    return f"{PROG} --output_dir {shlex.quote(str(folder))}"


def _places(study: Study, runs: Sequence[Run], slots: list[Slot], args: argparse.Namespace) -> list[Slot]:
    """Where to run what there is to do, as `settle` has it."""
    left = to_do(study, runs, retry_failed=args.retry_failed)
    return settle(study, left, slots, args.runs_per_device in (None, AUTO), View().say)


def run_search(folder: Path, args: argparse.Namespace) -> int:
    """Search for the best values of a method on a recipe."""
    request, slots = request_from(args), slots_from(args)
    if len(request.recipes) != 1:
        raise InputError(f"--search: one recipe at a time, got {', '.join(request.recipes)}")

    def work(study: Study, runs: Sequence[Run]) -> None:
        check_unchanged(study, runs)
        places = _places(study, runs, slots, args)
        # A grid of all trials would show nothing.
        Workers(study, places, View(), retry_failed=args.retry_failed).work(runs)

    try:
        at_a_time = -(-len(slots) // len(request.seeds))
        best = Search(folder, request, at_a_time, work, args.retry_failed).run(args.trials or TRIALS)
    except StoppedError as error:  # or a run was killed
        raise type(error)(f"{error}; to go on: the same command again") from None
    print(f"written: {best}\nnext: python train.py --config {shlex.quote(str(best))} --data_dir … --output_dir …")
    return 0


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 when all runs are done, 2 for wrong input, 3 after a signal, 1 after failures."""
    args = parse_args(argv)
    folder = Path(args.output_dir)
    if args.search:
        return run_search(folder, args)
    slots = [] if args.emit else slots_from(args)
    adds = args.recipes is not None or args.task_def is not None
    study = Study.load(folder) if not adds else extend(folder, request_from(args))
    runs = chosen(study, args.only)
    left = to_do(study, runs, retry_failed=args.retry_failed)
    check_unchanged(study, left)
    if args.emit:
        script = write_slurm(study, left)
        print(f"{len(left)} runs to do\nsubmit: sbatch {script}\nwith a GPU each: sbatch --gpus=1 {script}")
        return 0
    began = time.time()
    slots = _places(study, runs, slots, args)
    try:
        board = Workers(study, slots, make_view(), retry_failed=args.retry_failed).work(runs)
    except SignalledError as error:
        raise SignalledError(f"{error}; to go on: {_again(folder)}") from None
    View().say(summary(study, board, began))  # nor does output that nobody reads make finished runs failed ones
    return 0 if set(board.states.values()) <= {State.DONE, State.COLLAPSED} else 1


if __name__ == "__main__":
    sys.exit(main())
