"""A study's tables as Markdown, LaTeX and CSV, and the words around them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from studies.study import TEST_SPLITS
from studies.tables.comparison import NESTED, Cell, StudyTable
from studies.tables.differences import Difference
from studies.tables.nested import HALVES
from studies.tables.significance import LEVEL, MIN_BOOTSTRAP_PAIRS, Verdict

NOTHING = "-"
ALL_TASKS = "all tasks"
MAX_MESSAGE = 160
MAX_COLUMNS = 5  # of a LaTeX table inside one of two columns
CSV_COLUMNS = (
    "encoder setting varied task metric method which n mean std failed collapsed unfinished paper majority "
    "baseline pairs delta ci_low ci_high p p_holm verdict"
).split()
EPOCH = {
    "last": "last epoch",
    "best": "best epoch",
    NESTED: "best epoch, chosen and scored on different dev rows",
    TEST_SPLITS: "test splits, model of the best epoch",
}
TEST = {
    "permutation": "paired sign-flip permutation test of the mean difference",
    "wilcoxon": "Wilcoxon's signed-rank test",
}


class Grid(NamedTuple):
    """A table of text; `words` is how many columns, from the left, are words and not numbers."""

    header: list[str]
    rows: list[list[str]]
    words: int


def title(table: StudyTable) -> str:
    """What a table is about: encoder, setting, epoch."""
    return f"{table.group.words()}, {EPOCH[table.which]}"


def score_grid(table: StudyTable) -> Grid:
    """Methods × tasks: mean ± standard deviation over seeds, with whatever is odd about a cell in brackets."""
    several = len(table.tasks) > 1
    heads = [f"{task} {table.metrics[task] or ''}".rstrip() for task in table.tasks]
    rows = []
    for method in table.methods:
        cells = [table.cells[method, task] for task in table.tasks]
        counts = sorted({cell.n for cell in cells if cell != Cell()})
        seeds = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else "".join(map(str, counts))
        row = [method, seeds, *(cell_text(cell, show_n=len(counts) > 1) for cell in cells)]
        rows.append(row + [_points(table.average(method))] * several)
        if any(name == method for name, _ in table.paper):
            scores = [_points(table.paper.get((method, task))) for task in table.tasks]
            rows.append([f"{method}, paper", "", *scores] + [_points(table.paper_average(method))] * several)
    if table.majority:
        scores = [_points(table.majority.get(task)) for task in table.tasks]
        rows.append(["majority", "", *scores] + [_points(table.majority_average)] * several)
    return Grid(["method", "seeds", *heads] + ["average"] * several, rows, 1)


def cell_text(cell: Cell, show_n: bool) -> str:
    """Such as `54.51 ± 0.90 (n 4, 1 failed)`; counts that are zero are left out."""
    spread = "" if cell.std is None else f" ± {cell.std:.2f}"
    remarks = [f"n {cell.n}"] * (show_n and cell != Cell())
    remarks += [f"{count} {what}" for what, count in _counts(cell).items() if count]
    return _points(cell.mean) + spread + (f" ({', '.join(remarks)})" if remarks else "")


def _counts(cell: Cell) -> dict[str, int]:
    return {"failed": len(cell.failed), "collapsed": len(cell.collapsed), "unfinished": len(cell.unfinished)}


def difference_grid(table: StudyTable) -> Grid:
    """One row a comparison with the baseline."""
    header = ["method", "against", "task", "verdict", "pairs", "difference", "95 % interval", "p", "p (Holm)"]
    rows = []
    for d in table.differences:
        interval = f"{d.interval[0]:+.2f} to {d.interval[1]:+.2f}" if d.interval else NOTHING
        p_values = [_p(d.p), _p(d.p_holm)] if d.pairs else [NOTHING, NOTHING]
        mean = NOTHING if d.mean is None else f"{d.mean:+.2f}"
        words = [d.method, d.baseline, d.task or ALL_TASKS, d.verdict.value]
        rows.append([*words, str(d.pairs), mean, interval, *p_values])
    return Grid(header, rows, 4)


def notes(table: StudyTable) -> list[str]:
    """What a reader must know to read the table, and every run that is not simply done; a paragraph each."""
    splits = "Test" if table.which == TEST_SPLITS else "Dev"
    found = [f"{splits} scores in points out of 100: mean ± sample standard deviation over seeds."]
    if table.which == TEST_SPLITS:
        found.append("The model is that of the epoch with the best dev score; test rows chose nothing.")
    if table.which == NESTED:
        found.append(
            f"Each run's best epoch is chosen on one half of the dev rows and scored on the other: means over {HALVES} "
            "random halves, both ways, the same rows for all runs."
        )
    if table.which == "best":
        found.append("Each run's best epoch on each task is chosen by the dev scores shown: unseen data gives less.")
    if table.majority:
        found.append(
            f"majority: what always giving the most frequent training {table.majority_words} scores."
            + _not_learned(table)
        )
    if table.paper:
        found.append(
            "paper: its Table 1, means of five seeds, of last or best epochs, which it does not say; its average is "
            "taken over the tasks shown here."
        )
    return [*found, *table.remarks, *_odd_runs(table), *_statistics(table)]


def _not_learned(table: StudyTable) -> str:
    """A warning for the means that are no higher than that."""
    low = {
        task: [m for m in table.methods if (mean := table.cells[m, task].mean) is not None and mean <= score]
        for task, score in table.majority.items()
    }
    found = [f"{', '.join(methods)} on {task}" for task, methods in low.items() if methods]
    return f" Not above it, so nothing was learned that the score shows: {'; '.join(found)}." if found else ""


def _odd_runs(table: StudyTable) -> list[str]:
    collapsed, unfinished = [], []
    failed: dict[str, None] = {}  # a multi-task run is in the cells of all its tasks
    for (method, task), cell in table.cells.items():
        collapsed += [f"{task} {method} {_seeds(cell.collapsed)}"] * bool(cell.collapsed)
        unfinished += [f"{task} {method} {_seeds(cell.unfinished)}"] * bool(cell.unfinished)
        where = f"{ALL_TASKS if table.group.multitask else task} {method}"
        failed |= {f"{where} seed {seed}: {_first_line(message)}": None for seed, message in cell.failed.items()}
    kinds = {
        "Collapsed, all dev rows got the same prediction at the end; part of the means": collapsed,
        "Failed, without a score, so not part of any mean, which flatters a method that fails": list(failed),
        "Unfinished, not part of any mean yet": unfinished,
    }
    return [f"{kind}: {'; '.join(which)}." for kind, which in kinds.items() if which]


def _statistics(table: StudyTable) -> list[str]:
    found = []
    if alone := [f"{m} (needs {b})" for m, b in table.baselines.items() if b not in table.methods]:
        found.append("Not compared, as the study has no runs of the baseline: " + "; ".join(alone) + ".")
    if partly := [
        f"{method} on {task}"
        for method, baseline in table.baselines.items()
        for task in table.tasks
        if baseline in table.methods and table.cells[method, task] != Cell() and table.cells[baseline, task] == Cell()
    ]:
        found.append("Not compared, as the baseline has no runs there: " + "; ".join(partly) + ".")
    if not table.differences:
        return found
    if unpaired := [f"{d.task} {d.method} {_seeds(d.unpaired)}" for d in table.differences if d.task and d.unpaired]:
        found.append(
            "Compared at equal seeds; done for one of the two only, so left out there: " + "; ".join(unpaired) + "."
        )
    count = sum(d.pairs > 0 for d in table.differences)
    found.append(
        f"Differences in points at equal seeds, two-sided {TEST[table.test]}, Holm's correction over this table's "
        f"{count} comparison{'s' * (count > 1)} at {LEVEL:g}. The verdict rests on p (Holm) alone. Intervals: "
        f"bootstrap over seeds, uncorrected, from {MIN_BOOTSTRAP_PAIRS} seeds on; with few seeds they are too narrow."
    )
    if table.test == "wilcoxon":
        found.append("Better or worse only where the mean and the signed ranks point to the same side.")
    if any(d.task is None for d in table.differences):
        unit = "seed, as its tasks share one encoder" if table.group.multitask else "seed and task"
        found.append(
            f"{ALL_TASKS}: mean of the tasks' mean differences, points as they are; signs flip for each {unit}."
        )
    if any(d.verdict is Verdict.TOO_FEW_SEEDS for d in table.differences):
        found.append(
            f"{Verdict.TOO_FEW_SEEDS.value}: with n pairs p cannot be below 2/2^n, so that here even the most extreme "
            f"outcome would not be significant; that takes {table.seeds_needed} seeds of every method on every task."
        )
    return found


def markdown(tables: Iterable[StudyTable], name: str) -> str:
    """All tables as Markdown, aligned, so that it reads well as it is."""
    parts = [f"# Study: {name}"]
    for table in tables:
        parts += [f"## {title(table)}", _markdown_grid(score_grid(table))]
        if table.differences:
            parts += [f"### Against the baseline: {title(table)}", _markdown_grid(difference_grid(table))]
        parts += ["\n".join(f"- {_markdown_text(note)}" for note in notes(table))]
    return "\n\n".join(parts) + "\n"


def _markdown_grid(grid: Grid) -> str:
    rows = [[_markdown_text(cell) for cell in row] for row in [grid.header, *grid.rows]]
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * width if i < grid.words else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    justified = [
        [
            cell.ljust(w) if i < grid.words else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in [justified[0], rule, *justified[1:]])


def _markdown_text(text: str) -> str:
    return re.sub(r"\||<(?=[A-Za-z/!])", r"\\\g<0>", text)  # a cell's end; a tag, which would not be shown


LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
LATEX |= {character: f"\\{character}" for character in "&%$#_{}"} | {character: f"${character}$" for character in "<>|"}


def latex(tables: Iterable[StudyTable]) -> str:
    """All tables as LaTeX floats."""
    parts = [r"% needs \usepackage{booktabs} and \usepackage{adjustbox}"]
    for table in tables:
        parts.append(_latex_table(score_grid(table), title(table), notes(table)))
        if table.differences:
            parts.append(_latex_table(difference_grid(table), f"Against the baseline: {title(table)}", []))
    return "\n\n".join(parts) + "\n"


def _latex_table(grid: Grid, caption: str, remarks: Sequence[str]) -> str:
    header, *rows = (" & ".join(map(latex_text, row)) + r" \\" for row in [grid.header, *grid.rows])
    columns = "l" * grid.words + "r" * (len(grid.header) - grid.words)
    remark = [r"\par\smallskip\raggedright\footnotesize " + " ".join(map(latex_text, remarks))] * bool(remarks)
    float_name = (
        "table*" if len(grid.header) > MAX_COLUMNS else "table"
    )  # the first spans both columns, if there are two
    lines = [rf"\begin{{{float_name}}}", r"\centering", rf"\caption{{{latex_text(caption)}}}"]
    lines += [r"\begin{adjustbox}{max width=\linewidth}", rf"\begin{{tabular}}{{{columns}}}"]
    lines += [r"\toprule", header, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}", r"\end{adjustbox}"]
    return "\n".join([*lines, *remark, rf"\end{{{float_name}}}"])


def latex_text(text: str) -> str:
    """Escape all characters that mean something to LaTeX; a number's minus is one, and no hyphen."""
    escaped = "".join(LATEX.get(character, character) for character in text)
    return re.sub(r"(?<![\w-])-(?=\d)", "$-$", escaped)


