r"""Kill runs at random moments, let them resume, and compare what they leave with runs that never stopped, bit for bit.

    python -m tests.torture.kills --kills 500                        # about ten minutes on two cores
    python -m tests.torture.kills --kills 50 --scenario sage --seed 7 --work_dir runs/torture
    python -m tests.torture.kills --kills 100 --scenario kinds       # all five kinds of task on one encoder

A chain is one run that is killed up to five times, each time at a moment drawn evenly over the time that a whole run
takes, so also while it starts, resumes, evaluates or writes; then it is left to finish and compared: every tensor of
the last checkpoint, its other files, `metrics.jsonl`, `results.json`, dev predictions and `best/`, without times. Most
kills are by SIGKILL; after SIGTERM and SIGINT the run must have saved where it was. Exit code 1 if any chain is not as
it should be; its folder is kept.
"""

from __future__ import annotations

import argparse
import functools
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path

from data_utils.errors import InputError, StoppedError, entry_point
from tests.torture.checks import attempt_problems, differences, last_event, leftovers, newest_checkpoint
from tests.torture.runs import Attempt, Hook, warm_up, worker_pool
from tests.torture.world import SCENARIOS, World, make_worlds

KILLS_A_CHAIN = 5
SIGNALS = (signal.SIGKILL,) * 8 + (signal.SIGTERM, signal.SIGINT)
COMMAND_LINE_EVERY = 12
"""One chain in so many has an attempt that is a Python of its own, which takes some seconds to import everything."""
KILLS_A_LINE = 25
ENOUGH_FAILURES = 10


@dataclass(frozen=True)
class Plan:
    """A run to be killed: `seed` and `number` decide when and how, up to the machine's own timing."""

    seed: int
    number: int
    scenario: str
    kills: int


@dataclass(frozen=True)
class Reference:
    """A run that was not killed: its world and folder, and how long it took."""

    world: World
    folder: Path
    seconds: float


@dataclass(frozen=True)
class Kill:
    """One kill.

    Attributes:
        signal: which.
        seconds: when, after the start (of a command line: after it first said something).
        command_line: whether the run was a Python of its own.
        logged: updates in `metrics.jsonl` when the signal was sent.
        place: what the run was doing, by what it left.
    """

    signal: signal.Signals
    seconds: float
    command_line: bool
    logged: int
    place: str = ""

    def __str__(self) -> str:
        whom = "python train.py" if self.command_line else "a fork"
        return f"{self.signal.name} to {whom} after {self.seconds:.3f} s and {self.logged} updates, {self.place}"


@dataclass
class Chain:
    """What became of a plan: its kills, how many of them were followed by an attempt that went on, what is wrong."""

    plan: Plan
    kills: list[Kill] = field(default_factory=list)
    resumed: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        head = f"chain {self.plan.number}, scenario {self.plan.scenario}, seed {self.plan.seed}:"
        return "\n  ".join([head, *map(str, self.kills), *(f"WRONG: {line}" for line in self.problems)])


def run_reference(scenario: str, world: World, folder: Path) -> Reference:
    """A run from start to end."""
    folder.mkdir()
    started = time.monotonic()
    attempt = Attempt(world.flags(folder / "run", SCENARIOS[scenario]), folder / "attempt")
    if attempt.end() != 0:
        raise StoppedError(f"scenario {scenario} ended with exit code {attempt.code} without any kill\n{attempt.err}")
    return Reference(world, folder / "run", time.monotonic() - started)


def run_chain(plan: Plan, reference: Reference, folder: Path) -> Chain:
    """Kill a run until the plan's kills are spent or it ends, then compare it; `folder` goes if nothing is wrong."""
    rng, chain, run = random.Random(f"{plan.seed} {plan.number}"), Chain(plan), folder / "run"
    folder.mkdir()
    argv = [*reference.world.flags(run, SCENARIOS[plan.scenario]), "--resume"]
    # The second attempt at the latest: the third may not come about.
    of_its_own = rng.randrange(2) if plan.number % COMMAND_LINE_EVERY == COMMAND_LINE_EVERY - 1 else None
    while True:
        number, before = len(chain.kills), newest_checkpoint(run)
        attempt = Attempt(argv, folder / f"attempt_{number}", command_line=number == of_its_own)
        kill = strike(attempt, rng, reference.seconds, run) if number < plan.kills else None
        code = attempt.end()
        sent, logged = (kill.signal, kill.logged) if kill else (None, 0)
        chain.problems += attempt_problems(attempt, sent, logged, run, before)
        chain.resumed += number > 0 and not chain.problems
        if kill is None or code == 0:
            break
        chain.kills.append(replace(kill, place=_place(run, reference.folder)))
        if chain.problems:
            return chain
    chain.problems = chain.problems or differences(reference.folder, run)
    if not chain.problems:
        shutil.rmtree(folder)
    return chain


def strike(attempt: Attempt, rng: random.Random, longest: float, run: Path) -> Kill | None:
    """Send a signal at a random moment; None where the run ended before it."""
    number, seconds = rng.choice(SIGNALS), rng.uniform(0, longest)
    if attempt.command_line:
        attempt.wait_until(lambda: attempt.out)  # seconds after its start
    if attempt.wait(seconds) is not None:
        return None
    attempt.send(number)
    return Kill(number, seconds, attempt.command_line, last_event(run)["step"])


