"""A sweep whose runs are a stub in place of train.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from studies import sweep
from studies.study import Study
from studies.sweeps import layout, plan, workers

ROOT = Path(__file__).resolve().parents[2]
STUB = ROOT / "tests" / "stub_train.py"
DRIVER = """
import sys
from pathlib import Path
from studies import sweep
from studies.sweeps import layout, plan, workers
plan.TRAIN = workers.TRAIN = Path(sys.argv[1])
layout.WORTH_MEASURING = 10**6
sys.exit(sweep.main(sys.argv[2:]))
"""
GRID = "--recipes minilm/rte --methods adamax,pats --seeds 1-2 --data_dir features --devices cpu"
ALL_DONE = dict.fromkeys(["adamax_1", "pats_1", "adamax_2", "pats_2"], "done")  # of GRID


@dataclass(frozen=True)
class Sweeper:
    """Sweeps in a folder of their own."""

    folder: Path

    @property
    def study_folder(self) -> Path:
        return self.folder / "study"

    @property
    def study(self) -> Study:
        return Study.load(self.study_folder)

    def behave(self, **behaviour: str) -> None:
        """What runs do, by label and seed: `pats_1="crash"`; all others finish."""
        told = {"/seed_".join(name.rsplit("_", 1)): how for name, how in behaviour.items()}
        (self.folder / "behaviour.json").write_text(json.dumps(told), encoding="utf-8")

    def __call__(self, flags: str = GRID, folder: Path | None = None) -> int:
        """Sweep in this process."""
        return sweep.main([*flags.split(), "--output_dir", str(folder or self.study_folder)])

    def start(self, flags: str = GRID) -> subprocess.Popen[str]:
        """Sweep in another process, at the head of a process group, as a shell would."""
        return subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(STUB), *flags.split(), "--output_dir", str(self.study_folder)],
            cwd=ROOT,
            env=os.environ | {"STUB_FOLDER": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def calls(self) -> list[dict[str, Any]]:
        """The runs that came to an end."""
        path = self.folder / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def statuses(self) -> dict[str, str]:
        """Where the study's runs stand, by method and seed."""
        return {f"{one.run.label}_{one.run.seed}": one.status.value for one in self.study.outcomes()}


def wait_for(what: str, condition: Callable[[], bool], seconds: float = 600.0) -> None:
    """Until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited for {what}"
        time.sleep(0.05)


@pytest.fixture
def sweeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweeper:
    monkeypatch.setattr(plan, "TRAIN", STUB)
    monkeypatch.setattr(workers, "TRAIN", STUB)
    monkeypatch.setattr(layout, "WORTH_MEASURING", 10**6)  # the stub has nothing to measure
    monkeypatch.setattr(workers, "POLL_SECONDS", 0.02)
    monkeypatch.setenv("STUB_FOLDER", str(tmp_path))
    sweeps = Sweeper(tmp_path)
    sweeps.behave()
    return sweeps
