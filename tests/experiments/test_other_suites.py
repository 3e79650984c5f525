"""NER, COPA, SNLI and SQuAD from their published forms: which rows, on which side, and what wrong input is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from data_utils.canonical import Row, canonical_path, read_rows
from data_utils.squad_json import iter_questions
from data_utils.task_def import load_task_defs
from experiments.copa import copa_prepro
from experiments.ner import ner_prepro
from experiments.snli import snli_prepro
from experiments.squad import squad_prepro
from studies.recipes import Recipes
from studies.suite import Suite

SHARED = Path(__file__).resolve().parents[3] / "shared/more_tasks"
Told = pytest.CaptureFixture[str]


def rows(folder: Path, suite: str, task: str, split: str):
    defined = load_task_defs(f"experiments/{suite}/{suite}_task_def.yml")
    return read_rows(canonical_path(folder, task, split), defined[task])


def run(main: Callable[..., int], source: Path, out: Path, *more: str) -> int:
    return main(["--source", str(source), "--output_dir", str(out), *more])


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("suite", "tasks"),
    [
        ("ner", ["wnut", "conll"]),
        ("copa", ["copa"]),
        ("snli", ["snli"]),
        ("squad", ["squad", "squad2", "xquad"]),
    ],
)
def test_each_folder_is_a_suite_with_recipes_for_its_tasks(suite: str, tasks: list[str]) -> None:
    found = Suite.at(f"experiments/{suite}")
    assert list(load_task_defs(found.task_def())) == tasks == list(found.labels())
    recipes = Recipes.of(found)
    assert recipes.names() == tuple(f"minilm/{task}" for task in tasks)
    glue, name = Recipes.of(Suite()), recipes.names()[0]
    assert recipes.methods_of(name) == glue.methods_of("minilm/mtl")  # which has no settings of its own either
    own = {"init_checkpoint": "", "train_datasets": "", "epochs": 0, "learning_rate": 0.0}
    for method in recipes.methods_of(name):
        assert {**recipes.load(name, method).settings, **own} == {**glue.load("minilm/mtl", method).settings, **own}


# -- named entities ----------------------------------------------------------------------------------------------------

CONLL = "The\tO\nsailor\tB-person\n\u200b\tI-person\n\t\n \n\nA\tO\r\ncat\tI-group"


def test_sentences_end_at_blank_lines_and_words_are_kept_as_they_are(tmp_path: Path, capsys: Told) -> None:
    source = write(tmp_path / "raw", train__conll=CONLL, dev__conll=CONLL)
    assert run(ner_prepro.main, source, tmp_path / "out") == 0
    first, second = rows(tmp_path / "out", "ner", "wnut", "train")
    assert (first.uid, first.tokens, first.labels) == ("0", ("The", "sailor", "\u200b"), ("O", "B-person", "I-person"))
    assert (second.uid, second.tokens, second.labels) == ("1", ("A", "cat"), ("O", "I-group"))
    told = capsys.readouterr().out
    assert "wnut dev: 2 rows" in told and "wnut test: no file" in told
    assert "wnut train: 1 I- tags follow no tag of their kind" in told


def test_conll_2003_has_four_columns_and_lines_that_are_no_words(tmp_path: Path) -> None:
    text = "-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n"
    source = write(tmp_path / "raw", eng__train=text, eng__testa=text)
    assert run(ner_prepro.main, source, tmp_path / "out", "--task", "conll") == 0
    (row,) = rows(tmp_path / "out", "ner", "conll", "dev")
    assert (row.tokens, row.labels) == (("EU", "rejects"), ("B-ORG", "O"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("The\tO\nsailor\n", "train.conll:2: expected a word and its tag, got 'sailor'"),
        ("The\tB-ship\n", "train.conll:1: unknown label 'B-ship'; allowed for wnut: O, B-corporation"),
        ("The\tX\n", "train.conll:1: the label X is no word's"),
        ("\n", "train.conll: no row for wnut train"),
        ("", "train.conll: the file is empty"),
    ],
)
def test_wrong_lines_are_named_and_nothing_is_written(text: str, message: str, tmp_path: Path, capsys: Told) -> None:
    source = write(tmp_path / "raw", train__conll=text, dev__conll=CONLL)
    assert run(ner_prepro.main, source, tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_missing_files_and_unknown_tasks_are_named(tmp_path: Path, capsys: Told) -> None:
    source = write(tmp_path / "raw", dev__conll=CONLL)
    assert run(ner_prepro.main, source, tmp_path / "out") == 2
    assert "wnut needs its train split: wnut17train.conll or train.conll in" in capsys.readouterr().err
    assert run(ner_prepro.main, source, tmp_path / "out", "--task", "ontonotes") == 2
    assert "--task: invalid choice: 'ontonotes' (choose from" in capsys.readouterr().err
    assert run(ner_prepro.main, tmp_path / "none", tmp_path / "out") == 2
    assert "--source: no such folder" in capsys.readouterr().err


# -- COPA --------------------------------------------------------------------------------------------------------------


def copa(*items: tuple[int, str, int]) -> str:
    texts = "<p>It was  wet.</p>\n<a1>It rained &amp; rained.</a1><a2>The sun, a star, shone.</a2>"
    lines = [f'<item id="{i}" asks-for="{a}" most-plausible-alternative="{r}">{texts}</item>' for i, a, r in items]
    return (
        f'<?xml version="1.0"?>\n<!DOCTYPE copa-corpus SYSTEM "copa.dtd">\n<copa-corpus>{"".join(lines)}</copa-corpus>'
    )


def test_a_twin_is_where_its_original_is(tmp_path: Path) -> None:
    items = [(i, "cause", 1) for i in (1, 400, 401, 500)] + [(i, "effect", 2) for i in (1001, 1400, 1401, 1500)]
    source = write(
        tmp_path / "raw", **{"balanced-copa-dev-all__xml": copa(*items), "copa-test__xml": copa((501, "cause", 2))}
    )
    assert run(copa_prepro.main, source, tmp_path / "out") == 0
    by_split = {split: rows(tmp_path / "out", "copa", "copa", split) for split in ("train", "dev", "test")}
    uids = {split: [row.uid for row in found] for split, found in by_split.items()}
    assert uids == {"train": ["1", "400", "1001", "1400"], "dev": ["401", "500", "1401", "1500"], "test": ["501"]}
    first, *_, last = by_split["train"]
    assert (first.premise, first.labels) == ("It was wet. because", ("1", "0"))
    assert (last.premise, last.labels) == ("It was wet. so", ("0", "1"))
    assert first.hypotheses == ("It rained & rained.", "The sun, a star, shone.")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (copa((1, "cause", 3), (401, "cause", 1)), ":1: item '1': expected a number as id"),
        (copa((1, "why", 1), (401, "cause", 1)), ":1: item '1': expected a number as id"),
        ("<item", "cannot be read as XML"),
        (copa((1, "cause", 1)), "no row for copa dev"),
    ],
)
def test_wrong_items_are_named(text: str, message: str, tmp_path: Path, capsys: Told) -> None:
    source = write(tmp_path / "raw", **{"copa-dev__xml": text})
    assert run(copa_prepro.main, source, tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# -- SNLI --------------------------------------------------------------------------------------------------------------

PAIRS = [("neutral", 'A "man".', "He walks."), ("-", "A cat.", "A dog."), ("entailment", "A zoë.", "Zoë.")]


def jsonl(pairs: list[tuple[str, str, str]]) -> str:
    return "".join(
        json.dumps(dict(zip(snli_prepro.COLUMNS, pair, strict=True)) | {"pairID": "1"}) + "\n" for pair in pairs
    )


def table(pairs: list[tuple[str, str, str]]) -> str:
    header = "gold_label\tsentence1_parse\tsentence1\tsentence2\tpairID\tlabel1\tlabel2\n"
    return header + "".join(f"{label}\t( x )\t{one}\t{two}\t1\t{label}\n" for label, one, two in pairs)


@pytest.mark.parametrize(("ending", "form"), [("jsonl", jsonl), ("txt", table)])
def test_pairs_without_a_gold_label_are_left_out_and_counted(
    ending: str, form: Callable[..., str], tmp_path: Path, capsys: Told
) -> None:
    files = {f"snli_1__0_{split}__{ending}": form(PAIRS) for split in ("train", "dev", "test")}
    assert run(snli_prepro.main, write(tmp_path / "raw", **files), tmp_path / "out") == 0
    first, second = rows(tmp_path / "out", "snli", "snli", "dev")
    assert first == Row("0", ("neutral",), 'A "man".', ("He walks.",))
    assert (second.uid, second.labels) == ("2", ("entailment",))
    assert "snli dev: 1 rows without a gold label left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            jsonl([("maybe", "A.", "B.")]),
            ":1: unknown label 'maybe'; allowed for snli: contradiction, neutral, entailment",
        ),
        (jsonl(PAIRS) + "{}\n", ":4: expected an object with the texts gold_label, sentence1, sentence2, got {}"),
        (jsonl(PAIRS) + "x\n", ":4: not JSON"),
    ],
)
def test_wrong_pairs_are_named(text: str, message: str, tmp_path: Path, capsys: Told) -> None:
    source = write(tmp_path / "raw", snli_1__0_train__jsonl=text, snli_1__0_dev__jsonl=jsonl(PAIRS))
    assert run(snli_prepro.main, source, tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# -- SQuAD -------------------------------------------------------------------------------------------------------------


def squad(*uids: str, **more: object) -> str:
    """An article a question, in a file as it is published."""
    question = {"question": "Who?", "answers": [{"text": "Zoë", "answer_start": 4}], **more}
    articles = [
        {"title": uid, "paragraphs": [{"context": "Ask Zoë.", "qas": [{"id": uid, **question}]}]} for uid in uids
    ]
    return json.dumps({"data": articles, "version": "1.1"}, ensure_ascii=False)


def questions(folder: Path, task: str, split: str) -> list[Row]:
    return list(iter_questions(folder / f"{task}_{split}.json"))


def test_published_questions_are_kept(tmp_path: Path, capsys: Told) -> None:
    impossible = squad("c", answers=[], is_impossible=True, plausible_answers=[])
    texts = {
        "train-v1__1": squad("a", "b"),
        "dev-v1__1": squad("c"),
        "train-v2__0": squad("a"),
        "dev-v2__0": impossible,
    }
    source = write(tmp_path / "raw", **{f"{name}__json": text for name, text in texts.items()})
    assert run(squad_prepro.main, source, tmp_path / "out") == 0
    assert [row.uid for row in questions(tmp_path / "out", "squad", "train")] == ["a", "b"]
    assert questions(tmp_path / "out", "squad", "dev")[0].answers[0].text == "Zoë"
    assert "squad train: 2 questions" in capsys.readouterr().out
    assert run(squad_prepro.main, source, tmp_path / "out", "--task", "squad2") == 0
    assert questions(tmp_path / "out", "squad2", "dev")[0].answers == ()


def test_the_last_articles_of_one_file_are_dev(tmp_path: Path) -> None:
    source = write(tmp_path / "raw", xquad__en__json=squad(*(f"q{i}" for i in range(15))))
    assert run(squad_prepro.main, source, tmp_path / "out", "--task", "xquad") == 0
    uids = {split: [row.uid for row in questions(tmp_path / "out", "xquad", split)] for split in ("train", "dev")}
    assert uids == {"train": ["q0", "q1", "q2"], "dev": [f"q{i}" for i in range(3, 15)]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (squad("a", "a"), "xquad.en.json: data[1].paragraphs[0].qas[0]: the id 'a' stands already in data[0]"),
        (squad("a", answers=[], is_impossible=True), "is_impossible is true; for a task with such questions write"),
        (squad("a"), "xquad.en.json: no question for xquad train"),
        ("[]", "xquad.en.json: not SQuAD's JSON"),
    ],
)
def test_wrong_questions_are_named(text: str, message: str, tmp_path: Path, capsys: Told) -> None:
    source = write(tmp_path / "raw", xquad__en__json=text)
    assert run(squad_prepro.main, source, tmp_path / "out", "--task", "xquad") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# -- as published ------------------------------------------------------------------------------------------------------

published = pytest.mark.skipif(not SHARED.is_dir(), reason="the published files are not there")


@published
def test_wnut_17_as_published(tmp_path: Path) -> None:
    assert run(ner_prepro.main, SHARED / "wnut17", tmp_path) == 0
    assert {s: len(rows(tmp_path, "ner", "wnut", s)) for s in ("train", "dev", "test")} == {
        "train": 3394,
        "dev": 1009,
        "test": 1287,
    }


@published
def test_balanced_copa_as_published(tmp_path: Path) -> None:
    assert run(copa_prepro.main, SHARED / "copa", tmp_path) == 0
    found = {split: rows(tmp_path, "copa", "copa", split) for split in ("train", "dev")}
    assert {split: len(one) for split, one in found.items()} == {"train": 800, "dev": 200}
    sides = {split: {int(row.uid) % 1000 for row in one} for split, one in found.items()}
    assert not sides["train"] & sides["dev"]
    assert all(len(one) == 2 * len(sides[split]) for split, one in found.items())


@published
def test_xquad_as_published(tmp_path: Path) -> None:
    assert run(squad_prepro.main, SHARED / "squad", tmp_path, "--task", "xquad") == 0
    assert {s: len(questions(tmp_path, "xquad", s)) for s in ("train", "dev")} == {"train": 925, "dev": 265}
