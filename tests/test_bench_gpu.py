"""`scripts/bench_gpu.sh --rehearse` runs every measurement to its end; its figures are no test's business."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch._subclasses import FakeTensorMode

from scripts.bench_optim import Result
from scripts.gpu import main, steps
from scripts.gpu.measure import FUNCTIONS
from scripts.gpu.records import Record, Writer, read
from tests.triton_marks import needs_triton

ROOT = Path(__file__).parents[1]


def bench(*flags: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHON": sys.executable}
    command = ["bash", "scripts/bench_gpu.sh", *flags]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )


@needs_triton
def test_a_rehearsal_measures_everything(tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="Hugging Face's Trainer needs accelerate, which is not installed")
    done = bench("--rehearse", "--output", str(tmp_path))
    found = json.loads((tmp_path / "bench_gpu.json").read_text())
    records = [Record(**record) for record in found["records"]]
    assert done.returncode == 0, "\n".join(record.line() for record in records) + done.stderr
    assert found["rehearsal"] and found["device"] == "cpu"
    assert {record.measurement for record in records} == set(main.BUDGET_SECONDS) == set(FUNCTIONS)
    skipped = {record.note for record in records if record.status == "skipped"}
    assert skipped - {"Numba is not installed"} == {"needs a GPU", "memory is counted on a GPU only"}
    assert all(record.line() in done.stdout for record in records)


def test_a_backend_that_is_not_for_gpus_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake tensor stands in for one on a GPU."""
    result = Result(
        model="bert_base",
        optimizer="AdamaxW",
        backend="numba",
        perturbed_parameters=1,
        parameters=1,
        device="GPU",
        torch="2",
        date="",
    )
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(steps, "encoder_groups", lambda config, device: [])
    monkeypatch.setattr(steps, "measure_steps", lambda *args: [result])
    monkeypatch.setattr(steps, "ROWS", [row for row in steps.ROWS if row.backend == "numba"])
    with FakeTensorMode():
        steps.measure(Writer(tmp_path / "steps.jsonl", "steps"), tmp_path, tiny=False)
    skipped = {(record.status, record.note) for record in read(tmp_path / "steps.jsonl")}
    assert skipped == {("skipped", "the parameter is on cuda, not cpu")}


def test_unknown_measurements_are_refused(tmp_path: Path) -> None:
    done = bench("--rehearse", "--only", "steps,spede", "--output", str(tmp_path))
    assert done.returncode == 2
    assert "--only spede: choose from kernels, steps, speed" in done.stderr


def test_a_measurement_that_hangs_or_dies_is_a_line_and_keeps_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "python"
    monkeypatch.setattr(main.sys, "executable", str(fake))
    line = json.dumps(main.asdict(Record(measurement="steps", what="early", value=1.0)))
    for ending, note in (("exec sleep 60", "cut after 1 s"), ("exit 7", "the process ended with 7")):
        fake.write_text(f"#!/bin/sh\necho '{line}' >> \"$4/steps.jsonl\"\n{ending}\n")
        fake.chmod(0o755)
        started = time.monotonic()
        first, last = main.run("steps", tmp_path, tmp_path, 1, rehearse=True)
        assert time.monotonic() - started < 30
        assert first.what == "early" and last.status == "FAILED" and note in last.note


def test_a_record_that_was_cut_in_the_middle_is_left_out(tmp_path: Path) -> None:
    write = Writer(tmp_path / "steps.jsonl", "steps")
    write("whole", 2.0, "x")
    with write.path.open("a") as file:
        file.write('{"measurement": "ste')
    assert [record.what for record in read(write.path)] == ["whole"]
