"""Features: MT-DNN's files load, bad lines are named, the packed cache is right or not used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_utils.errors import InputError
from data_utils.feature_cache import PackedStrings, read_cache
from data_utils.features import FeatureSet, cache_path, feature_path, load_features
from data_utils.task_def import DataFormat, TaskDef, TaskType

COLA = TaskDef(name="cola", data_format=DataFormat.PremiseOnly, task_type=TaskType.Classification)
STSB = TaskDef(name="stsb", data_format=DataFormat.PremiseAndOneHypothesis, task_type=TaskType.Regression)
ROW: dict[str, Any] = {"uid": "0", "label": 1, "token_id": [2, 5, 3], "type_id": [0, 0, 1]}


def write(folder: Path, rows: list[Any], task: TaskDef = COLA) -> Path:
    path = feature_path(folder, task.name, "train")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def assert_equal(one: FeatureSet, other: FeatureSet) -> None:
    assert list(one.uids) == list(other.uids)
    for name in ("labels", "token_ids", "type_ids", "offsets", "lengths"):
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


MT_DNN_ROWS = {
    "with a mask": ROW | {"attention_mask": [1, 1, 1]},
    "without a mask": ROW,
    "an old mask": ROW | {"mask": [1, 1, 1]},
    "a number as uid": ROW | {"uid": 17},
    "further keys": ROW | {"softlabel": [0.2, 0.8]},
}


@pytest.mark.parametrize("row", MT_DNN_ROWS.values(), ids=MT_DNN_ROWS.keys())
def test_rows_as_mt_dnn_writes_them_load(tmp_path: Path, row: dict[str, Any]) -> None:
    write(tmp_path, [row, row | {"uid": "é", "label": 0, "token_id": [7], "type_id": [0]} | _no_masks()])
    features = load_features(tmp_path, COLA, "train")
    assert list(features.uids) == [str(row["uid"]), "é"]
    assert (features.labels.tolist(), features.labels.dtype) == ([1, 0], np.int64)
    assert (features.token_ids.tolist(), features.token_ids.dtype) == ([2, 5, 3, 7], np.int32)
    assert (features.type_ids.tolist(), features.type_ids.dtype) == ([0, 0, 1, 0], np.uint8)
    assert (features.offsets.tolist(), features.offsets.dtype) == ([0, 3, 4], np.int64)
    assert (len(features), features.lengths.tolist()) == (2, [3, 1])


def _no_masks() -> dict[str, Any]:
    return {"attention_mask": [1], "mask": [1]}


def test_keys_that_are_not_used_are_counted_from_the_file_and_from_its_cache(tmp_path: Path) -> None:
    write(tmp_path, [ROW, ROW | {"uid": "1", "softlabel": [0.2, 0.8]}, ROW | {"uid": 2, "softlabel": [1, 0], "é": 1}])
    for source in ("file", "cache"):
        assert load_features(tmp_path, COLA, "train").unused == {"softlabel": 2, "é": 1}, source
    write(tmp_path, [ROW | {"attention_mask": [1, 1, 1], "mask": [1, 1, 1], "texts": [[1, 2, 5]]}])
    assert load_features(tmp_path, COLA, "train").unused == {}


def test_labels_of_a_regression_are_float32(tmp_path: Path) -> None:
    write(tmp_path, [ROW | {"label": 2.5}, ROW | {"label": 3}], STSB)
    labels = load_features(tmp_path, STSB, "train").labels
    assert (labels.tolist(), labels.dtype) == ([2.5, 3.0], np.float32)


BAD = {
    "not JSON": (COLA, "nonsense", "not a JSON object"),
    "a key twice": (COLA, '{"uid": "1", "label": 0, "label": 1}', "not a JSON object (the key 'label' stands twice)"),
    "nested without end": (COLA, '{"uid": ' * 5000, "not a JSON object (nested too deeply)"),
    "a number without end": (COLA, '{"uid": ' + "9" * 5000 + "}", "not a JSON object (Exceeds the limit"),
    "a list": (COLA, [1], "expected a JSON object, got list"),
    "missing keys": (COLA, {"uid": "1", "label": 0}, "lacks token_id, type_id; expected keys: uid, label"),
    "no uid": (COLA, ROW | {"uid": ""}, "uid must be a name or a whole number, got ''"),
    "half a character": (COLA, ROW | {"uid": "a\ud800"}, "uid must be a name or a whole number, got 'a\\ud800'"),
    "no tokens": (COLA, ROW | {"token_id": []}, "token_id must be a list of at least one number, got []"),
    "float tokens": (COLA, ROW | {"token_id": [1.0, 2, 3]}, "token_id must hold whole numbers from 0 to 2147483647"),
    "true as token": (COLA, ROW | {"token_id": [True, 2, 3]}, "token_id must hold whole numbers"),
    "negative token": (COLA, ROW | {"token_id": [-1, 2, 3]}, "token_id must hold whole numbers"),
    "huge token": (COLA, ROW | {"token_id": [2**31, 2, 3]}, "token_id must hold whole numbers"),
    "lengths": (COLA, ROW | {"type_id": [0, 0]}, "type_id has 2 entries for 3 tokens"),
    "padded": (COLA, ROW | {"attention_mask": [1, 1, 0]}, "attention_mask must be all ones: padded features"),
    "short old mask": (COLA, ROW | {"mask": [1, 1]}, "mask has 2 entries for 3 tokens"),
    "class out of range": (COLA, ROW | {"label": 2}, "label 2 is not a class id of cola; allowed: 0 to 1"),
    "class as name": (COLA, ROW | {"label": "1"}, "label '1' is not a class id of cola"),
    "not finite": (STSB, ROW | {"label": float("nan")}, "label nan is not a finite (float32) number"),
    "too large": (STSB, ROW | {"label": 10**400}, "is not a finite (float32) number"),
}


@pytest.mark.parametrize(("task", "row", "message"), BAD.values(), ids=BAD.keys())
def test_bad_rows_are_errors_with_file_and_line(tmp_path: Path, task: TaskDef, row: Any, message: str) -> None:
    path = write(tmp_path, [ROW, row], task)
    if isinstance(row, str):
        path.write_text(json.dumps(ROW) + "\n" + row)
    with pytest.raises(InputError) as caught:
        load_features(tmp_path, task, "train")
    assert str(caught.value).startswith(f"{path}:2: ")
    assert message in str(caught.value)
    assert not cache_path(tmp_path, task.name, "train").exists()


def test_missing_files_say_what_to_do(tmp_path: Path) -> None:
    for folder in ("none", "a\0b", "x" * 5000):
        with pytest.raises(InputError, match="no such folder; make features with prepro_std.py first"):
            load_features(tmp_path / folder, COLA, "train")
    with pytest.raises(InputError, match="cola_train.json: no such file; make it with prepro_std.py --tasks cola"):
        load_features(tmp_path, COLA, "train")
    masked = TaskDef(name="mlm", data_format=DataFormat.MLM, task_type=TaskType.MaskLM)
    with pytest.raises(InputError, match="task_type MaskLM is not trained by this toolkit; it trains Classification, "):
        load_features(tmp_path, masked, "train")


def test_a_file_that_may_not_be_read_is_an_input_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    write(tmp_path, [ROW])
    monkeypatch.setattr("data_utils.features.Fingerprint.of", refuse)
    with pytest.raises(InputError, match="cola_train.json: cannot be read: Permission denied"):
        load_features(tmp_path, COLA, "train")


def test_the_second_load_comes_memory_mapped_from_the_cache(tmp_path: Path) -> None:
    write(tmp_path, [ROW, ROW | {"uid": "zoë", "token_id": [9], "type_id": [0]}])
    first = load_features(tmp_path, COLA, "train")
    packed = cache_path(tmp_path, "cola", "train")
    made = packed.stat().st_mtime_ns
    second = load_features(tmp_path, COLA, "train")
    assert packed.stat().st_mtime_ns == made
    assert isinstance(second.token_ids, np.memmap)
    assert_equal(first, second)


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    write(tmp_path, [ROW])
    load_features(tmp_path, COLA, "train")
    write(tmp_path, [ROW | {"label": 0}, ROW])
    assert load_features(tmp_path, COLA, "train").labels.tolist() == [0, 1]


def test_a_cache_is_not_used_for_another_task_definition(tmp_path: Path) -> None:
    write(tmp_path, [ROW | {"label": 2}])
    three = TaskDef(name="cola", data_format=DataFormat.PremiseOnly, task_type=TaskType.Classification, n_class=3)
    load_features(tmp_path, three, "train")
    with pytest.raises(InputError, match="label 2 is not a class id"):
        load_features(tmp_path, COLA, "train")


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"\xff" * len(b)],
    ids=["half", "empty", "noise"],
)
def test_a_damaged_cache_is_made_again(tmp_path: Path, damage: Any) -> None:
    write(tmp_path, [ROW] * 50)
    first = load_features(tmp_path, COLA, "train")
    expected = first.token_ids.tolist()
    packed = cache_path(tmp_path, "cola", "train")
    whole = packed.read_bytes()
    packed.unlink()  # the first load still maps the old file
    packed.write_bytes(damage(whole))
    assert load_features(tmp_path, COLA, "train").token_ids.tolist() == expected
    assert isinstance(load_features(tmp_path, COLA, "train").token_ids, np.memmap)
    assert packed.stat().st_size == len(whole)


def test_without_a_place_for_the_cache_features_load_all_the_same(tmp_path: Path, monkeypatch: Any) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("read-only folder")

    write(tmp_path, [ROW])
    monkeypatch.setattr("data_utils.feature_cache.save_file", refuse)
    assert load_features(tmp_path, COLA, "train").token_ids.tolist() == ROW["token_id"]
    assert [p.name for p in tmp_path.iterdir()] == ["cola_train.json"]


def test_a_cache_of_another_key_counts_as_absent(tmp_path: Path) -> None:
    write(tmp_path, [ROW])
    load_features(tmp_path, COLA, "train")
    packed = cache_path(tmp_path, "cola", "train")
    assert read_cache(packed, {"sha256": "other", "task_type": "Classification"}, COLA.kind) is None
    assert read_cache(tmp_path / "none", {}, COLA.kind) is None


def test_packed_strings_are_a_sequence() -> None:
    words = ["a", "zoë", "猫"]
    data = [word.encode() for word in words]
    packed = PackedStrings(
        np.frombuffer(b"".join(data), np.uint8), np.concatenate([[0], np.cumsum([len(d) for d in data])])
    )
    assert (list(packed), packed[-1], packed[1:], len(packed)) == (words, "猫", words[1:], 3)
    for index in (3, -4):
        with pytest.raises(IndexError):
            packed[index]
