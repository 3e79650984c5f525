"""Staged files appear together or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from data_utils.atomic import StagedFiles, sha256_of
from data_utils.errors import InputError


def test_files_appear_together_at_the_end(tmp_path: Path) -> None:
    finals = [tmp_path / "new" / "deep" / name for name in ("a", "b")]
    with StagedFiles() as staged:
        for final in finals:
            staged.path(final).write_text(final.name)
        assert not any(final.exists() for final in finals)
    assert [final.read_text() for final in finals] == ["a", "b"]
    assert sorted(p.name for p in finals[0].parent.iterdir()) == ["a", "b"]


def test_an_error_leaves_everything_as_it_was(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text("before")
    with pytest.raises(KeyboardInterrupt), StagedFiles() as staged:
        staged.path(old).write_text("after")
        staged.path(tmp_path / "new" / "deep" / "a").write_text("a")
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.rglob("*")] == ["old"]
    assert old.read_text() == "before"


def test_places_that_cannot_be_written_are_input_errors(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="the folder cannot be made"), StagedFiles() as staged:
        staged.path(tmp_path / "file" / "a")
    with pytest.raises(InputError, match="it is a folder"), StagedFiles() as staged:
        staged.path(tmp_path)


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc" * 1_000_000)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(b"abc" * 1_000_000).hexdigest()
