"""Features and their manifest: read as an independent parse reads them, or refused with file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_utils.errors import InputError
from data_utils.features import FeatureSet, feature_path, load_features
from data_utils.fingerprints import MANIFEST as MANIFEST_FILE
from data_utils.fingerprints import Fingerprint
from data_utils.kinds.regression import MAX_FLOAT32
from data_utils.manifest import (
    Manifest,
    SplitRecord,
    TaskRecord,
    TokenizerInfo,
    check_features,
    read_manifest,
    write_manifest,
)
from data_utils.task_def import DataFormat, TaskDef, TaskType, name_problems
from tests.fuzz.mutations import check_places, line_alone, mutated, no_hang

TASKS = {
    "classes": TaskDef(name="toy", data_format=DataFormat.PremiseOnly, task_type=TaskType.Classification, n_class=3),
    "numbers": TaskDef(name="toy", data_format=DataFormat.PremiseOnly, task_type=TaskType.Regression),
}
LABELS: dict[str, st.SearchStrategy[float]] = {
    "classes": st.integers(0, 2),
    "numbers": st.floats(-MAX_FLOAT32, MAX_FLOAT32) | st.integers(-(10**38), 10**38),
}
encodable = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)


@st.composite
def feature_rows(draw: st.DrawFn, labels: st.SearchStrategy[float]) -> dict[str, Any]:
    """One row as MT-DNN's versions write it."""
    ids = draw(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=6))
    types = draw(st.lists(st.integers(0, 255), min_size=len(ids), max_size=len(ids)))
    row = {"uid": draw(encodable | st.integers()), "label": draw(labels), "token_id": ids, "type_id": types}
    return row | draw(st.sampled_from([{}, {"attention_mask": [1] * len(ids)}, {"mask": [1] * len(ids)}, {"x": None}]))


def check_equal(features: FeatureSet, rows: list[dict[str, Any]], task: TaskDef) -> None:
    """The arrays hold the rows, nothing else, and fit each other."""
    regression = task.task_type is TaskType.Regression
    assert list(features.uids) == [str(row["uid"]) for row in rows]
    labels = np.array([row["label"] for row in rows], dtype=np.float32 if regression else np.int64)
    np.testing.assert_array_equal(features.labels, labels)
    assert np.isfinite(features.labels).all()
    assert regression or (0 <= labels.min() and labels.max() < task.n_class)
    bounds = zip(features.offsets[:-1], features.offsets[1:], strict=True)
    for row, (start, stop) in zip(rows, bounds, strict=True):
        assert features.token_ids[start:stop].tolist() == row["token_id"]
        assert features.type_ids[start:stop].tolist() == row["type_id"]
    assert features.offsets[-1] == len(features.token_ids) == len(features.type_ids)


@pytest.mark.parametrize("name", TASKS)
@given(data=st.data())
def test_rows_come_back_as_an_independent_parse_has_them(name: str, data: st.DataObject, tmp_path: Path) -> None:
    rows = data.draw(st.lists(feature_rows(LABELS[name]), min_size=1, max_size=4))
    path = feature_path(tmp_path, "toy", "train")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for _ in ("from the JSON", "from the cache"):
        check_equal(load_features(tmp_path, TASKS[name], "train"), rows, TASKS[name])


VALID = {
    "classes": [
        b'{"uid": "0", "label": 1, "token_id": [2, 5, 3], "type_id": [0, 0, 1], "attention_mask": [1, 1, 1]}\n'
        b'{"uid": 17, "label": 0, "token_id": [7], "type_id": [0], "mask": [1]}\n',
        b'\xef\xbb\xbf{"label": 2, "uid": "zo\\u00eb", "token_id": [2147483647, 1], "type_id": [255, 0]}\r\n',
    ],
    "numbers": [
        b'{"uid": "a", "label": 2.5, "token_id": [2, 3], "type_id": [0, 0]}\n'
        b'{"uid": "b", "label": -3, "token_id": [1], "type_id": [0], "softlabel": [0.25, NaN]}',
    ],
}


def parsed(content: bytes) -> list[dict[str, Any]]:
    """The rows as the plainest reader has them; fails where a key stands twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    lines = content.decode("utf-8-sig").removesuffix("\n").split("\n")
    return [json.loads(line, object_pairs_hook=unique) for line in lines]


@pytest.mark.parametrize("name", VALID)
@given(data=st.data())
def test_spoiled_features_are_read_as_they_stand_or_refused(name: str, data: st.DataObject, tmp_path: Path) -> None:
    path, content = feature_path(tmp_path, "toy", "train"), data.draw(mutated(*VALID[name]))
    path.write_bytes(content)
    try:
        with no_hang():
            features = load_features(tmp_path, TASKS[name], "train")
    except InputError as error:
        places = check_places(str(error), path)
        assert places or content == b"", error
        if places:
            path.write_bytes(line_alone(content, places[0]))
            with pytest.raises(InputError, match=f"{path}:1: "):  # the line that the message names is at fault
                load_features(tmp_path, TASKS[name], "train")
        return
    check_equal(features, parsed(content), TASKS[name])


names = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=6)
counts = st.none() | st.integers(0, 10**12)
records = st.builds(SplitRecord, st.integers(1, 10**9), encodable, counts, counts)
manifests = st.builds(
    Manifest,
    st.builds(TokenizerInfo, encodable, encodable, st.integers(0, 10**6), encodable),
    st.integers(8, 512),
    st.dictionaries(
        names,
        st.builds(
            TaskRecord,
            st.sampled_from(["PremiseOnly", "PremiseAndOneHypothesis"]),
            st.sampled_from(["Classification", "Regression"]),
            st.lists(encodable, max_size=3).map(tuple),
            st.dictionaries(
                names,
                records,
                max_size=2,
            ),
        ),
        max_size=2,
    ),
)


@given(manifests)
def test_a_manifest_comes_back_as_written(tmp_path: Path, manifest: Manifest) -> None:
    write_manifest(tmp_path / MANIFEST_FILE, manifest)
    assert read_manifest(tmp_path) == manifest


TOY = TaskRecord("PremiseOnly", "Classification", ("no", "yes"), {"train": SplitRecord(24, "ab" * 32)})
MANIFEST = Manifest(TokenizerInfo("tiny-bert", "BertTokenizer", 171, "cd" * 32), 512, {"toy": TOY, "two": TOY})


@given(data=st.data())
def test_a_spoiled_manifest_is_whole_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / MANIFEST_FILE
    write_manifest(path, MANIFEST)
    path.write_bytes(data.draw(mutated(path.read_bytes())))
    try:
        with no_hang():
            manifest = read_manifest(tmp_path)
    except InputError as error:
        assert str(error).startswith(f"{path}: ")
        assert str(error).endswith("run prepro_std.py again into an empty folder")
        return
    assert manifest is not None
    assert not [p for name in manifest.tasks for p in name_problems("name", name)]
    write_manifest(path, manifest)
    assert read_manifest(tmp_path) == manifest
    for split in ("train", "dev"):  # whatever it says, comparing with it gives an answer
        try:
            check_features(manifest, TASKS["classes"], "toy", split, path, Fingerprint(24, "ab" * 32))
        except InputError as error:
            assert str(error).startswith(f"{path}: ")
