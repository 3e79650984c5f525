"""GLUE's diagnostic set with its labels: how well an MNLI model does on each kind of inference.

    python -m experiments.glue.diagnostics --checkpoint runs/mnli --diagnostic data/glue/diagnostic/diagnostic-full.tsv

`diagnostic-full.tsv` is the same set as AX in a submission, with labels and linguistic categories. The score is the
Matthews correlation for three classes (R3, Gorodkin 2004), times 100, as in the GLUE paper: of all rows, of the rows
with any category of a group, and of those with one category. A row may have several. Where all rows have the same label
there is no correlation, and the table has `-`. Several runs get a column each.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_utils.atomic import StagedFiles
from data_utils.canonical import Problems, read_lines
from data_utils.cli import Parser, columns, path_text
from data_utils.errors import InputError, entry_point, raise_all
from data_utils.metrics import matthews
from data_utils.strict import listed, shown
from experiments.glue.official import THREE_WAY
from experiments.glue.predicting import add_predict_flags, predict, predict_flags, read_predictions

GROUPS = ("Lexical Semantics", "Predicate-Argument Structure", "Logic", "Knowledge")
DOMAIN = "Domain"
"""Where a text is from: every row has one, so that there is no score of rows with any."""
COLUMNS = (*GROUPS, DOMAIN, "Premise", "Hypothesis", "Label")
SEPARATOR = ";"


class Example(NamedTuple):
    """A row: its categories by group, both texts, and the label's name."""

    categories: dict[str, tuple[str, ...]]
    premise: str
    hypothesis: str
    label: str


class Line(NamedTuple):
    """A line of the table: its name, and which rows it is about."""

    name: str
    rows: np.ndarray


def read_diagnostic(path: Path) -> list[Example]:
    """The rows of `diagnostic-full.tsv`; `InputError` with file and line for what is none."""
    lines = enumerate(read_lines(path), start=1)
    header = next(lines)[1].split("\t")
    if absent := [name for name in COLUMNS if name not in header]:
        raise InputError(f"{path}:1: the header lacks {listed(absent)}; expected diagnostic-full.tsv, which has labels")
    examples, problems = [], Problems(path)
    for number, line in lines:
        fields = line.split("\t")
        row = dict(zip(header, fields, strict=False))
        if len(fields) != len(header):
            problems.add(number, f"{len(fields)} columns, expected {len(header)}: {listed(header)}")
        elif row["Label"] not in THREE_WAY:
            problems.add(number, f"unknown label {shown(row['Label'])}; allowed: {listed(THREE_WAY)}")
        elif not (row["Premise"].strip() and row["Hypothesis"].strip()):
            problems.add(number, "a text is empty")
        else:
            found = {group: _categories(row[group]) for group in (*GROUPS, DOMAIN)}
            examples.append(Example(found, row["Premise"], row["Hypothesis"], row["Label"]))
    raise_all(problems.messages() or [f"{path}: nothing but a header"] * (not examples))
    return examples


def _categories(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(SEPARATOR) if name.strip()))


def table_lines(examples: Sequence[Example]) -> Iterator[Line]:
    """All rows; then each group, and below it its categories by name."""

    def having(test: Callable[[Example], bool]) -> np.ndarray:
        return np.array([test(example) for example in examples])

    yield Line("all", having(lambda example: True))
    for group in (*GROUPS, DOMAIN):
        names = sorted({name for example in examples for name in example.categories[group]})
        if group != DOMAIN and names:
            yield Line(group, having(lambda example, g=group: bool(example.categories[g])))  # type: ignore[misc]
        for name in names:
            rows = having(lambda example, g=group, n=name: n in example.categories[g])  # type: ignore[misc]
            yield Line(f"  {name}" if group != DOMAIN else f"{DOMAIN}: {name}", rows)


def score(predicted: np.ndarray, labels: np.ndarray) -> str:
    """R3 times 100; `-` where all labels are the same."""
    return "-" if len(set(labels.tolist())) < 2 else f"{100 * matthews(predicted, labels):.1f}"


def predicted_labels(run: str, task: str, examples: Sequence[Example], flags: Sequence[str]) -> np.ndarray:
    """A label's name a row, from predict.py; `InputError` where the model has other labels."""
    with tempfile.TemporaryDirectory() as folder:
        texts, output = Path(folder) / "diagnostic.txt", Path(folder) / "predictions.tsv"
        pairs = [f"{example.premise}\t{example.hypothesis}\n" for example in examples]
        texts.write_text("".join(pairs), encoding="utf-8", newline="\n")
        predict(["--checkpoint", run, "--task", task, "--texts", str(texts), "--output", str(output), *flags])
        found = np.array(list(read_predictions(output).values()))  # one a line of the file, in its order
    if unknown := sorted(set(found.tolist()) - set(THREE_WAY)):
        raise InputError(f"--checkpoint {run}: the head {task} predicts {listed(unknown)}, not {listed(THREE_WAY)}")
    return found


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`; returns the exit code."""
    parser = Parser(description="Score an MNLI model on GLUE's diagnostic set, by category.", allow_abbrev=False)
    parser.add_argument("--checkpoint", required=True, nargs="+", type=path_text, help="runs, or their best/")
    parser.add_argument("--diagnostic", required=True, type=path_text, metavar="FILE", help="diagnostic-full.tsv")
    parser.add_argument("--task", default="mnli", help="the head to score (default: mnli)")
    parser.add_argument("--max_seq_len", help="predict.py's: rows are cut to so many tokens (default: as in training)")
    parser.add_argument("--output", type=path_text, help="write the table to this file, too, tab-separated")
    add_predict_flags(parser)
    args = parser.parse_args(argv)
    examples = read_diagnostic(Path(args.diagnostic))
    flags = [*(["--max_seq_len", args.max_seq_len] if args.max_seq_len else []), *predict_flags(args)]
    found = [predicted_labels(run, args.task, examples, flags) for run in args.checkpoint]
    labels = np.array([example.label for example in examples])
    rows = [("category", "rows", *([f"R3 {run}" for run in args.checkpoint] if len(found) > 1 else ["R3"]))]
    for name, which in table_lines(examples):
        rows.append((name, f"{which.sum():,}", *(score(one[which], labels[which]) for one in found)))
    print("\n".join(columns(rows)))
    if args.output is not None:
        with StagedFiles() as staged:
            text = "".join("\t".join(cell.strip() for cell in row) + "\n" for row in rows)
            staged.path(Path(args.output)).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
