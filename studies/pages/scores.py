"""What a report says about scores: a sentence for each table, then the tables with their differences and notes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from studies.pages.page import Html, bullets, element, table
from studies.study import TEST_SPLITS
from studies.tables.comparison import StudyTable
from studies.tables.differences import Difference
from studies.tables.layouts import ALL_TASKS, EPOCH, difference_grid, notes, score_grid, title
from studies.tables.significance import Verdict

WORDS = {  # for one method, and for several
    Verdict.BETTER: ("is better than", "are better than"),
    Verdict.WORSE: ("is worse than", "are worse than"),
    Verdict.NOT_DISTINGUISHABLE: ("cannot be told apart from", "cannot be told apart from"),
    Verdict.TOO_FEW_SEEDS: ("has too few seeds to be told apart from", "have too few seeds to be told apart from"),
}
TELLING = (Verdict.BETTER, Verdict.WORSE)
ALL_TOGETHER = f"{ALL_TASKS} taken together"
UNDECIDED = "“Cannot be told apart” means that these seeds do not decide it, and not that two methods are equal. "
LEFT_OUT = "What failed or is unfinished is part of no comparison."


def in_short(tables: Sequence[StudyTable]) -> list[Html]:
    """A sentence for each table: which methods can be told apart from the baseline, and which cannot."""
    sentences = [element("span", element("strong", f"{title(one)}: "), finding(one)) for one in tables]
    undecided = any(d.verdict is Verdict.NOT_DISTINGUISHABLE for one in tables for d in one.differences)
    return [bullets(sentences), element("p", UNDECIDED * undecided + LEFT_OUT, class_="notes")]


def finding(table: StudyTable) -> str:
    """What a table's comparisons show, in one sentence."""
    if not any(cell.scores for cell in table.cells.values()):
        return "no run is done yet."
    if not table.differences:
        missing = sorted(set(table.baselines.values()) - set(table.methods))
        return f"nothing is compared, as there are no runs of {_listed(missing) if missing else 'other methods'}."
    said: dict[tuple[Verdict, str, str], list[str]] = {}  # methods by what is said about them
    for verdict in WORDS:
        for method, baseline in table.baselines.items():
            own = [d for d in table.differences if d.method == method]
            if found := [d for d in own if d.verdict is verdict]:
                said.setdefault((verdict, baseline, _where(found, own, table)), []).append(method)
    clauses = [
        f"{_listed(methods)} {WORDS[verdict][len(methods) > 1]} {baseline} on {places}"
        for (verdict, baseline, places), methods in said.items()
    ]
    compared = {d.method for d in table.differences}
    if alone := [method for method, baseline in table.baselines.items() if method not in {baseline, *compared}]:
        clauses.append(f"{_listed(alone)} {'are' if len(alone) > 1 else 'is'} compared with nothing")
    return "; ".join(clauses) + "."


def _where(found: Sequence[Difference], own: Sequence[Difference], table: StudyTable) -> str:
    """The tasks of comparisons that agree; in short where all of a method's do, whatever the task."""
    everywhere = len(found) == len(own) > 1 and {d.task for d in own} >= set(table.tasks)
    return "any task" if everywhere and found[0].verdict not in TELLING else _places(found)


def _places(found: Iterable[Difference]) -> str:
    """The tasks of comparisons, with how many points it is where that means something."""
    points = (f" ({d.mean:+.2f} points)" if d.verdict in TELLING and d.mean is not None else "" for d in found)
    return _listed([f"{d.task or ALL_TOGETHER}{point}" for d, point in zip(found, points, strict=True)])


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def scores(tables: Sequence[StudyTable], which: str) -> list[Html]:
    """All tables: those of one epoch openly, those of the other, and of test splits, folded."""
    shown = [part for one in tables if one.which == which for part in score_table(one)]
    others = dict.fromkeys(one.which for one in tables if one.which != which)
    return [*shown, *(_folded([one for one in tables if one.which == other], other) for other in others)]


def _folded(tables: Sequence[StudyTable], which: str) -> Html:
    parts = [part for one in tables for part in score_table(one)]
    summary = "The same on test splits" if which == TEST_SPLITS else f"The same at the {EPOCH[which]}"
    return element("details", element("summary", summary), *parts)


def score_table(one: StudyTable) -> list[Html]:
    """Scores, differences to the baseline, and what a reader must know."""
    grid, parts = score_grid(one), []
    parts.append(table(title(one), grid.header, grid.rows, grid.words))
    if one.differences:
        header, rows, words = difference_grid(one)
        place = header.index("verdict")
        told = {verdict.value for verdict in TELLING}
        marked = [
            [element("strong", cell) if i == place and cell in told else cell for i, cell in enumerate(row)]
            for row in rows
        ]
        parts.append(table(f"Against the baseline: {title(one)}", header, marked, words))
    return [*parts, bullets(notes(one), class_="notes")]
