"""GLUE's diagnostic set by category: from a miniature run and in numbers, and its bad input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import predict
import train
from experiments.glue import diagnostics
from experiments.glue.diagnostics import COLUMNS, read_diagnostic, score, table_lines
from tests.conftest import Workshop

ROWS = (
    (
        "Lexical entailment;Quantifiers",
        "",
        "Negation",
        "",
        "News",
        "a cat sold tea",
        "indeed a cat sold tea",
        "neutral",
    ),
    ("Quantifiers", "Ellipsis", "", "", "News", 'the "blue" coat', "it is not true that a cat sold tea", "entailment"),
    ("", "Ellipsis", "", "", "Reddit", "a doctor kept a clock", "a clock", "contradiction"),
    ("", "", "", "World knowledge", "Reddit", "my sister kept a clock", "a clock", "neutral"),
)


def write(path: Path, change: Callable[[str], str] = str) -> Path:
    text = "".join("\t".join(row) + "\n" for row in (COLUMNS, *ROWS))
    path.write_text(change(text), encoding="utf-8")
    return path


def test_rows_are_in_each_of_their_categories_and_groups(tmp_path: Path) -> None:
    path = write(tmp_path / "full.tsv", lambda text: "\ufeff" + text.replace("\n", "\r\n").removesuffix("\r\n"))
    examples = read_diagnostic(path)
    assert [(one.premise, one.hypothesis, one.label) for one in examples] == [row[5:] for row in ROWS]
    assert {line.name: line.rows.tolist() for line in table_lines(examples)} == {
        "all": [True, True, True, True],
        "Lexical Semantics": [True, True, False, False],
        "  Lexical entailment": [True, False, False, False],
        "  Quantifiers": [True, True, False, False],
        "Predicate-Argument Structure": [False, True, True, False],
        "  Ellipsis": [False, True, True, False],
        "Logic": [True, False, False, False],
        "  Negation": [True, False, False, False],
        "Knowledge": [False, False, False, True],
        "  World knowledge": [False, False, False, True],
        "Domain: News": [True, True, False, False],
        "Domain: Reddit": [False, False, True, True],
    }


def test_the_score_is_gorodkins_r3() -> None:
    rng = np.random.default_rng(0)
    names = np.array(["entailment", "neutral", "contradiction"])
    labels, predicted = names[rng.integers(0, 3, 200)], names[rng.integers(0, 3, 200)]
    predicted[:120] = labels[:120]
    table = np.array([[np.sum((labels == a) & (predicted == b)) for b in names] for a in names], dtype=float)
    rows, hits = table.sum(), np.trace(table)
    gold, ours = table.sum(1), table.sum(0)  # Gorodkin 2004, equation 8, for a table of counts
    expected = (hits * rows - gold @ ours) / np.sqrt((rows**2 - gold @ gold) * (rows**2 - ours @ ours))
    assert score(predicted, labels) == f"{100 * expected:.1f}"
    assert score(labels, labels) == "100.0"
    assert score(np.full(200, "neutral"), labels) == "0.0"
    assert score(labels[:1], labels[:1]) == "-"


@pytest.fixture(scope="module")
def run(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "both"
    flags = workshop.flags(folder, "--train_datasets", "mnli,rte", "--epochs", "1", "--learning_rate", "5e-3")
    assert train.main(flags) == 0
    return folder


def test_a_run_is_scored_by_what_predict_says(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, output = write(tmp_path / "full.tsv"), tmp_path / "new/table.tsv"
    assert diagnostics.main(["--checkpoint", str(run), "--diagnostic", str(path), "--output", str(output)]) == 0
    printed = [line.split("  ") for line in capfd.readouterr().out.splitlines()]
    (tmp_path / "pairs.txt").write_text("".join(f"{row[5]}\t{row[6]}\n" for row in ROWS))
    flags = ["--checkpoint", str(run), "--task", "mnli", "--texts", str(tmp_path / "pairs.txt")]
    assert predict.main([*flags, "--output", str(tmp_path / "predicted.tsv")]) == 0
    words = [line.split("\t")[1] for line in (tmp_path / "predicted.tsv").read_text().splitlines()[1:]]
    labels = np.array([row[7] for row in ROWS])
    header, *table = [line.split("\t") for line in output.read_text().splitlines()]
    assert header == ["category", "rows", "R3"] and table[0] == ["all", "4", score(np.array(words), labels)]
    assert ["Negation", "1", "-"] in table and len(table) == len(printed) - 1 == 12


def test_a_head_with_other_labels_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--checkpoint", str(run), "--diagnostic", str(write(tmp_path / "full.tsv"))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diagnostics, "predict", lambda given: predict.main(given))
        patch.setattr(diagnostics, "THREE_WAY", ("entailment", "neutral", "contradiction"))
        patch.setattr(diagnostics, "read_predictions", lambda path: {"1": "0", "2": "1"})
        assert diagnostics.main(flags) == 2
    assert "the head mnli predicts 0, 1, not entailment, neutral, contradiction" in capsys.readouterr().err


def test_what_predict_refuses_is_told(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--checkpoint", str(run), "--diagnostic", str(write(tmp_path / "full.tsv")), "--task", "snli"]
    assert diagnostics.main(flags) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: predict.py ") and f"--task snli: {run / 'best'} has heads for mnli, rte" in told


BAD: dict[str, tuple[Callable[[str], str], str]] = {
    "no labels": (
        lambda text: text.replace("Label", "x", 1),
        ":1: the header lacks Label; expected diagnostic-full.tsv",
    ),
    "a label that is none": (lambda text: text.replace("\tentailment", "\tyes"), ":3: unknown label 'yes'; allowed: "),
    "too few columns": (lambda text: text + "torn\n", ":6: 1 columns, expected 8: Lexical Semantics, "),
    "an empty text": (lambda text: text.replace("\ta clock\tneutral", "\t \tneutral"), ":5: a text is empty"),
    "no rows": (lambda text: text.split("\n")[0], ": nothing but a header"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_message(
    change: Callable[[str], str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "full.tsv", change)
    assert diagnostics.main(["--checkpoint", "none", "--diagnostic", str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {path}{message}")
