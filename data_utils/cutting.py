"""The one way in which a row is cut to a length: tokens go from its longest text, and all separators stay.

It is what Hugging Face's tokenizers do with `truncation=True` (`longest_first`). Preparation, training and prediction
all cut here, so that a row which is cut later, even twice, is the row that would have been made at that length.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Text(NamedTuple):
    """Where a text lies in its row: tokens from `start` to `stop`, and how many it had before any cut, `length`."""

    start: int
    stop: int
    length: int


def kept_lengths(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens of two texts stay where there is room for `room` of them; `second` is 0 for a single text.

    The longer text gives, down to the shorter one's length, then both; of an odd room the longer one has the odd token.
    """
    if first + second <= room:
        return first, second
    short, long = min(first, second), max(first, second)
    if 2 * short <= room:
        long = room - short
    else:
        short = room // 2
        long = room - short
    return (long, short) if first > second else (short, long)


def cut_positions(texts: tuple[Text, ...], tokens: int, room: int, *, left: bool) -> npt.NDArray[np.int64]:
    """Which tokens of a row stay.

    Args:
        texts: one or two, in order.
        tokens: of the row, special ones included.
        room: tokens that the row may have.
        left: whether a text is cut at its beginning and not at its end.

    Raises:
        ValueError: there is no room for the special tokens.
    """
    special = tokens - sum(text.stop - text.start for text in texts)
    if room < special:
        raise ValueError(f"{room} tokens leave no room for {special} special ones")
    lengths = [text.length for text in texts] + [0] * (2 - len(texts))
    pieces, end = [], 0
    for text, kept in zip(texts, kept_lengths(lengths[0], lengths[1], room - special), strict=False):
        pieces.append(np.arange(end, text.start))
        pieces.append(np.arange(text.stop - kept, text.stop) if left else np.arange(text.start, text.start + kept))
        end = text.stop
    return np.concatenate([*pieces, np.arange(end, tokens)])
