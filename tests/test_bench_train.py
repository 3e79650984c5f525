"""`scripts/bench_train.py` runs to its end on a tiny encoder; its figures are no test's business."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Workshop

ROOT = Path(__file__).parents[1]


def test_it_measures_both_and_prints_a_row(workshop: Workshop) -> None:
    pytest.importorskip("accelerate", reason="Hugging Face's Trainer needs accelerate, which is not installed")
    data = ["--data_dir", str(workshop.data_dir), "--init_checkpoint", str(workshop.encoder)]
    data += ["--task_def", "experiments/glue/glue_task_def.yml"]
    how = ["--tasks", "sst", "--optims", "adamax,pats_adamax", "--updates", "2", "--rounds", "1"]
    command = [sys.executable, "-m", "scripts.bench_train", *data, *how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("sst")]
    assert len(rows) == 2 and all("adamax" in row for row in rows), done.stdout
