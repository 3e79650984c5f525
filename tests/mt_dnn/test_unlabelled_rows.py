"""Rows without a label, all kinds of task: predicted where they stand in a test split, never scored or trained on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import predict
import prepro_std
import train
from tests.conftest import Workshop
from tests.miniature_kinds import WINDOW

LABELLED = {
    "cola": "1",
    "share": "0.25",
    "ner": "['B-who', 'O']",
    "pick": "0,1",
}
"""By task, what stands in the column of labels."""
PARTLY = {"cola": "", "share": "", "ner": "['B-who', '']", "pick": ",1"}
"""The same of a row that lacks a label; of a ranking and a tagging not all of them."""
NAMES = [*LABELLED, "asked"]
ROWS = 6


def line(task: str, number: int, label: str) -> str:
    rest = {"ner": "['she', 'saw']", "pick": "she saw tea\ttea\tthe boat"}.get(task, "she saw tea")
    return "\t".join([f"u{number}", *["0,1"] * (task == "pick"), label, rest]) + "\n"


def question(number: int, *, labelled: bool) -> dict[str, Any]:
    """Every other one that is labelled has no answer, which is not the same as an answer that is not known."""
    entry: dict[str, Any] = {"id": f"u{number}", "question": "who saw tea ?"}
    if labelled and number % 4 == 0:
        entry |= {"answers": [], "is_impossible": True}
    elif labelled:
        entry["answers"] = [{"text": "she", "answer_start": 0}]
    return {"context": "she saw tea . " * 12, "qas": [entry]}


def write_split(root: Path, task: str, split: str, labelled: list[bool]) -> None:
    """The canonical rows of a split, of which these have a label."""
    if task == "asked":
        paragraphs = [question(i, labelled=known) for i, known in enumerate(labelled)]
        (root / f"{task}_{split}.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
        return
    labels = [LABELLED[task] if known else PARTLY[task] for known in labelled]
    text = "".join(line(task, i, label) for i, label in enumerate(labels))
    (root / f"{task}_{split}.tsv").write_text(text, encoding="utf-8")


@pytest.fixture
def root(kinds: Workshop, tmp_path: Path) -> Path:
    """The canonical rows of all kinds, beside their task file."""
    source = kinds.data_dir.parent
    shutil.copytree(source, tmp_path / "canonical", ignore=shutil.ignore_patterns(kinds.data_dir.name))
    shutil.copy(source.parent / "tasks.yml", tmp_path / "tasks.yml")
    return tmp_path / "canonical"


def prepared(root: Path, kinds: Workshop, tasks: str) -> int:
    flags = ["--model", str(kinds.encoder), "--root_dir", str(root), "--task_def", str(root.parent / "tasks.yml")]
    return prepro_std.main([*flags, "--tasks", tasks, "--max_seq_len", str(WINDOW), "--workers", "1"])


def trained(root: Path, kinds: Workshop, tasks: str, *more: str) -> int:
    data = Workshop(root / kinds.data_dir.name, kinds.encoder)
    flags = ["--train_datasets", tasks, "--task_def", str(root.parent / "tasks.yml"), "--epochs", "1", *more]
    return train.main(data.flags(root.parent / "run", *flags))


def test_a_test_split_of_which_some_rows_lack_a_label_is_not_scored(
    root: Path, kinds: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in NAMES:
        write_split(root, name, "test", [i % 2 == 0 for i in range(ROWS)])
    names = ",".join(NAMES)
    assert prepared(root, kinds, names) == 0
    capsys.readouterr()
    assert trained(root, kinds, names, "--test_splits", "test") == 2
    told = capsys.readouterr().err.removeprefix("error: ").splitlines()
    folder = root / kinds.data_dir.name
    cure = "label them or take them out, and run prepro_std.py again; or leave test out of --test_splits"
    assert told == [
        f"--test_splits test: 3 of 6 rows of {folder}/{name}_test.json lack a label, and only labelled rows can be "
        f"scored: {cure}"
        for name in NAMES
    ]
    assert not (root.parent / "run").exists()


@pytest.mark.parametrize("name", NAMES)
def test_one_whose_rows_all_have_a_label_is_scored(name: str, root: Path, kinds: Workshop) -> None:
    """Questions that are known to have no answer are labelled."""
    source = root / f"{name}_dev.{'json' if name == 'asked' else 'tsv'}"
    shutil.copy(source, str(source).replace("_dev", "_test"))
    assert prepared(root, kinds, name) == 0
    assert trained(root, kinds, name, "--test_splits", "test") == 0
    results = json.loads((root.parent / "run" / "results.json").read_text())
    assert results["tasks"][name]["test"]["splits"]["test"]["rows"] == 9


@pytest.mark.parametrize("name", NAMES)
def test_one_without_any_label_is_predicted(
    name: str, root: Path, kinds: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    write_split(root, name, "test", [False] * ROWS)
    assert prepared(root, kinds, name) == 0
    assert trained(root, kinds, name) == 0
    capsys.readouterr()
    rows = ["--data_dir", str(root / kinds.data_dir.name), "--split", "test"]
    assert predict.main(["--checkpoint", str(root.parent / "run"), *rows]) == 0
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 1 + ROWS and not told.err
    assert trained(root, kinds, name, "--test_splits", "test", "--output_dir", str(root.parent / "again")) == 2
    assert f"--test_splits test: 6 of 6 rows of {rows[1]}/{name}_test.json lack a label" in capsys.readouterr().err


@pytest.mark.parametrize("split", ["dev", "train"])
@pytest.mark.parametrize("name", NAMES)
def test_a_dev_or_train_row_without_a_label_is_refused(
    name: str, split: str, root: Path, kinds: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    write_split(root, name, split, [True, True, False, True])
    assert prepared(root, kinds, name) == 2
    where = "asked_{}.json: data[0].paragraphs[2].qas[0]: there is no answer" if name == "asked" else name + "_{}.tsv:3"
    assert where.format(split) in capsys.readouterr().err
    assert not (root / kinds.data_dir.name).exists()
