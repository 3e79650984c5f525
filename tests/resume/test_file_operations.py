"""A run that dies before any one of its file operations ends, resumed, as if it had never stopped."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import Executor
from pathlib import Path

import pytest

from tests.resume.attempts import resume, run_plainly, run_with_copies
from tests.resume.file_operations import content, files
from tests.torture.checks import differences
from tests.torture.world import World

FLAGS = "--train_datasets share --optim pats_adamax --pats_lambda 1e-3 --seed 5 --batch_size 4 --epochs 2 "
FLAGS += "--keep_checkpoints "
"""Two epochs of three updates; the second evaluation is better by far, so that `best/` is replaced."""
KINDS = {"open", "write", "write halfway", "serialize_file", "serialize_file halfway", "fsync"}
KINDS |= {"os.mkdir", "os.rename", "os.remove", "os.rmdir"}
LEAST = 120
"""There must be file operations of these kinds, and so many, or this test has lost its subject."""
SHOWN = 10
TIMED = {"run.lock", "config.yaml", "config.yaml.partial", "state.json", "manifest.json"}
"""Files that hold a process number, a path, times, or a hash of them."""


@pytest.fixture(scope="module")
def references(small_world: World, pool: Executor, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Runs that never stopped, by the number of checkpoints that they keep."""
    folder = tmp_path_factory.mktemp("references")
    runs = {keep: folder / f"keep_{keep}" for keep in (1, 2)}
    for keep, run in runs.items():
        pool.submit(run_plainly, small_world.flags(run, FLAGS + str(keep)), run).result()
    events = [json.loads(line) for line in (runs[1] / "metrics.jsonl").read_text().splitlines()]
    assert [event["best"] for event in events if event["event"] == "eval"] == [True, True]
    return runs


def resume_all(world: World, pool: Executor, reference: Path, copies: Path, journal: list[str], keep: int) -> list[str]:
    """Resume every copy, equal ones once; returns what is wrong with how they end."""
    distinct: dict[str, tuple[str, Path]] = {}
    for number, change in enumerate(journal, start=1):
        copy = copies / f"{number:04d}"
        distinct.setdefault(content(copy), (f"before change {number} ({change})", copy))
    print(f"{len(journal)} file operations, {len(distinct)} different folders")
    futures = {
        when: pool.submit(resume, world.flags(copy, FLAGS + str(keep)), copy, reference)
        for when, copy in distinct.values()
    }
    return [f"{when}: {problem}" for when, future in futures.items() for problem in future.result()]


@pytest.mark.parametrize(
    ("keep", "power_cut"), [(1, False), (1, True), (2, False)], ids=["crash", "power cut", "two checkpoints"]
)
def test_death_before_every_file_operation(
    small_world: World, pool: Executor, references: dict[int, Path], tmp_path: Path, keep: int, power_cut: bool
) -> None:
    run, copies = tmp_path / "run", tmp_path / "copies"
    argv = small_world.flags(run, FLAGS + str(keep))
    journal = pool.submit(run_with_copies, argv, run, copies, power_cut=power_cut).result()
    assert not differences(references[keep], run), "counting alters the run"
    assert len(journal) >= LEAST and {change.rsplit(" ", 1)[0] for change in journal} >= KINDS
    wrong = resume_all(small_world, pool, references[keep], copies, journal, keep)
    assert not wrong, "\n".join(wrong[:SHOWN])


def test_power_cut_before_every_file_operation_of_a_run_that_resumes(
    small_world: World, pool: Executor, references: dict[int, Path], tmp_path: Path
) -> None:
    """The first death comes between the two renames that replace `best/`."""
    first, run, copies = tmp_path / "first", tmp_path / "run", tmp_path / "copies"
    flags = FLAGS + "1"
    journal = pool.submit(
        run_with_copies, small_world.flags(first, flags), first, tmp_path / "before", power_cut=True
    ).result()
    second_rename = journal.index("os.rename best") + 2
    shutil.copytree(tmp_path / "before" / f"{second_rename:04d}", run)
    assert {"best.old", "best.partial"} <= {path.name for path in run.iterdir()}
    argv = [*small_world.flags(run, flags), "--resume"]
    journal = pool.submit(run_with_copies, argv, run, copies, power_cut=True).result()
    assert len(journal) >= LEAST / 2
    wrong = resume_all(small_world, pool, references[1], copies, journal, 1)
    assert not wrong, "\n".join(wrong[:SHOWN])


def test_a_death_leaves_what_a_copy_shows(small_world: World, pool: Executor, tmp_path: Path) -> None:
    """Copies stand in for processes that SIGKILL has ended; here are both, at a few moments."""
    run, copies = tmp_path / "run", tmp_path / "copies"
    journal = pool.submit(run_with_copies, small_world.flags(run, FLAGS + "1"), run, copies, power_cut=False).result()
    for number in range(5, len(journal), len(journal) // 6):
        dead = tmp_path / f"dead_{number}"
        argv = small_world.flags(dead, FLAGS + "1")
        until = pool.submit(run_with_copies, argv, dead, tmp_path / f"no_{number}", power_cut=False, fatal=number)
        assert until.result() == journal[:number]
        left, shown = (
            {str(path.relative_to(folder)): path.name in TIMED or path.read_bytes() for path in files(folder)}
            for folder in (dead, copies / f"{number:04d}")
        )
        assert left == shown, f"before change {number} ({journal[number - 1]})"


def test_a_disk_that_ignores_fsync_is_noticed(
    small_world: World, pool: Executor, references: dict[int, Path], tmp_path: Path
) -> None:
    """The cuts bite: were nothing brought to the disk, a run with a checkpoint could not go on."""
    run, copies = tmp_path / "run", tmp_path / "copies"
    argv = small_world.flags(run, FLAGS + "1")
    how = {"power_cut": True, "fsync_works": False}
    journal = pool.submit(run_with_copies, argv, run, copies, **how).result()
    saved = journal.index("os.rename checkpoints/step_00000003.partial") + 2
    copy = copies / f"{saved:04d}"
    wrong = pool.submit(resume, small_world.flags(copy, FLAGS + "1"), copy, references[1]).result()
    assert wrong[0].startswith("exit code 2: error: ")
