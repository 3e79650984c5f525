"""A study as one HTML page that stands alone: what it shows, tables, figures, runs, time, settings, commands.

    python -m studies.report study/                                 # writes study/report.html
    python -m studies.report study/ --which best --baseline sage --output docs/report.html

The page loads nothing and runs nothing; its links lead to the study's files, relative to the page. Equal studies give
equal pages. A study that is not done yet has a report as well, which says so.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from data_utils.atomic import StagedFiles
from data_utils.cli import Parser, path_text
from data_utils.errors import entry_point
from studies.pages.figures import figures
from studies.pages.page import Html, document, element
from studies.pages.runs import all_runs, commands, counts, odd_runs, settings, times
from studies.pages.scores import in_short, scores
from studies.study import TEST_SPLITS, Study
from studies.table import study_tables
from studies.tables.comparison import BASELINE, EPOCHS
from studies.tables.significance import TESTS

ABOUT = "PATS and its baselines, fine-tuned with train.py. Scores are in points out of 100, of dev sets if not of test."
EMPTY = "This study has no runs yet; studies.sweep adds some."


def report(study: Study, page: Path, which: str, baseline: str | None) -> Html:
    """The page.

    Args:
        study: its runs, whatever became of them.
        page: where the page will lie, which is where its links start.
        which: epoch whose scores are shown openly, `last` or `best`; the other's are folded.
        baseline: as for `study_tables`.

    Raises:
        InputError: damaged files in the study, not its baseline, or matplotlib is not installed.
    """
    title = f"Study: {study.folder.resolve().name}"
    if not study.runs:
        return document(title, [element("p", EMPTY)], [])
    outcomes = study.outcomes()
    order = [*sorted(EPOCHS, key=lambda epoch: epoch != which), *[TEST_SPLITS] * study.has_test_scores()]
    tables = study_tables(study, order, baseline, None, TESTS[0])
    shown = [table for table in tables if table.which == which]
    sections = [
        ("In short", in_short(shown)),
        ("Scores", scores(tables, which)),
        ("Figures", figures(study)),
        ("Runs that are not simply done", odd_runs(study, outcomes, page)),
        ("Time, hardware and versions", times(outcomes, shown)),
        ("Settings", settings(study, page)),
        ("All runs", all_runs(study, outcomes, page)),
        ("How to reproduce it", commands(study, outcomes, which, baseline, page)),
    ]
    head = [element("p", text) for text in (ABOUT, study.changes, counts(outcomes)) if text]
    return document(title, head, sections)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m studies.report",
        description="Write a study's report as one self-contained HTML page.",
        allow_abbrev=False,
    )
    parser.add_argument("study", type=path_text, metavar="STUDY", help="a folder made by studies.sweep")
    parser.add_argument("--which", choices=EPOCHS, default=EPOCHS[0], help="epoch that is not folded (default: last)")
    parser.add_argument("--baseline", help=f"method that all others are compared with (default: {BASELINE})")
    parser.add_argument("--output", type=path_text, help="the page (default: STUDY/report.html)")
    return parser


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 when the page is written, 2 when the study cannot be read."""
    args = _parser().parse_args(argv)
    study = Study.load(Path(args.study))
    page = Path(args.output or study.folder / "report.html")
    text = report(study, page, args.which, args.baseline)
    with StagedFiles() as staged:
        staged.path(page).write_text(text, encoding="utf-8")
    print(f"written: {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
