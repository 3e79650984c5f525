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
from typing import NamedTuple

from data_utils.task_def import TaskDef
from data_utils.tokenization import EncoderSettings, RowEncoder


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
    wordless: list[str]
    """Uids of rows without any word that the tokenizer knows."""


EncodeAll = Callable[[Iterable[Job]], Iterator[Block]]


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
    wordless = [uid for uid, row in zip(job.uids, encoded, strict=True) if encoder.is_wordless(row)]
    return Block("".join(lines).encode(), len(lines), sum(lengths), max(lengths), shortened, wordless)


@functools.lru_cache(maxsize=1 << 15)
def _small_ints(values: bytes) -> str:
    """Type ids or a mask as JSON; few different ones occur."""
    return str(list(values))


@contextlib.contextmanager
def encoders(settings: EncoderSettings, workers: int) -> Iterator[EncodeAll]:
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
