"""The studies that are committed: their tables and their page say what their runs' records say, of every run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from studies import table
from studies.study import Status, Study

GLUE = Path(__file__).resolve().parents[2] / "experiments" / "glue"
STUDIES = sorted(path.parent for path in (GLUE / "results").glob("*/study.yml"))
PAGE = (GLUE / "README.md").read_text(encoding="utf-8")


@pytest.fixture(params=STUDIES, ids=lambda path: path.name)
def folder(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


NOTHING_SAID = re.compile(r"too few seeds to tell|p \(Holm\)|^[| :-]+$")
"""Comparisons of single seeds, and what stands above rows: a page may leave them out."""


def test_there_are_some() -> None:
    assert {path.name for path in STUDIES} >= {"minilm", "minilm_search"}


def test_the_table_follows_from_the_records(folder: Path, tmp_path: Path) -> None:
    assert table.main([str(folder), "--output_dir", str(tmp_path)]) == 0
    for name in ("table.md", "table.tex", "table.csv"):
        assert (tmp_path / name).read_text(encoding="utf-8") == (folder / name).read_text(encoding="utf-8")


def test_the_page_has_the_scores_of_the_last_epoch(folder: Path) -> None:
    last, _ = (folder / "table.md").read_text(encoding="utf-8").split(", best epoch", maxsplit=1)
    rows = [line for line in last.splitlines() if line.startswith("|")]
    assert len(rows) > 3
    assert [row for row in rows if row not in PAGE and not NOTHING_SAID.search(row)] == []


def test_captions_on_the_page_are_those_of_its_figures() -> None:
    shown = re.findall(r"^!\[.+\]\((results/.+)\.png\)\n(.+)$", PAGE, flags=re.M)
    assert len(shown) >= 5
    for figure, caption in shown:
        assert caption == (GLUE / f"{figure}.txt").read_text(encoding="utf-8").strip()


def test_every_run_is_recorded_and_on_the_page(folder: Path) -> None:
    rows: dict[tuple[str, str], list[str]] = {}
    for outcome in Study.load(folder).outcomes():
        assert outcome.status is Status.DONE, outcome.run
        assert (outcome.folder / "metrics.jsonl").is_file()
        task = outcome.results["tasks"][outcome.run.task]
        cell = f"{task['last']['score']:.2f} ({task['best']['score']:.2f}, {task['best']['epoch']:g})"
        rows.setdefault((outcome.run.task, outcome.run.label), []).append(cell)
    for (task_name, label), cells in rows.items():
        if len(cells) == 1:
            continue  # a table of means over one seed has the runs themselves
        assert f"\n| {task_name} | {label} | {' | '.join(cells)} |" in PAGE
