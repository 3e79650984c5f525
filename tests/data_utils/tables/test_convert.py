"""prepro_std.py --table: from a table to features, what is said, and what is refused with nothing written."""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import prepro_std
import train
from data_utils.canonical import read_rows
from data_utils.features import load_features
from data_utils.task_def import load_task_defs
from tests.tiny_models import write_tiny_bert

WORDS = "tea boat cat clock letter dog song river".split()
Rows = Sequence[dict[str, Any]]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("model") / "tiny")


def reviews(count: int, labels: Sequence[str] = ("good", "bad")) -> list[dict[str, Any]]:
    return [
        {
            "id": f"r{i}",
            "review": f"a {WORDS[i % 8]} and a {WORDS[i // 8 % 8]} number {i}",
            "reply": f"the {WORDS[i % 5]}",
            "stars": labels[i % len(labels)],
            "author": f"a{i % 11}",
        }
        for i in range(count)
    ]


def write(path: Path, rows: Rows) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def flags(encoder: Path, table: Path | str, out: Path, *more: str, **changed: str) -> list[str]:
    given = {"model": encoder, "table": table, "root_dir": out, "text": "review", "label": "stars", "task": "reviews"}
    return [part for name, value in (given | changed).items() for part in (f"--{name}", str(value))] + list(more)


def made(out: Path, split: str) -> list[tuple[str, str, str]]:
    task = load_task_defs(out / "reviews_task_def.yml")["reviews"]
    rows = read_rows(out / f"reviews_{split}.tsv", task, labelled=split != "test")
    features = load_features(out / "tiny", task, split)
    assert list(features.uids) == [row.uid for row in rows]
    return [(row.uid, row.labels[0], row.premise) for row in rows]