def _place(run: Path, reference: Path) -> str:
    """What a run was doing when it died, by what it left."""
    newest, last = newest_checkpoint(run), newest_checkpoint(reference)
    if leftovers(run):
        return "while something was written or removed"
    if newest is None:
        return "before its first checkpoint"
    return "after its last checkpoint" if last and newest.name == last.name else "between checkpoints"


def run_chains(
    pool: ProcessPoolExecutor, work_dir: Path, references: dict[str, Reference], *, kills: int, seed: int, workers: int
) -> Iterator[Chain]:
    """Chains as they end, until together they have had exactly `kills` kills, or too many went wrong."""
    running, kills_of = dict[Future[Chain], Plan](), Counter[str]()
    number = done = failed = 0
    while done < kills and failed < ENOUGH_FAILURES:
        while len(running) < workers and (room := kills - done - sum(plan.kills for plan in running.values())) > 0:
            scenario = min(references, key=kills_of.__getitem__)  # a short run may end before it can be killed
            plan = Plan(seed, number, scenario, min(room, KILLS_A_CHAIN))
            kills_of[scenario] += plan.kills
            folder = work_dir / f"chain_{number}"
            running[pool.submit(run_chain, plan, references[plan.scenario], folder)] = plan
            number += 1
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            plan, chain = running.pop(future), future.result()
            kills_of[plan.scenario] += max(1, len(chain.kills)) - plan.kills
            done, failed = done + len(chain.kills), failed + bool(chain.problems)
            yield chain


def torture(
    work_dir: Path, *, kills: int, seed: int, workers: int, scenarios: Sequence[str], hook: Hook | None = None
) -> list[Chain]:
    """All chains; says how it goes on the way. `hook` is called in each process that runs are forked from."""
    worlds, started, chains, done = make_worlds(work_dir / "world", scenarios), time.monotonic(), list[Chain](), 0
    say = functools.partial(print, flush=True)
    dry = worlds[scenarios[0]].flags(work_dir / "nothing", SCENARIOS[scenarios[0]])
    with worker_pool(workers, functools.partial(warm_up, dry, hook)) as pool:
        folders = {name: work_dir / f"reference_{name}" for name in scenarios}
        futures = {name: pool.submit(run_reference, name, worlds[name], folders[name]) for name in scenarios}
        references = {name: future.result() for name, future in futures.items()}
        say("without kills: " + ", ".join(f"{name} {one.seconds:.1f} s" for name, one in references.items()))
        for chain in run_chains(pool, work_dir, references, kills=kills, seed=seed, workers=workers):
            chains.append(chain)
            before, done = done, done + len(chain.kills)
            if chain.problems:
                say(f"{chain}\n  kept: {work_dir / f'chain_{chain.plan.number}'}")
            if before // KILLS_A_LINE < done // KILLS_A_LINE:
                wrong = sum(bool(one.problems) for one in chains)
                say(f"{done} of {kills} kills, {len(chains)} chains, {wrong} wrong, {time.monotonic() - started:.0f} s")
    return chains


def report(chains: Sequence[Chain]) -> bool:
    """Print how many kills there were of each kind, and the summary; returns whether nothing is wrong."""
    kills = [kill for chain in chains for kill in chain.kills]
    for what, names in {
        "signals": [kill.signal.name for kill in kills],
        "processes": ["python train.py" if kill.command_line else "forks" for kill in kills],
        "places": [kill.place for kill in kills],
        "scenarios": [chain.plan.scenario for chain in chains for _ in chain.kills],
    }.items():
        print(f"{what}: " + ", ".join(f"{count} {name}" for name, count in Counter(names).most_common()))
    resumed = sum(chain.resumed for chain in chains)
    equal = sum(len(chain.kills) for chain in chains if not chain.problems)
    print(f"{len(kills)} kills, {resumed} resumed, {equal} equal")
    return len(kills) == resumed == equal and not any(chain.problems for chain in chains)


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Kill, resume and compare; exit code 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description="Kill runs at random moments and compare how they end.")
    parser.add_argument("--kills", type=int, default=100, help="how many in all (default 100)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments and signals (default 1)")
    parser.add_argument("--workers", type=int, default=2, help="runs side by side (default 2)")
    parser.add_argument("--scenario", choices=tuple(SCENARIOS), action="append", help="only this; can be given again")
    parser.add_argument("--work_dir", type=Path, help="new or empty folder to keep; else a temporary one")
    args = parser.parse_args(argv)
    for name in ("kills", "workers"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name} {getattr(args, name)}: must be at least 1")
    work_dir = Path(args.work_dir or tempfile.mkdtemp(prefix="torture_")).resolve()
    if work_dir.exists() and (not work_dir.is_dir() or any(work_dir.iterdir())):
        raise InputError(f"--work_dir {work_dir}: must be a new or empty folder")
    started = time.monotonic()
    scenarios = args.scenario or list(SCENARIOS)
    chains = torture(work_dir, kills=args.kills, seed=args.seed, workers=args.workers, scenarios=scenarios)
    print(f"{len(chains)} chains in {time.monotonic() - started:.0f} s")
    good = report(chains)
    if good and args.work_dir is None:
        shutil.rmtree(work_dir)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
