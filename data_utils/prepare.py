"""Canonical rows to features: finds the files, tokenises them in worker processes, writes all or nothing."""

from __future__ import annotations

import dataclasses
import itertools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from data_utils.atomic import StagedFiles
from data_utils.canonical import Row, canonical_path, count_lines, iter_rows
from data_utils.errors import InputError, raise_all
from data_utils.feature_lines import EncodeAll, Job, encoders
from data_utils.features import feature_path
from data_utils.fingerprints import MANIFEST
from data_utils.manifest import (
    Manifest,
    SplitRecord,
    TaskRecord,
    TokenizerInfo,
    describe_tokenizer,
    model_short_name,
    read_manifest,
    write_manifest,
)
from data_utils.row_checks import TextCheck
from data_utils.squad_json import count_questions, iter_questions
from data_utils.strict import shown
from data_utils.task_def import TaskDef, is_test, is_train, load_task_defs, select_tasks
from data_utils.task_names import DataFormat
from data_utils.tokenization import EncoderSettings, check_special_tokens, load_tokenizer

BLOCK_ROWS = 4096
PAIRS = (DataFormat.PremiseAndOneHypothesis, DataFormat.PremiseAndMultiHypothesis, DataFormat.MRC)
POOL_PAYS_FROM_BYTES = 2_000_000  # below, one process is done before others have started
MAX_WORKERS = 1024
MAX_TOKENS = 1_000_000  # more than any encoder takes; the tokenizer's own limit is 64 bits


@dataclass(frozen=True, kw_only=True)
class PreparationConfig:
    """What to prepare; the fields are `prepro_std.py`'s flags.

    Attributes:
        model: hub name or folder of the model whose tokenizer to use.
        root_dir: folder of the canonical files; features go into `<root_dir>/<last part of the model's name>`.
        task_def: the task definition file.
        tasks: comma-separated names, None for every task that has at least one file.
        max_seq_len: rows are cut to this many tokens.
        workers: processes that tokenise; small inputs are done in one.
    """

    model: str
    root_dir: str
    task_def: str
    tasks: str | None = None
    max_seq_len: int = 512
    workers: int = 1

    def __post_init__(self) -> None:
        bad = [f"--workers must be at least 1, got {self.workers}"] * (self.workers < 1)
        for flag, largest in (("workers", MAX_WORKERS), ("max_seq_len", MAX_TOKENS)):
            value = getattr(self, flag)
            bad += [f"--{flag} must be at most {largest}, got {shown(value)}"] * (value > largest)
        bad += [f"--root_dir: no such folder: {self.root_dir}"] * (not os.path.isdir(self.root_dir))
        raise_all(bad)


class SplitFile(NamedTuple):
    """A canonical file to be turned into features."""

    task: TaskDef
    split: str
    path: Path

    @property
    def is_json(self) -> bool:
        """Whether it is SQuAD's JSON rather than a row a line."""
        return self.task.data_format is DataFormat.MRC

    def count_rows(self) -> int:
        """Its rows; `InputError` if it cannot be read."""
        return count_questions(self.path) if self.is_json else count_lines(self.path)

    def rows(self) -> Iterator[Row]:
        """Its rows, every one checked; see `iter_rows` and `iter_questions` for what is raised."""
        labelled = not is_test(self.split)
        if self.is_json:
            return iter_questions(self.path, labelled=labelled, unanswerable=self.task.unanswerable)
        return iter_rows(self.path, self.task, labelled=labelled)


def prepare(config: PreparationConfig) -> Path:
    """Turn all chosen splits into features; returns their folder.

    Raises:
        InputError: anything wrong in flags or files; nothing is written then.
    """
    with StagedFiles() as staged:
        return prepare_files(config, find_files(config), staged)


def prepare_files(config: PreparationConfig, files: Sequence[SplitFile], staged: StagedFiles) -> Path:
    """Turn splits into features among `staged`, with the manifest last; returns their folder. See `prepare`."""
    tokenizer = load_tokenizer(config.model)
    settings = EncoderSettings.of(tokenizer, config.max_seq_len)
    pairs = any(file.task.data_format in PAIRS for file in files)
    check_special_tokens(settings, config.model, pairs=pairs)
    out_dir = Path(config.root_dir) / model_short_name(config.model)
    described = describe_tokenizer(config.model, tokenizer)
    _extendable(out_dir, described, config.max_seq_len, files)  # early, before all the work
    size = sum(file.path.stat().st_size for file in files)
    workers = config.workers if size >= POOL_PAYS_FROM_BYTES else 1
    made: dict[str, dict[str, SplitRecord]] = {}
    train_texts: dict[str, set[int]] = {}
    with encoders(settings, workers) as encode_all:
        for file in files:
            partial = staged.path(feature_path(out_dir, file.task.name, file.split))
            check = TextCheck(train_texts.setdefault(file.task.name, set()), training=is_train(file.split))
            made.setdefault(file.task.name, {})[file.split] = prepare_split(file, partial, encode_all, check)
    tasks = {file.task.name: file.task for file in files}
    records = {name: _record(task, made[name]) for name, task in tasks.items()}
    staged.lock(out_dir)
    known = _extendable(out_dir, described, config.max_seq_len, files)  # another process may have added tasks by now
    manifest = dataclasses.replace(known, tasks={**known.tasks, **records})
    write_manifest(staged.path(out_dir / MANIFEST), manifest)  # last in, so last to be moved into place
    return out_dir


