"""`scripts/bench_train.py` runs to its end on a tiny encoder; its figures are no test's business."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from mt_dnn.config import load_config
from mt_dnn.setup import build_trainer
from scripts import bench_train
from tests.conftest import Workshop

ROOT = Path(__file__).parents[1]


def test_it_measures_everybody_and_writes_a_table(workshop: Workshop, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="Hugging Face's Trainer needs accelerate, which is not installed")
    data = ["--data_dir", str(workshop.data_dir), "--init_checkpoint", str(workshop.encoder)]
    data += ["--task_def", "experiments/glue/glue_task_def.yml", "--csv", str(tmp_path / "speed.csv")]
    how = ["--tasks", "sst", "--optims", "adamax,pats_adamax", "--updates", "2", "--rounds", "1"]
    how += ["--trainers", "same,fused,grouped", "--precisions", "fp32,bf16"]
    command = [sys.executable, "-m", "scripts.bench_train", *data, *how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "speed.csv").read_text(encoding="utf-8").splitlines()))
    training = ["adamax", "pats_adamax", "Trainer, same", "Trainer, fused", "Trainer, grouped"]
    assert [(row["precision"], row["who"]) for row in rows] == [
        (precision, who) for precision in ("fp32", "bf16") for who in [*training, "ours", "Trainer"]
    ]
    assert all(float(row["samples_per_second"]) > 0 for row in rows)
    assert rows[0]["reference_over_this"] == "1.00" and "cold start" in done.stdout


def test_trainer_takes_one_gpu_as_our_runs_do(workshop: Workshop, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="Hugging Face's Trainer needs accelerate, which is not installed")
    plan = build_trainer(load_config(workshop.flags(tmp_path / "run", "--train_datasets", "sst"), ""))
    trainer, _ = bench_train.hugging_face(plan, 1, "fused")
    assert trainer.args.n_gpu == 1
    assert trainer.args.train_batch_size == plan.config.loop.batch_size


def test_names_it_does_not_know_are_refused_in_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_train.main(["--trainers", "fast", "--precisions", "fp8", "--rounds", "0"]) == 2
    told = capsys.readouterr().err
    assert all(flag in told for flag in ("--trainers fast", "--precisions fp8", "--rounds must be"))
