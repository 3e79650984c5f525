"""export.py on runs that train.py has made: pipelines, the card, the encoder alone, and its bad input."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml

import export
import predict
import train
from data_utils.atomic import write_folder
from data_utils.tables.examples import one_line
from data_utils.task_def import TaskDef
from mt_dnn.export.card import Card
from mt_dnn.export.check import tells_breaks
from mt_dnn.predict import TrainedModel
from mt_dnn.record.finished import Run
from tests.conftest import Workshop
from tests.tiny_models import FAMILIES, write_tiny_roberta

COMMON = ["--epochs", "2", "--learning_rate", "5e-3"]
TEXTS = ["the sailor watched a letter", "a fine film, a joy", "no fun", "cold and dull"]
PAIRS = ["A man sings.\tA man is singing.", "A dog runs.\tThe sky is blue."]
FILES = ["README.md", "config.json", "manifest.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


@pytest.fixture(scope="module")
def runs(workshop: Workshop, kinds: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished runs: of one text (`one`), of pairs and numbers (`two`), of three kinds (`kinds`)."""
    root = tmp_path_factory.mktemp("runs")
    task_def = ["--task_def", str(kinds.data_dir.parents[1] / "tasks.yml")]
    assert train.main(workshop.flags(root / "one", "--train_datasets", "sst", *COMMON)) == 0
    assert train.main(workshop.flags(root / "two", "--train_datasets", "mnli,stsb", *COMMON)) == 0
    more = [*task_def, *COMMON, "--optim", "pats_adamax", "--pats_lambda", "1e-6"]
    assert train.main(kinds.flags(root / "kinds", "--train_datasets", "cola,ner,pick", *more)) == 0
    return root


def exported(run: Path, output: Path, *flags: str) -> Path:
    assert export.main(["--checkpoint", str(run), "--output", str(output), *flags]) == 0
    return output


