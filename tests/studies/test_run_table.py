"""The table of finished runs: what it shows, and what a folder that is no run is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from studies.table import main
from studies.tables.run_table import RunResult, render


def result(optim: str, **scores: tuple[str, float, Any, int]) -> dict[str, Any]:
    """A `results.json` as train.py writes it; a score is (metric, last, best, best epoch)."""
    tasks = {
        task: {
            "primary_metric": metric,
            "best": {"epoch": epoch, "score": best, "metrics": {metric: best}},
            "last": {"epoch": 3, "score": last, "metrics": {metric: last}},
            "history": [],
        }
        for task, (metric, last, best, epoch) in scores.items()
    }
    return {
        "tasks": tasks,
        "average": {"best": 60.04, "last": 58.86},
        "seed": 1,
        "optim": optim,
        "samples_per_second": 101.6,
        "wall_seconds": 125.4,
        "device": "cpu",
        "versions": {},
    }


def write_run(folder: Path, raw: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(raw), encoding="utf-8")
    return folder


def test_the_table_is_aligned_and_complete(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        write_run(tmp_path / "a", result("adamax", cola=("MCC", 58.84, 60.1, 2))),
        write_run(tmp_path / "b", result("pats_adamax", cola=("MCC", 59.9, 62.2, 10), rte=("ACC", 73.8, 75.1, 1.5))),
    ]
    a, b = map(str, runs)
    assert main([a, b]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Dev scores in points out of 100: after the last epoch (after the best one @ its number).",
        "optim        seed  cola MCC           rte ACC             average        samples/s  wall  run",
        "-" * (90 + len(a)),
        "adamax       1     58.84 (60.10 @2)   -                   58.86 (60.04)  102        2:05  " + a,
        "pats_adamax  1     59.90 (62.20 @10)  73.80 (75.10 @1.5)  58.86 (60.04)  102        2:05  " + b,
    ]


def test_scores_of_different_metrics_never_share_a_column(tmp_path: Path) -> None:
    runs = [
        RunResult.load(write_run(tmp_path / metric, result("adamax", mrpc=(metric, value, value, 1))))
        for metric, value in (("F1", 90.0), ("ACC", 85.0))
    ]
    header, _, first, second = render(runs).splitlines()[1:]
    assert "mrpc F1" in header and "mrpc ACC" in header
    assert first.split()[2:5] == ["90.00", "(90.00", "@1)"] and first.split()[5] == "-"
    assert second.split()[2] == "-" and second.split()[3] == "85.00"


def test_a_run_that_goes_on_is_left_out_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = write_run(tmp_path / "ended", result("adamax", cola=("MCC", 58.84, 60.1, 2)))
    going_on = tmp_path / "going_on"
    going_on.mkdir()
    (going_on / "config.yaml").write_text("seed: 1\n", encoding="utf-8")
    assert main([str(going_on), str(ended)]) == 0
    *_, row, note = capsys.readouterr().out.splitlines()
    assert row.endswith(str(ended)) and note.startswith(f"{going_on}: left out, the run has not ended")
    assert main([str(going_on)]) == 2
    assert "the run has not finished" in capsys.readouterr().err


BAD_RUNS = {
    "no folder": (None, "no such folder"),
    "no file": ({}, "no such file; the run has not finished"),
    "broken": ({"results.json": "{"}, "not a train.py result"),
    "a list": ({"results.json": "[]"}, "not a train.py result"),
    "a key less": ({"results.json": json.dumps({"tasks": {}})}, "the key 'average' is missing"),
    "text for a score": (
        {"results.json": json.dumps(result("adamax", cola=("MCC", 1.0, "high", 1)))},
        "could not convert string to float: 'high'",
    ),
}


@pytest.mark.parametrize(("files", "message"), BAD_RUNS.values(), ids=BAD_RUNS)
def test_a_folder_that_is_no_run_is_named(
    files: dict[str, str] | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    if files is not None:
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    assert main([str(folder)]) == 2
    output = capsys.readouterr()
    assert str(folder) in output.err and message in output.err and not output.out


def test_test_scores_are_shown_where_there_are_some() -> None:
    raw = result("adamax", rte=("ACC", 65.0, 66.0, 2), cola=("MCC", 30.0, 31.0, 1))
    raw["tasks"]["rte"]["test"] = {"score": 61.25}
    text = render([RunResult._from_json("runs/a", raw)])
    assert "66.00 @2, test 61.25)" in text and "31.00 @1)" in text
    assert text.splitlines()[0].endswith("Test scores are of the best epoch's model.")
