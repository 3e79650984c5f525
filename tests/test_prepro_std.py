"""`prepro_std.py` from raw miniature GLUE to loaded features, with both kinds of tokenizer, and its bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from data_utils import prepare
from data_utils.canonical import Row, read_rows, write_rows
from data_utils.errors import InputError
from data_utils.features import load_features
from data_utils.manifest import describe_tokenizer, read_manifest
from data_utils.task_def import DataFormat, TaskDef, load_task_defs
from experiments.glue import glue_prepro
from prepro_std import main
from tests.miniature_glue import write_miniature_glue
from tests.tiny_models import write_tiny_bert, write_tiny_roberta

ROOT = Path(__file__).resolve().parents[1]
TASK_DEF = ROOT / "experiments/glue/glue_task_def.yml"
TASKS = load_task_defs(TASK_DEF)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {"bert": write_tiny_bert(folder / "tinybert"), "roberta": write_tiny_roberta(folder / "tinyroberta")}


@pytest.fixture
def root_dir(tmp_path: Path) -> Path:
    """Canonical files of the whole miniature GLUE."""
    glue = write_miniature_glue(tmp_path / "glue", rows=16)
    assert glue_prepro.main(["--glue_dir", str(glue), "--output_dir", str(tmp_path / "canonical")]) == 0
    return tmp_path / "canonical"


def flags(root_dir: Path, model: Path, *more: str) -> list[str]:
    return ["--model", str(model), "--root_dir", str(root_dir), "--task_def", str(TASK_DEF), *more]


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("max_seq_len", [512, 16])
def test_features_of_all_tasks_are_what_the_tokenizer_says(
    kind: str, max_seq_len: int, models: dict[str, Path], root_dir: Path
) -> None:
    assert main(flags(root_dir, models[kind], "--max_seq_len", str(max_seq_len))) == 0
    tokenizer = AutoTokenizer.from_pretrained(models[kind])
    for name, task in TASKS.items():
        for split in task.split_names:
            rows = read_rows(root_dir / f"{name}_{split}.tsv", task)
            features = load_features(root_dir / f"tiny{kind}", task, split)
            assert list(features.uids) == [row.uid for row in rows]
            expected_labels = [task.label_id(row.labels[0]) for row in rows]
            np.testing.assert_allclose(features.labels, expected_labels, rtol=1e-6)
            for i, row in enumerate(rows):
                one = tokenizer(row.premise, *row.hypotheses, truncation=True, max_length=max_seq_len)
                at = slice(features.offsets[i], features.offsets[i + 1])
                assert features.token_ids[at].tolist() == one["input_ids"]
                types = one.get("token_type_ids", [0] * len(one["input_ids"]))
                assert features.type_ids[at].tolist() == types


def test_a_line_holds_what_mt_dnn_reads(models: dict[str, Path], root_dir: Path) -> None:
    assert main(flags(root_dir, models["bert"], "--tasks", "stsb,rte")) == 0
    for name, label_type in (("stsb", float), ("rte", int)):
        for line in (root_dir / f"tinybert/{name}_train.json").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            assert list(row) == ["uid", "label", "token_id", "type_id", "attention_mask", "texts"]  # the last is ours
            assert type(row["uid"]) is str and type(row["label"]) is label_type
            assert all(type(i) is int for i in row["token_id"] + row["type_id"])
            assert len(row["token_id"]) == len(row["type_id"]) == len(row["attention_mask"])
            assert set(row["attention_mask"]) == {1}


def test_rows_are_counted_and_printed(
    models: dict[str, Path], root_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flags(root_dir, models["bert"], "--tasks", "cola", "--max_seq_len", "8")) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("cola train:"))
    features = load_features(root_dir / "tinybert", TASKS["cola"], "train")
    tokenizer = AutoTokenizer.from_pretrained(models["bert"])
    rows = read_rows(root_dir / "cola_train.tsv", TASKS["cola"])
    long = sum(len(tokenizer(row.premise)["input_ids"]) > 8 for row in rows)
    assert long > 0
    mean = features.lengths.mean()
    assert f"16 rows in, 16 rows out, {mean:.1f} tokens a row (max 8), {long} rows shortened" in line
    assert "rows/s" in line


def test_what_looks_wrong_in_rows_is_told(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split, text in {
        "dev": "d0\t1\ta boat\nd1\t0\ta clock\nd2\t1\ta cat\n",  # before train, and found all the same
        "train": "t0\t1\ta cat\nt1\t0\t\u200b\nt2\t1\ta boat\n",
        "test": "e0\t\tnan\ne1\t\ta letter\n",
    }.items():
        (tmp_path / f"reviews_{split}.tsv").write_text(text, encoding="utf-8")
    (tmp_path / "tasks.yml").write_text(HEAD.replace("cola", "reviews") + "  split_names: [dev, train, test]\n")
    assert main(flags(tmp_path, models["bert"], "--task_def", str(tmp_path / "tasks.yml"))) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    assert told == [
        "reviews train: warning: 1 of 3 rows has no word that the tokenizer knows (uid t1)",
        "reviews dev: warning: 2 of 3 rows have the same text as a row of train (uids d0, d2)",
        "reviews test: warning: 1 of 2 rows has a number as text, such as 'nan': is a cell empty or in the wrong "
        "column? (uid e0)",
    ]


def test_the_warnings_of_worker_processes_are_the_same(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prepare, "BLOCK_ROWS", 2)
    monkeypatch.setattr(prepare, "POOL_PAYS_FROM_BYTES", 0)
    (tmp_path / "cola_train.tsv").write_text("".join(f"{i}\t1\t\u200b\n" for i in range(5)), encoding="utf-8")
    assert main(flags(tmp_path, models["bert"], "--workers", "2")) == 0
    told = capsys.readouterr().out
    assert "cola train: warning: 5 of 5 rows have no word that the tokenizer knows (uids 0, 1, 2, ...)" in told


@pytest.mark.parametrize(("name", "texts", "dummy"), [("rte", "a cat\ta boat", 0), ("stsb", "a cat\ta boat", 0.0)])
def test_rows_of_a_test_split_need_no_label(
    name: str, texts: str, dummy: float, models: dict[str, Path], root_dir: Path
) -> None:
    (root_dir / f"{name}_test.tsv").write_text(f"a\t\t{texts}\nb\t\t{texts}\n")
    assert main(flags(root_dir, models["bert"], "--tasks", name)) == 0
    assert load_features(root_dir / "tinybert", TASKS[name], "test").labels.tolist() == [dummy, dummy]


def test_rows_without_a_label_are_counted_in_the_manifest(
    models: dict[str, Path], root_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prepare, "BLOCK_ROWS", 2)  # the count is of all blocks
    (root_dir / "stsb_test.tsv").write_text("".join(f"{i}\t{'' if i % 2 else 3}\ta cat\ta boat\n" for i in range(6)))
    assert main(flags(root_dir, models["bert"], "--tasks", "stsb")) == 0
    told = capsys.readouterr().out
    assert "stsb test: 6 rows in, 3 without a label, 6 rows out, " in told and told.count("without a label") == 1
    manifest = read_manifest(root_dir / "tinybert")
    assert manifest is not None
    assert {split: record.unlabelled for split, record in manifest.tasks["stsb"].splits.items()} == {
        "train": 0,
        "dev": 0,
        "test": 3,
    }
    assert [manifest.unlabelled("stsb", split) for split in ("dev", "test", "none")] == [0, 3, 0]
    assert manifest.unlabelled("cola", "test") == 0


def test_worker_processes_give_the_same_bytes(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [Row(f"u{i}", (str(i % 2),), f"the old waiter lost {i} clocks é{i % 7}") for i in range(300)]
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_rows(tmp_path / folder / "cola_train.tsv", rows, DataFormat.PremiseOnly)
    monkeypatch.setattr(prepare, "BLOCK_ROWS", 64)
    monkeypatch.setattr(prepare, "POOL_PAYS_FROM_BYTES", 0)
    for folder, workers in (("one", "1"), ("two", "2")):
        assert main(flags(tmp_path / folder, models["roberta"], "--workers", workers)) == 0
    one, two = (tmp_path / folder / "tinyroberta/cola_train.json" for folder in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_the_manifest_says_what_was_made(models: dict[str, Path], root_dir: Path) -> None:
    assert main(flags(root_dir, models["bert"], "--tasks", "cola")) == 0
    assert main(flags(root_dir, models["bert"], "--tasks", "mnli,stsb")) == 0
    manifest = read_manifest(root_dir / "tinybert")
    assert manifest is not None
    tokenizer = AutoTokenizer.from_pretrained(models["bert"])
    tokenizer("changes the backend's settings", truncation=True, max_length=8, padding="max_length")
    assert manifest.tokenizer == describe_tokenizer(str(models["bert"]) + "/", tokenizer)
    assert (manifest.tokenizer.name, manifest.tokenizer.vocab_size) == ("tinybert", len(tokenizer))
    assert manifest.max_seq_len == 512
    assert set(manifest.tasks) == {"cola", "mnli", "stsb"}
    assert manifest.tasks["mnli"].labels == ("contradiction", "neutral", "entailment")
    assert (manifest.tasks["cola"].labels, manifest.tasks["stsb"].labels) == (("0", "1"), ())
    assert {split: record.rows for split, record in manifest.tasks["cola"].splits.items()} == {
        "train": 16,
        "dev": 8,
        "test": 4,
    }
    other = AutoTokenizer.from_pretrained(models["roberta"])
    assert describe_tokenizer("x", other).fingerprint != manifest.tokenizer.fingerprint


def test_a_folder_holds_features_of_one_length_only(
    models: dict[str, Path], root_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flags(root_dir, models["bert"], "--tasks", "cola")) == 0
    before = {path: path.read_bytes() for path in (root_dir / "tinybert").iterdir()}
    assert main(flags(root_dir, models["bert"], "--tasks", "rte", "--max_seq_len", "32")) == 2
    assert "remake all its tasks at once: cola" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (root_dir / "tinybert").iterdir()} == before
    assert main(flags(root_dir, models["bert"], "--tasks", "cola,rte", "--max_seq_len", "32")) == 0


def test_features_changed_after_the_manifest_do_not_load(models: dict[str, Path], root_dir: Path) -> None:
    assert main(flags(root_dir, models["bert"], "--tasks", "rte")) == 0
    data_dir = root_dir / "tinybert"
    path = data_dir / "rte_train.json"
    path.write_bytes(path.read_bytes().replace(b'"label": 0', b'"label": 1'))
    with pytest.raises(InputError, match="rte_train.json: changed since it was made .*run prepro_std.py again"):
        load_features(data_dir, TASKS["rte"], "train")
    raw = TASKS["rte"].to_dict()
    swapped = TaskDef.from_dict("rte", raw | {"labels": ["entailment", "not_entailment"]})
    with pytest.raises(InputError, match="made for Classification with labels .not_entailment, entailment., but"):
        load_features(data_dir, swapped, "dev")
    (data_dir / "rte_extra.json").write_bytes((data_dir / "rte_dev.json").read_bytes())
    with pytest.raises(InputError, match="rte_extra.json: not listed in manifest.json"):
        load_features(data_dir, TASKS["rte"], "extra")


def test_tasks_that_another_process_adds_meanwhile_stay_in_the_manifest(
    models: dict[str, Path], root_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_split, begun = prepare.prepare_split, []

    def with_another(*arguments: Any) -> Any:
        if not begun:
            begun.append(True)
            assert main(flags(root_dir, models["bert"], "--tasks", "cola")) == 0
        return prepare_split(*arguments)

    monkeypatch.setattr(prepare, "prepare_split", with_another)
    assert main(flags(root_dir, models["bert"], "--tasks", "rte")) == 0
    manifest = read_manifest(root_dir / "tinybert")
    assert manifest is not None and sorted(manifest.tasks) == ["cola", "rte"]


def test_features_of_an_older_version_are_extended_and_load(models: dict[str, Path], root_dir: Path) -> None:
    """Their manifest has no sizes and no counts of unlabelled rows; what is made now has them beside."""
    assert main(flags(root_dir, models["bert"], "--tasks", "rte")) == 0
    data_dir = root_dir / "tinybert"
    raw = json.loads((data_dir / "manifest.json").read_text())
    size = (data_dir / "rte_train.json").stat().st_size
    assert raw["tasks"]["rte"]["splits"]["train"].pop("bytes") == size
    assert raw["tasks"]["rte"]["splits"]["train"].pop("unlabelled") == 0
    (data_dir / "manifest.json").write_text(json.dumps(raw))
    assert main(flags(root_dir, models["bert"], "--tasks", "cola")) == 0
    manifest = read_manifest(data_dir)
    assert manifest is not None and manifest.tasks["rte"].splits["train"].bytes is None
    assert manifest.tasks["rte"].splits["train"].unlabelled is None and manifest.unlabelled("rte", "train") == 0
    assert manifest.tasks["cola"].splits["train"].bytes == (data_dir / "cola_train.json").stat().st_size
    assert len(load_features(data_dir, TASKS["rte"], "train")) == manifest.tasks["rte"].splits["train"].rows


def test_tasks_without_files_and_test_splits_are_skipped_aloud(
    models: dict[str, Path], root_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in root_dir.glob("[!c]*.tsv"):
        path.unlink()
    (root_dir / "cola_test.tsv").unlink()
    assert main(flags(root_dir, models["bert"])) == 0
    assert f"cola test: no file {root_dir / 'cola_test.tsv'}, skipped" in capsys.readouterr().out
    made = {path.name for path in (root_dir / "tinybert").iterdir()}
    assert made == {"cola_train.json", "cola_dev.json", "manifest.json"}


def append(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda root_dir: (root_dir / name).write_bytes((root_dir / name).read_bytes() + data) and None


def task_file(text: str) -> Callable[[Path], None]:
    return lambda root_dir: (root_dir / "tasks.yml").write_text(text) and None


def keep(_: Path) -> None:
    """Nothing is wrong with the files."""


OWN = ["--task_def", "{root}/tasks.yml"]
HEAD = "cola:\n  data_format: PremiseOnly\n  task_type: Classification\n"
BAD = {
    "no such model": (keep, ["--model", "./nowhere"], "--model: no folder ./nowhere"),
    "no tokenizer": (keep, ["--model", "{root}"], "--model: cannot load a tokenizer from"),
    "no such root": (keep, ["--root_dir", "/nowhere"], "--root_dir: no such folder: /nowhere"),
    "no such task file": (keep, ["--task_def", "/nowhere.yml"], "/nowhere.yml: cannot be read"),
    "unknown task": (keep, ["--tasks", "cola,nope"], "--tasks: unknown task 'nope'; "),
    "no root": (keep, ["--root_dir", ""], "argument --root_dir: expected a path, got ''"),
    "root with a NUL": (keep, ["--root_dir", "a\0b"], "argument --root_dir: 'a\\x00b' cannot be a path: "),
    "root too long": (keep, ["--root_dir", "x" * 5000], " cannot be a path: File name too long"),
    "unknown flag": (keep, ["--colour"], "unrecognized arguments: --colour\n(all flags: "),
    "no value": (keep, ["--model"], "argument --model: expected one argument"),
    "not a number": (keep, ["--workers", "two"], "argument --workers: invalid int value: 'two'"),
    "too many workers": (keep, ["--workers", "9" * 30], "--workers must be at most 1024, got 999"),
    "too long rows": (keep, ["--max_seq_len", "9" * 30], "--max_seq_len must be at most 1000000, got 999"),
    "split outside": (task_file(HEAD + "  split_names: [../../x]\n"), OWN, "task 'cola': the split name must not be"),
    "no workers": (keep, ["--workers", "0"], "--workers must be at least 1, got 0"),
    "too short": (keep, ["--max_seq_len", "4"], "--max_seq_len must be at least"),
    "unknown key": (task_file(HEAD + "  colour: red\n"), OWN, "tasks.yml: task 'cola': unknown key 'colour'; allowed:"),
    "unknown metric": (task_file(HEAD + "  metric_meta: [BLEU]\n"), OWN, "metric_meta: unknown 'BLEU'; allowed: ACC"),
    "unknown loss": (task_file(HEAD + "  loss: Hinge\n"), OWN, "loss: unknown 'Hinge'; allowed: CeCriterion"),
    "format not trained": (
        task_file("cola:\n  data_format: Seqence\n  task_type: SeqenceLabeling\n"),
        OWN,
        "task 'cola': labels must name two tags at least, such as [O, B-person, I-person], got ()",
    ),
    "one task with a mistake, files there": (
        task_file(HEAD + "  loss: Hinge\n" + HEAD.replace("cola", "sst")),
        OWN,
        "tasks.yml: task 'cola': loss: unknown 'Hinge'; allowed: CeCriterion",
    ),
    "one task with a mistake, named": (
        task_file(HEAD + HEAD.replace("cola", "other") + "  loss: Hinge\n"),
        [*OWN, "--tasks", "cola,other"],
        "tasks.yml: task 'other': loss: unknown 'Hinge'; allowed: CeCriterion",
    ),
    "a kind not trained, named": (
        task_file(HEAD + HEAD.replace("cola", "rte").replace("Classification", "Ranking")),
        [*OWN, "--tasks", "cola,rte"],
        "tasks.yml: task 'rte': a Ranking task has rows of the format PremiseAndMultiHypothesis, got PremiseOnly",
    ),
    "no file at all": (task_file(HEAD.replace("cola", "other")), OWN, "/TASK_SPLIT.tsv for any task of"),
    "dev missing": (
        lambda root_dir: (root_dir / "rte_dev.tsv").unlink(),
        ["--tasks", "rte"],
        "rte_dev.tsv: no such file, and --tasks names rte",
    ),
    "too few columns": (append("rte_train.tsv", b"16\tentailment\tx\n"), [], "rte_train.tsv:17: 3 columns, expected 4"),
    "not UTF-8": (append("sst_dev.tsv", b"8\t1\tcaf\xe9\n"), [], "sst_dev.tsv:9: not valid UTF-8 (byte 0xe9)"),
    "empty file": (lambda root: (root / "qqp_train.tsv").write_bytes(b""), [], "qqp_train.tsv: the file is empty"),
    "no label in dev": (append("rte_dev.tsv", b"8\t\tx\ty\n"), [], "rte_dev.tsv:9: the label is empty; only rows of a"),
    "label is no number": (
        append("stsb_dev.tsv", b"8\thigh\tx\ty\n"),
        [],
        "stsb_dev.tsv:9: label 'high' is not a finite",
    ),
    "unknown label": (append("mnli_train.tsv", b"16\tmaybe\tx\ty\n"), [], "mnli_train.tsv:17: unknown label 'maybe'"),
    "uid twice": (
        append("cola_train.tsv", b"3\t1\tx\n"),
        [],
        "cola_train.tsv:17: the uid '3' stands already in line 4",
    ),
}


@pytest.mark.parametrize(("spoil", "more", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_gives_one_message_and_writes_nothing(
    spoil: Callable[[Path], None],
    more: list[str],
    message: str,
    models: dict[str, Path],
    root_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(root_dir)
    before = set(root_dir.iterdir())
    assert main(flags(root_dir, models["bert"], *(flag.format(root=root_dir) for flag in more))) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in error
    assert set(root_dir.iterdir()) == before


def test_tasks_that_cannot_be_used_do_not_block_the_others_of_their_file(
    models: dict[str, Path], root_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of a kind that is not trained yet, with files; one with a mistake, without any."""
    ranking = HEAD.replace("cola", "rte").replace("Classification", "Ranking")
    task_file(HEAD + ranking + HEAD.replace("cola", "other") + "  loss: Hinge\n")(root_dir)
    assert main(flags(root_dir, models["bert"], "--task_def", str(root_dir / "tasks.yml"))) == 0
    assert "tasks.yml: task 'rte': a Ranking task has rows of the format" in capsys.readouterr().out
    manifest = read_manifest(root_dir / "tinybert")
    assert manifest is not None and list(manifest.tasks) == ["cola"]