def predicted(run: Path, task: str, lines: list[str], folder: Path) -> list[dict[str, str]]:
    (folder / "texts.txt").write_text("\n".join(lines), encoding="utf-8")
    flags = ["--checkpoint", str(run), "--task", task, "--texts", str(folder / "texts.txt")]
    assert predict.main([*flags, "--output", str(folder / "predictions.tsv")]) == 0
    header, *rows = (line.split("\t") for line in (folder / "predictions.tsv").read_text().splitlines())
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_a_pipeline_gives_the_labels_and_probabilities_of_predict(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = exported(runs / "one", tmp_path / "model")
    told = capsys.readouterr().out
    assert re.search(r"the model, loaded again: largest difference from the run's model \d\.\de[-+]\d\d\n", told)
    assert f"written: {folder}; README.md in it shows how to load it" in told
    assert sorted(path.name for path in folder.iterdir()) == FILES
    classify = transformers.pipeline("text-classification", str(folder))
    assert classify.model.config.id2label == {0: "0", 1: "1"}
    for row, found in zip(predicted(runs / "one", "sst", TEXTS, tmp_path), classify(TEXTS, top_k=None), strict=True):
        assert found[0]["label"] == row["prediction"]
        for one in found:
            assert one["score"] == pytest.approx(float(row[one["label"]]), abs=1e-4)


def test_pairs_have_the_names_of_their_labels_and_numbers_are_numbers(runs: Path, tmp_path: Path) -> None:
    texts = [dict(zip(("text", "text_pair"), line.split("\t"), strict=True)) for line in PAIRS]
    classify = transformers.pipeline(
        "text-classification", str(exported(runs / "two", tmp_path / "m", "--task", "mnli"))
    )
    assert classify.model.config.id2label == {0: "contradiction", 1: "neutral", 2: "entailment"}
    rows = predicted(runs / "two", "mnli", PAIRS, tmp_path)
    assert [row["prediction"] for row in rows] == [found["label"] for found in classify(texts)]
    rate = transformers.pipeline("text-classification", str(exported(runs / "two", tmp_path / "s", "--task", "stsb")))
    for row, found in zip(predicted(runs / "two", "stsb", PAIRS, tmp_path), rate(texts), strict=True):
        assert found == {"label": "stsb", "score": pytest.approx(float(row["prediction"]), abs=1e-4)}


@pytest.fixture(scope="module", params=["distilbert", "roberta"])
def of_another_family(request: pytest.FixtureRequest, workshop: Workshop, tmp_path_factory: Any) -> Path:
    """A run of an encoder without type ids, whose tokenizer gives some, as they are put together at times."""
    root = tmp_path_factory.mktemp(request.param)
    config = copy.deepcopy(FAMILIES[request.param])
    config.vocab_size = len(transformers.AutoTokenizer.from_pretrained(workshop.encoder))
    shutil.copytree(workshop.encoder, root / "encoder", ignore=lambda *_: ["model.safetensors", "config.json"])
    transformers.AutoModel.from_config(config).save_pretrained(root / "encoder")
    flags = ["--train_datasets", "mnli", *COMMON, "--init_checkpoint", str(root / "encoder")]
    assert train.main(workshop.flags(root / "run", *flags)) == 0
    return root / "run"


def test_code_that_goes_along_works_in_a_pipeline(of_another_family: Path, tmp_path: Path) -> None:
    folder = exported(of_another_family, tmp_path / "model")
    custom = (folder / "custom_model.py").is_file()
    assert custom == ("trust_remote_code=True" in (folder / "README.md").read_text())
    texts = [dict(zip(("text", "text_pair"), line.split("\t"), strict=True)) for line in PAIRS]
    classify = transformers.pipeline("text-classification", str(folder), trust_remote_code=custom or None)
    assert set(classify.tokenizer("a", "b")) == {"input_ids", "attention_mask"}
    for row, found in zip(predicted(of_another_family, "mnli", PAIRS, tmp_path), classify(texts), strict=True):
        assert found["label"] == row["prediction"]
        assert found["score"] == pytest.approx(float(row[found["label"]]), abs=1e-4)


def test_tags_are_those_of_predict(runs: Path, tmp_path: Path) -> None:
    lines = ["the sailor watched tea", "a doctor kept a clock"]
    folder = exported(runs / "kinds", tmp_path / "model", "--task", "ner")
    tag = transformers.pipeline("token-classification", str(folder), ignore_labels=[])
    assert tag.model.config.id2label == {0: "O", 1: "B-who", 2: "I-who", 3: "X", 4: "CLS", 5: "SEP"}
    for line, row in zip(lines, predicted(runs / "kinds", "ner", lines, tmp_path), strict=True):
        pieces = [piece for piece in tag(line) if not piece["word"].startswith("##")]
        assert [piece["entity"] for piece in pieces] == row["prediction"].split()


@torch.no_grad()
def test_the_best_option_is_that_of_predict(runs: Path, tmp_path: Path) -> None:
    options = ["tea", "a clock", "two apples"]
    folder = exported(runs / "kinds", tmp_path / "model", "--task", "pick")
    model = transformers.AutoModelForMultipleChoice.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = tokenizer(["she saw two apples"] * 3, options, padding=True, return_tensors="pt")
    shares = model(**{name: value[None] for name, value in rows.items()}).logits.softmax(-1)[0]
    (row,) = predicted(runs / "kinds", "pick", ["\t".join(["she saw two apples", *options])], tmp_path)
    ranked = shares.sort(descending=True)
    assert row["options"] == ",".join(str(place) for place in ranked.indices.tolist())
    assert [float(share) for share in row["probabilities"].split(",")] == pytest.approx(
        ranked.values.tolist(), abs=1e-5
    )


def test_rows_are_cut_to_the_length_of_the_training(runs: Path, workshop: Workshop, tmp_path: Path) -> None:
    run = shutil.copytree(runs / "one", tmp_path / "run")
    log = (run / "metrics.jsonl").read_text()
    assert '"max_seq_len": 64' in log
    (run / "metrics.jsonl").write_text(log.replace('"max_seq_len": 64', '"max_seq_len": 12'))
    lengths = {run: 12, runs / "one": 64, shutil.copytree(runs / "one" / "best", tmp_path / "alone"): 64}
    for number, (source, length) in enumerate(lengths.items()):
        folder = exported(source, tmp_path / f"out{number}")
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        assert len(tokenizer("a joy " * 99, truncation=True)["input_ids"]) == tokenizer.model_max_length == length
        assert f"Rows were cut to {length} tokens" in (folder / "README.md").read_text()


def card(folder: Path) -> tuple[dict[str, str], str]:
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), text


