"""The report of a study: one page that stands alone, true to the tables, safe, and the same every time."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from studies import methods
from studies.pages.figures import COLOURS, inline_svg, page_colour
from studies.pages.page import VOID, element, escaped
from studies.pages.scores import finding
from studies.report import main
from studies.study import Run, Study
from studies.table import study_tables
from studies.tables.layouts import difference_grid, notes, score_grid
from tests.studies.synthetic_study import finish, plausible_study, rte, write_sensitivities, write_study

METHODS = ("adamax", "pats", "pats_magnitude_variance")
NASTY = "</td><script>alert('x')</script> & \"loss\" \x1b[31mnan\x1b[0m \ud800"


class Page(HTMLParser):
    """A page's elements and text; asserts that every element is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        assert len(attrs) == len(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self.open  # HTML's own elements cannot close themselves
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    def table(self, *heads: str) -> list[dict[str, str]]:
        """The rows of the first table with these columns."""
        found = next(table for table in self.tables if set(heads) <= set(table[0]))
        return [dict(zip(found[0], row, strict=True)) for row in found[1:]]


def report(study: Study, *flags: str) -> Page:
    """Make a study's report in its folder and read it."""
    assert main([str(study.folder), *flags]) == 0
    return Page((study.folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two tasks and all methods, one λ besides; a collapsed, a failed, a cut and a waiting run; read only."""
    folder = tmp_path_factory.mktemp("report") / "my study"
    made = plausible_study(folder, ("rte", "mrpc"), METHODS, seeds=3, varied=((), (("pats_lambda", "5e-07"),)))
    cut, waiting = rte("pats", 8), rte("pats", 9)
    common = {"batch_size": 32, "data_dir": "features"}
    settings = {
        (f"minilm/{task}", method): {**common, "train_datasets": task, "learning_rate": rate}
        for task in ("rte", "mrpc")
        for method, rate in (("adamax", 1e-4), ("pats", 3e-4))
    }
    study = Study(folder, (*made.runs, cut, waiting), {"epochs": "10"}, settings)
    study.save()
    study.run_folder(cut).mkdir(parents=True)
    failed = rte("pats_magnitude_variance", 2)
    study.note_attempt(failed, attempts=3, exit_code=1, message=f"stopped: first\n{NASTY}")
    study.log_file(failed).write_text("all of it", encoding="utf-8")
    return study


@pytest.fixture(scope="module")
def page(study: Study) -> Page:
    return report(study)


@pytest.fixture(scope="module")
def other(study: Study) -> Path:
    """The same study in a page elsewhere, the best epoch first and against another baseline."""
    path = study.folder.parent / "docs" / "page.html"
    assert main([str(study.folder), "--which", "best", "--baseline", "pats", "--output", str(path)]) == 0
    return path


def test_it_stands_alone(study: Study, page: Page) -> None:
    text = (study.folder / "report.html").read_text(encoding="utf-8")
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert not re.search(r"https?:|//\w|@import|url\((?!#)|<script|<link|<img", text)
    assert not [attributes for _, attributes in page.elements if attributes.keys() & {"src", "srcset", "onload"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert "prefers-color-scheme: dark" in text and "@media print" in text


def test_ids_are_unique_and_all_references_lead_somewhere(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = set()
    for tag, attributes in page.elements:
        wanted |= {attributes["aria-labelledby"]} if "aria-labelledby" in attributes else set()
        wanted |= {attributes["href"][1:]} if tag in ("a", "use") and attributes["href"].startswith("#") else set()
        wanted |= set(re.findall(r"url\(#(.*?)\)", attributes.get("clip-path") or ""))
    assert wanted and wanted <= set(ids)


def test_links_lead_to_the_studys_files(study: Study, page: Page, other: Path) -> None:
    def targets(links: Page, start: Path) -> set[Path]:
        hrefs = [a["href"] for a in links.all("a") if not a["href"].startswith("#")]
        assert not [href for href in hrefs if href.startswith("/")]
        return {(start / unquote(href)).resolve() for href in hrefs}

    expected = {study.folder / "study.yml", study.log_file(rte("pats_magnitude_variance", 2))}
    for outcome in study.outcomes():
        files = [outcome.folder, *(outcome.folder / name for name in ("metrics.jsonl", "config.yaml"))]
        expected |= {path for path in files if path.exists()}
    assert targets(page, study.folder) == {path.resolve() for path in expected}
    assert targets(Page(other.read_text(encoding="utf-8")), other.parent) == targets(page, study.folder)


def test_runs_on_another_disk_are_linked_through_the_study(tmp_path: Path) -> None:
    study = plausible_study(tmp_path / "study", methods=("pats",), seeds=1, sensitivities=False)
    (study.folder / "runs").rename(tmp_path / "disk")
    (study.folder / "runs").symlink_to(tmp_path / "disk")
    assert {"href": "runs/minilm/rte/pats/seed_1/metrics.jsonl"} in report(study).all("a")


def test_the_commands_measure_as_the_study_did(tmp_path: Path) -> None:
    study = plausible_study(tmp_path, methods=("pats",), seeds=1, sensitivities=False)
    assert "studies.sensitivity --study again\n" in report(study).text
    run = rte("pats", 1)
    write_sensitivities(study.run_folder(run), run, which="last", max_rows=64)
    assert "--study again --which last --batch_size 32 --max_rows 64\n" in report(study).text


@pytest.mark.parametrize(("order", "baseline"), [(["last", "best"], None), (["best", "last"], "pats")], ids=str)
def test_numbers_are_the_tables(order: list[str], baseline: str | None, study: Study, page: Page, other: Path) -> None:
    text = (other if baseline else study.folder / "report.html").read_text(encoding="utf-8")
    expected = []
    for table in study_tables(study, order, baseline, None, "permutation"):
        expected += [[header, *rows] for header, rows, _ in (score_grid(table), difference_grid(table))]
        assert all(str(escaped(note)) in text for note in notes(table))
    shown = Page(text).tables[: len(expected)]
    assert shown == expected and len(expected) == 8
    openly, folded = text.split("<details>")
    for epoch, part in zip(order, (openly, folded), strict=True):
        assert f"<span>minilm, {epoch} epoch</span>" in part
    assert f"<span>minilm, {order[1]} epoch</span>" not in openly


def test_what_a_run_said_is_text(page: Page) -> None:
    said = {(row["recipe"], row["method"], row["seed"]): row["why"] for row in page.table("why")}
    message = "stopped: first\n" + NASTY.replace("\x1b", "\ufffd").replace("\ud800", "\ufffd")
    assert said["minilm/rte", "pats_magnitude_variance", "2"] == message
    assert not page.all("script")


def test_every_run_is_there_and_those_not_simply_done_twice(study: Study, page: Page) -> None:
    odd = {(row["recipe"], row["method"], row["seed"]): row["state"] for row in page.table("why")}
    assert odd["minilm/rte", "pats", "8"] == "cut" and odd["minilm/rte", "pats", "9"] == "waiting"
    assert odd["minilm/mrpc", "pats_magnitude_variance", "3"] == "collapsed" and len(odd) == 2 + 2 * 4
    rows = {(row["recipe"], row["method"], int(row["seed"])): row for row in page.table("attempts", "last")}
    assert set(rows) == {(run.recipe, run.label, run.seed) for run in study.runs}
    one = study.outcome(rte("pats", 1))
    assert [rows["minilm/rte", "pats", 1][which] for which in ("last", "best")] == [
        f"{one.score('rte', which):.2f}" for which in ("last", "best")
    ]
    assert f"{len(rows)} runs: {len(rows) - 6} done (4 of them collapsed), 4 failed, 1 cut, 1 waiting." in page.text


def test_settings_are_sorted_by_what_shares_them(page: Page) -> None:
    assert page.table("flag") == [
        {"flag": "batch_size", "value": "32"},
        {"flag": "data_dir", "value": "features"},
    ]
    assert [row["train_datasets"] for row in page.table("train_datasets")] == ["rte", "mrpc"]
    rates = {(row["recipe"], row["method"]): row["learning_rate"] for row in page.table("learning_rate")}
    assert rates["minilm/mrpc", "pats"] == "0.0003" and len(rates) == 4
    assert "(--set): epochs=10." in page.text and "names say: pats_lambda=5e-07." in page.text


def _hex(colour: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour)


def test_figures_are_drawings_with_captions_and_missing_ones_say_what_they_need(page: Page) -> None:
    drawings = page.all("svg")
    captions = {a["id"] for a in page.all("figcaption")}
    assert {a["aria-labelledby"] for a in drawings} == captions and all(a["role"] == "img" for a in drawings)
    assert captions >= {f"caption-{name}_minilm" for name in ("sensitivity", "learning_curves", "seeds", "lambda")}
    assert "vary train_fraction=0.2" in page.text
    styles = " ".join(attributes.get("style") or "" for _, attributes in page.elements)
    of_others = {_hex(known.look.colour) for name, known in methods.METHODS.items() if name not in METHODS}
    for drawn, own in COLOURS.items():  # a colour that the drawing does not use any more would not be found
        assert (own in styles or drawn in of_others) and drawn not in styles, drawn


@pytest.mark.parametrize(
    ("drawn", "shown"),
    [
        ("#0072b2", "var(--blue)"),
        ("#80b9d9", "color-mix(in srgb, var(--blue) 50%, var(--paper))"),
        ("#8c8c8c", "color-mix(in srgb, currentColor 45%, var(--paper))"),
        ("#009e73", "#009e73"),  # light enough on dark paper
        ("#80cfb9", "color-mix(in srgb, #009e73 50%, var(--paper))"),
        ("#e6e6e6", "var(--grid)"),
    ],
)
def test_pale_colours_go_towards_the_page(drawn: str, shown: str) -> None:
    assert page_colour(drawn) == shown


def test_drawings_on_one_page_keep_their_ids_apart() -> None:
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="237.6pt" '
        'height="9pt"><metadata/><defs><style>*{fill: red}</style><path id="m1" style="stroke: #000000"/></defs>'
        '<g id="text_1" clip-path="url(#p2)"><use xlink:href="#m1"/><text>1 &lt; 2</text></g>'
        '<clipPath id="p2"/></svg>'
    )
    assert inline_svg(svg, "one", "caption") == (
        '<svg role="img" aria-labelledby="caption" class="narrow"><defs><path id="one-m1" '
        'style="stroke: currentColor" /></defs><g clip-path="url(#one-p2)"><use href="#one-m1" />'
        '<text>1 &lt; 2</text></g><clipPath id="one-p2" /></svg>'
    )
    assert ElementTree.fromstring(inline_svg(svg.replace("237.6", "496.8"), "a", "b")).get("class") == "wide"


def test_equal_studies_give_equal_pages(study: Study, page: Page) -> None:
    before = (study.folder / "report.html").read_bytes()
    code = "import sys; from studies.report import main; sys.exit(main(sys.argv[1:]))"
    subprocess.run([sys.executable, "-c", code, str(study.folder)], check=True, stdout=subprocess.DEVNULL)
    assert (study.folder / "report.html").read_bytes() == before


def test_time_and_cost(tmp_path: Path) -> None:
    study = plausible_study(tmp_path / "study", methods=("adamax", "pats"), seeds=2, sensitivities=False)
    for outcome in study.outcomes():
        speed = 120.0 if outcome.run.method == "adamax" else 100.0
        about = {"samples_per_second": speed, "wall_seconds": 3600.0 + outcome.run.seed, "processes": 1}
        if outcome.run.path == rte("pats", 2).path:  # another device: its speed says nothing about the method's cost
            about |= {"device": "fast", "processes": 2, "samples_per_second": 900.0, "versions": {"torch": "2.14"}}
        (outcome.folder / "results.json").write_text(json.dumps(dict(outcome.results) | about), encoding="utf-8")
    page = report(study)
    rows = {(row["method"], row["on"]): row for row in page.table("cost")}
    assert rows["adamax", "cpu"] | {"recipe": ""} == {
        "recipe": "",
        "method": "adamax",
        "on": "cpu",
        "runs": "2",
        "seconds a run": "3601.5",
        "in all": "2 h 00 min",
        "samples/s": "120.0",
        "cost": "1.00",
    }
    assert rows["pats", "cpu"]["cost"] == "1.20" and rows["pats", "fast, 2 processes"]["cost"] == "-"
    assert "4 h 00 min of finished runs" in page.text and "Energynot measured" in page.text
    assert "cpu (3 runs), fast, 2 processes (1 run)" in page.text and "2.13.0 (3 runs), 2.14 (1 run)" in page.text


def gains(folder: Path, tasks: tuple[str, ...] = ("rte",), seeds: int = 8, **points: float) -> str:
    """The sentence about a study whose methods differ from adamax by so many points at all seeds."""
    runs = [Run(f"minilm/{task}", m, (), s) for task in tasks for m in ("adamax", *points) for s in range(seeds)]
    study = write_study(folder, runs)
    for run in runs:
        noise = 0.5 * (-1) ** run.seed if points.get(run.method) == 0 else 0.0
        finish(study, run, {run.task: [60 + run.seed + points.get(run.method, 0.0) + noise]})
    (table,) = study_tables(study, ["last"], None, None, "permutation")
    return finding(table)


def test_sentences_say_what_can_be_told_apart(tmp_path: Path) -> None:
    assert gains(tmp_path / "a", pats=1.5, sage=-2, noisytune=0) == (
        "pats is better than adamax on rte (+1.50 points); sage is worse than adamax on rte (-2.00 points); "
        "noisytune cannot be told apart from adamax on rte."
    )
    assert gains(tmp_path / "b", seeds=2, pats=9, sage=9) == (
        "pats and sage have too few seeds to be told apart from adamax on rte."
    )
    assert gains(tmp_path / "c", ("rte", "cola"), pats=0) == "pats cannot be told apart from adamax on any task."
    assert gains(tmp_path / "d", ("rte", "cola"), pats=2) == (
        "pats is better than adamax on rte (+2.00 points), cola (+2.00 points) and all tasks taken together "
        "(+2.00 points)."
    )
    assert gains(tmp_path / "e") == "nothing is compared, as there are no runs of other methods."


def test_without_runs_or_with_none_done_the_page_says_so(tmp_path: Path) -> None:
    assert "no runs yet" in report(write_study(tmp_path / "empty", [])).text
    page = report(write_study(tmp_path / "waiting", [rte("adamax", 1), rte("pats", 1)]))
    assert "2 runs: 2 waiting." in page.text and "minilm, last epoch: no run is done yet." in page.text
    assert [row["why"] for row in page.table("why")] == ["not started"] * 2
    assert "No run is done yet." in page.text and not page.all("svg")


@pytest.mark.parametrize(
    ("flags", "message"),
    [(["--baseline", "sgd"], "--baseline sgd: not in this study"), (["--which", "first"], "invalid choice: 'first'")],
    ids=lambda part: part[0].strip("-"),
)
def test_wrong_flags_write_nothing(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path, [rte("adamax", 1)])
    assert main([str(study.folder), *flags]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "report.html").exists()


def test_no_study_and_damaged_runs_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2 and "study.yml: no such file" in capsys.readouterr().err
    study = plausible_study(tmp_path / "study", methods=("pats",), seeds=1)
    (study.run_folder(rte("pats", 1)) / "results.json").write_text("{}", encoding="utf-8")
    assert main([str(study.folder)]) == 2 and "seed_1/results.json: cannot be read" in capsys.readouterr().err


def test_elements_escape_whatever_is_not_markup() -> None:
    bold = element("b", "1 < 2", title='"quoted"')
    assert element("p", bold, " & more") == '<p><b title="&quot;quoted&quot;">1 &lt; 2</b> &amp; more</p>'
    assert element("p", bold + bold).startswith("<p>&lt;b ")  # what was put together as text is text