MANIFEST = """{"format": 1, "tokenizer": {"name": "t", "tokenizer_class": "T", "vocab_size": 9, "fingerprint": "ab"},
 "max_seq_len": 512, "tasks": {"cola": {"data_format": "PremiseOnly", "task_type": "Classification",
 "labels": ["0", "1"], "splits": {"train": {"rows": 3, "sha256": "ab"}}}}}"""
DAMAGE = {
    "cut": (MANIFEST, MANIFEST[:-1], "damaged (Expecting ',' delimiter, line 3"),
    "a list": (MANIFEST, "[]", "damaged (the file is not an object)"),
    "another format": ('"format": 1', '"format": 2', "damaged (format 2, this version reads 1)"),
    "not UTF-8": ("PremiseOnly", "\udcff", "cannot be read: 'utf-8' codec can't decode byte 0xff"),
    "nested without end": (MANIFEST, "[" * 5000, "damaged (nested too deeply)"),
    "a key twice": ('"format": 1', '"format": 1, "format": 1', "damaged (the key 'format' stands twice)"),
    "a number without end": ("512", "1e999", "damaged (the file: max_seq_len must be of type int, got inf)"),
    "a fraction": ('"rows": 3', '"rows": 3.7', "split 'train': rows must be of type int, got 3.7)"),
    "less than nothing": ('"rows": 3', '"rows": -3', "split 'train': rows must not be negative, got -3)"),
    "less than an empty file": ('"rows": 3', '"rows": 3, "bytes": -1', "bytes must not be negative, got -1)"),
    "fewer unlabelled than none": (
        '"rows": 3',
        '"rows": 3, "unlabelled": -1',
        "unlabelled must not be negative, got -1)",
    ),
    "unlabelled or not": ('"rows": 3', '"rows": 3, "unlabelled": true', "unlabelled must be of type int, got True)"),
    "a size in words": ('"rows": 3', '"rows": 3, "bytes": "9"', "bytes must be of type int, got '9')"),
    "a text for a number": ("9", '"9"', "tokenizer: vocab_size must be of type int, got '9')"),
    "a number for a text": ('"fingerprint": "ab"', '"fingerprint": 7', "fingerprint must be of type str, got 7)"),
    "a text for a list": ('["0", "1"]', '"01"', "task 'cola': labels must be of type list, got '01')"),
    "labels without names": ('["0", "1"]', "[0, 1]", "task 'cola': labels must be names, got [0, 1])"),
    "a task outside": ('"cola"', '"../../x"', "damaged (the name must not be empty nor contain"),
    "a split outside": ('"train"', '"/etc/x"', "damaged (the split name must not be empty nor contain"),
}


