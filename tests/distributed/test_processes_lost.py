"""Several processes, stopped and killed: one message, a checkpoint that stands, and a resumed run with equal bits.

Three ranks where they are replicas: a sum of three depends on its order, one of two does not.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import train
from data_utils.errors import SignalledError
from tests.conftest import Workshop
from tests.distributed.compare import (
    CONTINUOUS,
    LEARNING_RATE,
    assert_close_weights,
    assert_same_run,
    newest_checkpoint,
    timeline,
)
from tests.distributed.launch import ROOT, Ended, Group, run_doomed
from tests.test_train import results

GroupOf = Callable[[int], Group]

FLAGS = ["--train_datasets", "cola,stsb", "--epochs", "3", "--optim", "pats_adamax", "--pats_lambda", "1e-4"]
FLAGS += ["--batch_size", "2", "--grad_accumulation_step", "3", "--log_per_updates", "2", "--save_per_updates", "3"]
FLAGS += ["--eval_per_updates", "5"]
UPDATES = 24  # eight an epoch
REPEATABLE = ["--dropout_p", "0", "--learning_rate", str(LEARNING_RATE)]


@pytest.fixture(scope="module")
def whole(workshop: Workshop, group_of: GroupOf, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a run with these flags that so many ranks did without a stop."""

    @functools.cache
    def run(ranks: int, *more: str) -> Path:
        folder = tmp_path_factory.mktemp("whole") / "run"
        outcomes = group_of(ranks).train(workshop.flags(folder, *FLAGS, *more))
        assert [outcome.code for outcome in outcomes] == [0] * ranks, outcomes[0].err
        return folder

    return run


def resume(group: Group, run: Path, *more: str) -> str:
    """Go on with a run to its end; returns what the first rank said."""
    outcomes = group.train(["--output_dir", str(run), "--resume", *more])
    assert [outcome.code for outcome in outcomes] == [0] * group.ranks, outcomes[0].err
    return outcomes[0].out


def assert_no_tracebacks(ended: Ended) -> None:
    """Of the runs' own; torchrun's report on them is one itself."""
    own = [line for line in ended.err.splitlines() if f'File "{ROOT}' in line and "site-packages" not in line]
    assert not own, ended.err


def test_sigterm_to_torchrun(workshop: Workshop, tmp_path: Path, group_of: GroupOf, whole: Callable) -> None:
    run = tmp_path / "run"
    ended = run_doomed(3, workshop.flags(run, *FLAGS), "signal_to_torchrun", update=10)
    assert ended.code != 0
    assert ended.lines("stopped:") == ["stopped: SIGTERM came after update 10; it is saved: go on with --resume"]
    assert len(ended.lines("SIGTERM: saving, then stopping")) == 1
    assert_no_tracebacks(ended)
    said = resume(group_of(3), run)
    assert f"resuming from {run / 'checkpoints' / 'step_00000010'}\n" in said
    assert "bits may differ" not in said
    assert_same_run(whole(3), run)


KILLS = {"one of three replicas": (3, 1, []), "the first of two shards": (2, 0, ["--fsdp"])}


@pytest.mark.parametrize("kill", KILLS)
def test_a_process_is_killed(workshop: Workshop, tmp_path: Path, group_of: GroupOf, whole: Callable, kill: str) -> None:
    run = tmp_path / "run"
    ranks, victim, more = KILLS[kill]
    ended = run_doomed(ranks, workshop.flags(run, *FLAGS, *more), "get_killed", rank=victim, update=11)
    assert ended.code != 0
    assert "Signal 9 (SIGKILL)" in ended.err, "torchrun names who was killed"
    (told,) = ended.lines("stopped:")  # by one of those that are left
    assert told.startswith(
        "stopped: another process of this run is gone, so the others stopped, too; the last checkpoint"
    )
    assert_no_tracebacks(ended)
    said = resume(group_of(ranks), run)
    assert f"resuming from {run / 'checkpoints' / 'step_00000009'}\n" in said
    assert "bits may differ" not in said
    assert_same_run(whole(ranks, *more), run)


STOPS = {
    "SIGTERM in an update": (3, [], "get_signal", {"rank": 2, "update": 7, "name": "SIGTERM"}, 7),
    "SIGINT in an update of shards": (2, ["--fsdp"], "get_signal", {"rank": 1, "update": 16, "name": "SIGINT"}, 16),
    "SIGTERM in an evaluation": (3, [], "signal_in_evaluation", {"rank": 2}, 5),
}
"""Ranks, flags, trick and its options, and the update after which the run is saved. One rank alone gets the signal."""


@pytest.mark.parametrize("stop", STOPS)
def test_a_signal_to_one_rank_stops_all(
    workshop: Workshop, tmp_path: Path, group_of: GroupOf, whole: Callable, stop: str
) -> None:
    run = tmp_path / "run"
    ranks, more, trick, options, update = STOPS[stop]
    outcomes = group_of(ranks).train(workshop.flags(run, *FLAGS, *more), trick, **options)
    assert {outcome.code for outcome in outcomes} == {SignalledError.exit_code}
    told = f"stopped: {stop.split()[0]} came after update {update}; it is saved: go on with --resume\n"
    assert [outcome.err for outcome in outcomes] == [told] + [""] * (ranks - 1)
    assert "bits may differ" not in resume(group_of(ranks), run)
    assert_same_run(whole(ranks, *more), run)


CHANGES = {
    "from two processes to one": (2, [], 1, []),
    "from one process to two": (1, [], 2, []),
    "from three replicas to two": (3, [], 2, []),
    "from replicas to shards": (2, [], 2, ["--fsdp"]),
    "from replicas to shards, torch's own optimizer": (2, ["--optim", "adamw", "--pats_lambda", "2e-6"], 2, ["--fsdp"]),
    "from shards to one process": (2, ["--fsdp"], 1, ["--no-fsdp"]),
}
"""Number of processes and flags before and after."""


def train_on(ranks: int, group_of: GroupOf, argv: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and what was said; one process is pytest's own."""
    if ranks == 1:
        capsys.readouterr()
        return train.main(argv), capsys.readouterr().out
    first = group_of(ranks).train(argv)[0]
    return first.code, first.out


@pytest.mark.parametrize("change", CHANGES)
def test_resumed_by_another_number(
    workshop: Workshop,
    repeatable: Path,
    tmp_path: Path,
    group_of: GroupOf,
    capsys: pytest.CaptureFixture[str],
    change: str,
) -> None:
    """With nothing random but the noise, so that the continuation is that of the run before but for rounding."""
    before, flags, after, more = CHANGES[change]
    whole, run = tmp_path / "whole", tmp_path / "run"
    reading = () if "adamw" in flags else CONTINUOUS
    flags = [*FLAGS, *reading, *REPEATABLE, "--init_checkpoint", str(repeatable), *flags]
    assert train_on(before, group_of, workshop.flags(whole, *flags), capsys)[0] == 0
    shutil.copytree(whole, run)
    (run / "results.json").unlink()
    for later in sorted((run / "checkpoints").iterdir())[1:]:
        shutil.rmtree(later)
    start = int(newest_checkpoint(run).name.removeprefix("step_"))
    code, said = train_on(after, group_of, ["--output_dir", str(run), "--resume", *more], capsys)
    assert code == 0
    assert "bits may differ from those of a run that never stopped" in said
    assert (f"processes {before}, now {after}" in said) == (before != after)
    assert 0 < start < UPDATES == results(run)["updates"]
    assert results(run)["processes"] == after
    assert [event[:2] for event in timeline(run)] == [event[:2] for event in timeline(whole)]
    assert_close_weights(whole, run)