def csv_text(tables: Iterable[StudyTable]) -> str:
    """All tables in long format: one row a method, task and epoch, and one for all tasks together; unrounded."""
    file = io.StringIO()
    writer = csv.DictWriter(file, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for table in tables:
        compared = {(d.method, d.task): d for d in table.differences}
        for method in table.methods:
            for task in table.tasks:
                cell = table.cells[method, task]
                if cell != Cell():
                    row = _csv_cell(cell) | {"metric": table.metrics[task], "majority": table.majority.get(task)}
                    row |= {"paper": table.paper.get((method, task))}
                    writer.writerow(_csv_row(table, method, task, row, compared.get((method, task))))
            if len(table.tasks) > 1:
                row = {"mean": table.average(method), "paper": table.paper_average(method)}
                row |= {"majority": table.majority_average}
                writer.writerow(_csv_row(table, method, "all", row, compared.get((method, None))))
    return file.getvalue()


def _csv_cell(cell: Cell) -> dict[str, object]:
    return {"n": cell.n, "mean": cell.mean, "std": cell.std, **_counts(cell)}


def _csv_row(
    table: StudyTable, method: str, task: str, values: dict[str, object], compared: Difference | None
) -> dict[str, object]:
    setting = "multi-task" if table.group.multitask else "single-task"
    row: dict[str, object] = {
        "encoder": table.group.encoder,
        "setting": setting,
        "varied": " ".join(table.group.varied),
        "which": table.which,
    }
    row |= {"task": task, "method": method, **values}
    if compared:
        low, high = compared.interval or (None, None)
        row |= {"baseline": compared.baseline, "pairs": compared.pairs, "delta": compared.mean}
        row |= {"ci_low": low, "ci_high": high, "verdict": compared.verdict.value}
        row |= {"p": compared.p, "p_holm": compared.p_holm} if compared.pairs else {}
    return row


def _points(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def _p(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def _first_line(message: str) -> str:
    line = (message.strip().splitlines() or ["no message"])[0].rstrip(".")
    return line if len(line) <= MAX_MESSAGE else line[: MAX_MESSAGE - 3] + "..."
