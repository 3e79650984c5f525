"""The three commands on spoiled files and spoiled command lines: exit code 0 or 2, one message, no traceback."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import prepro_std
import train
from data_utils.canonical import read_rows
from data_utils.features import load_features
from data_utils.task_def import is_test, load_task_defs
from experiments.glue import glue_prepro
from tests.conftest import Workshop
from tests.fuzz.mutations import argument_lists, heavy, mutated, run
from tests.miniature_glue import write_miniature_glue

TASK_DEF = glue_prepro.TASK_DEF
TASKS = load_task_defs(TASK_DEF)

pytestmark = pytest.mark.usefixtures("own_folder")


class Folders(NamedTuple):
    """Small valid input of all three commands; not to be written to."""

    glue: Path
    canonical: Path
    features: Path
    encoder: Path


@pytest.fixture(scope="module")
def folders(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    glue = write_miniature_glue(tmp_path_factory.mktemp("fuzz") / "glue", rows=4)
    return Folders(glue, workshop.data_dir.parent, workshop.data_dir, workshop.encoder)


def copied(files: list[Path], folder: Path) -> list[Path]:
    """Fresh copies of the files, and nothing else, in the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return [Path(shutil.copy(file, folder)) for file in files]


def spoil(data: st.DataObject, files: list[Path]) -> Path:
    """Spoil one of the files; now and then it becomes a folder or is gone."""
    path = data.draw(st.sampled_from(files))
    content = data.draw(mutated(path.read_bytes()) | st.sampled_from(["a folder", "gone"]))
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.unlink()
        if content == "a folder":
            path.mkdir()
    return path


@pytest.mark.parametrize("name", ["cola", "mrpc", "stsb", "qnli", "mnli"])
@heavy(2)
@given(data=st.data())
def test_spoiled_raw_glue(name: str, data: st.DataObject, folders: Folders, own_folder: Path) -> None:
    raw = glue_prepro.RAW_TASKS[name]
    spoil(data, copied(sorted((folders.glue / raw.folder).iterdir()), own_folder / "glue" / raw.folder))
    out = own_folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    argv = ["--glue_dir", "glue", "--output_dir", "out", *data.draw(st.sampled_from([[], ["--drop_bad_rows"]]))]
    code, _ = run(glue_prepro.main, argv)
    assert out.exists() == (code == 0)
    for path in out.glob("*.tsv"):
        split = path.stem.removeprefix(f"{name}_")
        lines = (own_folder / "glue" / raw.folder / raw.files[split]).read_bytes().decode("utf-8-sig").split("\n")
        rows = read_rows(path, TASKS[name])
        first = 0 if raw.columns_without_header and not is_test(split) else 1
        for row in rows:  # uids count the raw file's rows, so they say which line a row must come from
            fields = lines[int(row.uid) + first].removesuffix("\r").split("\t")
            own = [row.premise, *row.hypotheses, *(() if is_test(split) else row.labels)]
            assert set(own) <= set(fields)
        assert "--drop_bad_rows" in argv or len(rows) == len(lines) - first - (lines[-1] == "")


GLUE_ARGV = ["--glue_dir", "glue", "--output_dir", "out", "--tasks", "cola,rte", "--drop_bad_rows"]


@heavy(2)
@given(argument_lists(GLUE_ARGV))
def test_spoiled_command_lines_of_glue_prepro(folders: Folders, own_folder: Path, argv: list[str]) -> None:
    if not (own_folder / "glue").exists():
        shutil.copytree(folders.glue, own_folder / "glue")
    run(glue_prepro.main, argv)


@heavy(2)
@given(data=st.data())
def test_spoiled_canonical_rows_and_task_files(data: st.DataObject, folders: Folders, own_folder: Path) -> None:
    rows = [folders.canonical / f"{name}_{split}.tsv" for name in ("cola", "stsb") for split in ("train", "dev")]
    files = copied([*rows, TASK_DEF], own_folder / "canonical")
    changed = spoil(data, files)
    argv = ["--model", str(folders.encoder), "--root_dir", "canonical", "--task_def", f"canonical/{TASK_DEF.name}"]
    code, message = run(prepro_std.main, [*argv, "--workers", "1"])
    made = own_folder / "canonical" / folders.encoder.name
    assert made.exists() == (code == 0)
    assert code == 0 or changed.name in message or changed.stem.split("_")[0] in message
    if code == 0:  # what was made loads, row by row
        tasks = load_task_defs(files[-1])
        for path in made.glob("*_*.json"):
            name, split = path.stem.split("_", 1)
            source = own_folder / "canonical" / f"{path.stem}.tsv"
            features = load_features(made, tasks[name], split)
            assert list(features.uids) == [row.uid for row in read_rows(source, tasks[name])]


@heavy(2)
@given(data=st.data())
def test_spoiled_command_lines_of_prepro_std(data: st.DataObject, folders: Folders, own_folder: Path) -> None:
    if not (own_folder / "canonical").exists():
        copied([folders.canonical / f"cola_{split}.tsv" for split in ("train", "dev")], own_folder / "canonical")
        (own_folder / "model").symlink_to(folders.encoder)
    argv = ["--model", "./model", "--root_dir", "canonical", "--task_def", str(TASK_DEF), "--tasks", "cola"]
    run(prepro_std.main, data.draw(argument_lists([*argv, "--max_seq_len", "32", "--workers", "1"])))


@heavy(2)
@given(data=st.data())
def test_spoiled_input_of_train(data: st.DataObject, folders: Folders, own_folder: Path) -> None:
    names = ["cola_train.json", "cola_dev.json", "stsb_train.json", "stsb_dev.json", "manifest.json"]
    files = copied([*(folders.features / name for name in names), TASK_DEF], own_folder / "features")
    if data.draw(st.booleans()):
        files.pop(names.index("manifest.json")).unlink()  # as MT-DNN's folders are: the lines themselves are read
    spoil(data, files)
    argv = ["--data_dir", "features", "--task_def", f"features/{TASK_DEF.name}", "--init_checkpoint"]
    argv += [str(folders.encoder), "--train_datasets", "cola,stsb", "--output_dir", "run", "--dry_run"]
    run(train.main, argv)
    assert not (own_folder / "run").exists()


@heavy(2)
@given(data=st.data())
def test_spoiled_command_lines_of_train(data: st.DataObject, folders: Folders, own_folder: Path) -> None:
    argv = ["--data_dir", str(folders.features), "--task_def", str(TASK_DEF), "--init_checkpoint", str(folders.encoder)]
    argv += ["--train_datasets", "cola", "--output_dir", "run", "--batch_size", "8", "--epochs", "2"]
    argv = data.draw(argument_lists(argv))
    run(train.main, [*argv, "--dry_run"])
    assert not (own_folder / "run").exists()
