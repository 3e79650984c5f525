"""A folder that looks like a clone with data of one's own, in which the commands of our pages are run as they stand."""

from __future__ import annotations

import csv
import os
import random
import re
import subprocess
import sys
from pathlib import Path

from tests.miniature_glue import SUBJECTS, VERBS, write_miniature_glue
from tests.tiny_models import write_tiny_bert

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ("prepro_std.py", "train.py", "predict.py", "export.py")
PACKAGES = ("data_utils", "experiments", "module", "mt_dnn", "studies")
ROWS, NEW_ROWS = 60, 12


def commands(page: str) -> list[str]:
    """The commands in a page's bash blocks, a line each."""
    blocks = re.findall(r"```bash\n(.*?)\n```", (ROOT / page).read_text(encoding="utf-8"), flags=re.S)
    return [line for block in blocks for line in block.splitlines()]


def write_clone(folder: Path) -> None:
    """Our programs, a tiny encoder under the name of the quickstart's, raw GLUE in miniature, and tables of reviews."""
    for name in (*PROGRAMS, *PACKAGES):
        (folder / name).symlink_to(ROOT / name)
    write_tiny_bert(folder / "downloads" / "all-MiniLM-L6-v2")
    (folder / "data").mkdir()
    write_miniature_glue(folder / "data" / "glue")
    write_tables(folder)


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


def run(command: str, folder: Path) -> str:
    """What a command prints; it must end well."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(["bash", "-ec", command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout
