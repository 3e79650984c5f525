"""A question and a passage as sequences: the question whole, and as much of the passage as fits, window by window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from data_utils.tokenization import EncodedRow, Pieces, RowEncoder

MOST_QUESTION_TOKENS = 64
STRIDE = 128
"""Tokens from one window's beginning to the next one's, as for BERT; in short windows half a window."""

NO_CHARACTERS = -1


class Window(NamedTuple):
    """A sequence of question and part of a passage.

    Attributes:
        sequence: its tokens.
        char_start: for each token where its text begins in the passage, -1 for tokens of anything else.
        char_stop: where it ends, likewise.
    """

    sequence: EncodedRow
    char_start: np.ndarray
    char_stop: np.ndarray


def windows(encoder: RowEncoder, question: Pieces, passage: Pieces) -> Iterator[Window]:
    """All windows of a passage, at least one; together they hold every token of it."""
    room = encoder.settings.max_seq_len - encoder.special_tokens(pair=True)
    asked = question.ids[: min(MOST_QUESTION_TOKENS, room // 2)]
    room -= len(asked)
    step = min(STRIDE, max(1, room // 2))
    start = 0
    while True:
        own = slice(start, start + room)
        yield _window(encoder, asked, passage.ids[own], passage.spans[own], len(question.ids))
        if start + room >= len(passage.ids):
            return
        start += step


def _window(encoder: RowEncoder, asked: list[int], ids: list[int], spans: list[tuple[int, int]], full: int) -> Window:
    sequence = encoder.join([asked, ids])
    question, passage = sequence.texts
    sequence = sequence._replace(texts=(question._replace(length=full), passage))  # a question that was cut says so
    places = np.full((len(sequence.token_ids), 2), NO_CHARACTERS)
    places[passage.start : passage.stop] = np.reshape(spans, (-1, 2))
    return Window(sequence, places[:, 0], places[:, 1])


def answer_place(window: Window, start: int, stop: int) -> tuple[int, int]:
    """The first and the last token of the characters `start` to `stop`; (0, 0), which is [CLS], for a window without.

    A window has an answer where it has all its tokens.
    """
    inside = np.flatnonzero(window.char_start >= 0)
    if not len(inside) or window.char_start[inside[0]] > start or window.char_stop[inside[-1]] < stop:
        return 0, 0
    touched = inside[(window.char_stop[inside] > start) & (window.char_start[inside] < stop)]
    return (int(touched[0]), int(touched[-1])) if len(touched) else (0, 0)
