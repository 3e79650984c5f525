"""What a report says about runs: where each stands and where its files are, what they took, and their settings."""

from __future__ import annotations

import math
import os
import shlex
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from data_utils.cli import duration
from studies.pages.page import Html, element, escaped, joined, table
from studies.recipes import MTL
from studies.sensitivity_record import Sensitivities
from studies.study import STUDY_FILE, Outcome, Settings, Status, Study
from studies.tables.comparison import StudyTable
from studies.tables.layouts import NOTHING
from studies.throughput import throughput

WORDS = ("recipe", "method", "seed", "state")
SWEEP = "python -m studies.sweep --output_dir"
CUT = "has not come to its end: running now, or cut off; the sweep goes on with it"
COLLAPSED = "gave all dev rows the same prediction at the end, on "
TIME_NOTE = (
    "Wall time is that of finished runs: updates, evaluations and checkpoints. Samples a second are training rows in "
    "updates alone. Cost is the baseline's samples a second over the method's, on the same recipe, device and number "
    "of processes; runs that share a device slow each other down, so that it is exact only for runs on their own."
)


def state(outcome: Outcome) -> str:
    """Where a run stands, in a word."""
    return "collapsed" if outcome.collapsed else outcome.status.value


def counts(outcomes: Iterable[Outcome]) -> str:
    """How many runs there are, by where they stand."""
    found = Counter(outcome.status for outcome in outcomes)
    collapsed = sum(bool(outcome.collapsed) for outcome in outcomes)
    parts = [f"{found[status]} {status.value}" for status in reversed(Status) if found[status]]
    if collapsed:
        parts[0] += f" ({collapsed} of them collapsed)"  # what is done stands first
    total = sum(found.values())
    return f"{total} run{'s' * (total != 1)}: {', '.join(parts)}."


def odd_runs(study: Study, outcomes: Sequence[Outcome], page: Path) -> list[Html]:
    """All runs that are not simply done, with what they said."""
    rows = [
        [*_words(o), element("div", _why(o), class_="message"), _links(study, o, page)]
        for o in outcomes
        if o.collapsed or o.status is not Status.DONE
    ]
    if not rows:
        return [element("p", "None: all are done, and none of them collapsed.")]
    return [table("Failed, cut, waiting and collapsed runs", [*WORDS, "why", "files"], rows, len(WORDS) + 2)]


def _why(outcome: Outcome) -> str:
    if outcome.collapsed:
        return COLLAPSED + ", ".join(outcome.collapsed)
    if outcome.status is Status.FAILED:
        return outcome.message.strip() or "no message"
    return CUT if outcome.status is Status.CUT else "not started"


def all_runs(study: Study, outcomes: Sequence[Outcome], page: Path) -> list[Html]:
    """Every run with its scores, its time and links to its files."""
    header = [*WORDS, "files", "attempts", "last", "best", "seconds", "samples/s"]
    rows = []
    for o in outcomes:
        numbers = [_score(o, "last"), _score(o, "best"), _number(o, "wall_seconds"), _number(o, "samples_per_second")]
        rows.append([*_words(o), _links(study, o, page), str(o.attempts), *numbers])
    several = " (of several tasks, their mean)" * any(o.run.task == MTL for o in outcomes)
    caption = f"All runs: dev scores in points after the last epoch and at the best one{several}"
    return [table(caption, header, rows, len(WORDS) + 1)]


def _words(outcome: Outcome) -> list[str]:
    """The columns that both tables of runs begin with, `WORDS`."""
    return [outcome.run.recipe, outcome.run.label, str(outcome.run.seed), state(outcome)]


def _score(outcome: Outcome, which: str) -> str:
    tasks = outcome.results.get("tasks", {})
    return f"{statistics.fmean(outcome.score(task, which) for task in tasks):.2f}" if tasks else NOTHING


def _number(outcome: Outcome, key: str) -> str:
    value = measured(outcome, key)
    return NOTHING if value is None else f"{value:.1f}"