def test_the_card_says_what_a_reader_needs(runs: Path, tmp_path: Path) -> None:
    front, text = card(exported(runs / "kinds", tmp_path / "tagger", "--task", "ner"))
    assert front == {"license": "unknown", "library_name": "transformers", "pipeline_tag": "token-classification"}
    results = json.loads((runs / "kinds" / "results.json").read_text())
    step = results["best_model"]["step"]
    (entry,) = [one for one in results["tasks"]["ner"]["history"] if one["step"] == step]
    for line in (
        "# tagger",
        "tiny-bert, fine-tuned for the task `ner` (SeqenceLabeling), trained together on cola, ner, pick.",
        "Labels, in the order of their ids: O, B-who, I-who, X, CLS, SEP.",
        "| ner | 24 | dev 9 |",
        f"| ner | dev | SeqEval {entry['metrics']['SeqEval']:.2f} |",
        "- encoder: tiny-bert; its licence: unknown",
        "- optimizer: pats_adamax",
        "- seed: 1",
        "- learning_rate: 0.005",
        "- pats_lambda: 1e-06",
        "- pats_gamma: 0.002",
    ):
        assert line in text.splitlines(), text
    assert f"- trained with python {results['versions']['python']}, " in text
    assert str(tmp_path) not in text and "output_dir" not in text


@pytest.mark.parametrize("name", ["sst", "stsb", "ner", "pick", "encoder"])
def test_the_lines_of_the_card_run(name: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = {"sst": "one", "stsb": "two"}.get(name, "kinds")
    flags = ["--encoder_only"] if name == "encoder" else ["--task", name]
    _, text = card(exported(runs / run, tmp_path / "model", *flags))
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(code.splitlines()) <= 4
    monkeypatch.chdir(tmp_path)
    run_lines(code)


def test_the_card_says_how_words_and_answers_are_read() -> None:
    """Else a pipeline finds others than those that the card's scores are of."""
    told = {}
    for name, form in {
        "tags": {"data_format": "Seqence", "task_type": "SeqenceLabeling", "labels": ["O", "B-a"]},
        "answers": {"data_format": "MRC", "task_type": "Span"},
        "orNone": {"data_format": "MRC", "task_type": "Span", "unanswerable": True, "null_threshold": -1.5},
    }.items():
        task = TaskDef.from_dict(name, form)
        told[name] = Card("m", task, (name,), Run(), custom=False, max_length=64).text()
    assert "`tokenizer(text.split(), is_split_into_words=True)` keeps words whole" in told["tags"]
    for name in ("answers", "orNone"):
        assert "overlapping windows; the answer is the span of at most 30 tokens" in told[name]
    assert ("more than -1.5 above" in told["orNone"], "above" in told["answers"]) == (True, False)


def test_the_card_says_whose_f1_it_is() -> None:
    form = {"data_format": "PremiseOnly", "task_type": "Classification", "labels": ["ham", "spam"]}
    told = [
        Card("m", TaskDef.from_dict("mail", form | more), ("mail",), Run(results={"tasks": {}}), False, 64).text()
        for more in ({"metric_meta": ["ACC", "F1"]}, {})
    ]
    assert ["F1 is that of 'spam', the second of the labels." in text for text in told] == [True, False]


def run_lines(code: str) -> None:
    exec(compile(code, "README.md", "exec"), {})


def test_the_licence_is_the_encoders_and_test_scores_stand_beside_devs(
    workshop: Workshop, runs: Path, tmp_path: Path
) -> None:
    encoder = shutil.copytree(workshop.encoder, tmp_path / "encoder")
    (encoder / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# Tiny\n")
    for name, source in (("first", encoder), ("second", tmp_path / "first")):
        run = shutil.copytree(runs / "one", tmp_path / name)
        settings = (run / "config.yaml").read_text()
        settings = re.sub(r"init_checkpoint: .*(\n  .*)*", f"init_checkpoint: {source}", settings)
        (run / "config.yaml").write_text(settings)
    results = json.loads((run / "results.json").read_text())
    results["tasks"]["sst"]["test"] = {"score": 61.5, "metrics": {"ACC": 61.5}, "interval": [58.2, 64.8]}
    (run / "results.json").write_text(json.dumps(results))
    front, text = card(exported(tmp_path / "second", tmp_path / "out"))
    assert front["license"] == "apache-2.0" and "- encoder: encoder; its licence: apache-2.0" in text
    assert "| sst | test | ACC 61.50 (95 % interval over rows: 58.20 to 64.80) |" in text


def test_a_run_that_has_not_ended_is_told(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = shutil.copytree(runs / "one", tmp_path / "cut", ignore=shutil.ignore_patterns("results.json"))
    _, text = card(exported(cut, tmp_path / "out"))
    assert "note: the run has not ended: this is its best model so far" in capsys.readouterr().err
    assert "None are known: the run had not ended when this was exported." in text


def test_a_copy_of_best_alone_is_enough(runs: Path, tmp_path: Path) -> None:
    _, text = card(exported(shutil.copytree(runs / "one" / "best", tmp_path / "best"), tmp_path / "out"))
    assert "None are known: the run is not beside the model." in text
    assert "The run's record of its rows is not there." in text
    assert "- encoder: unknown; its licence: unknown" in text and "versions" not in text


@torch.no_grad()
def test_the_encoder_alone(runs: Path, tmp_path: Path) -> None:
    folder = exported(runs / "kinds", tmp_path / "encoder", "--encoder_only")
    model, tokenizer = (getattr(transformers, f"Auto{what}").from_pretrained(folder) for what in ("Model", "Tokenizer"))
    ours = TrainedModel.load(str(runs / "kinds")).model.encoder
    inputs = tokenizer("the sailor", return_tensors="pt")
    torch.testing.assert_close(model(**inputs).last_hidden_state, ours(**inputs).last_hidden_state)
    fresh = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=5)
    assert fresh.classifier.weight.shape == (5, 32)  # as of any encoder, to be trained


def test_an_empty_folder_is_filled_and_others_stay(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    exported(runs / "one", tmp_path / "empty")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "empty").iterdir()}
    assert export.main(["--checkpoint", str(runs / "one"), "--output", str(tmp_path / "empty")]) == 2
    assert "holds files already; choose an empty or a new folder" in capsys.readouterr().err
    assert before == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "empty").iterdir()}
    exported(runs / "one", tmp_path / "new" / "deep" / "model")


