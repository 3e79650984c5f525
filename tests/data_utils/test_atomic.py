"""Staged files appear together or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from data_utils.atomic import StagedFiles, refused_by_disk, write_new_folder, write_text
from data_utils.errors import InputError, StoppedError


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
        staged.path(tmp_path / "new" / "b").write_text("b")
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


def test_files_are_on_the_disk_before_any_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[str, str]] = []
    replace = os.replace

    def note_replace(source: Path, target: Path) -> None:
        done.append(("replace", Path(target).name))
        replace(source, target)

    def note_fsync(descriptor: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}")).name
        done.append(("fsync", name.split(".")[1] if name.endswith(".partial") else name))

    monkeypatch.setattr(os, "replace", note_replace)
    monkeypatch.setattr(os, "fsync", note_fsync)
    with StagedFiles() as staged:
        for name in ("a", "b"):
            staged.path(tmp_path / "new" / name).write_text(name)
    assert done[:4] == [("fsync", "a"), ("fsync", "b"), ("replace", "a"), ("replace", "b")]
    assert set(done[4:]) == {("fsync", "new"), ("fsync", tmp_path.name)}


def test_a_disk_that_fails_at_the_end_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoppedError, match=r"new/a cannot be written: No space left"), StagedFiles() as staged:
        staged.path(tmp_path / "new" / "a").write_text("a")
    with pytest.raises(OSError, match="No space left"):
        write_text(tmp_path / "b", "b")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_may_not_be_listed_can_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of names cannot be brought to the disk there; the file itself is."""
    opened = os.open

    def refuse(path: Path, flags: int) -> int:
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, flags)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        write_text(tmp_path / "a", "whole")
    assert (tmp_path / "a").read_text() == "whole"


def test_a_disk_that_is_full_is_told_and_other_errors_are_as_they_were() -> None:
    with pytest.raises(StoppedError, match=r"^/dev/full cannot be written: No space left on device"):
        with refused_by_disk("/dev/full"), open("/dev/full", "w") as file:
            file.write("a")
    with pytest.raises(FileNotFoundError), refused_by_disk("a"), open("/none"):
        pass


def test_a_new_folder_touches_nothing_else(tmp_path: Path) -> None:
    for name in ("new.old", "new.partial", "new"):
        (tmp_path / name).mkdir()
    (tmp_path / "new.old" / "mine").touch()
    (tmp_path / "link").symlink_to(tmp_path / "new")
    write_new_folder(tmp_path / "link", lambda folder: (folder / "a").touch())
    assert (tmp_path / "link").is_symlink() and (tmp_path / "new" / "a").exists()
    with pytest.raises(OSError, match="not empty"):
        write_new_folder(tmp_path / "new", lambda folder: (folder / "b").touch())
    write_new_folder(tmp_path / "deep" / "er", lambda folder: (folder / "a").touch())
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.name != "manifest.json"}
    kept = {"new.old", "new.old/mine", "new.partial", "link"}
    assert found == kept | {"new", "new/a", "deep", "deep/er", "deep/er/a"}
