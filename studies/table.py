"""The table of a study, with paired statistics over seeds; or finished runs side by side.

    python -m studies.table study/              # prints it, writes table.md, table.tex and table.csv there
    python -m studies.table runs/a runs/b       # any folders of train.py: one row a run, nothing written

A study is a folder made by studies.sweep. For each encoder: methods × tasks, mean ± sample standard
deviation over seeds after the last epoch, then at the best one; what failed, collapsed or is unfinished; the paper's
scores; and each method against the baseline at equal seeds, in plain words.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from data_utils.atomic import StagedFiles
from data_utils.cli import Parser, path_text
from data_utils.errors import InputError, entry_point
from studies.study import STUDY_FILE, TEST_SPLITS, Study
from studies.tables import run_table
from studies.tables.comparison import BASELINE, EPOCHS, NESTED, StudyTable, compare, read_paper_scores
from studies.tables.layouts import csv_text, latex, markdown
from studies.tables.remarks import comparable, remarks
from studies.tables.significance import TESTS

OF_STUDIES = ("which", "baseline", "output_dir", "tasks", "test")


def study_tables(
    study: Study, which: Sequence[str], baseline: str | None, tasks: Sequence[str] | None, test: str
) -> list[StudyTable]:
    """A study's tables: those of the first of `which` come first.

    Args:
        study: with at least one run.
        which: of `last`, `best`, `nested` and `test`.
        baseline: a method; None for adamax, which need not be there.
        tasks: those to show; None for all.
        test: one of `significance.TESTS`.

    Raises:
        InputError: the study has no runs, or not this baseline or these tasks; a damaged run.
    """
    outcomes = study.outcomes()
    methods = sorted({outcome.run.method for outcome in outcomes})
    if not outcomes:
        raise InputError(f"{study.folder}: a study without runs; studies.sweep adds some")
    if baseline is not None and baseline not in methods:
        raise InputError(f"--baseline {baseline}: not in this study, which has {', '.join(methods)}")
    paper = read_paper_scores(study.suite.paper_table)
    beside = comparable(paper, study)
    tables = [
        table
        for epoch in which
        for table in compare(outcomes, which=epoch, baseline=baseline or BASELINE, tasks=tasks, test=test, paper=beside)
    ]
    if tasks and (missing := [task for task in tasks if not any(task in table.tasks for table in tables)]):
        known = {task for table in compare(outcomes, which=which[0]) for task in table.tasks}
        raise InputError(f"--tasks {','.join(missing)}: not in this study, which has {', '.join(sorted(known))}")
    return [replace(table, remarks=remarks(study, table, paper, outcomes)) for table in tables]


def write_tables(tables: Sequence[StudyTable], name: str, folder: Path) -> list[Path]:
    """Write table.md, table.tex and table.csv, all or none; InputError where that is not possible."""
    texts = {"table.md": markdown(tables, name), "table.tex": latex(tables), "table.csv": csv_text(tables)}
    with StagedFiles() as staged:
        for file, text in texts.items():
            staged.path(folder / file).write_text(text, encoding="utf-8")
    return [folder / file for file in texts]


def _parser() -> Parser:
    parser = Parser(
        prog="python -m studies.table",
        description="Print and write a study's table with paired statistics, or print finished runs side by side.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "folders", nargs="+", type=path_text, metavar="FOLDER", help="one study, or the --output_dirs of finished runs"
    )
    of_study = parser.add_argument_group("of a study")
    of_study.add_argument(
        "--which",
        choices=(*EPOCHS, "both", NESTED, TEST_SPLITS, "all"),
        help="epoch; nested: the best one, chosen on one half of the dev rows and scored on the other; test: the best "
        "one on test splits; default: both, the last epoch first, and test where all runs have it",
    )
    of_study.add_argument("--baseline", help=f"method that all others are compared with (default: {BASELINE})")
    of_study.add_argument("--output_dir", type=path_text, help="folder of table.md, .tex and .csv; default: the study")
    of_study.add_argument("--tasks", help="comma-separated; default: all; the correction is over those shown")
    of_study.add_argument("--test", choices=TESTS, help=f"paired test (default: {TESTS[0]})")
    return parser


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 when done, 2 when a folder is neither a study nor a finished run."""
    args = _parser().parse_args(argv)
    folders = [Path(folder) for folder in args.folders]
    studies = [folder for folder in folders if (folder / STUDY_FILE).is_file()]
    given = [f"--{name}" for name in OF_STUDIES if getattr(args, name) is not None]
    if not studies:
        if given:
            raise InputError(
                f"{', '.join(given)} would have no effect: {folders[0]} has no {STUDY_FILE}, it is no study"
            )
        ended, going_on = run_table.split_by_end(folders)
        print(run_table.render(ended))
        for folder in going_on:
            print(f"{folder}: left out, the run has not ended; if nobody runs it, train.py --resume goes on with it")
        return 0
    if len(folders) > 1:
        raise InputError(f"{studies[0]} is a study: name it alone, one at a time")
    study = Study.load(folders[0])
    tested = (TEST_SPLITS,) * study.has_test_scores()
    several = {None: (*EPOCHS, *tested), "both": EPOCHS, "all": (*EPOCHS, NESTED, *tested)}
    which = several.get(args.which, (args.which,))
    tasks = None if args.tasks is None else list(dict.fromkeys(task.strip() for task in args.tasks.split(",")))
    tables = study_tables(study, which, args.baseline, tasks, args.test or TESTS[0])
    name = folders[0].resolve().name
    written = write_tables(tables, name, Path(args.output_dir or folders[0]))
    print(markdown(tables, name))
    print("\n".join(f"written: {path}" for path in written))
    return 0


if __name__ == "__main__":
    sys.exit(main())
