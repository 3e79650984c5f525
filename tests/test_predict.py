"""predict.py on models that train.py has made: the run's own scores, texts like features, and its bad input."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import predict
import train
from data_utils.fingerprints import write_list
from mt_dnn.predict import TrainedModel
from tests.conftest import Workshop, flip_a_bit

COMMON = ["--epochs", "2", "--learning_rate", "5e-3", "--bf16"]


@pytest.fixture(scope="module")
def runs(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished runs: of one task with one text, and of three tasks, two of them with two texts."""
    folder = tmp_path_factory.mktemp("runs")
    for name, tasks in (("one", "sst"), ("three", "cola,mnli,stsb")):
        assert train.main(workshop.flags(folder / name, "--train_datasets", tasks, *COMMON)) == 0
    return {name: folder / name for name in ("one", "three")}


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.mark.parametrize(
    ("run", "task", "split", "metric"),
    [
        ("one", "sst", "dev", "ACC"),
        ("three", "mnli", "matched_dev", "matched_dev/ACC"),
        ("three", "stsb", "dev", "Pearson"),
    ],
)
def test_it_scores_what_the_run_scored(
    run: str,
    task: str,
    split: str,
    metric: str,
    runs: dict[str, Path],
    workshop: Workshop,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = ["--checkpoint", str(runs[run]), "--task", task, "--data_dir", str(workshop.data_dir), "--split", split]
    assert predict.main([*flags, "--bf16"]) == 0
    told = capsys.readouterr()
    results = json.loads((runs[run] / "results.json").read_text())
    means = {e["step"]: 0.0 for e in results["tasks"][task]["history"]}
    for one in results["tasks"].values():
        for entry in one["history"]:
            means[entry["step"]] += entry["score"]
    step = max(means, key=means.__getitem__)  # the evaluation that best/ is of; the first of equals
    (entry,) = [entry for entry in results["tasks"][task]["history"] if entry["step"] == step]
    assert f"{task} {split}: " in told.err and f"{metric.split('/')[-1]} {entry['metrics'][metric]:.2f}" in told.err
    found = rows(told.out)
    features = [json.loads(line) for line in (workshop.data_dir / f"{task}_{split}.json").read_text().splitlines()]
    assert [row["uid"] for row in found] == [str(one["uid"]) for one in features]
    if task != "stsb":
        names = list(found[0])[2:]
        for row in found:
            probabilities = {name: float(row[name]) for name in names}
            assert sum(probabilities.values()) == pytest.approx(1, abs=1e-4)
            assert probabilities[row["prediction"]] == max(probabilities.values())


def test_scores_in_other_numbers_than_the_run_s_own_are_noted(
    runs: dict[str, Path], workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only where rows are scored, and where the run is known."""
    shutil.copytree(runs["one"] / "best", tmp_path / "alone")
    note = "note: the run's own scores were computed in bf16, these in fp32, so they may differ; --bf16 does the same\n"
    for folder, split, more, noted in (
        (runs["one"], "dev", [], True),
        (runs["one"] / "best", "dev", [], True),
        (runs["one"], "dev", ["--bf16"], False),
        (runs["one"], "test", [], False),
        (tmp_path / "alone", "dev", [], False),
    ):
        flags = ["--checkpoint", str(folder), "--data_dir", str(workshop.data_dir), "--split", split, *more]
        assert predict.main(flags) == 0
        told = capsys.readouterr().err
        assert (note in told) == noted and (noted or "the run's own scores" not in told)


@pytest.mark.parametrize("length", ["512", "10"])
@pytest.mark.parametrize(("run", "task", "split"), [("one", "sst", "test"), ("three", "mnli", "matched_test")])
def test_texts_give_what_their_features_give(
    run: str,
    task: str,
    split: str,
    length: str,
    runs: dict[str, Path],
    workshop: Workshop,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    canonical = workshop.data_dir.parent / f"{task}_{split}.tsv"
    texts = ["\t".join(line.split("\t")[2:]) for line in canonical.read_text(encoding="utf-8").splitlines()]
    (tmp_path / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    flags = ["--checkpoint", str(runs[run] / "best"), "--task", task, "--max_seq_len", length]
    source = ["--data_dir", str(workshop.data_dir), "--split", split]
    assert predict.main([*flags, *source, "--output", str(tmp_path / "features.tsv")]) == 0
    assert predict.main([*flags, "--texts", str(tmp_path / "texts.txt"), "--output", str(tmp_path / "texts.tsv")]) == 0
    by_features, by_texts = (rows((tmp_path / f"{name}.tsv").read_text()) for name in ("features", "texts"))
    assert [row["uid"] for row in by_texts] == [str(number) for number in range(1, len(texts) + 1)]
    assert [{**row, "uid": ""} for row in by_features] == [{**row, "uid": ""} for row in by_texts]
    told = re.findall(r"(\d+) of 6 rows are shortened to 10 tokens", capsys.readouterr().err)
    assert len(told) == (0 if length == "512" else 2) and len(set(told)) <= 1


def test_rows_are_as_long_as_in_training_unless_asked_for(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, source = tmp_path / "run", ["--data_dir", str(workshop.data_dir), "--split", "dev"]
    flags = ["--train_datasets", "sst", "--epochs", "1", "--max_seq_len", "10"]
    assert train.main(workshop.flags(run, *flags)) == 0
    shutil.copytree(run / "best", tmp_path / "alone")
    told = {}
    for name, more in (("run", []), ("run/best", []), ("alone", []), ("run", ["--max_seq_len", "512"])):
        capsys.readouterr()
        assert predict.main(["--checkpoint", str(tmp_path / name), *source, *more]) == 0
        out, err = capsys.readouterr()
        told[(name, *more)] = out, "rows are shortened to 10 tokens" in err
    assert json.loads((run / "metrics.jsonl").read_text().splitlines()[0])["max_seq_len"] == 10
    moved = shutil.copytree(workshop.data_dir, tmp_path / "data")
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace(str(workshop.data_dir), str(moved)))
    manifest = moved / "manifest.json"
    manifest.write_text(re.sub(r'"max_seq_len": \d+', '"max_seq_len": 9', manifest.read_text()))
    assert TrainedModel.load(str(run)).max_seq_len == 10, "features that are made anew do not change a trained model"
    as_trained, whole = told[("run",)], told[("alone",)]
    assert as_trained == told[("run/best",)] and as_trained[1]
    assert whole == told[("run", "--max_seq_len", "512")] and not whole[1] and whole[0] != as_trained[0]


def test_a_metric_that_its_kind_lacks_is_told_and_the_predictions_written(
    workshop: Workshop, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs["one"] / "best", tmp_path / "best")
    definition = json.loads((tmp_path / "best/tasks.json").read_text())
    definition["sst"]["metric_meta"] = ["ACC", "CMAT"]
    (tmp_path / "best/tasks.json").write_text(json.dumps(definition))
    write_list(tmp_path / "best")
    flags = ["--checkpoint", str(tmp_path / "best"), "--data_dir", str(workshop.data_dir), "--split", "dev"]
    assert predict.main(flags) == 0
    told = capsys.readouterr()
    assert "sst dev: not scored, as Classification has no metric CMAT\n" in told.err
    assert len(rows(told.out)) > 0


def test_rows_of_another_task_with_the_same_labels(
    runs: dict[str, Path], workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--checkpoint", str(runs["three"]), "--task", "mnli", "--data_dir", str(workshop.data_dir)]
    assert predict.main([*flags, "--split", "test", "--features_of", "ax"]) == 0
    found = rows(capsys.readouterr().out)
    canonical = (workshop.data_dir.parent / "ax_test.tsv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "ax.txt").write_text("\n".join("\t".join(line.split("\t")[2:]) for line in canonical))
    assert predict.main([*flags[:4], "--texts", str(tmp_path / "ax.txt")]) == 0
    assert [{**row, "uid": ""} for row in rows(capsys.readouterr().out)] == [{**row, "uid": ""} for row in found]
    assert predict.main([*flags, "--split", "dev", "--features_of", "rte"]) == 2
    assert "made for Classification with labels [not_entailment, entailment], but" in capsys.readouterr().err
    assert predict.main([*flags, "--split", "test", "--features_of", "../x"]) == 2
    assert "the name must not be empty nor contain" in capsys.readouterr().err


def test_a_regression_predicts_numbers(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pairs.txt").write_text("A man sings.\tA man is singing.\nA dog runs.\tThe sky is blue.\n")
    assert (
        predict.main(["--checkpoint", str(runs["three"]), "--task", "stsb", "--texts", str(tmp_path / "pairs.txt")])
        == 0
    )
    told = capsys.readouterr()
    assert not told.err
    assert told.out.splitlines()[0] == "uid\tprediction" and all(
        float(row["prediction"]) < 100 for row in rows(told.out)
    )


@pytest.fixture
def texts_flags(runs: dict[str, Path], tmp_path: Path) -> list[str]:
    """Predicts `texts.txt` with the model of one task."""
    return ["--checkpoint", str(runs["one"]), "--texts", str(tmp_path / "texts.txt")]


def test_texts_from_standard_input_are_those_of_a_file(
    runs: dict[str, Path], texts_flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    data = "\ufeffa joy é\r\na bore\r\n".encode()
    (tmp_path / "texts.txt").write_bytes(data)
    assert predict.main(texts_flags) == 0
    from_file = capfd.readouterr()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))
    assert predict.main([*texts_flags[:2], "--texts", "-", "--output", "-"]) == 0
    assert capfd.readouterr() == from_file
    assert (len(rows(from_file.out)), from_file.err) == (2, "")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"fine\n\n")))
    assert predict.main([*texts_flags[:2], "--texts", "-"]) == 2
    assert "error: standard input:2: blank line; expected one text" in capfd.readouterr().err


WARNINGS = {
    "a header": ("Sentence\na joy\n", ["the first row looks like a header (Sentence) and is taken as a row"]),
    "a spreadsheet's": (
        '"a joy"\r\n"he said ""a bore"""\r\n',
        [
            "the text stands in double quotes in every row, as spreadsheets and CSV writers put them; here they stay "
            "part of the text: write it without quoting"
        ],
    ),
    "no words": ("a joy\n\u200b\n", ["1 of 2 rows has no word that the tokenizer knows (uid 2)"]),
    "JSON lines": (
        '{"text": "a joy"}\n{"text": "a bore"}\n',
        [
            "the first line is taken as a row; it looks like JSON lines: --table FILE --table_format jsonl --text "
            "COLUMN reads one"
        ],
    ),
    "a header of CSV": (
        '"id", "text"\n1, a joy\n',
        [
            "the first line is taken as a row; it looks like the header of a CSV table: --table FILE --table_format "
            "csv --text COLUMN reads one"
        ],
    ),
    "braces": ("{a joy}\n{}, a bore\n", []),
    "nothing": ("a joy\na joy\n", []),
}