def test_a_table_becomes_a_task_that_trains(encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = reviews(60)
    rows[7]["review"] = 'two\r\nlines, "quoted"\tand\na tab'
    rows[9]["stars"], rows[10]["stars"] = "", " "
    rows[12]["review"] = rows[14]["review"]
    rows[13]["review"] = rows[14]["review"]
    out = tmp_path / "my data"
    assert prepro_std.main(flags(encoder, write(tmp_path / "reviews.csv", rows), out, "--id", "id")) == 0
    told = capsys.readouterr().out
    parts = {split: made(out, split) for split in ("train", "dev", "test")}
    assert {split: Counter(label for _, label, _ in part) for split, part in parts.items()} == {
        "train": {"bad": 23, "good": 23},
        "dev": {"bad": 3, "good": 3},
        "test": {"bad": 3, "good": 3},
    }
    expected = {row["id"]: (row["stars"], row["review"]) for row in rows if row["stars"].strip()}
    expected["r7"] = ("bad", 'two lines, "quoted" and a tab')
    assert {uid: (label, text) for part in parts.values() for uid, label, text in part} == expected
    assert f"{tmp_path}/reviews.csv: 60 rows, columns id, review, reply, stars, author" in told
    for line in (
        "stars: 2 different labels; they are names, so it is a classification; --kind overrides this",
        "bad 29, good 29",
        "sorted by name; --labels sets another order",
        "1 of 60 rows has tabs or line ends in a text; each is a space now (uid r7)",
        "2 of 60 rows have no label; left out (uids r9, r10)",
        "2 of 60 rows have the text of an earlier row; all are kept (uids r13, r14)",
        "1 of 60 rows has the text of an earlier row and another label (uid r13)",
        "train 46, dev 6, test 6",
    ):
        assert line in told, told
    command = shlex.split(re.findall("python train.py (.*)", told)[0])
    assert command[:2] == ["--data_dir", str(out / "tiny")]
    assert command[command.index("--test_splits") + 1] == "test"
    command[command.index("--output_dir") + 1] = str(tmp_path / "run")
    assert train.main([*command, "--epochs", "1", "--batch_size", "16", "--no-tensorboard"]) == 0
    assert "python predict.py --checkpoint runs/reviews --table NEW.csv --text review --id id --output pred" in told


def test_pairs_numbers_and_tables_of_their_own(
    encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = reviews(40, ["0.5", "1", "2", "-3e0"])
    del rows[3]["stars"]
    tables = {
        "table": write(tmp_path / "train.jsonl", rows),
        "dev_table": write(tmp_path / "d.csv", reviews(5, ["2.5"])),
    }
    unlabelled = [{"review": row["review"], "reply": row["reply"]} for row in reviews(4)]
    tables["test_table"] = write(tmp_path / "t.csv", unlabelled)
    given = {name: str(path) for name, path in tables.items()}
    assert prepro_std.main(flags(encoder, out=tmp_path / "out", text2="reply", **given)) == 0
    told = capsys.readouterr().out
    command, note = (next(line for line in told.splitlines() if what in line) for what in ("train.py", "--test_splits"))
    assert "--test_splits" not in command
    lacking = f"4 of 4 rows of {tmp_path}/t.csv lack a label: label them or take them out to have test scored"
    assert note.startswith(f"note: --test_splits is left out below, as {lacking}")
    assert "so it is a regression; --kind overrides this" in told and "from -3 to 2" in told
    assert "train 39, dev 5, test 4" in told and "t.csv, 4 rows, 4 without a label" in told
    assert "have the same text as a row of train" in told  # as written, the two tables share theirs
    task = load_task_defs(tmp_path / "out" / "reviews_task_def.yml")["reviews"]
    assert (task.data_format.value, task.type_name, task.metric_meta) == (
        "PremiseAndOneHypothesis",
        "Regression",
        ("Pearson", "Spearman"),
    )
    assert [uid for uid, _, _ in made(tmp_path / "out", "train")] == [str(i) for i in range(1, 41) if i != 4]
    assert [label for _, label, _ in made(tmp_path / "out", "test")] == [""] * 4
    assert load_features(tmp_path / "out" / "tiny", task, "train").labels[:3].tolist() == [0.5, 1, 2]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["good", "", "bad", "good"], "1 of 4 rows of {t} lacks a label: label them or take them out"),
        (["bad"] * 4, "all rows of {t} have the label bad"),
        (["good", "bad"] * 2, ""),
    ],
)
def test_why_a_test_table_is_not_scored_is_said(
    labels: list[str], said: str, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, test = write(tmp_path / "t.csv", reviews(30)), write(tmp_path / "e.csv", reviews(4, labels))
    assert prepro_std.main(flags(encoder, table, tmp_path / "out", test_table=str(test))) == 0
    told = capsys.readouterr().out
    (command,) = re.findall("python train.py (.*)", told)
    assert ("--test_splits test" in command) == (not said)
    notes = [line for line in told.splitlines() if line.startswith("note: ")]
    assert len(notes) == bool(said)
    if said:
        assert notes[0].startswith(f"note: --test_splits is left out below, as {said.format(t=test)}")


def test_label_names_travel_as_they_are(encoder: Path, tmp_path: Path) -> None:
    names = ["yes", "010", "1:30", "a, b", "null", "é 猫"]
    table = write(tmp_path / "t.csv", reviews(60, names))
    order = '"a, b",yes,010,1:30,é 猫,null'
    more = ["--labels", order, "--metrics", "ACC,F1MAC", "--test_share", "0", "--dev_share", "0.2"]
    assert prepro_std.main(flags(encoder, table, tmp_path / "out", *more)) == 0
    task = load_task_defs(tmp_path / "out" / "reviews_task_def.yml")["reviews"]
    assert task.labels == ("a, b", "yes", "010", "1:30", "é 猫", "null")
    assert (task.metric_meta, task.split_names) == (("ACC", "F1MAC"), ("train", "dev"))
    assert Counter(label for _, label, _ in made(tmp_path / "out", "dev")) == dict.fromkeys(names, 2)


@pytest.mark.parametrize("mark", ["\x85", "\u2028", "\u2029"], ids=ascii)
def test_labels_with_what_yaml_takes_for_a_line_end(mark: str, encoder: Path, tmp_path: Path) -> None:
    names = [f"so{mark}so", f"so {mark}", "é 猫"]
    assert prepro_std.main(flags(encoder, write(tmp_path / "t.csv", reviews(60, names)), tmp_path / "out")) == 0
    assert load_task_defs(tmp_path / "out" / "reviews_task_def.yml")["reviews"].labels == tuple(sorted(names))
    assert Counter(label for _, label, _ in made(tmp_path / "out", "dev")) == dict.fromkeys(names, 2)


def test_groups_stay_together_and_the_seed_matters(encoder: Path, tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", reviews(90))
    found = []
    for seed in ("1", "2"):
        out = tmp_path / f"out{seed}"
        assert prepro_std.main(flags(encoder, table, out, group="author", split_seed=seed, id="id")) == 0
        sides = {split: {int(uid[1:]) % 11 for uid, _, _ in made(out, split)} for split in ("train", "dev", "test")}
        assert sum(map(len, sides.values())) == 11 and all(sides.values())
        found.append(sides)
    assert found[0] != found[1]


ROWS = reviews(30)
CASES: dict[str, tuple[Rows, list[str], str]] = {
    "columns": (ROWS, ["--text2", "answer", "--id", "uid"], "--text2: {t} has no column 'answer'; it has: id, review"),
    "one column twice": (ROWS, ["--text2", "review"], "--text and --text2 are the same column, 'review'"),
    "label is text": (ROWS, ["--text", "stars"], "--label 'stars' is the column of a text, too"),
    "no text": ([*ROWS, ROWS[0] | {"review": " "}], [], "{t}:32: no text: 'review' is empty"),
    "no id": ([*ROWS, ROWS[0] | {"id": ""}], ["--id", "id"], "{t}:32: no id: 'id' is empty"),
    "id twice": ([*ROWS, ROWS[1]], ["--id", "id"], "{t}:32: the id 'r1' stands already in line 3; ids must differ"),
    "id with a tab": ([*ROWS, ROWS[1] | {"id": "a\tb"}], ["--id", "id"], "{t}:32: the id 'a\\tb' holds a tab"),
    "no group": ([*ROWS, ROWS[1] | {"author": ""}], ["--group", "author"], "{t}:32: no group: 'author' is empty"),
    "one class": (reviews(30, ["good"]), [], "--label stars: every label is 'good', so there is nothing to learn"),
    "rare class": ([*ROWS, ROWS[0] | {"stars": "odd", "review": "x"}], [], "labels with too few different texts"),
    "no labels": (reviews(9, [""]), [], "--label stars: no row has a label"),
    "another kind": (
        ROWS,
        ["--kind", "ranking"],
        "--kind ranking: a table makes a task of classification or regression",
    ),
    "not numbers": (ROWS, ["--kind", "regression"], "a regression needs numbers, and 30 rows have 'good', 'bad'"),
    "metrics": (ROWS, ["--metrics", "ACC,Speed"], "metric_meta: unknown 'Speed'; allowed: ACC, F1, MCC"),
    "metrics of others": (ROWS, ["--metrics", "SeqEval"], "--metrics: Classification has no SeqEval; use ACC"),
    "task name": (ROWS, ["--task", "my_task"], "the name must not be empty nor contain '_'"),
    "task is needed": (ROWS, ["--task", ""], "--task is required with --table"),
    "task file, too": (ROWS, ["--task_def", "x.yml"], "--task_def goes with canonical rows, not with --table"),
    "share and table": (ROWS, ["--dev_table", "d.csv", "--dev_share", "0.1"], "--dev_share and --dev_table exclude"),
    "idle seed": (
        ROWS,
        ["--dev_table", "d.csv", "--test_share", "0", "--split_seed", "2"],
        "--split_seed would have no effect",
    ),
    "label in dev": (ROWS, ["--dev_table", "{d}"], "{d}:2: the label 'new' is not in train, which has ['bad', 'good']"),
    "number in dev": (
        reviews(30, ["1.5", "2"]),
        ["--dev_table", "{h}"],
        "{h}:2: the label '7,83' is no number; write a decimal point, '7.83' for '7,83'",
    ),
    "label in test": (ROWS, ["--test_table", "{d}"], "{d}:2: the label 'new' is not in train"),
    "no labels in dev": (ROWS, ["--dev_table", "{e}"], "--dev_table {e}: no row has a label"),
    "dev without labels": (ROWS, ["--dev_table", "{f}"], "--label: {f} has no column 'stars'; it has: review"),
    "model": (ROWS, ["--model", "./nowhere"], "--model: no folder ./nowhere"),
    "length": (ROWS, ["--max_seq_len", "2"], "--max_seq_len must be at least"),
    "seed": (ROWS, ["--split_seed", "-1"], "--split_seed must be at least 0, got -1"),
    "labels": (ROWS, ["--labels", "good,,bad"], "--labels: expected names with commas between them, got 'good,,bad'"),
    "a label with a tab": (
        reviews(30, ["a\tb", "c"]),
        [],
        "{t}:2: the label 'a\\tb' holds a tab or a line end; take it",
    ),
    "a label with a line end": (
        [*ROWS, ROWS[1] | {"stars": "bad\n"}],
        [],
        "{t}:32: the label 'bad\\n' holds a tab or a",
    ),
    "a number with a line end": (reviews(30, ["1.5", "2\r"]), [], "{t}:3: the label '2\\r' holds a tab or a line end"),
    "a label of dev": (ROWS, ["--dev_table", "{g}"], "{g}:2: the label 'bad\\n' holds a tab or a line end"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_tables_are_one_message_and_nothing_is_written(
    case: str, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, more, message = CASES[case]
    places = {"t": write(tmp_path / "t.csv", rows), "d": write(tmp_path / "d.csv", reviews(2, ["new"]))}
    places["e"] = write(tmp_path / "e.csv", reviews(2, [""]))
    places["f"] = write(tmp_path / "f.csv", [{"review": "x"}])
    places["g"] = write(tmp_path / "g.csv", reviews(2, ["bad\n"]))
    places["h"] = write(tmp_path / "h.csv", reviews(2, ["7,83"]))
    argv = flags(encoder, places["t"], tmp_path / "out", *(flag.format(**places) for flag in more))
    assert prepro_std.main(argv) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and message.format(**places) in told
    assert not (tmp_path / "out").exists()


def test_an_empty_table_and_flags_without_a_table(
    encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_text("review,stars\n")
    assert prepro_std.main(flags(encoder, tmp_path / "t.csv", tmp_path / "out")) == 2
    assert f"{tmp_path}/t.csv: the table has no rows" in capsys.readouterr().err
    common = ["--model", str(encoder), "--root_dir", str(tmp_path)]
    assert prepro_std.main([*common, "--task_def", "x.yml", "--text", "a", "--encoding", "utf-8"]) == 2
    told = capsys.readouterr().err
    assert "--text goes with --table, which is not given\n--encoding goes with --table" in told
    assert prepro_std.main(common) == 2
    assert "error: either --task_def or --table is required" in capsys.readouterr().err


def test_nothing_is_overwritten_that_no_table_made(
    encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = write(tmp_path / "reviews_train.tsv", ROWS)
    before = own.read_bytes()
    argv = flags(encoder, own, tmp_path, table_format="csv")
    assert prepro_std.main([*argv, "--delimiter", ","]) == 2
    assert f"{own} is a table to read, and would be overwritten: choose" in capsys.readouterr().err
    table = write(tmp_path / "t.csv", ROWS)
    assert prepro_std.main(flags(encoder, table, tmp_path)) == 2
    assert f"{own}: there already, and not made from a table: choose another --root_dir" in capsys.readouterr().err
    assert own.read_bytes() == before
    for _ in range(2):  # what a table made is made anew
        assert prepro_std.main(flags(encoder, table, tmp_path / "out")) == 0


def test_a_task_file_that_no_table_made_is_kept(
    encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "reviews_task_def.yml").write_text("reviews: {data_format: PremiseOnly}\n")
    assert prepro_std.main(flags(encoder, write(tmp_path / "reviews.csv", reviews(40)), tmp_path)) == 2
    assert "reviews_task_def.yml: there already, and not made from a table" in capsys.readouterr().err
    assert (tmp_path / "reviews_task_def.yml").read_text() == "reviews: {data_format: PremiseOnly}\n"


def test_what_was_added_to_a_task_file_by_hand_is_told_when_it_goes(
    encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = flags(encoder, write(tmp_path / "reviews.csv", reviews(40)), tmp_path)
    assert prepro_std.main(again) == 0
    definition = tmp_path / "reviews_task_def.yml"
    written = definition.read_text()
    definition.write_text(f"{written}  loss_weight: 2.0\n")
    capsys.readouterr()
    assert prepro_std.main(again) == 0
    assert f"{definition}: replaced; these lines of it are gone:\n  loss_weight: 2.0\n" in capsys.readouterr().out
    assert definition.read_text() == written
    assert prepro_std.main(again) == 0
    assert "replaced" not in capsys.readouterr().out
