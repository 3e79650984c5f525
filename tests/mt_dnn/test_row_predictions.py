"""Predictions of features that were cut when they were made, or are cut now: what is said of either."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path

import pytest

import predict
import prepro_std
import train
from tests.conftest import Workshop

ROWS = 9
"""Dev rows of the miniature; see `tests.miniature_kinds`."""
TAGLESS = "; the words that were cut off have no tag, and --texts gives every word one"


@pytest.fixture(scope="module")
def run(kinds: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    tasks = str(kinds.data_dir.parents[1] / "tasks.yml")
    flags = ["--train_datasets", "share,ner", "--task_def", tasks, "--epochs", "1"]
    assert train.main(kinds.flags(folder, *flags)) == 0
    return folder


@pytest.fixture(scope="module")
def short(kinds: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of the same rows, cut to 7 tokens."""
    root, source = tmp_path_factory.mktemp("short"), kinds.data_dir.parent
    for path in [*source.glob("ner_*.tsv"), *source.glob("share_*.tsv")]:
        shutil.copy(path, root / path.name)
    flags = ["--model", str(kinds.encoder), "--root_dir", str(root), "--task_def", str(source.parent / "tasks.yml")]
    assert prepro_std.main([*flags, "--max_seq_len", "7", "--workers", "1"]) == 0
    return root / kinds.data_dir.name


def rows_cut_to(kinds: Workshop, task: str, length: int) -> int:
    """How many dev rows have more tokens, counted in features that are not cut."""
    lines = (kinds.data_dir / f"{task}_dev.json").read_text(encoding="utf-8").splitlines()
    return sum(len(json.loads(line)["token_id"]) > length for line in lines)


@pytest.mark.parametrize(("task", "more"), [("ner", TAGLESS), ("share", "")])
def test_rows_that_were_cut_when_they_were_made(
    task: str, more: str, run: Path, short: Path, kinds: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    made, now = rows_cut_to(kinds, task, 7), rows_cut_to(kinds, task, 8)
    assert 0 < now <= made < ROWS
    flags = ["--checkpoint", str(run), "--task", task, "--split", "dev"]
    cut = f"{made} of 9 rows were cut to 7 tokens when the features were made{more}"
    assert predict.main([*flags, "--data_dir", str(short)]) == 0
    assert [line for line in capsys.readouterr().err.splitlines() if " of 9 rows " in line] == [cut]
    assert predict.main([*flags, "--data_dir", str(kinds.data_dir), "--max_seq_len", "8"]) == 0
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if " of 9 rows " in line] == [f"{now} of 9 rows are shortened to 8 tokens"]
    assert predict.main([*flags, "--data_dir", str(kinds.data_dir)]) == 0
    assert " of 9 rows " not in capsys.readouterr().err


def test_words_have_a_tag_as_the_note_says(
    run: Path, short: Path, kinds: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fewer than the row has words where the features are cut, and one each of texts."""
    canonical = (short.parent / "ner_dev.tsv").read_text(encoding="utf-8").splitlines()
    words = [ast.literal_eval(line.split("\t")[2]) for line in canonical]
    (tmp_path / "texts.txt").write_text("\n".join(map(" ".join, words)), encoding="utf-8")
    tags = {}
    for name, source in {
        "made": ["--data_dir", str(short), "--split", "dev"],
        "texts": ["--texts", str(tmp_path / "texts.txt")],
    }.items():
        assert predict.main(["--checkpoint", str(run), "--task", "ner", "--max_seq_len", "8", *source]) == 0
        tags[name] = [len(line.split("\t")[1].split()) for line in capsys.readouterr().out.splitlines()[1:]]
    assert tags["texts"] == [len(row) for row in words]
    fewer = sum(a < b for a, b in zip(tags["made"], tags["texts"], strict=True))
    assert fewer == rows_cut_to(kinds, "ner", 7) > 0


def test_features_without_a_manifest_do_not_say_to_which_length(
    run: Path, short: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(short / "ner_dev.json", tmp_path / "ner_dev.json")
    rows = ["--data_dir", str(tmp_path), "--split", "dev"]
    assert predict.main(["--checkpoint", str(run), "--task", "ner", *rows]) == 0
    assert f" of 9 rows were cut when the features were made{TAGLESS}\n" in capsys.readouterr().err
