"""Make a GLUE submission out of finished runs: eleven files of test predictions in one zip.

    python -m experiments.glue.submission --runs runs/cola runs/rte runs/mnli ... --output submission.zip
    python -m experiments.glue.submission --runs runs/study --method pats --output submission.zip
    python -m experiments.glue.submission --validate submission.zip

Of several runs with a head for a task the one with the best dev score predicts it, with the model in its `best/`. The
test rows are the features of prepro_std.py. MNLI's head predicts AX as well. Predictions are made by predict.py and
kept beside the zip: the same command goes on where it was cut. Labels are written by their names, which travel with
features and models. The zip is checked as `validate.py` does it, and then appears at once or not at all.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_utils.atomic import StagedFiles
from data_utils.cli import Parser, columns, path_text
from data_utils.errors import InputError, entry_point, raise_all
from data_utils.features import feature_path, load_features
from data_utils.fingerprints import sha256_of
from data_utils.manifest import read_manifest
from data_utils.strict import listed
from data_utils.task_def import load_task_defs
from experiments.glue import validate
from experiments.glue.glue_prepro import TASK_DEF
from experiments.glue.official import HEADER, HIGHEST, LOWEST, OfficialFile, official_files
from experiments.glue.predicting import add_predict_flags, predict, predict_flags, read_predictions
from experiments.glue.runs import TrainedRun, best_run, find_runs

EARLIEST = (1980, 1, 1, 0, 0, 0)  # the time of all entries: the same predictions make the same bytes
KEY_DIGITS = 12


class Part(NamedTuple):
    """One file of the submission, the run that predicts it (None: it is filled), and where its features lie."""

    official: OfficialFile
    run: TrainedRun | None
    data_dir: Path


class Filling(NamedTuple):
    """What stands in every row of a file that nothing predicts, and how it came about."""

    word: str
    is_what: str


def plan(args: argparse.Namespace) -> list[Part]:
    """Which run predicts which file; `InputError` with everything that is missing."""
    runs = find_runs(args.runs, args.method)
    files = official_files()
    heads = list(dict.fromkeys(one.head for one in files))
    chosen = {head: best_run(runs, head) for head in heads}
    absent = [one for one in files if chosen[one.head] is None]
    if len(absent) == len(files):
        raise InputError(f"--runs: none of them has a head for a task of GLUE ({listed(heads)})")
    problems: list[str] = []
    if absent and not args.fill:
        names = ", ".join(f"{one.name} ({one.head})" for one in absent)
        problems.append(
            f"--runs: no run has a head for {names}; a submission needs all {len(files)} files: give more runs, or "
            "--fill to write the most frequent training label into these"
        )
    parts = [Part(one, chosen[one.head], _data_dir(args.data_dir, one, chosen[one.head], runs)) for one in files]
    if args.fill:
        parts = [part if _test_rows(part).is_file() else part._replace(run=None) for part in parts]
        if all(part.run is None for part in parts):
            raise InputError("--fill: no run has test rows for any file; prepare them, or give --data_dir")
    for part in parts:
        if part.run is not None:
            problems += _problems(part, part.run)
        elif args.fill and not feature_path(part.data_dir, part.official.head, "train").is_file():
            problems.append(f"--fill: {part.official.name} needs training rows, {part.official.head}_train.json")
    raise_all(problems)
    return parts


def _data_dir(given: str | None, official: OfficialFile, run: TrainedRun | None, runs: Sequence[TrainedRun]) -> Path:
    """The folder that `--data_dir` names; else the run's own; of a file to be filled, one with its training rows."""
    if given is not None:
        return Path(given)
    if run is not None:
        return run.data_dir
    places = [one.data_dir for one in runs]
    return next((p for p in places if feature_path(p, official.head, "train").is_file()), places[0])


def _test_rows(part: Part) -> Path:
    """The features that a file is predicted from."""
    return feature_path(part.data_dir, part.official.task, part.official.split)


def _problems(part: Part, run: TrainedRun) -> list[str]:
    """What can be known to be wrong before anything is predicted."""
    official = part.official
    found = run.tasks[official.head].label_names
    if set(found) != set(official.labels):
        words, ours = listed(official.labels) or "numbers", listed(found) or "numbers"
        return [f"{official.name}: the head {official.head} of {run.folder} predicts {ours}; GLUE wants {words}"]
    path = _test_rows(part)
    if not path.is_file():
        cure = f"make it with glue_prepro.py and prepro_std.py --tasks {official.task}, or give --data_dir or --fill"
        return [f"{official.name}: no test rows for {run.folder}: {path}: no such file; {cure}"]
    manifest = read_manifest(part.data_dir)
    splits = manifest.tasks[official.task].splits if manifest and official.task in manifest.tasks else {}
    rows = splits[official.split].rows if official.split in splits else official.rows
    return [f"{official.name}: {path} has {rows:,} rows, GLUE's test set {official.rows:,}"] * (rows != official.rows)


