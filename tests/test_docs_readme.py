"""README.md: its commands are run as they stand, but for the scripts that other tests start; and it stays short."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.clone import NEW_ROWS, ROOT, commands, run, write_clone

README = ROOT / "README.md"
ELSEWHERE = ("bash scripts/", "source ")
"""What other tests start: tests/test_scripts.py."""


def test_every_command_works(tmp_path: Path) -> None:
    write_clone(tmp_path)
    printed = {line: run(line, tmp_path) for line in commands("README.md") if not line.startswith(ELSEWHERE)}
    assert len(printed) == 8
    for name in ("rte-pats", "reviews"):
        assert (tmp_path / "runs" / name / "results.json").is_file()
    assert json.loads((tmp_path / "runs/rte-pats/results.json").read_text())["optim"] == "pats_adamax"
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == NEW_ROWS + 1
    assert "test splits" not in printed["python -m studies.table runs/study"]
    assert "too few seeds to tell" in printed["python -m studies.table runs/study"]


def test_it_takes_five_minutes_to_read() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) < 120


def test_links_lead_somewhere() -> None:
    """Of all pages: files are there, and so are the headings that links name."""
    broken = []
    for page in [README, *ROOT.glob("docs/*.md"), *ROOT.glob("experiments/*/README.md")]:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            path, _, heading = target.partition("#")
            if "://" in target:
                continue
            file = (page.parent / path).resolve() if path else page
            if not file.exists() or (heading and heading not in headings(file)):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken, broken


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made from their words."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
