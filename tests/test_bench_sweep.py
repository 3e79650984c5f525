"""`scripts/bench_sweep.py` and `bench_growth.py` run to their ends on tiny shapes; figures are no test's business."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

from studies.sweeps.devices import available_cores
from studies.sweeps.layout import halvings
from tests.conftest import Workshop

ROOT = Path(__file__).parents[1]


def run(*command: str) -> str:
    """What a script prints."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_layout_has_a_row(workshop: Workshop) -> None:
    data = ["--data_dir", str(workshop.data_dir), "--init_checkpoint", str(workshop.encoder)]
    told = run("scripts.bench_sweep", *data, "--task", "sst", "--updates", "2").splitlines()
    assert len(told) == 1 + len(halvings(len(available_cores())))
    assert "1.00" in told[1]  # the first one beside itself


def test_every_part_has_a_row(workshop: Workshop, tmp_path: Path) -> None:
    output = tmp_path / "growth.csv"
    parts = ["epoch", "predict", "table"]
    run("scripts.bench_growth", "--model", str(workshop.encoder), "--sizes", "1,2", "--parts", ",".join(parts),
        "--output", str(output))  # fmt: skip
    with output.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["part"] for row in rows] == parts
    assert all(float(row["s at 2"]) > 0 and float(row["MiB at 2"]) > 0 for row in rows)
