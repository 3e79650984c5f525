"""A study's tables as text: what each cell and note says, and whether Markdown, LaTeX and CSV can be read."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from studies.study import Outcome, Status
from studies.suite import Suite
from studies.tables.comparison import Cell, StudyTable, compare, read_paper_scores
from studies.tables.layouts import (
    cell_text,
    csv_text,
    difference_grid,
    latex,
    latex_text,
    markdown,
    notes,
    score_grid,
    title,
)
from tests.studies.fake_study import done, run, seeds_done

BASE = [50.0, 51.0, 52.0, 50.5, 51.5, 49.5, 50.25, 51.75]


def study_tables(which: str = "last", test: str = "permutation") -> list[StudyTable]:
    """Two tasks of BERT-base with everything that can happen to a run, and one table in which nothing did."""
    outcomes = [
        *seeds_done("bert_base/rte", "adamax", BASE),
        *seeds_done("bert_base/cola", "adamax", BASE[:3]),
        *seeds_done("bert_base/rte", "pats", [score + 3 + score % 1 for score in BASE]),
        *seeds_done("bert_base/cola", "pats", BASE[:2]),
        Outcome(run("bert_base/cola", "pats", 3), Path("x"), Status.FAILED, 2, "out of_memory |\nsecond line"),
        *seeds_done("bert_base/rte", "pats_magnitude_variance", [score - 20 for score in BASE[:6]]),
        done("bert_base/rte", "pats_magnitude_variance", 7, collapsed=True, rte=20.0),
        Outcome(run("bert_base/rte", "pats_magnitude_variance", 8), Path("x"), Status.CUT),
        *seeds_done("minilm/rte", "adamax", BASE),
        *seeds_done("minilm/rte", "pats", [score + 3 for score in BASE]),
    ]
    return compare(outcomes, which=which, test=test, paper=read_paper_scores(Suite().paper_table))


def test_scores_by_method_and_task() -> None:
    assert score_grid(study_tables()[0]).header == ["method", "seeds", "rte ACC", "cola MCC", "average"]
    assert score_grid(study_tables()[0]).rows == [
        ["adamax", "3 to 8", "50.81 ± 0.89 (n 8)", "51.00 ± 1.00 (n 3)", "50.91"],
        ["adamax, paper", "", "68.03", "58.94", "63.48"],
        ["pats", "2 to 8", "54.12 ± 0.95 (n 8)", "50.50 ± 0.71 (n 2, 1 failed)", "52.31"],
        ["pats, paper", "", "72.08", "60.67", "66.38"],
        ["pats_magnitude_variance", "7", "29.21 ± 4.15 (1 collapsed, 1 unfinished)", "-", "-"],
    ]
    assert score_grid(study_tables()[1]).header == ["method", "seeds", "rte ACC"]  # one task has no average


def test_the_most_frequent_label_stands_below_the_methods() -> None:
    outcomes = [*seeds_done("minilm/rte", "adamax", [52.0, 53.0]), *seeds_done("minilm/rte", "pats", [54.0, 55.0])]
    outcomes += [*seeds_done("minilm/stsb", "adamax", [80.0, 81.0]), *seeds_done("minilm/stsb", "pats", [80.0, 81.0])]
    for outcome in outcomes:
        outcome.results["tasks"][outcome.run.task]["majority_score"] = 52.71 if outcome.run.task == "rte" else None
    (table,) = compare(outcomes)
    assert score_grid(table).rows[-1] == ["majority", "", "52.71", "-", "-"]
    assert notes(table)[1].endswith("Not above it, so nothing was learned that the score shows: adamax on rte.")
    rows = list(csv.DictReader(io.StringIO(csv_text([table]))))
    assert {(row["task"], row["majority"]) for row in rows} == {("rte", "52.71"), ("stsb", ""), ("all", "")}
    outcomes[0].results["tasks"]["rte"]["majority_score"] = 47.29  # of another share of the data
    assert compare(outcomes)[0].majority == {}


CELLS = [
    (Cell(), True, "-"),
    (Cell({1: 54.5}), False, "54.50"),
    (Cell({1: 54.0, 2: 56.0}), True, "55.00 ± 1.41 (n 2)"),
    (Cell({1: 54.0, 2: 56.0}, (2,), {3: "", 4: ""}, (5,)), False, "55.00 ± 1.41 (2 failed, 1 collapsed, 1 unfinished)"),
    (Cell(unfinished=(1, 2)), False, "- (2 unfinished)"),
]


@pytest.mark.parametrize(("cell", "show_n", "text"), CELLS, ids=[text for *_, text in CELLS])
def test_what_a_cell_says(cell: Cell, show_n: bool, text: str) -> None:
    assert cell_text(cell, show_n) == text


def test_differences_in_plain_words() -> None:
    rows = {(row[0], row[2]): row for row in difference_grid(study_tables()[0]).rows}
    assert rows["pats", "cola"][3:6] == ["too few seeds to tell", "2", "+0.00"]
    assert rows["pats", "rte"][3:6] == ["better", "8", "+3.31"]
    assert rows["pats", "rte"][7:] == ["0.0078", "0.0312"]  # of eight pairs, the smallest: 2/256, times 4
    assert rows["pats_magnitude_variance", "rte"][3:5] == ["worse", "7"]
    assert ("pats_magnitude_variance", "all tasks") not in rows
    worse = difference_grid(compare(seeds_done("a/b", "adamax", BASE) + seeds_done("a/b", "pats", [1.0] * 8))[0]).rows
    assert worse[0][3] == "worse"
    equal = difference_grid(compare(seeds_done("a/b", "adamax", BASE) + seeds_done("a/b", "pats", BASE))[0]).rows
    assert equal[0][3:] == ["not distinguishable", "8", "+0.00", "+0.00 to +0.00", "1.0000", "1.0000"]


def test_titles() -> None:
    outcomes = [done("minilm/mtl", label, 1, rte=1.0) for label in ("pats", "pats@pats_lambda=1")]
    assert [title(table) for table in compare(outcomes, which="best")] == [
        "minilm, one encoder for all tasks, best epoch",
        "minilm, one encoder for all tasks, pats_lambda varied, best epoch",
    ]


def said(table: StudyTable) -> str:
    return "\n".join(notes(table))


def test_every_run_that_is_not_simply_done_is_named() -> None:
    text = said(study_tables()[0])
    assert "part of the means: rte pats_magnitude_variance seed 7." in text
    assert "not part of any mean, which flatters a method that fails: cola pats seed 3: out of_memory |." in text
    assert "Unfinished, not part of any mean yet: rte pats_magnitude_variance seed 8." in text
    assert "left out there: cola pats seed 3; rte pats_magnitude_variance seed 8." in text
    assert not re.search("ollapsed|ailed|nfinished|left out", said(study_tables()[1]))


def test_too_few_seeds_are_explained_and_how_many_it_takes() -> None:
    few = compare([o for m in ("adamax", "pats", "sage") for o in seeds_done("minilm/rte", m, BASE[:5])])[0]
    assert [d.verdict.value for d in few.differences] == ["too few seeds to tell"] * 2
    assert "p cannot be below 2/2^n" in said(few) and "that takes 7 seeds" in said(few)  # 2 × 2/2^7 = 0.031
    assert "2/2^n" not in said(study_tables()[1])


def test_notes_fit_the_table() -> None:
    single, alone = study_tables()
    assert "signs flip for each seed and task" in said(single) and "signs flip" not in said(alone)
    assert "Table 1" in said(single) and "Table 1" not in said(alone)
    assert "4 comparisons at 0.05" in said(single) and "1 comparison at 0.05" in said(alone)
    assert "unseen data" not in said(single) and "unseen data" in said(study_tables("best")[0])
    assert "permutation" in said(single) and "Wilcoxon" in said(study_tables(test="wilcoxon")[0])
    multi = compare([done("a/mtl", m, s, x=1.0, y=1.0) for m in ("adamax", "pats") for s in (1, 2)])[0]
    assert "each seed, as its tasks share one encoder" in said(multi)
    assert "no runs of the baseline: pats (needs adamax)" in said(compare(seeds_done("a/b", "pats", BASE))[0])


def test_a_failed_multi_task_run_is_named_once() -> None:
    outcomes = [done("a/mtl", "pats", 1, x=1.0, y=1.0)]
    outcomes += [Outcome(run("a/mtl", "pats", 2), Path("x"), Status.FAILED, 1, "no. " * 100)]
    text = said(compare(outcomes)[0])
    assert text.count("seed 2") == 1 and "all tasks pats seed 2: no. no." in text and "..." in text


def test_markdown_is_aligned_and_its_cells_are_whole() -> None:
    text = markdown(study_tables(), "study")
    blocks = [block.split("\n") for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) == 4
    for block in blocks:
        assert len({len(line) for line in block}) == 1 and len({line.count("|") for line in block}) == 1
    assert r"out of_memory \|" in text and "second line" not in text
    assert text.startswith("# Study: study\n\n## bert_base, last epoch\n\n| method ")
    tag = compare([Outcome(run("a/b", "pats", 1), Path("x"), Status.FAILED, 1, "<class 'X'> 1 < 2")])
    assert r"\<class 'X'> 1 < 2" in markdown(tag, "study")


def test_latex_is_well_formed() -> None:
    text = latex(study_tables())
    for environment, count in (("table", 2), ("table*", 2), ("adjustbox", 4), ("tabular", 4)):
        assert text.count(rf"\begin{{{environment}}}") == text.count(rf"\end{{{environment}}}") == count
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(rf"\{rule}") == 4
    for body in re.findall(r"\\begin\{tabular\}.*?\\end\{tabular\}", text, flags=re.S):
        columns = len(re.search(r"\{tabular\}\{([lr]+)\}", body)[1])
        rows = [line for line in body.split("\n") if line.endswith(r"\\")]
        assert len(rows) > 1 and all(len(re.findall(r"(?<!\\)&", row)) == columns - 1 for row in rows)
    assert not re.search(r"(?<!\\)[_#]", text) and "±" not in text and r"pats\_magnitude\_variance" in text
    assert text.count("{") == text.count("}")


def test_latex_escapes() -> None:
    assert latex_text("-0.36 to +1.50, 1e-06, sign-flip, 2-3, -") == "$-$0.36 to +1.50, 1e-06, sign-flip, 2-3, -"
    assert latex_text(r"50% of a_b & c^2 \x {~} #$ ± <1|") == (
        r"50\% of a\_b \& c\textasciicircum{}2 \textbackslash{}x \{\textasciitilde{}\} \#\$ $\pm$ $<$1$|$"
    )


@pytest.mark.parametrize("layout", ["", "[twocolumn]"])
def test_latex_compiles_and_no_table_is_too_wide(layout: str, tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("needs pdflatex, with the packages booktabs and adjustbox")
    head = rf"\documentclass{layout}{{article}}\usepackage{{booktabs,adjustbox}}\begin{{document}}"
    (tmp_path / "paper.tex").write_text(f"{head}\n{latex(study_tables())}\n\\end{{document}}\n", encoding="utf-8")
    call = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"]
    finished = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert finished.returncode == 0, finished.stdout[-2000:]
    assert "Overfull" not in finished.stdout


def test_csv_has_a_row_for_everything() -> None:
    tables = study_tables() + study_tables("best")
    rows = list(csv.DictReader(io.StringIO(csv_text(tables))))
    by_key = {(r["encoder"], r["task"], r["method"], r["which"]): r for r in rows}
    assert len(by_key) == len(rows) == 2 * (5 + 3 + 2)  # cells, averages, and MiniLM's cells, for two epochs
    pats = by_key["bert_base", "rte", "pats", "last"]
    assert (pats["n"], pats["metric"], pats["paper"], pats["baseline"], pats["verdict"]) == (
        *("8", "ACC", "72.08", "adamax", "better"),
    )
    assert float(pats["mean"]) == pytest.approx(54.125) and float(pats["delta"]) == pytest.approx(3.3125)
    assert float(pats["ci_low"]) < 3.3125 < float(pats["ci_high"]) and float(pats["p_holm"]) == 4 * float(pats["p"])
    odd = by_key["bert_base", "rte", "pats_magnitude_variance", "best"]
    assert (odd["failed"], odd["collapsed"], odd["unfinished"], odd["pairs"]) == ("0", "1", "1", "7")
    assert by_key["bert_base", "cola", "pats", "last"]["failed"] == "1"
    assert by_key["bert_base", "cola", "pats", "last"]["ci_low"] == ""  # two pairs
    together = by_key["bert_base", "all", "pats", "last"]
    assert (together["pairs"], together["n"], together["verdict"]) == ("10", "", "better")
    assert by_key["bert_base", "rte", "adamax", "last"]["verdict"] == ""


def test_the_majority_of_tasks_without_labels_is_said_in_their_words() -> None:
    outcomes = [done("tiny/mtl", "adamax", 1, rte=60.0, asked=30.0, pick=40.0, names=50.0)]
    tasks = outcomes[0].results["tasks"]
    for task, metric in {"asked": "EmF1", "pick": "MRR", "names": "SeqEval"}.items():
        tasks[task]["primary_metric"] = metric
    for task in tasks.values():
        task["majority_score"] = 10.0
    (note,) = [line for line in notes(compare(outcomes)[0]) if line.startswith("majority: ")]
    words = "label (asked no answer, pick place of the right option, names tag)"
    assert note == f"majority: what always giving the most frequent training {words} scores."
