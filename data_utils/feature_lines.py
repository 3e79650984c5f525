"""Encoded rows as finished JSON lines of features, block by block: in this process, or in several others."""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

from data_utils.canonical import Row
from data_utils.kinds.kind import Feature
from data_utils.task_def import TaskDef
from data_utils.tokenization import EncodedRow, EncoderSettings, RowEncoder


class Job(NamedTuple):
    """Some rows of a task, column by column, because lists of strings travel fast between processes."""

    task: TaskDef
    columns: Sequence[Sequence[Any]]
    """Those of `Row`."""

    @classmethod
    def of(cls, task: TaskDef, rows: Sequence[Row]) -> Job:
        """From rows."""
        return cls(task, list(zip(*rows, strict=True)))

    def rows(self) -> list[Row]:
        """The rows again."""
        return [Row(*values) for values in zip(*self.columns, strict=True)]


class Block(NamedTuple):
    """Some rows' features as finished JSON lines, and what is reported about them.

    `rows` counts canonical rows, `unlabelled` those of them that lack a label (of an option or a word, too),
    `features` lines: one a row, but for kinds that cut a row into several.
    """

    lines: bytes
    rows: int
    unlabelled: int
    features: int
    sequences: int
    tokens: int
    longest: int
    shortened: int
    wordless: list[str]
    """Uids of rows without any word that the tokenizer knows."""


EncodeAll = Callable[[Iterable[Job]], Iterator[Block]]


def encode_block(encoder: RowEncoder, job: Job) -> Block:
    """The job's features as JSON lines."""
    kind, rows = job.task.kind, job.rows()
    lines: list[str] = []
    lengths: list[int] = []
    shortened, wordless = 0, []
    for feature in kind.features(job.task, rows, encoder):
        lines.append(json_line(feature, nested=kind.nested))
        lengths += [len(sequence.token_ids) for sequence in feature.sequences]
        shortened += any(sequence.shortened for sequence in feature.sequences)
        if all(map(encoder.is_wordless, feature.sequences)):
            wordless.append(feature.uid)
    text = "".join(lines).encode()
    unlabelled, tokens = sum("" in row.labels for row in rows), sum(lengths)
    return Block(text, len(rows), unlabelled, len(lines), len(lengths), tokens, max(lengths), shortened, wordless)


def json_line(feature: Feature, *, nested: bool) -> str:
    """A feature as a line of a features file.

    Formatted by hand: `str` of a list of ints is its JSON, and several times as fast as `json.dumps`.
    """
    parts = [_sequence_parts(sequence) for sequence in feature.sequences]
    token_ids, type_ids, masks, texts = (
        f"[{', '.join(part)}]" if nested else part[0] for part in zip(*parts, strict=True)
    )
    label = feature.label if isinstance(feature.label, (int, list)) else json.dumps(feature.label)
    more = "".join(f', "{key}": {json.dumps(value)}' for key, value in feature.more.items())
    return (
        f'{{"uid": {json.dumps(feature.uid)}, "label": {label}, "token_id": {token_ids}, "type_id": {type_ids}, '
        f'"attention_mask": {masks}, "texts": {texts}{more}}}\n'
    )


def _sequence_parts(sequence: EncodedRow) -> tuple[str, str, str, str]:
    """Token ids, type ids, mask and places of texts as JSON."""
    token_ids, type_ids, texts = sequence
    mask = _small_ints(bytes([1]) * len(token_ids))
    return str(token_ids), _small_ints(bytes(type_ids)), mask, str(list(map(list, texts)))


@functools.lru_cache(maxsize=1 << 15)
def _small_ints(values: bytes) -> str:
    """Type ids or a mask as JSON; few different ones occur."""
    return str(list(values))


@contextlib.contextmanager
def _no_cycles() -> Iterator[None]:
    """Do not look for cycles of objects: nothing here makes any, and looking takes a third of the time."""
    looked = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if looked:
            gc.enable()


@contextlib.contextmanager
def encoders(settings: EncoderSettings, workers: int) -> Iterator[EncodeAll]:
    """A function that encodes blocks in order: in this process, or in `workers` others that are up and ready."""
    if workers == 1:
        encoder = RowEncoder(settings)
        with _no_cycles():
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
    gc.disable()  # as `_no_cycles`
    _worker_encoder = RowEncoder(settings)


def _worker_id(_: int) -> int:
    time.sleep(0.02)  # long enough for each waiting worker to take one of these
    return os.getpid()


def _encode_in_worker(job: Job) -> Block:
    if _worker_encoder is None:
        raise RuntimeError("the worker was not started by _start_worker")
    return encode_block(_worker_encoder, job)