def predictions(part: Part, run: TrainedRun, folder: Path, flags: Sequence[str]) -> dict[str, str]:
    """A run's prediction of each test row by uid, made by predict.py unless they are there.

    The name of the file that is kept holds a hash of the model, of the features and of the length that rows are cut to:
    it is never taken for another model's.
    """
    official = part.official
    features = _test_rows(part)
    key = f"{run.model_hash()} {sha256_of(features)} {run.max_seq_len}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:KEY_DIGITS]
    path = folder / f"{official.task}_{official.split}-{digest}.tsv"
    if not path.is_file():
        print(f"predicting {official.name} with {run.folder} …", file=sys.stderr, flush=True)
        rows = ["--data_dir", str(part.data_dir), "--split", official.split]
        rows += ["--features_of", official.task] * (official.task != official.head)
        model = ["--checkpoint", str(run.folder), "--task", official.head, "--max_seq_len", str(run.max_seq_len)]
        predict([*model, *rows, "--output", str(path), *flags])
    return read_predictions(path)


def content(official: OfficialFile, predicted: Mapping[str, str]) -> tuple[str, int]:
    """A file's text from predictions by uid, which are the rows' numbers; and how many scores were out of range."""
    outside = 0
    rows: list[tuple[int, str]] = []
    for uid, prediction in predicted.items():
        if not (uid.isascii() and uid.isdecimal()):
            raise InputError(f"{official.name}: the row {uid!r} has no number; prepare test rows with glue_prepro.py")
        if not official.labels:
            score = float(prediction)
            outside += not LOWEST <= score <= HIGHEST
            prediction = f"{min(max(score, LOWEST), HIGHEST):.6g}"
        rows.append((int(uid), prediction))
    lines = ["\t".join(HEADER), *(f"{index}\t{prediction}" for index, prediction in sorted(rows))]
    return "\n".join(lines) + "\n", outside


def filling(official: OfficialFile, data_dir: Path) -> Filling:
    """The most frequent training label, or the mean of all."""
    train = load_features(data_dir, load_task_defs(TASK_DEF)[official.head], "train")
    if not official.labels:
        return Filling(f"{float(np.mean(train.labels)):.6g}", "the mean")
    return Filling(train.task.label_names[int(np.bincount(train.labels).argmax())], "the most frequent")


def write_zip(path: Path, contents: Mapping[str, str]) -> None:
    """Write the submission if the server will take it; else `InputError`, and nothing is written."""
    with StagedFiles() as staged:
        partial = staged.path(path)
        with zipfile.ZipFile(partial, "w") as archive:
            for name, text in contents.items():
                entry = zipfile.ZipInfo(name, EARLIEST)
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, text, zipfile.ZIP_DEFLATED)
        problems = validate.problems_of(partial, official_files())
        raise_all([f"{path} is not written: {problem}" for problem in problems])


def make(args: argparse.Namespace) -> None:
    """Predict, write, and tell what came from where."""
    output = Path(args.output)
    folder = Path(args.predictions or output.with_name(f"{output.stem}_predictions"))
    contents: dict[str, str] = {}
    table = [("file", "dev score", "rows", "predicted by")]
    filled: list[str] = []
    for official, run, data_dir in plan(args):
        rows, score = f"{official.rows:,}", ""
        if run is None:
            word, is_what = filling(official, data_dir)
            predicted, source = {str(i): word for i in range(official.rows)}, f"nothing: filled with {word}"
            filled.append(f"NOT PREDICTED: all of {official.name} is {word}, {is_what} of the training labels")
        else:
            predicted = predictions(Part(official, run, data_dir), run, folder, predict_flags(args))
            source, score = str(run.folder), f"{run.scores[official.head]:.2f}" if official.head in run.scores else ""
        contents[official.name], outside = content(official, predicted)
        source += f" ({outside:,} scores moved into {LOWEST:g} to {HIGHEST:g})" if outside else ""
        table.append((official.name, score, rows, source))
    write_zip(output, contents)
    lines = columns([row[:-1] for row in table])
    print("\n".join(f"{line}  {row[-1]}" for line, row in zip(lines, table, strict=True)))
    print(f"written: {output}; predictions with probabilities: {folder}")
    print("".join(f"warning: {line}\n" for line in filled), end="", file=sys.stderr)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the flags; `InputError` for unknown ones, and for flags that would have no effect."""
    parser = Parser(description="Make a GLUE submission out of finished runs.", allow_abbrev=False)
    parser.add_argument("--runs", nargs="+", type=path_text, help="folders of finished runs, or of studies")
    parser.add_argument("--method", help="of a study, only the runs of this method, such as pats")
    parser.add_argument("--data_dir", type=path_text, help="folder of the test features (default: each run's own)")
    parser.add_argument("--output", type=path_text, help="the zip to write (default: submission.zip)")
    parser.add_argument("--predictions", type=path_text, help="where predictions are kept (default: beside the zip)")
    parser.add_argument(
        "--fill", action="store_true", help="no run or no test rows for a file: write the most frequent training label"
    )
    parser.add_argument("--validate", type=path_text, metavar="ZIP", help="only say what is wrong with a zip")
    add_predict_flags(parser)
    args = parser.parse_args(argv)
    given = [name for name, value in vars(args).items() if value not in (None, False)]
    if args.validate is not None and given != ["validate"]:
        raise InputError(f"--validate goes alone; given too: {', '.join(n for n in given if n != 'validate')}")
    if args.validate is None and not args.runs:
        raise InputError("--runs is required, or --validate ZIP")
    args.output = args.output or "submission.zip"
    return args


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`; returns the exit code."""
    args = parse_args(argv)
    if args.validate is not None:
        validate.check(Path(args.validate))
    else:
        make(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
