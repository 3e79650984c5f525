"""docs/your-own-table.md: every command is run as it stands on the page, on a small table and a tiny encoder."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from tests.clone import NEW_ROWS, ROWS, commands, run, write_clone

COMMANDS = commands("docs/your-own-table.md")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone")
    write_clone(folder)
    return folder


@pytest.fixture(scope="module")
def printed(place: Path) -> list[str]:
    """What each command of the page prints; all of them must end well."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    return [run(command, place) for command in COMMANDS]


def test_the_page_has_fewer_than_ten_commands() -> None:
    assert 5 <= len(COMMANDS) < 10


def test_each_command_does_what_the_page_says(place: Path, printed: list[str]) -> None:
    assert "split   train 48, dev 6, test 6" in printed[0]
    task = json.loads((place / "runs/reviews/results.json").read_text())["tasks"]["reviews"]
    assert set(task["test"]["splits"]["test"]["classes"]) == {"bad", "good"} and len(task["history"]) == 5
    assert f"test {task['test']['score']:.2f}" in printed[2]
    with (place / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [f"r{i}" for i in range(ROWS, ROWS + NEW_ROWS)]
    assert all(float(row["prob_bad"]) + float(row["prob_good"]) == pytest.approx(1, abs=1e-5) for row in rows)
    assert (place / "model/model.onnx").is_file() and "'label': '" in printed[5]


def test_the_next_command_is_the_one_that_is_printed(printed: list[str]) -> None:
    (told,) = re.findall(r"^  (python train\.py .*)$", printed[0], flags=re.M)
    added = "--optim pats_adamax --learning_rate 3e-4 --epochs 5 "
    assert COMMANDS[1].replace(added, "") == told