def measured(outcome: Outcome, key: str) -> float | None:
    """A number of a run's results; None if it is not among them."""
    value = outcome.results.get(key)
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _links(study: Study, outcome: Outcome, page: Path) -> Html:
    """Links to those of a run's files that there are."""
    files = {"folder": outcome.folder, "metrics": outcome.folder / "metrics.jsonl"}
    files |= {"config": outcome.folder / "config.yaml", "log": study.log_file(outcome.run)}
    there = [link(word, path, study, page) for word, path in files.items() if path.exists()]
    return joined(there, " ") if there else escaped(NOTHING)


def link(word: str, target: Path, study: Study, page: Path) -> Html:
    """A link from the page to a file of the study, relative, so that a study can be moved with its report.

    Links within the study are left as they are: a `runs/` that lies on another disk is found through the study.
    """
    relative = os.path.relpath(study.folder.resolve() / target.relative_to(study.folder), page.parent.resolve())
    return element("a", word, href=quote(Path(relative).as_posix() + "/" * target.is_dir(), safe="/@=+,"))


def times(outcomes: Sequence[Outcome], tables: Sequence[StudyTable]) -> list[Html]:
    """Time, throughput and its price by method, hardware and versions."""
    done = [outcome for outcome in outcomes if outcome.status is Status.DONE]
    if not done:
        return [element("p", "No run is done yet.")]
    groups: dict[tuple[str, str, str], list[Outcome]] = {}
    for o in done:
        groups.setdefault((o.run.recipe, o.run.label, hardware(o)), []).append(o)
    baselines = {
        (t.group.encoder, t.group.multitask, label): base for t in tables for label, base in t.baselines.items()
    }
    rows = []
    for (recipe, label, device), members in groups.items():
        run = members[0].run
        theirs = groups.get((recipe, baselines[run.encoder, run.task == MTL, label], device), [])
        speed, base = mean_speed(members), mean_speed(theirs)
        cost = f"{base / speed:.2f}" if speed and base else NOTHING
        seconds = [value for o in members if (value := measured(o, "wall_seconds")) is not None]
        wall = [f"{statistics.fmean(seconds):.1f}", duration(sum(seconds))] if seconds else [NOTHING, NOTHING]
        rows.append([recipe, label, device, str(len(members)), *wall, f"{speed:.1f}" if speed else NOTHING, cost])
    header = ["recipe", "method", "on", "runs", "seconds a run", "in all", "samples/s", "cost"]
    total = sum(measured(o, "wall_seconds") or 0.0 for o in done)
    facts = {
        "Hardware": _tally(map(hardware, done)),
        "Time in all": f"{duration(total)} of finished runs, one after the other; what other runs took is not recorded",
        **({"Throughput": pace.words()} if (pace := throughput(done)) else {}),
        "Energy": "not measured",
        **{f"{name} version": _tally(versions) for name, versions in _versions(done).items()},
    }
    return [
        element("dl", *(joined([element("dt", name), element("dd", fact)]) for name, fact in facts.items())),
        table("Time and cost by method", header, rows, 3),
        element("p", TIME_NOTE, class_="notes"),
    ]


def hardware(outcome: Outcome) -> str:
    """What a run was made on."""
    device, processes = str(outcome.results.get("device", "unknown")), outcome.results.get("processes", 1)
    return device if processes == 1 else f"{device}, {processes} processes"


def mean_speed(outcomes: Iterable[Outcome]) -> float | None:
    """Samples a second, mean over runs; None where no run says."""
    known = [value for outcome in outcomes if (value := measured(outcome, "samples_per_second")) is not None]
    return statistics.fmean(known) if known else None


