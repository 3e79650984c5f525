"""A file that only grows is cut back to a checkpoint's mark, and what has become of its beginning is told."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from data_utils.fingerprints import Fingerprint
from mt_dnn.record import growing_file
from mt_dnn.record.growing_file import NOTHING, GrowingFile
from tests.conftest import flip_a_bit


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


def write(path: Path, *lines: str, mark: Fingerprint = NOTHING) -> Fingerprint:
    file = GrowingFile(path, mark)
    for line in lines:
        file.append(line)
    reached = file.sync()
    file.close()
    return reached


def test_a_file_that_nothing_is_written_to_is_not_made(path: Path) -> None:
    assert write(path) == NOTHING and not path.exists()


def test_the_mark_is_of_what_the_file_holds(path: Path) -> None:
    assert write(path, "one", "zwölf") == Fingerprint(11, hashlib.sha256("one\nzwölf\n".encode()).hexdigest())


def test_what_came_after_the_mark_goes_and_the_rest_is_written_on(path: Path) -> None:
    mark = write(path, "one", "two")
    write(path, "three", mark=mark)
    assert write(path, "drei", mark=mark) == write(path.with_name("other"), "one", "two", "drei")
    assert path.read_text() == "one\ntwo\ndrei\n"
    write(path, "new")
    assert path.read_text() == "new\n"


@pytest.mark.parametrize("chunk", [1, 3, 2**20])
@pytest.mark.parametrize(
    ("damage", "kept", "reason"),
    [
        (lambda path: path.unlink(), "", "it has 0 bytes of 8"),
        (lambda path: os.truncate(path, 0), "", "it has 0 bytes of 8"),
        (lambda path: os.truncate(path, 6), "one\n", "it has 4 bytes of 8"),
        (lambda path: path.write_text("one\ntwi\nthree\n"), "one\ntwi\n", "it is not what was written"),
        (flip_a_bit, "one\n", "it has 4 bytes of 8"),  # the last line's end
    ],
    ids=["gone", "empty", "short", "changed", "flipped"],
)
def test_damage_is_told_and_whole_lines_are_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, damage: object, kept: str, reason: str
) -> None:
    monkeypatch.setattr(growing_file, "CHUNK", chunk)
    mark = write(path, "one", "two")
    damage(path)  # type: ignore[operator]
    file = GrowingFile(path, mark)
    assert file.damage == reason
    file.append("next")
    assert path.read_text() == kept + "next\n"
    assert GrowingFile(path, file.sync()).damage is None
    file.close()
