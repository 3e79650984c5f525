"""What of a study's settings a reader of its tables must know: the paper's scores may rest on others, rates differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from data_utils.errors import InputError
from studies.methods import OWN_FLAGS
from studies.recipes import METHOD_FLAGS, MTL, RATE, Recipes
from studies.study import STUDY_FILE, Outcome, Study
from studies.tables.comparison import PaperScores, StudyTable


def comparable(paper: PaperScores, study: Study) -> PaperScores:
    """The paper's scores of the encoders that the study has under their own name; see `remarks` for the others."""
    others = {encoder for encoder, _, _ in _other_checkpoints(study)}
    return {encoder: rows for encoder, rows in paper.items() if encoder not in others}


def _other_checkpoints(study: Study) -> set[tuple[str, str, str]]:
    """Encoder of the recipes, the weights that the study has for it, and those of the recipes: where they differ."""
    found = set()
    of_recipes: dict[str, str] = {}
    for (recipe, _), settings in study.settings.items():
        encoder = recipe.split("/")[0]
        if encoder not in of_recipes:
            of_recipes[encoder] = _checkpoint_of(encoder, study)
        own = of_recipes[encoder]
        ours = str(settings.get("init_checkpoint", own))
        if own and PurePath(ours).name != PurePath(own).name:  # a download of the same weights has their name
            found.add((encoder, ours, own))
    return found


def _checkpoint_of(encoder: str, study: Study) -> str:
    """The weights that a suite's recipes have for an encoder; "" where there is none, or none that can be read.

    Runs that are done have their tables, whatever has become of the recipes since.
    """
    try:
        return Recipes.of(study.suite).checkpoint_of(encoder) or ""
    except InputError:
        return ""


def remarks(study: Study, table: StudyTable, paper: PaperScores, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Notes for a table, a paragraph each; `paper`: all of its scores, `outcomes`: of all the study's runs."""
    found = [
        f"No scores of the paper beside these: {encoder} is {ours} here and {own} there."
        for encoder, ours, own in sorted(_other_checkpoints(study))
        if encoder == table.group.encoder and encoder in paper
    ]
    if study.changes:
        found.append(study.changes + " So the paper's scores are of other settings." * bool(table.paper))
    found += _other_rows(outcomes, table)
    for flag, by_method in _apart(study, table).items():
        where = "; ".join(f"{method} on {', '.join(tasks)}" for method, tasks in by_method.items())
        if flag == RATE:
            found.append(
                f"Learning rates are not the baseline's for {where}: differences there are of method and rate "
                f"together. {STUDY_FILE} has the rates."
            )
        else:
            found.append(f"{flag} is not the baseline's for {where}: differences there are not of the method alone.")
    return tuple(found)


def _other_rows(outcomes: Sequence[Outcome], table: StudyTable) -> list[str]:
    """That runs of an encoder had different files of features, as where these were made anew in between."""
    runs_by_sum: dict[str, dict[str, list[str]]] = {}
    for outcome in outcomes:
        features = outcome.results.get("features")  # none in runs of before 28 November 2026
        if outcome.run.encoder == table.group.encoder and isinstance(features, Mapping):
            for stem, sha256 in features.items():
                run = f"{outcome.run.recipe} {outcome.run.label} seed {outcome.run.seed}"
                runs_by_sum.setdefault(stem, {}).setdefault(str(sha256), []).append(run)
    return [
        f"Runs had different rows in {stem}, so their scores cannot be compared: "
        + "; ".join(f"{runs[0]}{f' and {len(runs) - 1} more' * (len(runs) > 1)}" for runs in by_sum.values())
        + ". Run all of them on the same features, in a study of its own."
        for stem, by_sum in sorted(runs_by_sum.items())
        if len(by_sum) > 1
    ]


def _apart(study: Study, table: StudyTable) -> Mapping[str, dict[str, list[str]]]:
    """Tasks on which a setting that is not a method's own differs from its baseline's, by flag and method's label."""
    found: dict[str, dict[str, list[str]]] = {}
    settings = {
        (run.label, run.task): {**study.settings.get((run.recipe, run.method), {}), **dict(run.varied)}
        for run in study.runs
        if run.encoder == table.group.encoder
    }
    for label, baseline in table.baselines.items():
        for task in [MTL] if table.group.multitask else table.tasks:
            ours, theirs = settings.get((label, task)), settings.get((baseline, task))
            if ours is None or theirs is None:
                continue
            for flag in sorted(ours.keys() | theirs.keys()):
                if not _of_method(flag) and _plain(ours.get(flag)) != _plain(theirs.get(flag)):
                    found.setdefault(flag, {}).setdefault(label, []).append(task)
    return dict(sorted(found.items()))


def _of_method(flag: str) -> bool:
    return flag.startswith(tuple(OWN_FLAGS)) or flag in (*METHOD_FLAGS, "optim_options")


def _plain(value: Any) -> str:
    """A value as text that is the same however it was written: 1e-4 and 0.0001."""
    try:
        return repr(float(value))
    except (TypeError, ValueError):
        return str(value).lower()
