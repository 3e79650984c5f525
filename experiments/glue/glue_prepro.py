r"""Turn raw GLUE, as it is published, into canonical rows.

    python -m experiments.glue.glue_prepro --glue_dir GLUE --output_dir data/canonical_data [--tasks cola,rte]

Columns are found by their header, because their number and order differ between splits and copies. Labels stay as
written; test rows get the task's first label (0 for regression) as a dummy; a row's uid is its number in the file,
from 0. Every row that does not parse is an error with file and line; with `--drop_bad_rows` such rows are left out,
counted and shown instead (the published QQP has a few that are torn in two). All files are written, or none.

MRPC may also be there as Microsoft ships it, with GLUE's list of its dev rows: see `msr.py`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # started by its path, as before: start it as a module, which finds the project's packages
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    os.execv(sys.executable, [sys.executable, "-m", "experiments.glue.glue_prepro", *sys.argv[1:]])

from data_utils.atomic import StagedFiles
from data_utils.canonical import Problems, Row, canonical_path, format_row, read_lines, row_parser, write_rows
from data_utils.cli import Parser, path_text
from data_utils.errors import InputError, entry_point, raise_all
from data_utils.task_def import TaskDef, is_test, listed, load_task_defs, select_tasks
from experiments.glue import msr

TASK_DEF = Path(__file__).with_name("glue_task_def.yml")


@dataclass(frozen=True, kw_only=True)
class RawTask:
    """Where a task's raw files are and what their columns are called.

    Attributes:
        folder: its folder in the GLUE download.
        files: split -> file name.
        texts: headers of the one or two text columns.
        label: header of the label column, which test files lack.
        columns_without_header: names of the columns in train and dev files that have no header line; else none.
        scores: lowest and highest label of a regression; None for a classification.
        elsewhere: where its only file lies in other copies of GLUE, below the download's folder.
    """

    folder: str
    files: Mapping[str, str]
    texts: tuple[str, ...]
    label: str
    columns_without_header: tuple[str, ...] = ()
    scores: tuple[float, float] | None = None
    elsewhere: tuple[str, ...] = ()

    def path(self, glue_dir: Path, name: str) -> Path:
        """Where its file of this name lies; where there is none, where it should lie."""
        places = [glue_dir / self.folder / name, *(glue_dir / place for place in self.elsewhere)]
        return next((path for path in places if path.is_file()), places[0])


STANDARD = {"train": "train.tsv", "dev": "dev.tsv", "test": "test.tsv"}
MNLI = {"train": "train.tsv"} | {f"{m}_{s}": f"{s}_{m}.tsv" for s in ("dev", "test") for m in ("matched", "mismatched")}
SENTENCES = ("sentence1", "sentence2")

RAW_TASKS = {
    "cola": RawTask(
        folder="CoLA",
        files=STANDARD,
        texts=("sentence",),
        label="label",
        columns_without_header=("source", "label", "mark", "sentence"),
    ),
    "mrpc": RawTask(folder="MRPC", files=STANDARD, texts=("#1 String", "#2 String"), label="Quality"),
    "rte": RawTask(folder="RTE", files=STANDARD, texts=SENTENCES, label="label"),
    "stsb": RawTask(folder="STS-B", files=STANDARD, texts=SENTENCES, label="score", scores=(0, 5)),
    "sst": RawTask(folder="SST-2", files=STANDARD, texts=("sentence",), label="label"),
    "wnli": RawTask(folder="WNLI", files=STANDARD, texts=SENTENCES, label="label"),
    "qnli": RawTask(folder="QNLI", files=STANDARD, texts=("question", "sentence"), label="label"),
    "qqp": RawTask(folder="QQP", files=STANDARD, texts=("question1", "question2"), label="is_duplicate"),
    "mnli": RawTask(folder="MNLI", files=MNLI, texts=SENTENCES, label="gold_label"),
    "ax": RawTask(
        folder="diagnostic",
        files={"test": "diagnostic.tsv"},
        texts=SENTENCES,
        label="label",
        elsewhere=("AX/AX.tsv", "AX/diagnostic.tsv", "diagnostic/AX.tsv"),
    ),
}


def find_files(glue_dir: Path, tasks: Sequence[TaskDef], named: bool) -> list[tuple[TaskDef, str, Path]]:
    """The raw files of the tasks' splits; absent ones that need not be there are mentioned on the terminal.

    Raises:
        InputError: no file at all, or a train or dev file missing of a task that was named or whose folder is there.
    """
    if not os.path.isdir(glue_dir):
        raise InputError(f"--glue_dir: no such folder: {glue_dir}")
    found: list[tuple[TaskDef, str, Path]] = []
    missing: list[str] = []
    for task in tasks:
        raw = RAW_TASKS[task.name]
        folder = glue_dir / raw.folder
        elsewhere = any((glue_dir / place).is_file() for place in raw.elsewhere)
        if not os.path.isdir(folder) and not elsewhere and not named:
            print(f"{task.name}: no folder {folder}, skipped")
            continue
        files = raw.files
        if task.name == "mrpc" and (folder / msr.TRAIN).is_file() and not (folder / files["train"]).is_file():
            print(f"mrpc: {msr.TRAIN} is split into train and dev by {msr.LISTS[0]}, as GLUE's script does it")
            files = msr.FILES
            missing += [msr.no_dev_list(folder)] * (msr.dev_list(folder) is None)
        for split in task.split_names:
            path = raw.path(glue_dir, files[split])
            if os.path.isfile(path):
                found.append((task, split, path))
            elif is_test(split) and (raw.files.keys() != {"test"} or not named):
                print(f"{task.name} {split}: no file {path}, skipped")
            else:
                missing.append(f"{path}: no such file; {task.name} needs it as its {split} split")
    raise_all(missing)
    if not found:
        folders = ", ".join(raw.folder for raw in RAW_TASKS.values())
        raise InputError(f"--glue_dir: no GLUE files in {glue_dir}; expected folders such as {folders}")
    return found


def read_raw(path: Path, task: TaskDef, split: str, problems: Problems) -> Iterator[Row]:
    """The rows of one raw file; those that do not parse are noted in `problems` and left out.

    Raises:
        InputError: the file cannot be read, is empty, or its header lacks a column.
    """
    raw = RAW_TASKS[task.name]
    lines: Iterator[tuple[int, str]] = enumerate(read_lines(path), start=1)
    header = raw.columns_without_header
    if is_test(split) or not header:
        header = tuple(next(lines)[1].split("\t"))
    _check_header(path, header, raw.texts if is_test(split) else (*raw.texts, raw.label))
    if path.name == msr.TRAIN:
        lines = msr.rows_of(split, lines, header, path)
    text_columns = [header.index(name) for name in raw.texts]
    label_column = None if is_test(split) else header.index(raw.label)
    check = row_parser(task)
    uid = 0
    for number, line in lines:
        fields = line.split("\t")
        try:
            if len(fields) != len(header):
                expected = f"{len(header)}: {listed(header)}"
                raise InputError(f"{len(fields)} columns, expected {expected} (tab-separated)")
            premise, *hypotheses = [fields[i] for i in text_columns]
            label = task.dummy_label if label_column is None else fields[label_column]
            row = Row(str(uid), (label,), premise, tuple(hypotheses))
            check(format_row(row, task.data_format))
            if raw.scores and not raw.scores[0] <= float(label) <= raw.scores[1]:
                raise InputError(f"the score {label} is not in {raw.scores[0]:g} to {raw.scores[1]:g}")
        except InputError as error:
            problems.add(number, str(error))
        else:
            yield row
        uid += 1
    if uid == 0:
        raise InputError(f"{path}: nothing but a header; expected one example a line")


def _check_header(path: Path, header: Sequence[str], needed: Sequence[str]) -> None:
    if absent := [name for name in needed if name not in header]:
        raise InputError(f"{path}:1: the header lacks {', '.join(absent)}; it has: {listed(header)}")
    if repeated := [name for name in needed if header.count(name) > 1]:
        raise InputError(f"{path}:1: the header has {', '.join(repeated)} more than once: {listed(header)}")


def convert(glue_dir: Path, output_dir: Path, tasks: Sequence[TaskDef], named: bool, drop_bad_rows: bool) -> None:
    """Convert all splits of the tasks and print a table of rows in and out.

    Raises:
        InputError: anything wrong in the input; nothing is written then.
    """
    files = find_files(glue_dir, tasks, named)
    bad: list[str] = []
    table = [f"{'task':<6} {'split':<16} {'rows in':>9} {'rows out':>9}"]
    with StagedFiles() as staged:
        for task, split, path in files:
            problems = Problems(path)
            partial = staged.path(canonical_path(output_dir, task.name, split))
            rows_out = write_rows(partial, read_raw(path, task, split, problems), task.data_format)
            table.append(f"{task.name:<6} {split:<16} {rows_out + problems.count:>9,} {rows_out:>9,}")
            bad += problems.messages()
            if problems.count and rows_out == 0:
                raise InputError("\n".join([*bad, f"{path}: no good row at all"]))
        if bad and not drop_bad_rows:
            raise InputError("\n".join([*bad, "repair the files, or leave these rows out with --drop_bad_rows"]))
    print("\n".join([*(f"dropped: {message}" for message in bad), *table]))


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the flags; `InputError` for unknown ones and for values that are missing."""
    parser = Parser(description="Turn raw GLUE into canonical rows.", allow_abbrev=False)
    parser.add_argument("--glue_dir", required=True, type=path_text, help="folder with CoLA, MRPC, ... as published")
    parser.add_argument(
        "--output_dir", type=path_text, default="data/canonical_data", help="default: data/canonical_data"
    )
    parser.add_argument("--tasks", help=f"comma-separated, of {', '.join(RAW_TASKS)}; default: all that are there")
    parser.add_argument("--drop_bad_rows", action="store_true", help="leave out rows that do not parse, and say which")
    return parser.parse_args(argv)


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Run with the given flags (the command line's if None); returns the exit code: 0 done, 2 the input is wrong."""
    args = parse_args(argv)
    defined = load_task_defs(TASK_DEF)
    named = args.tasks is not None
    tasks = select_tasks(defined, args.tasks, "--tasks") if named else list(defined.values())
    convert(Path(args.glue_dir), Path(args.output_dir), tasks, named, args.drop_bad_rows)
    print(f"canonical files: {args.output_dir}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
