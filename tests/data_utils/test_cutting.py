"""Cut once, cut twice, cut at once: always the row that the tokenizer makes at that length."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from data_utils.cutting import Text, cut_positions, kept_lengths
from data_utils.tokenization import EncoderSettings, RowEncoder
from tests.tiny_models import write_tiny_bert, write_tiny_roberta

WORDS = "the movie was good but a little long and not so funny as they say it is".split()


@pytest.fixture(scope="module", params=["bert", "roberta"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    write = {"bert": write_tiny_bert, "roberta": write_tiny_roberta}[request.param]
    return AutoTokenizer.from_pretrained(write(tmp_path_factory.mktemp("models") / request.param))


def texts(seed: int, rows: int = 60) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, size=generator.integers(0, 30))) for _ in range(rows)]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("pair", [False, True])
def test_rows_are_cut_as_the_tokenizer_cuts_them(tokenizer: PreTrainedTokenizerBase, pair: bool, side: str) -> None:
    first, second = texts(1), texts(2) if pair else None
    tokenizer.truncation_side = side
    for room in (7, 8, 15, 16, 33):
        expected = tokenizer(first, second, truncation=True, max_length=room)
        rows = RowEncoder(EncoderSettings.of(tokenizer, room)).encode(first, second)
        assert [row.token_ids for row in rows] == expected["input_ids"]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("pair", [False, True])
def test_a_later_cut_gives_the_row_that_was_made_at_that_length(
    tokenizer: PreTrainedTokenizerBase, pair: bool, side: str
) -> None:
    first, second = texts(3), texts(4) if pair else None
    tokenizer.truncation_side = side
    made = {room: RowEncoder(EncoderSettings.of(tokenizer, room)).encode(first, second) for room in range(7, 40)}
    for long in range(8, 40):
        for short in range(7, long):
            for row, expected in zip(made[long], made[short], strict=True):
                assert row.cut(short, left=side == "left") == expected


def test_the_texts_places_are_those_of_the_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    first, second = texts(5), texts(6)
    for row, one, two in zip(
        RowEncoder(EncoderSettings.of(tokenizer, 512)).encode(first, second), first, second, strict=True
    ):
        for text, written in zip(row.texts, (one, two), strict=True):
            alone = backend.encode(written, add_special_tokens=False).ids
            assert text.length == text.stop - text.start == len(alone)
            assert row.token_ids[text.start : text.stop] == alone
        assert not row.shortened


@pytest.mark.parametrize(
    ("lengths", "room", "kept"),
    [
        ((3, 4), 7, (3, 4)),
        ((10, 2), 6, (4, 2)),  # the longer one gives
        ((2, 10), 6, (2, 4)),
        ((10, 9), 7, (4, 3)),  # both give, and the longer one has the odd token
        ((9, 10), 7, (3, 4)),
        ((9, 0), 5, (5, 0)),
        ((0, 9), 5, (0, 5)),
        ((9, 9), 0, (0, 0)),
    ],
)
def test_what_is_kept(lengths: tuple[int, int], room: int, kept: tuple[int, int]) -> None:
    assert kept_lengths(*lengths, room) == kept


def test_special_tokens_need_room() -> None:
    with pytest.raises(ValueError, match="2 tokens leave no room for 3 special ones"):
        cut_positions((Text(1, 2, 1), Text(3, 4, 1)), 5, 2, left=False)
