"""docs/your-own-table.md: every command is run as it stands on the page, on a small table and a tiny encoder."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.miniature_glue import SUBJECTS, VERBS
from tests.tiny_models import write_tiny_bert

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = re.findall(r"```bash\n(.*?)\n```", (ROOT / "docs/your-own-table.md").read_text(encoding="utf-8"), flags=re.S)
ROWS, NEW_ROWS = 60, 12


def write_tables(folder: Path) -> None:
    """Reviews whose words are in order, or not; one in quotes, with a line end."""
    rng = random.Random(1)
    rows = []
    for i in range(ROWS + NEW_ROWS):
        words = f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)} {i}".split()
        good = i % 2 == 0
        rows.append([f"r{i}", " ".join(words if good else words[::-1]), "good" if good else "bad"])
    rows[0][1] += '\n"indeed", she said'
    for name, header, part in (
        ("reviews.csv", ["id", "review", "stars"], rows[:ROWS]),
        ("new.csv", ["id", "review"], [row[:2] for row in rows[ROWS:]]),
    ):
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *part])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like a clone from where the commands are run."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("prepro_std.py", "train.py", "predict.py", "export.py", "studies", "data_utils", "mt_dnn", "module"):
        (folder / name).symlink_to(ROOT / name)
    write_tiny_bert(folder / "downloads" / "all-MiniLM-L6-v2")
    write_tables(folder)
    return folder


@pytest.fixture(scope="module")
def printed(place: Path) -> list[str]:
    """What each command of the page prints; all of them must end well."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    python = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": python, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    found = []
    for command in COMMANDS:
        done = subprocess.run(["bash", "-ec", command], cwd=place, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        found.append(done.stdout)
    return found


def test_the_page_has_fewer_than_ten_commands() -> None:
    assert 5 <= len(COMMANDS) < 10 and not any("\n" in command for command in COMMANDS)


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
