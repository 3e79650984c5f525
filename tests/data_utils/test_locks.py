"""Locks keep other processes out, of a file as of a folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from data_utils.locks import locked


@pytest.mark.parametrize("what", ["file", "folder"])
def test_one_at_a_time(what: str, tmp_path: Path) -> None:
    place = tmp_path if what == "folder" else tmp_path / "lock"
    if what == "file":
        place.touch()
    other = os.open(place, os.O_RDONLY)
    try:
        with locked(place), pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(other)


def test_a_file_is_open_to_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS locks no other file for one process alone."""
    (tmp_path / "lock").touch()
    modes: list[int] = []
    monkeypatch.setattr(fcntl, "flock", lambda descriptor, _: modes.append(fcntl.fcntl(descriptor, fcntl.F_GETFL)))
    with locked(tmp_path / "lock"):
        assert modes[0] & os.O_RDWR
