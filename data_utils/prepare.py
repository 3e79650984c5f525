"""Canonical rows to features: finds the files, tokenises them in worker processes, writes all or nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import itertools
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from data_utils.atomic import StagedFiles, sha256_of
from data_utils.canonical import canonical_path, count_lines, iter_rows
from data_utils.errors import InputError, raise_all
from data_utils.features import feature_path
from data_utils.manifest import (
    MANIFEST_NAME,
    Manifest,
    SplitRecord,
    TaskRecord,
    TokenizerInfo,
    describe_tokenizer,
    model_short_name,
    read_manifest,
    write_manifest,
)
from data_utils.strict import shown
from data_utils.task_def import DataFormat, TaskDef, TaskType, load_task_defs, select_tasks
from data_utils.tokenization import EncoderSettings, RowEncoder, load_tokenizer

BLOCK_ROWS = 4096
POOL_PAYS_FROM_BYTES = 2_000_000  # below, one process is done before others have started
MAX_WORKERS = 1024
MAX_TOKENS = 1_000_000  # more than any encoder takes; the tokenizer's own limit is 64 bits
TRAINABLE_FORMATS = (DataFormat.PremiseOnly, DataFormat.PremiseAndOneHypothesis)
TRAINABLE_TYPES = (TaskType.Classification, TaskType.Regression)


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


class Job(NamedTuple):
    """Some rows of a task, column by column, because lists of strings travel fast between processes."""

    task: TaskDef
    uids: Sequence[str]
    labels: Sequence[str]
    premises: Sequence[str]
    hypotheses: Sequence[str] | None


class Block(NamedTuple):
    """Some rows' features as finished JSON lines, and what is reported about them."""

    lines: bytes
    rows: int
    tokens: int
    longest: int
    shortened: int


EncodeAll = Callable[[Iterable[Job]], Iterator[Block]]


def prepare(config: PreparationConfig) -> Path:
    """Turn all chosen splits into features; returns their folder.

    Raises:
        InputError: anything wrong in flags or files; nothing is written then.
    """
    files = find_files(config)
    tokenizer = load_tokenizer(config.model)
    settings = EncoderSettings.of(tokenizer, config.max_seq_len)
    out_dir = Path(config.root_dir) / model_short_name(config.model)
    known = _extendable(out_dir, describe_tokenizer(config.model, tokenizer), config.max_seq_len, files)
    size = sum(file.path.stat().st_size for file in files)
    workers = config.workers if size >= POOL_PAYS_FROM_BYTES else 1
    with StagedFiles() as staged, _encoders(settings, workers) as encode_all:
        made: dict[str, dict[str, SplitRecord]] = {}
        for file in files:
            partial = staged.path(feature_path(out_dir, file.task.name, file.split))
            rows = prepare_split(file, partial, encode_all)
            made.setdefault(file.task.name, {})[file.split] = SplitRecord(rows, sha256_of(partial))
        tasks = {file.task.name: file.task for file in files}
        records = {name: _record(task, made[name]) for name, task in tasks.items()}
        manifest = dataclasses.replace(known, tasks={**known.tasks, **records})
        write_manifest(staged.path(out_dir / MANIFEST_NAME), manifest)  # last in, so last to be moved into place
    return out_dir


def find_files(config: PreparationConfig) -> list[SplitFile]:
    """The canonical files of the chosen tasks; absent ones are mentioned on the terminal.

    Raises:
        InputError: no file at all, a train or dev file missing of a task named in `--tasks`, or a task of a format
            or type that has no features here (only if it is named, or has files).
    """
    defined = load_task_defs(config.task_def)
    named = config.tasks is not None
    chosen = select_tasks(defined, config.tasks or "", "--tasks", config.task_def) if named else list(defined.values())
    files: list[SplitFile] = []
    problems: list[str] = []
    for task in chosen:
        paths = {split: canonical_path(config.root_dir, task.name, split) for split in task.split_names}
        present = [SplitFile(task, split, path) for split, path in paths.items() if os.path.isfile(path)]
        if not present and not named:
            continue
        if task.data_format not in TRAINABLE_FORMATS or task.task_type not in TRAINABLE_TYPES:
            problems.append(_untrainable(config, task))
            continue
        for split, path in paths.items():
            if os.path.isfile(path):
                continue
            if named and (not split.endswith("test") or not present):
                problems.append(
                    f"{path}: no such file, and --tasks names {task.name}; write it as docs/data.md says, or for GLUE "
                    "with experiments/glue/glue_prepro.py"
                )
            else:
                print(f"{task.name} {split}: no file {path}, skipped")
        files += present
    raise_all(problems)
    if not files:
        example = canonical_path(config.root_dir, "TASK", "SPLIT")
        raise InputError(f"--root_dir: no file {example} for any task of {config.task_def}: {', '.join(defined)}")
    return files


