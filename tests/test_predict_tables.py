"""predict.py --table and mt_dnn.load: the numbers of --texts, in every format, with ids, in windows, all or nothing."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mt_dnn
import predict
import train
from data_utils.errors import InputError
from data_utils.kinds.kind import softmax
from data_utils.metrics import matthews
from data_utils.tables.options import TableOptions
from data_utils.tables.reading import open_table
from mt_dnn import bulk, table_predictions
from tests.conftest import Workshop

TEXTS = [
    "a joy",
    "the cat, asleep",
    'she said "no"',
    "a very long and dull letter about the boat " * 3,
    "tea\tand\r\nmilk\n",
    "a",
]
SECOND = ["a bore", "the dog", "he said no", "a letter", "milk", "a boat"]
LABELS = ["1", "0", "", "1", "0", "0"]
IDS = [f'"r,{i}' for i in range(6)]
Run = dict[str, Path]


@pytest.fixture(scope="module")
def runs(workshop: Workshop, kinds: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Finished runs: of tasks with one text and two, classes and numbers; and of tasks that tables are not for."""
    folder = tmp_path_factory.mktemp("runs")
    common = ["--epochs", "1", "--learning_rate", "5e-3"]
    assert train.main(workshop.flags(folder / "glue", "--train_datasets", "cola,sst,mnli,stsb", *common)) == 0
    task_def = ["--task_def", str(kinds.data_dir.parent.parent / "tasks.yml")]
    assert train.main(kinds.flags(folder / "kinds", "--train_datasets", "ner,pick", *task_def, *common)) == 0
    return {name: folder / name for name in ("glue", "kinds")}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "new.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "text", "reply", "gold"])
        writer.writerows(zip(IDS, TEXTS, SECOND, LABELS, strict=True))
    return path


def flags(runs: Run, source: Path | str, output: Path | str, *more: str, task: str | None = "cola") -> list[str]:
    given = ["--checkpoint", str(runs["glue"]), "--table", str(source), "--text", "text", "--output", str(output)]
    return given + ([] if task is None else ["--task", task]) + list(more)


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        pq = pytest.importorskip("pyarrow.parquet", reason="Parquet needs pyarrow")
        return list(pq.read_table(path).to_pylist())
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


