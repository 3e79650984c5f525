"""Collation: every token lands where the model looks for it, in both layouts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mt_dnn.batching import LINE_STEP, LINE_WIDTHS, SHORTEST_LINE, Collator, bucket_size
from mt_dnn.data import cutting_problems


def collator(packing: bool, max_length: int = 64, offset: int = 0, widest: int | None = None) -> Collator:
    own = {"position_offset": offset, "max_length": max_length, "widest": widest}
    return Collator(pad_token_id=1, uses_type_ids=True, packing=packing, **own)


ENCODER = SimpleNamespace(config=SimpleNamespace(pad_token_id=1), uses_type_ids=False, position_offset=0, max_length=5)
ROWS = [np.array([2, 10, 11, 3]), np.array([2, 20, 3]), np.array([2, 30, 31, 32, 33, 3])]


def test_padded_layout(make_features) -> None:
    batch = collator(packing=False)(make_features(ROWS, [0, 1, 1]), np.array([2, 1]))
    assert batch.inputs["input_ids"].tolist() == [[2, 30, 31, 32, 33, 3], [2, 20, 3, 1, 1, 1]]
    assert batch.inputs["attention_mask"].tolist() == [[1] * 6, [1, 1, 1, 0, 0, 0]]
    assert batch.inputs["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 1], [0, 1, 1, 0, 0, 0]]
    assert batch.targets["label"].tolist() == [1, 1]
    assert batch.targets["label"].dtype == torch.int64


def test_packed_layout(make_features) -> None:
    batch = collator(packing=True, offset=2)(make_features(ROWS), np.array([0, 1, 2]))
    assert batch.inputs["input_ids"].tolist() == [[2, 30, 31, 32, 33, 3, 2, 10, 11, 3, 2, 20, 3, 1, 1, 1]]
    assert batch.inputs["position_ids"].tolist() == [[2, 3, 4, 5, 6, 7, 2, 3, 4, 5, 2, 3, 4, 2, 2, 2]]
    assert batch.inputs["sequence_ids"].tolist() == [[2] * 6 + [0] * 4 + [1] * 3 + [-1] * 3]
    assert batch.inputs["first_tokens"].tolist() == [6, 10, 0]
    assert "attention_mask" not in batch.inputs


@pytest.mark.parametrize("seed", range(5))
def test_packing_keeps_every_row_whole(make_features, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [rng.integers(5, 99, size=rng.integers(2, 90)) for _ in range(40)]
    batch = collator(packing=True, max_length=128)(make_features(rows), np.arange(40))
    ids, sequences = batch.inputs["input_ids"], batch.inputs["sequence_ids"]
    assert ids.shape[1] % 8 == 0 and ids.shape[1] < max(SHORTEST_LINE, max(map(len, rows))) + LINE_WIDTHS * LINE_STEP
    for i, row in enumerate(rows):
        assert ids[sequences == i].tolist() == row.tolist()
        assert ids.flatten()[batch.inputs["first_tokens"][i]] == row[0]
    assert (sequences >= 0).sum() == sum(map(len, rows))
    assert (ids[sequences < 0] == 1).all()


@pytest.mark.parametrize("packing", [False, True])
def test_shortened_rows_keep_their_last_token(make_features, packing: bool) -> None:
    batch = collator(packing, max_length=4)(make_features(ROWS), np.array([2]))
    assert batch.inputs["input_ids"][0, :4].tolist() == [2, 30, 31, 3]
    assert (batch.inputs["input_ids"] != 1).sum() == 4


@pytest.mark.parametrize(("side", "kept"), [("left", [32, 33]), ("right", [30, 31])])
def test_rows_are_shortened_at_the_tokenizers_side(make_features, side: str, kept: list[int]) -> None:
    tokenizer = SimpleNamespace(truncation_side=side)
    cut = Collator.for_encoder(ENCODER, packing=False, max_length=4, tokenizer=tokenizer)
    batch = cut(make_features(ROWS), np.array([2, 1]))
    assert batch.inputs["input_ids"].tolist() == [[2, *kept, 3], [2, 20, 3, 1]]


def test_buckets_are_no_wider_than_the_encoder_takes(make_features) -> None:
    """Six tokens would be the bucket of five."""
    rows = [np.arange(5), np.arange(3)]
    batch = Collator.for_encoder(ENCODER, packing=False, max_length=64, buckets=True)(make_features(rows), np.arange(2))
    assert batch.inputs["input_ids"].shape == (2, 5)


@pytest.mark.parametrize("packing", [False, True])
def test_a_pair_that_is_cut_keeps_both_texts_and_all_separators(make_features, packing: bool) -> None:
    """A row of RTE in small: the premise is long, and the hypothesis stays whole."""
    row = np.array([2, 10, 11, 12, 13, 14, 15, 3, 20, 21, 3])
    features = make_features([row])
    features.texts[0] = [[1, 7, 6], [8, 10, 2]]
    batch = collator(packing, max_length=8)(features, np.array([0]))
    assert batch.inputs["input_ids"].tolist() == [[2, 10, 11, 12, 3, 20, 21, 3]]


def test_rows_that_do_not_say_where_their_texts_lie_are_not_cut_blindly(make_features) -> None:
    features = make_features(ROWS)
    features.texts[:, :, 0] = -1
    assert features.uncuttable(4) == 1
    (problem,) = cutting_problems(features, 4)
    assert "--max_seq_len 4: 1 rows of toy_train are longer, and the features do not say where their texts" in problem
    assert cutting_problems(features, 6) == []
    with pytest.raises(ValueError, match="row 2 cannot be cut"):
        collator(packing=False, max_length=4)(features, np.array([2]))


def test_regression_labels_are_floats(make_features) -> None:
    batch = collator(packing=False)(make_features(ROWS, [0.5, 1.0, 2.5]), np.array([2, 0]))
    assert batch.targets["label"].tolist() == [2.5, 0.5]
    assert batch.targets["label"].dtype == torch.float32


def test_bucket_sizes_are_powers_of_two_and_half_as_much_again() -> None:
    assert [bucket_size(size) for size in (1, 2, 3, 4, 5, 7, 9, 13, 17, 64, 65, 97)] == [
        *(1, 2, 3, 4, 6, 8, 12, 16, 24, 64, 96, 128)
    ]


@pytest.mark.parametrize("packing", [False, True])
def test_buckets_make_few_shapes_of_many(make_features, packing: bool) -> None:
    rng = np.random.default_rng(0)
    rows = [rng.integers(5, 99, size=rng.integers(2, 100)) for _ in range(400)]
    features = make_features(rows)
    batches = np.split(rng.permutation(400), 50)
    plain, bucketed = (collator(packing, 100), collator(packing, 100, widest=100))
    shapes = {bucketed(features, one).inputs["input_ids"].shape for one in batches}
    assert 2 * len(shapes) < len({plain(features, one).inputs["input_ids"].shape for one in batches})
    assert max(width for _, width in shapes) <= 100


def test_lines_without_rows_belong_to_no_sequence(make_features) -> None:
    rows = [np.arange(10, 70) for _ in range(5)]
    inputs = collator(packing=True, widest=64)(make_features(rows), np.arange(5)).inputs
    assert inputs["input_ids"].shape == (6, 64)
    assert (inputs["input_ids"][5] == 1).all() and (inputs["sequence_ids"][5] == -1).all()
    assert inputs["first_tokens"].tolist() == [0, 64, 128, 192, 256]