def _untrainable(config: PreparationConfig, task: TaskDef) -> str:
    formats = ", ".join(f.value for f in TRAINABLE_FORMATS)
    types = ", ".join(t.value for t in TRAINABLE_TYPES)
    found = f"data_format {task.data_format.value}, task_type {task.task_type.value}"
    limits = f"not trained by this toolkit yet; it trains {formats} with {types}"
    return f"{config.task_def}: task {task.name!r}: {found} is {limits}"


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
    return TaskRecord(task.data_format.value, task.task_type.value, task.label_names, splits)


def prepare_split(file: SplitFile, out_path: Path, encode_all: EncodeAll) -> int:
    """Write one split's features to `out_path`, print a line about it, and return the number of rows."""
    start = time.perf_counter()
    name = f"{file.task.name} {file.split}"
    rows_in, blocks = count_lines(file.path), []
    # disable=None: no bar where stderr is not a terminal
    with out_path.open("wb") as out, tqdm(total=rows_in, desc=name, unit="row", disable=None, leave=False) as bar:
        for block in encode_all(_jobs(file)):
            out.write(block.lines)
            bar.update(block.rows)
            blocks.append(block._replace(lines=b""))
    rows_out, tokens = sum(b.rows for b in blocks), sum(b.tokens for b in blocks)
    if rows_out != rows_in:
        raise RuntimeError(f"{file.path}: {rows_in} rows in, {rows_out} out")
    seconds = time.perf_counter() - start
    longest, shortened = max(b.longest for b in blocks), sum(b.shortened for b in blocks)
    print(
        f"{name}: {rows_in} rows in, {rows_out} rows out, {tokens / rows_out:.1f} tokens a row (max {longest}), "
        f"{shortened} rows shortened, {rows_out / seconds:,.0f} rows/s"
    )
    return rows_out


def _jobs(file: SplitFile) -> Iterator[Job]:
    rows = iter_rows(file.path, file.task)
    while chunk := list(itertools.islice(rows, BLOCK_ROWS)):
        pair = file.task.data_format is DataFormat.PremiseAndOneHypothesis
        hypotheses = [row.hypotheses[0] for row in chunk] if pair else None
        labels = [row.labels[0] for row in chunk]
        yield Job(file.task, [row.uid for row in chunk], labels, [row.premise for row in chunk], hypotheses)


def encode_block(encoder: RowEncoder, job: Job) -> Block:
    """The job's features as JSON lines.

    Formatted by hand: `str` of a list of ints is its JSON, and several times as fast as `json.dumps`.
    """
    encoded = encoder.encode(job.premises, job.hypotheses)
    numbers = {label: job.task.label_id(label) for label in set(job.labels)}
    lines = [
        f'{{"uid": {json.dumps(uid)}, "label": {numbers[label]}, "token_id": {token_ids}, '
        f'"type_id": {_small_ints(bytes(type_ids))}, "attention_mask": {_small_ints(bytes([1]) * len(token_ids))}, '
        f'"texts": {list(map(list, texts))}}}\n'
        for uid, label, (token_ids, type_ids, texts) in zip(job.uids, job.labels, encoded, strict=True)
    ]
    lengths = [len(row.token_ids) for row in encoded]
    shortened = sum(row.shortened for row in encoded)
    return Block("".join(lines).encode(), len(lines), sum(lengths), max(lengths), shortened)


@functools.lru_cache(maxsize=1 << 15)
def _small_ints(values: bytes) -> str:
    """Type ids or a mask as JSON; few different ones occur."""
    return str(list(values))


@contextlib.contextmanager
def _encoders(settings: EncoderSettings, workers: int) -> Iterator[EncodeAll]:
    """A function that encodes blocks in order: in this process, or in `workers` others that are up and ready."""
    if workers == 1:
        encoder = RowEncoder(settings)
        yield lambda jobs: (encode_block(encoder, job) for job in jobs)
        return
    context = multiprocessing.get_context("spawn")  # forking a process that has threads can deadlock
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(settings,))
    try:
        ready: set[int] = set()
        while len(ready) < workers:  # so that starting interpreters does not count in the first split's rate
            ready |= set(pool.map(_worker_id, range(workers)))
        yield lambda jobs: pool.map(_encode_in_worker, jobs)
    finally:
        pool.shutdown(cancel_futures=True)


_worker_encoder: RowEncoder | None = None  # set in worker processes only, once, by the pool's initializer


def _start_worker(settings: EncoderSettings) -> None:
    global _worker_encoder
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    gc.disable()  # nothing here makes cycles; looking for them among millions of ids takes a fifth of the time
    _worker_encoder = RowEncoder(settings)


def _worker_id(_: int) -> int:
    time.sleep(0.02)  # long enough for each waiting worker to take one of these
    return os.getpid()


def _encode_in_worker(job: Job) -> Block:
    if _worker_encoder is None:
        raise RuntimeError("the worker was not started by _start_worker")
    return encode_block(_worker_encoder, job)
