"""Runs that are killed at random moments, and from a shell, end as if they had never stopped."""

from __future__ import annotations

import json
import signal
from concurrent.futures import Executor
from pathlib import Path

import pytest

from tests.resume.attempts import kill_command_line, run_plainly
from tests.torture import kills as torture
from tests.torture.world import SCENARIOS, World, make_world

KILLS_A_CHAIN = 3
KILLS = KILLS_A_CHAIN * len(SCENARIOS)


def test_runs_killed_at_random_moments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torture, "KILLS_A_CHAIN", KILLS_A_CHAIN)  # so that every scenario has a chain
    flags = ["--kills", str(KILLS), "--seed", "3", "--work_dir", str(tmp_path / "work")]
    assert torture.main(flags) == 0, capsys.readouterr().out
    *_, scenarios, verdict = capsys.readouterr().out.splitlines()
    assert verdict == f"{KILLS} kills, {KILLS} resumed, {KILLS} equal"
    assert [name for name in SCENARIOS if name not in scenarios] == []
    results = json.loads((tmp_path / "work" / "reference_noisytune" / "run" / "results.json").read_text())
    assert results["epochs"] < 60, "no early stopping"


@pytest.fixture(scope="module")
def reference(pool: Executor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was not killed."""
    folder = tmp_path_factory.mktemp("reference")
    world = make_world(folder / "world")
    pool.submit(run_plainly, world.flags(folder / "run", SCENARIOS["pats"]), folder / "run").result()
    return folder


def test_a_command_line_that_is_killed(pool: Executor, reference: Path, tmp_path: Path) -> None:
    """`python train.py` itself, with each signal, and at an update that is known."""
    world, futures = World.below(reference / "world"), {}
    for sent in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        run = tmp_path / sent.name
        argv = world.flags(run, SCENARIOS["pats"])
        futures[sent.name] = pool.submit(kill_command_line, argv, run, reference / "run", sent)
    assert {name: future.result() for name, future in futures.items()} == dict.fromkeys(futures, [])