def find_files(config: PreparationConfig) -> list[SplitFile]:
    """The canonical files of the chosen tasks; absent ones are mentioned on the terminal.

    Without `--tasks` those tasks are chosen that have files. One of a kind that is not trained yet is then skipped,
    with a line that says so; a mistake in its definition is an error, for it would hide files that are meant.

    Raises:
        InputError: no file at all, a train or dev file missing of a task named in `--tasks`, a chosen task with
            mistakes in its definition, or a named one of a kind that is not trained yet.
    """
    defined = load_task_defs(config.task_def)
    named = config.tasks is not None
    chosen = select_tasks(defined, config.tasks or "", "--tasks") if named else list(defined.values())
    files: list[SplitFile] = []
    problems = [] if named else [text for name, text in defined.broken.items() if _has_files(config.root_dir, name)]
    not_trained: list[str] = []
    for task in chosen:
        splits = sorted(task.split_names, key=lambda split: not is_train(split))  # the others are compared with train
        paths = {split: canonical_path(config.root_dir, task.name, split, task.data_format) for split in splits}
        present = [SplitFile(task, split, path) for split, path in paths.items() if os.path.isfile(path)]
        if not present and not named:
            continue
        if task.not_trained:
            not_trained.append(f"{config.task_def}: task {task.name!r}: {task.not_trained}")
            continue
        for split, path in paths.items():
            if os.path.isfile(path):
                continue
            if named and (not is_test(split) or not present):
                problems.append(
                    f"{path}: no such file, and --tasks names {task.name}; write it as docs/data.md says, or for GLUE "
                    "with experiments/glue/glue_prepro.py"
                )
            else:
                print(f"{task.name} {split}: no file {path}, skipped")
        files += present
    raise_all(problems or (not_trained if not files else []))
    if not files:
        example = canonical_path(config.root_dir, "TASK", "SPLIT")
        raise InputError(f"--root_dir: no file {example} for any task of {config.task_def}: {', '.join(defined)}")
    for line in not_trained:
        print(f"skipped: {line}")
    return files


def _has_files(root_dir: str, task: str) -> bool:
    """Whether a canonical file of the task is there; its splits are not known, nor whether its name can be a file's."""
    return any(name.startswith(f"{task}_") and name.endswith((".tsv", ".json")) for name in os.listdir(root_dir))


def _extendable(out_dir: Path, tokenizer: TokenizerInfo, max_seq_len: int, files: Sequence[SplitFile]) -> Manifest:
    """The manifest to add to: the folder's own where tokenizer and length agree, an empty one where all is remade."""
    fresh = Manifest(tokenizer, max_seq_len)
    old = read_manifest(out_dir)
    if old is None or not set(old.tasks) - {file.task.name for file in files}:
        return fresh
    if old.tokenizer.fingerprint == tokenizer.fingerprint and old.max_seq_len == max_seq_len:
        return Manifest(tokenizer, max_seq_len, old.tasks)
    made = f"{old.tokenizer.tokenizer_class} {old.tokenizer.fingerprint[:12]}, --max_seq_len {old.max_seq_len}"
    now = f"{tokenizer.tokenizer_class} {tokenizer.fingerprint[:12]}, --max_seq_len {max_seq_len}"
    cure = f"use another --root_dir, or remake all its tasks at once: {', '.join(old.tasks)}"
    raise InputError(f"{out_dir}: its features were made with {made}, this run has {now}; {cure}")


def _record(task: TaskDef, splits: Mapping[str, SplitRecord]) -> TaskRecord:
    return TaskRecord(task.data_format.value, task.type_name, task.label_names, splits)


def prepare_split(file: SplitFile, out_path: Path, encode_all: EncodeAll, check: TextCheck) -> SplitRecord:
    """Write one split's features to `out_path`, print a line about it, and return what the manifest says of it.

    What looks wrong in its rows has a line each.
    """
    start = time.perf_counter()
    name = f"{file.task.name} {file.split}"
    rows_in, blocks = file.count_rows(), []
    # disable=None: no bar where stderr is not a terminal
    with out_path.open("wb") as out, tqdm(total=rows_in, desc=name, unit="row", disable=None, leave=False) as bar:
        for block in encode_all(_jobs(file, check)):
            out.write(block.lines)
            bar.update(block.rows)
            blocks.append(block._replace(lines=b""))
            check.see_wordless(block.wordless)
    rows_out, tokens = sum(b.rows for b in blocks), sum(b.tokens for b in blocks)
    features, sequences = sum(b.features for b in blocks), sum(b.sequences for b in blocks)
    if rows_out != rows_in:
        raise RuntimeError(f"{file.path}: {rows_in} rows in, {rows_out} out")
    seconds = time.perf_counter() - start
    longest, shortened = max(b.longest for b in blocks), sum(b.shortened for b in blocks)
    unlabelled = sum(b.unlabelled for b in blocks)
    without = f", {unlabelled} without a label" * (unlabelled > 0)
    print(
        f"{name}: {rows_in} rows in{without}, {features} rows out, {tokens / sequences:.1f} tokens a row "
        f"(max {longest}), {shortened} rows shortened, {rows_out / seconds:,.0f} rows/s"
    )
    print("".join(f"{name}: warning: {warning}\n" for warning in check.warnings()), end="")
    return SplitRecord.of(out_path, features, unlabelled)


def _jobs(file: SplitFile, check: TextCheck) -> Iterator[Job]:
    rows = file.rows()
    while chunk := list(itertools.islice(rows, BLOCK_ROWS)):
        for row in chunk:
            check.see(row.uid, (row.premise, *row.hypotheses) if not row.tokens else (" ".join(row.tokens),))
        yield Job.of(file.task, chunk)