@pytest.fixture
def swapped_labels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if the order of the labels had been guessed."""

    def flipped(model: object, task: object) -> torch.nn.Linear:
        linear = model.heads[task.name].linear  # type: ignore[attr-defined]
        swapped = torch.nn.Linear(linear.in_features, linear.out_features)
        swapped.load_state_dict({name: value.flip(0) for name, value in linear.state_dict().items()})
        return swapped

    monkeypatch.setattr("mt_dnn.export.folder.linear_of", flipped)
    yield


@pytest.mark.usefixtures("swapped_labels")
def test_a_folder_that_differs_is_not_left(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export.main(["--checkpoint", str(runs / "one"), "--output", str(tmp_path / "model")]) == 1
    assert re.search(
        r"is not written: the model, loaded from it, differs from the run's model by", capsys.readouterr().err
    )
    assert list(tmp_path.iterdir()) == []


def test_a_tokenizer_that_loads_as_another_is_told(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = transformers.BertTokenizer(vocab={"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4})
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", lambda *_, **__: other)
    monkeypatch.setattr("mt_dnn.predict.own_tokenizer", lambda _: transformers.BertTokenizer.from_pretrained(own))
    own = runs / "one" / "best" / "encoder"
    assert export.main(["--checkpoint", str(runs / "one"), "--output", str(tmp_path / "model")]) == 1
    assert "is not written: the tokenizer, loaded from it, reads 'A first text" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


BAD = {
    "no such run": (
        ["--checkpoint", "{root}/none"],
        ["--checkpoint {root}/none: no such folder; expected", "{root}/one"],
    ),
    "a folder of runs": (
        ["--checkpoint", "{root}"],
        ["no exported model in it; expected the --output_dir of", "{root}/two"],
    ),
    "no best yet": (["--checkpoint", "{unfinished}"], ["the run has no finished best/ yet; it comes with its first"]),
    "the encoder": (
        ["--checkpoint", "{root}/one/best/encoder"],
        ["the encoder alone; give {root}/one/best, which has"],
    ),
    "no such task": (
        ["--checkpoint", "{root}/kinds", "--task", "rte"],
        ["--task rte: {root}/kinds has cola, ner, pick"],
    ),
    "which task": (["--checkpoint", "{root}/kinds"], ["--task is required: {root}/kinds has cola, ner, pick"]),
    "no head to name": (
        ["--checkpoint", "{root}/one", "--encoder_only", "--task", "sst", "--onnx"],
        ["--task contradicts --encoder_only, which writes no head\n--onnx contradicts --encoder_only"],
    ),
    "a file": (["--checkpoint", "{root}/one", "--output", "{file}"], ["--output {file}: is a file, not a folder"]),
    "below a file": (
        ["--checkpoint", "{root}/one", "--output", "{file}/x"],
        ["{file} is no folder that can be written"],
    ),
    "two mistakes": (
        ["--checkpoint", "{root}/kinds", "--task", "rte", "--output", "{root}"],
        ["--task rte: {root}/kinds has cola, ner, pick\n--output {root}: holds files already"],
    ),
    "an unknown flag": (["--checkpoint", "{root}/one", "--onx"], ["unrecognized arguments: --onx"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message(case: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    shutil.copy(runs / "one" / "config.yaml", unfinished)
    (tmp_path / "file").write_text("")
    places = {"root": runs, "unfinished": unfinished, "file": tmp_path / "file"}
    flags, messages = BAD[case]
    assert export.main(["--output", str(tmp_path / "out"), *(flag.format(**places) for flag in flags)]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("error: ") and not told.out
    for message in messages:
        assert message.format(**places) in told.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "unfinished"]


@pytest.mark.parametrize("flags", [["--task", "sst"], ["--encoder_only"]], ids=lambda flags: flags[0])
def test_code_that_the_encoder_names_is_not_run_nor_passed_on(flags: list[str], runs: Path, tmp_path: Path) -> None:
    auto = ("AutoConfig", "AutoModel", "AutoModelForSequenceClassification", "AutoTokenizer")

    def with_code(folder: Path) -> None:
        shutil.copytree(runs / "one" / "best", folder, dirs_exist_ok=True, ignore=lambda *_: ["manifest.json"])
        (folder / "encoder" / "trap.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\n")
        for name in ("config.json", "tokenizer_config.json"):
            settings = json.loads((folder / "encoder" / name).read_text())
            places = {one: ["trap.Trap", "trap.Trap"] if one == "AutoTokenizer" else "trap.Trap" for one in auto}
            (folder / "encoder" / name).write_text(json.dumps(settings | {"auto_map": places}))

    write_folder(tmp_path / "run" / "best", with_code)
    folder = exported(tmp_path / "run", tmp_path / "out", *flags)
    assert not (tmp_path / "sprung").exists()
    assert not [path.name for path in folder.iterdir() if "trap" in path.read_bytes().decode("latin-1")]


def test_a_damaged_model_is_told(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = shutil.copytree(runs / "one" / "best", tmp_path / "best")
    (best / "heads.safetensors").write_bytes(b"")
    assert export.main(["--checkpoint", str(best), "--output", str(tmp_path / "out")]) == 2
    assert "is damaged (heads.safetensors is not what was written)" in capsys.readouterr().err


def test_a_run_without_a_tokenizer_says_so(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = shutil.copytree(runs / "one" / "best", tmp_path / "best")
    manifest = json.loads((best / "manifest.json").read_text())
    for path in (best / "encoder").glob("*tokenizer*"):
        path.unlink()
        del manifest[path.relative_to(best).as_posix()]
    (best / "manifest.json").write_text(json.dumps(manifest))
    exported(best, tmp_path / "out")
    assert "note: no tokenizer in it, as the encoder came without one" in capsys.readouterr().out


def test_a_tokenizer_that_tells_line_ends_apart_is_told_of(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RoBERTa's does; what its reader has to call gives the text as training had it."""
    _, plain = card(exported(runs / "one", tmp_path / "plain"))
    assert "re.sub" not in plain, "BERT's reads them as spaces"
    assert tells_breaks(transformers.AutoTokenizer.from_pretrained(write_tiny_roberta(tmp_path / "roberta")))
    monkeypatch.setattr("mt_dnn.export.write.tells_breaks", lambda tokenizer: True)
    _, text = card(exported(runs / "one", tmp_path / "model"))
    (call,) = re.findall(r"Replace them first: `(.*)`", text)
    broken = "one\r\ntwo\nthree\tfour"
    assert eval(call, {"re": re, "text": broken}) == one_line(broken)
