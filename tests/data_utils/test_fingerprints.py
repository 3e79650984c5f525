"""Sizes and hashes of files, lists of them, and what counts as such."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from data_utils.fingerprints import MANIFEST, Fingerprint, damage, sha256_of, write_list


def test_a_fingerprint_is_that_of_the_bytes(tmp_path: Path) -> None:
    content = b"abc" * 1_000_000
    (tmp_path / "file").write_bytes(content)
    assert Fingerprint.of(tmp_path / "file") == Fingerprint(len(content), hashlib.sha256(content).hexdigest())
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_a_fingerprint_comes_back_from_json() -> None:
    one = Fingerprint(12, "ab")
    assert Fingerprint.parse(json.loads(json.dumps(one._asdict()))) == one


@pytest.mark.parametrize(
    "value", [None, {}, [], {"bytes": 1}, {"bytes": -1, "sha256": ""}, {"bytes": True, "sha256": ""}]
)
def test_what_is_no_fingerprint_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="no size and SHA-256 of a file"):
        Fingerprint.parse(value)


def test_the_list_has_every_file_and_is_written_as_it_always_was(tmp_path: Path) -> None:
    """Folders of older versions must still be found whole, and those of this one by older versions."""
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "config.json").write_text("{}")
    (tmp_path / "weights").write_bytes(b"")
    for _ in range(2):  # a list that is there already is written anew
        write_list(tmp_path)
        empty, braces = (hashlib.sha256(content).hexdigest() for content in (b"", b"{}"))
        assert (tmp_path / MANIFEST).read_text() == (
            "{\n"
            f' "encoder/config.json": {{\n  "bytes": 2,\n  "sha256": "{braces}"\n }},\n'
            f' "weights": {{\n  "bytes": 0,\n  "sha256": "{empty}"\n }}\n'
            "}\n"
        )
    assert damage(tmp_path) is None
    (tmp_path / "weights").write_bytes(b"x")
    assert damage(tmp_path) == damage(tmp_path, contents=False) == "weights is not what was written"


def test_without_contents_names_and_sizes_are_compared(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"abc")
    write_list(tmp_path)
    (tmp_path / "weights").write_bytes(b"abd")
    assert damage(tmp_path) == "weights is not what was written" and damage(tmp_path, contents=False) is None
    (tmp_path / MANIFEST).write_text('{"weights": 3}')
    assert damage(tmp_path, contents=False) == "weights is not what was written"
    (tmp_path / "weights").unlink()
    assert damage(tmp_path, contents=False) == "weights is not there"