@pytest.mark.parametrize(("data", "warnings"), WARNINGS.values(), ids=WARNINGS.keys())
def test_texts_that_look_wrong_are_predicted_with_a_warning(
    data: str, warnings: list[str], texts_flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "texts.txt").write_bytes(data.encode())
    assert predict.main(texts_flags) == 0
    told = capsys.readouterr()
    assert told.err.splitlines() == [f"warning: {warning}" for warning in warnings]
    assert len(rows(told.out)) == 2


def test_uids_stand_in_predictions_as_they_are(
    runs: dict[str, Path], workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (workshop.data_dir / "sst_test.json").read_text().splitlines()[:3]
    flags = ["--checkpoint", str(runs["one"]), "--data_dir", str(tmp_path), "--split", "test"]
    sys.stdout.reconfigure(encoding="ascii")  # as on a terminal without a locale
    for uids, code in ((['"a', 'b"c', "dé, e"], 0), (["a", "b\tc", "d"], 2)):
        renamed = [json.dumps(json.loads(line) | {"uid": uid}) for line, uid in zip(lines, uids, strict=True)]
        (tmp_path / "sst_test.json").write_text("\n".join(renamed))
        assert predict.main(flags) == code
        told = capsys.readouterr()
        found = [line.split("\t")[0] for line in told.out.splitlines()[1:]]
        assert found == (uids if code == 0 else [])
    assert "sst test: the uid 'b\\tc' holds a tab or a line end, which predictions cannot carry" in told.err


BAD = {
    "no rows": ([], "expected either --texts, or --data_dir and --split"),
    "no split": (["--data_dir", "."], "expected either --texts, or --data_dir and --split"),
    "two sources": (["--texts", "x", "--data_dir", ".", "--split", "dev"], "expected either --texts"),
    "rows of a task for texts": (
        ["--texts", "x", "--features_of", "ax"],
        "--features_of would have no effect: it needs --data_dir",
    ),
    "the name of another format": (
        ["--texts", "x", "--output", "p.CSV"],
        "--output p.CSV: what is written here is tsv, not csv; call it .tsv",
    ),
    "soft labels in a table": (
        ["--texts", "x", "--soft_labels", "--output", "p.parquet"],
        "--output p.parquet: what is written here is jsonl, not parquet; call it .jsonl",
    ),
    "a table": (
        ["--texts", "new.CSV"],
        "--texts new.CSV: the name says that it is a table, and here each line would be a text: --table new.CSV --text "
        "COLUMN reads it; if its lines are texts as they stand, call it .txt\n",
    ),
    "JSON lines": (["--texts", "new.jsonl"], "--texts new.jsonl: the name says that it is a table"),
    "Parquet": (["--texts", "new.parquet"], "--texts new.parquet: the name says that it is a table"),
    "no such file": (["--texts", "none.txt"], "none.txt: cannot be read: No such file"),
    "no such split": (["--data_dir", ".", "--split", "tests"], "--split tests: sst has train, dev, test"),
    "no features": (["--data_dir", ".", "--split", "dev"], "sst_dev.json: no such file; make it with prepro_std.py"),
    "no such task": (["--texts", "x", "--task", "rte"], "--task rte: "),
    "batch size": (["--texts", "x", "--batch_size_eval", "0"], "--batch_size_eval must be at least 1, got 0"),
    "length": (["--texts", "x", "--max_seq_len", "7"], "--max_seq_len must be at least 8, got 7"),
    "no GPU": (["--texts", "{texts}", "--device", "cuda"], "--device cuda: torch sees no CUDA device"),
    "two columns": (["--texts", "{pairs}"], "pairs.txt:1: 2 texts, expected one text\n"),
    "a header": (
        ["--texts", "{table}"],
        "table.txt:1: 2 texts, expected one text; this looks like",
    ),
    "JSON lines of pairs": (
        ["--checkpoint", "{three}", "--task", "stsb", "--texts", "{json}"],
        "json.txt:1: 1 text, expected two texts with a tab between them; it looks like JSON lines: --table FILE",
    ),
    "empty line": (["--texts", "{gaps}"], "gaps.txt:1: blank line; expected one text\n"),
    "line of spaces": (["--texts", "{gaps}"], "gaps.txt:3: blank line; expected one text\n"),
    "line of tabs": (["--texts", "{gaps}"], "gaps.txt:4: blank line; expected one text\n"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message(
    case: str,
    runs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (tmp_path / "texts.txt").write_text("fine\n")
    (tmp_path / "pairs.txt").write_text("one\tother\n")
    (tmp_path / "table.txt").write_text("id\tsentence\n1\tfine\n")
    (tmp_path / "gaps.txt").write_text("\nfine\n  \n\t\n")
    (tmp_path / "json.txt").write_text('{"a": "fine", "b": "fine"}\n')
    places = {name: str(tmp_path / f"{name}.txt") for name in ("texts", "pairs", "table", "gaps", "json")}
    places["three"] = str(runs["three"])
    flags, message = BAD[case]
    assert predict.main(["--checkpoint", str(runs["one"]), *(flag.format(**places) for flag in flags)]) == 2
    told = capsys.readouterr()
    assert message in told.err and told.err.startswith("error: ") and not told.out


def test_a_model_that_is_not_there_or_not_whole(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "texts.txt").write_text("fine\n")
    texts = ["--texts", str(tmp_path / "texts.txt")]
    assert predict.main(["--checkpoint", str(tmp_path), *texts]) == 2
    assert "no exported model; expected the --output_dir of a train.py run" in capsys.readouterr().err
    copy = Path(shutil.copytree(runs["one"] / "best", tmp_path / "best"))
    flip_a_bit(copy / "encoder" / "model.safetensors")
    assert predict.main(["--checkpoint", str(tmp_path), *texts]) == 2
    assert "is damaged (encoder/model.safetensors is not what was written)" in capsys.readouterr().err
    assert predict.main(["--checkpoint", str(runs["three"]), *texts]) == 2
    assert "--task is required: " in capsys.readouterr().err


def test_what_is_read_is_not_written_over(
    runs: dict[str, Path], workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts, features = tmp_path / "new.txt", workshop.data_dir / "sst_dev.json"
    texts.write_text("a joy\n")
    before = features.read_bytes()
    for source, output, what in (
        (["--texts", str(texts)], texts, "the texts themselves"),
        (["--data_dir", str(workshop.data_dir), "--split", "dev"], features, "the features themselves"),
    ):
        assert predict.main(["--checkpoint", str(runs["one"]), *source, "--output", str(output)]) == 2
        assert f"--output {output} is {what}, which would be overwritten" in capsys.readouterr().err
    assert texts.read_text() == "a joy\n" and features.read_bytes() == before


def test_a_full_disk_is_one_message(runs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("a joy\n" * 2000)
    command = [sys.executable, "predict.py", "--checkpoint", str(runs["one"]), "--texts", str(tmp_path / "new.txt")]
    done = subprocess.run(command, stdout=Path("/dev/full").open("w"), stderr=subprocess.PIPE, text=True)
    assert "stopped: standard output cannot be written: No space left on device" in done.stderr
    assert done.returncode != 0 and "Traceback" not in done.stderr