def _versions(outcomes: Iterable[Outcome]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for outcome in outcomes:
        versions = outcome.results.get("versions")
        for name, version in versions.items() if isinstance(versions, Mapping) else ():
            found.setdefault(str(name), []).append(str(version))
    return dict(sorted(found.items()))


def _tally(words: Iterable[str]) -> str:
    """Each word once; with how many runs it is of, where there are several."""
    found = Counter(words)
    return (
        next(iter(found))
        if len(found) == 1
        else ", ".join(f"{word} ({n} run{'s' * (n > 1)})" for word, n in found.items())
    )


def settings(study: Study, page: Path) -> list[Html]:
    """Flags of train.py: those that all runs share, those that a recipe's methods share, and those of methods."""
    where = link(STUDY_FILE, study.folder / STUDY_FILE, study, page)
    if not study.settings:
        return [element("p", where, " does not say with what settings.")]
    of_all, of_recipes, of_methods = _flags_by_scope(study.settings)
    first = next(iter(study.settings.values()))
    recipes = {recipe: values for (recipe, _), values in study.settings.items()}
    by_recipe = [[recipe, *(_value(values, flag) for flag in of_recipes)] for recipe, values in recipes.items()]
    by_method = [[*pair, *(_value(values, flag) for flag in of_methods)] for pair, values in study.settings.items()]
    overrides = ", ".join(f"{flag}={value}" for flag, value in study.overrides.items())
    varied = dict.fromkeys(f"{flag}={value}" for run in study.runs for flag, value in run.varied)
    return [
        element(
            "p", "Flags of train.py, as ", where, " has them; each run's config.yaml holds all, defaults included."
        ),
        element("p", "In place of the recipes' own values (--set): ", overrides or "nothing", "."),
        element("p", "Varied (--vary), as methods' names say: ", ", ".join(varied) or "nothing", "."),
        table("The same in all runs", ["flag", "value"], [[flag, _value(first, flag)] for flag in of_all], 2),
        *[table("The same for all methods of a recipe", ["recipe", *of_recipes], by_recipe, 1 + len(of_recipes))]
        * bool(of_recipes),
        table("By method", ["recipe", "method", *of_methods], by_method, 2 + len(of_methods)),
    ]


def _flags_by_scope(known: Mapping[tuple[str, str], Settings]) -> tuple[list[str], list[str], list[str]]:
    """Flags with one value everywhere; those with one value in each recipe; all others."""
    of_all: list[str] = []
    of_recipes: list[str] = []
    of_methods: list[str] = []
    for flag in dict.fromkeys(flag for values in known.values() for flag in values):
        found = {(recipe, _value(values, flag)) for (recipe, _), values in known.items()}
        if len({value for _, value in found}) == 1:
            of_all.append(flag)
        else:
            alike = len(found) == len({recipe for recipe, _ in found})
            (of_recipes if alike else of_methods).append(flag)
    return of_all, of_recipes, of_methods


def _value(values: Settings, flag: str) -> str:
    return str(values[flag]) if flag in values else NOTHING


def commands(study: Study, outcomes: Iterable[Outcome], which: str, baseline: str | None, page: Path) -> list[Html]:
    """How to make all of it again, and how to go on; InputError for damaged sensitivities."""
    against = f" --baseline {shlex.quote(baseline)}" if baseline else ""
    measured_ones = (record for o in outcomes if (record := Sensitivities.load(o.folder)) is not None)
    measure = " ".join(next((record.flags() for record in measured_ones), []))
    lines = [
        f"mkdir again && cp {shlex.quote(study.folder.resolve().name)}/{STUDY_FILE} again/",
        f"{SWEEP} again",
        f"python -m studies.sensitivity --study again {measure}".rstrip(),
        f"python -m studies.table again{against}",
        "python -m studies.figures again",
        f"python -m studies.report again --which {which}{against}",
    ]
    where = link(STUDY_FILE, study.folder / STUDY_FILE, study, page)
    go_on = element("code", f"{SWEEP} {shlex.quote(study.folder.resolve().name)}")
    return [
        element("p", where, " holds every run with its settings: a sweep over a copy of it repeats them all."),
        element("p", "It needs the features that data_dir names, which prepro_std.py makes."),
        element("pre", element("code", "\n".join(lines)), tabindex="0"),
        element("p", "To go on with this study: ", go_on, "."),
    ]
