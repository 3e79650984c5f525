"""The command: which folder makes which table, what is written, and what wrong input is told."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from studies.study import Outcome, Status, Study
from studies.table import main
from tests.studies.fake_study import results, run, seeds_done, write_outcomes

ROOT = Path(__file__).resolve().parents[2]
FILES = ("table.md", "table.tex", "table.csv")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of two tasks and methods, six seeds each."""
    scores = [50.0, 51.0, 52.0, 53.0, 54.0, 55.0]
    outcomes = [
        outcome
        for task in ("cola", "rte")
        for method, gain in (("adamax", 0.0), ("pats", 2.0))
        for outcome in seeds_done(f"minilm/{task}", method, [score + gain for score in scores])
    ]
    return write_outcomes(tmp_path / "my_study", outcomes).folder


def test_a_study_is_printed_and_written(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(study)]) == 0
    printed = capsys.readouterr().out
    texts = {name: (study / name).read_text(encoding="utf-8") for name in FILES}
    assert printed.startswith(texts["table.md"]) and texts["table.md"].startswith("# Study: my_study\n")
    assert [f"written: {study / name}" for name in FILES] == printed.splitlines()[-3:]
    headings = [line for line in printed.splitlines() if line.startswith("## ")]
    assert headings == ["## minilm, last epoch", "## minilm, best epoch"]
    assert texts["table.tex"].startswith("% needs") and texts["table.csv"].startswith("encoder,")


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_flags_have_their_effect(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "new/folder"
    flags = f"--which best --tasks rte,rte --baseline pats --test wilcoxon --output_dir {other}".split()
    assert main([str(study), *flags]) == 0
    assert "Wilcoxon" in capsys.readouterr().out and not (study / "table.csv").exists()
    pats, adamax = rows(other)
    assert (pats["method"], adamax["method"], adamax["baseline"]) == ("pats", "adamax", "pats")
    assert {(row["task"], row["which"]) for row in (pats, adamax)} == {("rte", "best")}
    assert adamax["verdict"] == "worse" and float(adamax["p"]) == 2 / 2**6 and float(pats["mean"]) == 55.5


def test_a_study_with_nothing_done_shows_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    waiting = [Outcome(run("minilm/rte", m, 1), tmp_path, Status.WAITING) for m in ("adamax", "pats")]
    failed = Outcome(run("minilm/rte", "pats", 2), tmp_path, Status.FAILED, 3, "no such folder")
    write_outcomes(tmp_path / "study", [*waiting, failed])
    assert main([str(tmp_path / "study"), "--which", "last"]) == 0
    printed = capsys.readouterr().out
    assert "- (1 failed, 1 unfinished)" in printed and "pats seed 2: no such folder" in printed
    assert "too few seeds to tell" in printed and {row["mean"] for row in rows(tmp_path / "study")} == {""}


def test_one_seed_is_a_score_without_spread(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = seeds_done("minilm/rte", "adamax", [54.5]) + seeds_done("minilm/rte", "pats", [90.0])
    write_outcomes(tmp_path / "study", outcomes)
    assert main([str(tmp_path / "study"), "--which", "last"]) == 0
    printed = capsys.readouterr().out
    assert "| adamax |     1 |   54.50 |" in printed and "better" not in printed
    assert rows(tmp_path / "study")[1]["verdict"] == "too few seeds to tell"


def test_a_study_without_the_usual_baseline_is_shown_without_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_outcomes(tmp_path / "study", seeds_done("minilm/rte", "pats", [54.5]))
    assert main([str(tmp_path / "study")]) == 0
    assert "Not compared" in capsys.readouterr().out


BAD = [
    (["{study}", "--baseline", "adam"], "--baseline adam: not in this study, which has adamax, pats"),
    (["{study}", "--tasks", "rte,mnli"], "--tasks mnli: not in this study, which has cola, rte"),
    (["{study}", "--tasks", ""], "--tasks : not in this study"),
    (["{study}", "--which", "first"], "argument --which: invalid choice: 'first'"),
    (["{study}", "{study}"], "is a study: name it alone"),
    (["{study}", "--output_dir", "{study}/study.yml"], "study.yml"),
    (["{study}/runs/minilm/rte/pats/seed_1", "--which", "last"], "--which would have no effect"),
    (["{study}/nowhere"], "nowhere: no such folder"),
    ([], "the following arguments are required: FOLDER"),
]


@pytest.mark.parametrize(("argv", "message"), BAD, ids=[message for _, message in BAD])
def test_wrong_input_is_told_in_one_message(
    argv: list[str], message: str, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(study.rglob("*"))
    assert main([argument.format(study=study) for argument in argv]) == 2
    output = capsys.readouterr()
    assert message in output.err and not output.out and sorted(study.rglob("*")) == before


def test_an_empty_study_and_a_damaged_run_are_told(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (study / "runs/minilm/rte/pats/seed_4/results.json").write_text("{", encoding="utf-8")
    assert main([str(study)]) == 2
    assert "rte/pats/seed_4/results.json: cannot be read" in capsys.readouterr().err
    Study(study, ()).save()
    assert main([str(study)]) == 2
    assert "a study without runs" in capsys.readouterr().err


def test_it_starts_as_a_module(study: Path, tmp_path: Path) -> None:
    finished = tmp_path / "run"
    finished.mkdir()
    raw = results({"cola": 58.8}) | {"average": {"best": 59.8, "last": 58.8}, "seed": 1, "optim": "adamax"}
    text = json.dumps(raw | {"samples_per_second": 101.6, "wall_seconds": 125.4})
    (finished / "results.json").write_text(text, encoding="utf-8")
    for folder, expected in ((finished, "58.80 (59.80 @7)"), (study, "## minilm, last epoch")):
        command = [sys.executable, "-m", "studies.table", str(folder)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        assert expected in ended.stdout


def give_test_scores(study: Path, skip: str = "") -> None:
    """What `--test_splits` adds to finished runs: a test score ten points below the last dev score."""
    for path in study.rglob("results.json"):
        raw = json.loads(path.read_text())
        for task, scores in raw["tasks"].items():
            if task != skip:
                scores["test"] = {"score": scores["last"]["score"] - 10, "constant": False, "interval": [1.0, 2.0]}
        path.write_text(json.dumps(raw))


def test_test_scores_stand_beside_dev(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    give_test_scores(study)
    assert main([str(study)]) == 0
    printed = capsys.readouterr().out
    headings = [line for line in printed.splitlines() if line.startswith("## ")]
    assert headings[-1] == "## minilm, test splits, model of the best epoch" and len(headings) == 3
    assert "Test scores in points" in printed and "test rows chose nothing" in printed
    means = {(row["which"], row["method"], row["task"]): float(row["mean"]) for row in rows(study)}
    assert means["test", "pats", "rte"] == means["last", "pats", "rte"] - 10
    assert main([str(study), "--which", "test"]) == 0
    assert {row["which"] for row in rows(study)} == {"test"}


def test_runs_without_test_scores(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    give_test_scores(study, skip="cola")
    assert main([str(study)]) == 0
    assert {row["which"] for row in rows(study)} == {"last", "best"}
    capsys.readouterr()
    assert main([str(study), "--which", "test"]) == 2
    error = capsys.readouterr().err
    assert "has none of cola; runs score test splits with --test_splits, a sweep's with --set test_splits=test" in error
