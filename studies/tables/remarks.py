"""What of a study's settings a reader of its tables must know: the paper's scores may rest on others, rates differ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from studies.recipes import MTL, Recipes
from studies.study import STUDY_FILE, Study
from studies.tables.comparison import PaperScores, StudyTable

RATE = "learning_rate"


def comparable(paper: PaperScores, study: Study) -> PaperScores:
    """The paper's scores of the encoders that the study has under their own name; see `remarks` for the others."""
    others = {encoder for encoder, _, _ in _other_checkpoints(study)}
    return {encoder: rows for encoder, rows in paper.items() if encoder not in others}


def _other_checkpoints(study: Study) -> set[tuple[str, str, str]]:
    """Encoder of the recipes, the weights that the study has for it, and those of the recipes: where they differ."""
    found = set()
    recipes = Recipes.of(study.suite)
    for (recipe, method), settings in study.settings.items():
        encoder = recipe.split("/")[0]
        if recipe in recipes.names() and method in recipes.methods_of(recipe):
            own = str(recipes.load(recipe, method).settings["init_checkpoint"])
            ours = str(settings.get("init_checkpoint", own))
            if PurePath(ours).name != PurePath(own).name:  # a download of the same weights has their name
                found.add((encoder, ours, own))
    return found


def remarks(study: Study, table: StudyTable, paper: PaperScores) -> tuple[str, ...]:
    """Notes for a table, a paragraph each; `paper`: all of its scores."""
    found = [
        f"No scores of the paper beside these: {encoder} is {ours} here and {own} there."
        for encoder, ours, own in sorted(_other_checkpoints(study))
        if encoder == table.group.encoder and encoder in paper
    ]
    if study.changes:
        found.append(study.changes + " So the paper's scores are of other settings." * bool(table.paper))
    if apart := [f"{method} on {', '.join(tasks)}" for method, tasks in _other_rates(study, table).items()]:
        found.append(
            f"Learning rates are not the baseline's for {'; '.join(apart)}: differences there are of method and rate "
            f"together. {STUDY_FILE} has the rates."
        )
    return tuple(found)


def _other_rates(study: Study, table: StudyTable) -> Mapping[str, list[str]]:
    """Tasks on which a method's learning rate is not its baseline's, by the method's label."""
    found: dict[str, list[str]] = {}
    rates = {
        (run.label, run.task): float({**study.settings[run.recipe, run.method], **dict(run.varied)}[RATE])
        for run in study.runs
        if run.encoder == table.group.encoder and RATE in study.settings.get((run.recipe, run.method), {})
    }
    for label, baseline in table.baselines.items():
        for task in [MTL] if table.group.multitask else table.tasks:
            ours, theirs = rates.get((label, task)), rates.get((baseline, task))
            if None not in (ours, theirs) and ours != theirs:
                found.setdefault(label, []).append(task)
    return found