@pytest.mark.parametrize(("old", "new", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_manifest_is_an_input_error(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "manifest.json"
    assert read_manifest(tmp_path) is None
    path.write_text(MANIFEST)
    assert read_manifest(tmp_path) is not None
    path.write_text(MANIFEST.replace(old, new, 1), encoding="utf-8", errors="surrogateescape")
    with pytest.raises(InputError) as caught:
        read_manifest(tmp_path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


NOTES = {
    "longer rows than the model takes": (
        {"max_position_embeddings": 66},
        "note: the model takes rows of at most 64 tokens; train.py --max_seq_len 64 cuts longer ones\n",
    ),
    "as long as it takes": ({"max_position_embeddings": 68}, ""),
    "a decoder": (
        {"is_decoder": True},
        "note: train.py cannot train this model: its model type is roberta-prelayernorm",
    ),
    "a damaged configuration": ({"hidden_size": 0}, "note: train.py cannot train this model: config.json: hidden_size"),
}


@pytest.mark.parametrize("case", NOTES)
def test_what_training_will_say_is_said_early(
    case: str, root_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A type that counts positions from the one after the padding token's, 1."""
    values, note = NOTES[case]
    model = write_tiny_roberta(tmp_path / "model")
    raw = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(raw | {"model_type": "roberta-prelayernorm"} | values))
    capsys.readouterr()
    assert main(flags(root_dir, model, "--tasks", "cola", "--max_seq_len", "66")) == 0
    error = capsys.readouterr().err
    assert error.startswith(note) if note else not error


def test_an_own_task_is_not_sent_to_glues_script_alone(
    models: dict[str, Path], root_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.yml").write_text(HEAD.replace("cola", "reviews"))
    more = ["--task_def", str(tmp_path / "own.yml"), "--tasks", "reviews"]
    assert main(flags(root_dir, models["bert"], *more)) == 2
    path = root_dir / "reviews_train.tsv"
    expected = f"{path}: no such file, and --tasks names reviews; write it as docs/data.md says, or for GLUE with "
    assert expected in capsys.readouterr().err
