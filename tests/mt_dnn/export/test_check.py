"""What an export is compared by: differences that count, rows that try what there is, and tokens of pairs."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from data_utils.tokenization import load_tokenizer
from mt_dnn.export.check import LENGTHS, difference, other_tokens, sample_rows
from mt_dnn.export.folder import write_tokenizer
from tests.tiny_models import write_tiny_bert

OURS = torch.tensor([[0.5, -0.25], [0.0, 0.125]])
DIFFERENCES = {
    "none": (OURS, OURS, 0.0),
    "of small numbers": (OURS, OURS + 0.5, 0.5),
    "of large numbers, as a share": (8 * OURS, 8 * OURS + 0.5, 0.125),
    "no number": (OURS, OURS.where(OURS > 0, math.nan), math.inf),
    "infinite": (OURS, OURS.where(OURS > 0, -math.inf), math.inf),
    "another shape": (OURS, OURS[:, :1], math.inf),
}


@pytest.mark.parametrize(("ours", "theirs", "expected"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_the_largest_difference_counts(ours: Tensor, theirs: Tensor, expected: float) -> None:
    assert difference(ours, theirs) == expected


def test_padding_stands_behind_rows_alone() -> None:
    """Some encoders make a mask, or positions, of the padding token itself."""
    config = SimpleNamespace(vocab_size=7, pad_token_id=1)
    rows = sample_rows(SimpleNamespace(config=config, max_length=512, uses_type_ids=True))  # type: ignore[arg-type]
    inside = rows["attention_mask"].bool()
    assert inside.sum(1).tolist() == list(LENGTHS)
    assert set(rows["input_ids"][inside].tolist()) == {0, 2, 3, 4, 5, 6}
    assert set(rows["input_ids"][~inside].tolist()) == {1}
    assert rows["token_type_ids"].sum(1).tolist() == [length - length // 2 for length in LENGTHS]


class SecondFirst:
    """A tokenizer that reads pairs in another order."""

    def __init__(self, own: transformers.PreTrainedTokenizerBase) -> None:
        self.own = own

    def __call__(self, *texts: str, **how: Any) -> Any:
        return self.own(*reversed(texts), **how)


def test_a_tokenizer_that_reads_pairs_otherwise_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = load_tokenizer(str(write_tiny_bert(tmp_path / "bert")))
    (tmp_path / "out").mkdir()
    write_tokenizer(own, 128, type_ids=True, folder=tmp_path / "out")
    assert other_tokens(own, tmp_path / "out", 128) == ""
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", lambda *_, **__: SecondFirst(own))
    own.model_max_length = 128
    assert other_tokens(own, tmp_path / "out", 128) == "two texts"