def by_texts(runs: Run, task: str, lines: list[str], tmp_path: Path) -> list[dict[str, str]]:
    """What --texts says of the same texts."""
    (tmp_path / "texts.txt").write_text("\n".join(lines), encoding="utf-8")
    argv = ["--checkpoint", str(runs["glue"]), "--task", task, "--texts", str(tmp_path / "texts.txt")]
    assert predict.main([*argv, "--output", str(tmp_path / "texts.tsv")]) == 0
    text = (tmp_path / "texts.tsv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))


def plain(texts: list[str]) -> list[str]:
    return [" ".join(text.split("\r\n")).replace("\t", " ").replace("\n", " ") for text in texts]


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_has_the_numbers_of_texts(form: str, runs: Run, table: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / f"out.{form}"
    assert predict.main(flags(runs, table, out, "--id", "key")) == 0
    told = capsys.readouterr()
    found, expected = read(out), by_texts(runs, "cola", plain(TEXTS), tmp_path)
    assert [row["key"] for row in found] == IDS
    assert [row["prediction"] for row in found] == [row["prediction"] for row in expected]
    for name in ("0", "1"):
        ours, theirs = ([float(row[key]) for row in rows] for rows, key in ((found, f"prob_{name}"), (expected, name)))
        assert ours == pytest.approx(theirs, abs=2e-5)
    assert f"written: {out}, 6 predictions" in told.out
    assert '1 of 6 rows has tabs or line ends in a text, read as spaces (uid "r,4)' in told.err


def test_several_tasks_share_one_pass_of_the_encoder(
    runs: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    run = bulk.TextRunner._outputs
    monkeypatch.setattr(
        bulk.TextRunner, "_outputs", lambda self, *args, **more: passes.append(1) or run(self, *args, **more)
    )
    out = tmp_path / "out.csv"
    assert predict.main(flags(runs, table, out, "--text2", "reply", task="cola,sst,mnli,stsb")) == 0
    assert len(passes) == 2  # one text, and two
    found = read(out)
    assert list(found[0]) == [
        *("row", "cola_prediction", "cola_prob_0", "cola_prob_1", "sst_prediction", "sst_prob_0", "sst_prob_1"),
        *("mnli_prediction", "mnli_prob_contradiction", "mnli_prob_neutral", "mnli_prob_entailment"),
        "stsb_prediction",
    ]
    assert [row["row"] for row in found] == list("123456")
    pairs = [f"{a}\t{b}" for a, b in zip(plain(TEXTS), SECOND, strict=True)]
    for task, lines in {"sst": plain(TEXTS), "mnli": pairs, "stsb": pairs}.items():
        expected = by_texts(runs, task, lines, tmp_path)
        if task == "stsb":
            values = [float(row["prediction"]) for row in expected]
            assert [float(row["stsb_prediction"]) for row in found] == pytest.approx(values, rel=1e-4)
        else:
            assert [row[f"{task}_prediction"] for row in found] == [row["prediction"] for row in expected]


def test_a_window_is_all_that_is_in_memory(
    runs: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert predict.main(flags(runs, table, tmp_path / "whole.csv")) == 0
    monkeypatch.setattr(table_predictions, "WINDOW_ROWS", 4)
    sizes: list[int] = []
    run = bulk.TextRunner.run
    monkeypatch.setattr(
        bulk.TextRunner, "run", lambda self, texts, *a, **k: sizes.append(len(texts)) or run(self, texts, *a, **k)
    )
    assert predict.main(flags(runs, table, tmp_path / "windows.csv")) == 0
    assert sizes == [4, 2]
    for whole, part in zip(read(tmp_path / "whole.csv"), read(tmp_path / "windows.csv"), strict=True):
        assert (whole["row"], whole["prediction"]) == (part["row"], part["prediction"])
        assert float(whole["prob_1"]) == pytest.approx(float(part["prob_1"]), abs=1e-5)


def test_a_labelled_table_is_scored(runs: Run, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict.main(flags(runs, table, tmp_path / "out.csv", "--label", "gold", "--id", "key")) == 0
    told = capsys.readouterr().err
    guesses = np.array([int(row["prediction"]) for row in read(tmp_path / "out.csv")])
    labelled = [i for i, label in enumerate(LABELS) if label]
    gold = np.array([int(LABELS[i]) for i in labelled])
    score = 100 * matthews(guesses[labelled], gold)
    assert f"cola: ACC {100 * np.mean(guesses[labelled] == gold):.2f}, MCC {score:.2f} (5 rows with a label)" in told
    assert '1 of 6 rows has no label; not scored (uid "r,2)' in told and "the run's own scores" not in told
    assert predict.main(flags(runs, table, tmp_path / "out.csv", "--label", "gold", "--bf16")) == 0
    told = "note: the run's own scores were computed in fp32, these in bf16, so they may differ; leave --bf16 out to"
    assert told in capsys.readouterr().err


def test_vectors_are_what_heads_see(runs: Run, table: Path, tmp_path: Path) -> None:
    outputs = {form: tmp_path / f"out.{form}" for form in ("csv", "jsonl", "parquet")}
    for out in outputs.values():
        assert predict.main(flags(runs, table, out, "--embed", "--text2", "reply", "--id", "key", task=None)) == 0
    vectors = np.array([[float(row[f"embedding_{i}"]) for i in range(32)] for row in read(outputs["csv"])])
    for form in ("jsonl", "parquet"):
        found = read(outputs[form])
        assert [row["key"] for row in found] == IDS
        np.testing.assert_allclose([row["embedding"] for row in found], vectors, atol=1e-5)
    model = mt_dnn.load(runs["glue"])
    np.testing.assert_allclose(model.embed(list(zip(TEXTS, SECOND, strict=True))), vectors, atol=1e-5)
    head = model._trained.model.heads["mnli"]
    names = model.labels("mnli")
    shares = softmax(vectors @ head.linear.weight.detach().numpy().T + head.linear.bias.detach().numpy())
    expected = model.predict(list(zip(TEXTS, SECOND, strict=True)), task="mnli")
    np.testing.assert_allclose(shares, [[one.probabilities[name] for name in names] for one in expected], atol=1e-4)
    assert model.embed([]).shape == (0, 32)


def test_soft_labels_of_a_table_and_of_features(runs: Run, workshop: Workshop, tmp_path: Path) -> None:
    rows = (workshop.data_dir.parent / "cola_dev.tsv").read_text(encoding="utf-8").splitlines()
    with (tmp_path / "dev.tsv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerows([["uid", "label", "text"], *(row.split("\t") for row in rows)])
    assert predict.main(flags(runs, tmp_path / "dev.tsv", tmp_path / "a.jsonl", "--id", "uid", "--soft_labels")) == 0
    source = ["--data_dir", str(workshop.data_dir), "--split", "dev", "--output", str(tmp_path / "b.jsonl")]
    common = ["--checkpoint", str(runs["glue"]), "--task", "cola"]
    assert predict.main([*common, *source, "--soft_labels"]) == 0
    ours, theirs = read(tmp_path / "a.jsonl"), read(tmp_path / "b.jsonl")
    assert [row["uid"] for row in ours] == [row["uid"] for row in theirs] == [row.split("\t")[0] for row in rows]
    assert all(row["labels"] == ["0", "1"] for row in ours + theirs)
    np.testing.assert_allclose([row["logits"] for row in ours], [row["logits"] for row in theirs], atol=1e-5)
    assert predict.main([*common, *source[:4], "--output", str(tmp_path / "b.tsv")]) == 0
    shares = [float(row["1"]) for row in csv.DictReader((tmp_path / "b.tsv").open(), delimiter="\t")]
    np.testing.assert_allclose(softmax(np.array([row["logits"] for row in theirs]))[:, 1], shares, atol=1e-5)


def test_rows_without_text_keep_their_place(
    runs: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_predictions, "WINDOW_ROWS", 1)
    (tmp_path / "t.jsonl").write_text('{"id": 7, "text": "a joy"}\n{"id": 5, "text": " "}\n{"id": 6, "text": null}\n')
    for form in ("csv", "jsonl", "parquet"):
        out = tmp_path / f"out.{form}"
        assert predict.main(flags(runs, tmp_path / "t.jsonl", out, "--id", "id")) == 0
        assert "2 of 3 rows have no text; their predictions are empty (uids 5, 6)" in capsys.readouterr().err
        found = read(out)
        assert [row["id"] for row in found] == (["7", "5", "6"] if form == "csv" else [7, 5, 6])
        assert [row["prediction"] or None for row in found][1:] == [None, None] and found[0]["prediction"]
    out = tmp_path / "vectors.parquet"
    assert predict.main(flags(runs, tmp_path / "t.jsonl", out, "--embed", task=None)) == 0
    assert [row["embedding"][0] is None for row in read(out)] == [False, True, True]
    assert predict.main(flags(runs, tmp_path / "t.jsonl", tmp_path / "s.jsonl", "--soft_labels")) == 2
    assert "t.jsonl:2: no text, so there is no soft label" in capsys.readouterr().err


def test_from_standard_input_to_standard_output(
    runs: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    assert predict.main(flags(runs, table, tmp_path / "out.csv", "--id", "key")) == 0
    capfd.readouterr()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(table.read_bytes()), encoding="ascii"))
    assert predict.main(flags(runs, "-", "-", "--id", "key", "--table_format", "csv")) == 0
    assert capfd.readouterr().out == (tmp_path / "out.csv").read_text(encoding="utf-8")


BAD: dict[str, tuple[list[str], str]] = {
    "no text": (["--table", "{t}"], "--text is required with --table"),
    "two sources": (
        ["--table", "{t}", "--text", "text", "--texts", "x"],
        "expected either --texts, or --data_dir and --split, or --table",
    ),
    "column": (["--table", "{t}", "--text", "texts"], "--text: {t} has no column 'texts'; it has: key, text, reply"),
    "no pair": (
        ["--table", "{t}", "--text", "text", "--task", "mnli"],
        "--text2 is required: mnli has rows of two texts",
    ),
    "idle pair": (["--table", "{t}", "--text", "text", "--text2", "reply"], "--text2 would have no effect: cola"),
    "two scored": (
        ["--table", "{t}", "--text", "text", "--label", "gold", "--task", "cola,sst"],
        "--label is for one task, got 2",
    ),
    "labels": (
        ["--table", "{t}", "--text", "text", "--label", "key"],
        "{t}:2: unknown label '\"r,0'; allowed for cola: 0",
    ),
    "no labels": (["--table", "{e}", "--text", "text", "--label", "gold"], "--label: no row has a label"),
    "empty": (["--table", "{n}", "--text", "text"], "{n}: the table has no rows"),
    "width": (["--table", "{w}", "--text", "text"], "{w}:3: 2 cells, but the first line names 1 columns"),
    "output": (
        ["--table", "{t}", "--text", "text", "--output", "{o}.xlsx"],
        "--output {o}.xlsx: the name does not end in",
    ),
    "id": (["--table", "{p}", "--text", "text", "--id", "prediction"], "--id: the output has a column 'prediction'"),
    "task and vectors": (["--table", "{t}", "--text", "text", "--embed"], "--task would have no effect: vectors are"),
    "soft vectors": (["--table", "{t}", "--text", "text", "--embed", "--soft_labels", "--task"], "exclude each other"),
    "without a table": (
        ["--texts", "x", "--id", "key", "--quotes", "none"],
        "--id goes with --table, which is not given\n--q",
    ),
    "no such task": (["--table", "{t}", "--text", "text", "--task", "cola,rte"], "--task rte: "),
    "onto itself": (["--table", "{t}", "--text", "text", "--output", "{t}"], "--output {t} is the table itself, which"),
    "whole ids": (
        ["--table", "{i}", "--text", "text", "--id", "id", "--output", "{o}.jsonl"],
        "{i}:1001: --id: '007' is no whole number, as the ids before it are; write all ids as texts, or choose .csv",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message_and_nothing_is_written(
    case: str, runs: Run, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contents = {
        "e": "text,gold\na,\n",
        "n": "text,gold\n",
        "w": "text\na\nb,c\n",
        "p": "text,prediction\na,b\n",
    }
    places = {"t": table, "o": tmp_path / "out"} | {name: tmp_path / f"{name}.csv" for name in contents}
    places["i"] = tmp_path / "ids.jsonl"
    places["i"].write_text(
        "".join(f'{{"id": {i}, "text": "a"}}\n' for i in range(1000)) + '{"id": "007", "text": "a"}\n'
    )
    for name, content in contents.items():
        places[name].write_text(content)
    more, message = BAD[case]
    argv = [flag.format(**places) for flag in more]
    if argv[-1] == "--task":
        argv.pop()
    elif "--task" not in argv:
        argv += ["--task", "cola"]
    if "--output" not in argv:
        argv += ["--output", str(tmp_path / "out.csv")]
    assert predict.main(["--checkpoint", str(runs["glue"]), *argv]) == 2
    told = capsys.readouterr().err
    assert f"error: {message.format(**places)}" in told or message.format(**places) in told
    assert not list(tmp_path.glob("out.*")) and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("task", "words"), [("ner", "words with spaces"), ("pick", "a text and its options")])
def test_other_kinds_are_told_what_takes_them(
    task: str, words: str, runs: Run, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--checkpoint", str(runs["kinds"]), "--table", str(table), "--text", "text", "--task", task]
    assert predict.main(argv) == 2
    told = capsys.readouterr().err
    assert f"--table: {task} is a " in told and "use predict.py --texts FILE, which takes lines of " + words in told
    with pytest.raises(InputError, match="use predict.py --texts FILE"):
        mt_dnn.load(runs["kinds"]).predict(["a"], task=task)


def test_words_that_are_cut_off_have_no_soft_labels(
    runs: Run, kinds: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--checkpoint", str(runs["kinds"]), "--data_dir", str(kinds.data_dir), "--split", "dev", "--task", "ner"]
    assert predict.main([*argv, "--soft_labels", "--max_seq_len", "8"]) == 2
    assert "--soft_labels: rows of ner_dev are longer than 8 tokens" in capsys.readouterr().err


def test_from_python(runs: Run, table: Path, tmp_path: Path) -> None:
    model = mt_dnn.load(str(runs["glue"] / "best"), batch_size=2)
    assert model.tasks == ("cola", "sst", "mnli", "stsb")
    assert (model.labels("cola"), model.labels("stsb")) == (("0", "1"), ())
    assert predict.main(flags(runs, table, tmp_path / "out.csv")) == 0
    found = model.predict(TEXTS, task="cola")
    for ours, theirs in zip(found, read(tmp_path / "out.csv"), strict=True):
        assert ours.label == theirs["prediction"] and ours.value is None
        assert list(ours.probabilities) == ["0", "1"] and sum(ours.probabilities.values()) == pytest.approx(1)
        assert pickle.loads(pickle.dumps(ours)) == ours  # as between processes
        assert json.loads(json.dumps(dataclasses.asdict(ours)))["label"] == ours.label
        assert ours.probabilities["1"] == pytest.approx(float(theirs["prob_1"]), abs=1e-5)
    pairs = list(zip(TEXTS, SECOND, strict=True))
    value = model.predict(pairs, task="stsb")[0]
    assert isinstance(value.value, float) and value.label is None and not value.probabilities
    assert model.predict([], task="cola") == []
    assert model.predict(Column(TEXTS), task="cola") == found
    assert np.array_equal(model.embed(Column(TEXTS)), model.embed(TEXTS))
    with pytest.raises(AttributeError):
        found[0].label = "x"  # type: ignore[misc]


class Frame:
    """As pandas' tables are: the names of the columns, one after the other."""

    columns = ("text",)

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)


class Column(list[Any]):
    """As pandas' columns are: the rows one after the other, and a row by its label only."""

    def __getitem__(self, label: Any) -> Any:
        raise KeyError(label)


WRONG_CALLS: dict[str, tuple[Any, str | None, str]] = {
    "a text": ("a joy", "cola", "task 'cola': expected a list of texts, got one str"),
    "pairs": ([("a", "b")], "cola", r"expected texts, got \('a', 'b'\) at place 0"),
    "no pairs": ([("a", "b"), "c"], "mnli", "expected pairs of texts, got 'c' at place 1"),
    "three": ([("a", "b", "c")], "mnli", "expected pairs of texts"),
    "a table": (
        Frame(),
        "cola",
        r'expected a list of texts, got one Frame; of a table pass a column, such as table\["text"\]',
    ),
    "a mapping": ({"a joy": 1}, "cola", "expected a list of texts, got one dict"),
    "a set": ({"a joy", "no joy"}, "cola", "expected a list of texts, got one set"),
    "None": (None, "cola", "expected a list of texts, got one NoneType"),
    "a series with a gap": (Column(["a", None]), "cola", "expected texts, got None at place 1"),
    "a generator": ((text for text in ("a", 1)), "cola", "expected texts, got 1 at place 1"),
    "half a character": (["a \ud800 b"], "cola", "the text at place 0 has half of a surrogate pair"),
    "numbers": (["a", 1], "cola", "expected texts, got 1 at place 1"),
    "nothing": (["a", " "], "cola", "the text at place 1 is empty"),
    "which": (["a"], None, "^task is required: .* has heads for"),
    "unknown": (["a"], "rte", "^task rte: .* has heads for cola"),
}


@pytest.mark.parametrize("case", WRONG_CALLS)
def test_wrong_calls(case: str, runs: Run) -> None:
    texts, task, message = WRONG_CALLS[case]
    with pytest.raises(InputError, match=message):
        mt_dnn.load(runs["glue"]).predict(texts, task=task)


def test_wrong_settings_and_a_light_import(runs: Run, tmp_path: Path) -> None:
    for settings in ({"device": "tpu"}, {"batch_size": 0}, {"max_seq_len": 1}):
        with pytest.raises(InputError, match=next(iter(settings))):
            mt_dnn.load(runs["glue"], **settings)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no exported model"):
        mt_dnn.load(tmp_path)
    with pytest.raises(AttributeError):
        mt_dnn.loaded  # noqa: B018
    code = "import sys, mt_dnn; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_is_written_is_read_again(runs: Run, table: Path, tmp_path: Path) -> None:
    assert predict.main(flags(runs, table, tmp_path / "out.csv", "--id", "key")) == 0
    with open_table(str(tmp_path / "out.csv"), TableOptions()) as found:
        assert [row.cells["key"] for row in found.rows(["key"])] == IDS


def test_ids_of_all_kinds_stand_in_cells_as_they_are(runs: Run, tmp_path: Path) -> None:
    """Only where a column has one type must they be alike."""
    source, ids = tmp_path / "ids.jsonl", [*range(1000), "007", "a7", "7"]
    source.write_text("".join(json.dumps({"id": one, "text": "a"}) + "\n" for one in ids))
    assert predict.main(flags(runs, source, tmp_path / "out.csv", "--id", "id")) == 0
    assert [row["id"] for row in read(tmp_path / "out.csv")] == list(map(str, ids))


def test_an_id_that_parquet_cannot_hold(runs: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    source = tmp_path / "large.jsonl"
    source.write_text(f'{{"id": {10**20}, "text": "a"}}\n')
    assert predict.main(flags(runs, source, tmp_path / "out.parquet", "--id", "id")) == 2
    assert f"error: {10**20} in the column 'id' is too large for Parquet" in capsys.readouterr().err
    assert not (tmp_path / "out.parquet").exists()
    assert predict.main(flags(runs, source, tmp_path / "out.jsonl", "--id", "id")) == 0
    assert read(tmp_path / "out.jsonl")[0]["id"] == 10**20
