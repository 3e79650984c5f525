"""What a sweep is asked for, as runs of a study: recipes × methods × varied flags × seeds, and the settings of each."""

from __future__ import annotations

import itertools
import math
import os
import re
import subprocess
import sys
from collections.abc import Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from data_utils.errors import InputError, raise_all
from data_utils.strict import shown
from studies.methods import OWN_FLAGS
from studies.own_data import OwnData
from studies.recipes import ALL, METHOD_FLAGS, NOT_IN_SETTINGS, Recipes
from studies.study import STUDY_FILE, Run, Settings, Study
from studies.suite import DEFAULT, ROOT, Suite, in_root
from studies.sweeps.features import features_folder, make_features

TRAIN = ROOT / "train.py"
NOTE = "note     "
"""How a note begins in train.py's plans."""
NOT_TO_CHANGE = (NOT_IN_SETTINGS | METHOD_FLAGS) - {"task_def"}
"""Flags of train.py that the sweep sets itself, or that make a method or a recipe what it is."""
OF_ENCODER = ("init_checkpoint", "data_dir")


@dataclass(frozen=True)
class Request:
    """What to add to a study.

    Attributes:
        recipes: `<encoder>/<task>` each.
        methods: of the recipes; `ALL` alone for all that they have.
        seeds: one run each.
        varied: values by flag; a method is run with every combination of those that it has a use for.
        overrides: value by flag, for all runs in place of the recipe's.
        data_dir: features of the recipes' encoder, or canonical rows; None: what the study has for it.
        init_checkpoint: hub name or folder; None: what the study, else the recipe, has.
        suite: where the recipes are; None: the study's, of a new study `experiments/glue`.
        own: recipes that no suite has; `suite` is its then.
    """

    recipes: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    varied: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    overrides: Mapping[str, str] = field(default_factory=dict)
    data_dir: str | None = None
    init_checkpoint: str | None = None
    suite: Suite | None = None
    own: OwnData | None = None

    def source(self, study: Study) -> Recipes | OwnData:
        """What knows the recipes."""
        return self.own or Recipes.of(self.suite_for(study))

    def methods_of(self, recipe: str, study: Study) -> tuple[str, ...]:
        """The names of a recipe's methods, in its order for `ALL`."""
        return self.source(study).methods_of(recipe) if self.methods == (ALL,) else self.methods

    def suite_for(self, study: Study) -> Suite:
        """The suite of the runs to add; InputError if the study has runs of another one."""
        if study.runs and self.suite not in (None, study.suite):
            where = study.folder / STUDY_FILE
            flag = "suite" if self.own is None else "task_def"
            raise InputError(f"--{flag}: {where} has {study.suite.name}; choose another --output_dir")
        return study.suite if self.suite is None else self.suite

    def add_to(self, study: Study) -> Study:
        """The study with these runs and their settings; those that are there already stay as they are.

        Raises:
            InputError: an unknown recipe or method; settings that contradict the study's, whose runs could then not be
                compared; no features.
        """
        overrides = dict(_agreed(self.overrides, study) if study.runs else self.overrides)
        raise_all([f"--vary {flag}: is fixed by --set" for flag in self.varied if flag in overrides])
        study = replace(study, suite=self.suite_for(study))
        source = self.source(study)
        if isinstance(source, Recipes):
            source.check_names()
        methods = {recipe: self.methods_of(recipe, study) for recipe in self.recipes}
        pairs = [(recipe, method) for recipe in self.recipes for method in methods[recipe]]
        settings = {pair: self._settings(*pair, study, overrides) for pair in pairs}
        self._check_used(settings.values(), {} if study.runs else overrides)
        runs = [
            Run(recipe, method, varied, seed)
            for recipe, seed in itertools.product(self.recipes, self.seeds)  # so that methods can soon be compared
            for method in methods[recipe]
            for varied in combinations(self.varied, settings[recipe, method])
        ]
        extended = replace(study, overrides=overrides)
        return extended.with_settings(settings).with_runs(runs)

    def _check_used(self, settings: Iterable[Settings], overrides: Iterable[str]) -> None:
        """Raise `InputError` for flags to vary, or to set from now on, that none of the methods has a use for."""
        asked = {**dict.fromkeys(self.varied, "vary"), **dict.fromkeys(overrides, "set")}
        unused = [flag for flag in asked if not any(has_use_for(flag, one) for one in settings)]
        methods = ", ".join(self.methods)
        raise_all([f"--{asked[flag]} {flag}: would have no effect with the methods {methods}" for flag in unused])

    def _settings(self, name: str, method: str, study: Study, overrides: Mapping[str, str]) -> Settings:
        recipe = self.source(study).load(name, method)
        encoder = name.split("/")[0]
        own = {flag: recipe.settings[flag] for flag in ("init_checkpoint", "train_datasets")}
        if self.own is not None:
            own["task_def"] = self.own.task_def
        elif study.suite.name != DEFAULT:  # whose task file is train.py's default
            own["task_def"] = study.suite.task_def()
        for flag in OF_ENCODER:
            given = in_root(getattr(self, flag))
            if given is not None and flag == "data_dir":
                given = features_folder(given, own)
            here = {one[flag] for (other, _), one in study.settings.items() if other.split("/")[0] == encoder}
            if given is not None and here - {given}:
                where = study.folder / STUDY_FILE
                raise InputError(f"--{flag} {given}: {where} has {', '.join(sorted(here))} for {encoder}")
            if known := [given] if given is not None else list(here):
                own[flag] = known[0]
        if "data_dir" not in own:
            raise InputError(f"--data_dir is required: the features for {encoder}, made by prepro_std.py")
        chosen = {flag: value for flag, value in overrides.items() if has_use_for(flag, recipe.settings)}
        return {**recipe.settings, **own, **chosen}


def _agreed(overrides: Mapping[str, str], study: Study) -> Mapping[str, str]:
    """A study's overrides; InputError if others are asked for."""
    where = study.folder / STUDY_FILE
    raise_all(
        [
            f"--set {flag}={value}: {where} has {study.overrides.get(flag, 'the value of the recipes')}; "
            "all runs of a study share it: leave it out, or choose another --output_dir"
            for flag, value in overrides.items()
            if study.overrides.get(flag) != value
        ]
    )
    return study.overrides


def has_use_for(flag: str, settings: Settings) -> bool:
    """Whether a method has a use for a flag: a flag of `OWN_FLAGS` is for its method alone."""
    kinds = {str(settings.get("optim")), str(settings.get("baseline"))}
    owner = next((method for own, method in OWN_FLAGS.items() if flag.startswith(own)), None)
    return owner is None or any(f"{kind}_".startswith(f"{owner}_") for kind in kinds)


def combinations(varied: Mapping[str, Sequence[str]], settings: Settings) -> list[tuple[tuple[str, str], ...]]:
    """All combinations of the values of those flags that a method has a use for; a single empty one without any."""
    usable = [[(flag, value) for value in varied[flag]] for flag in sorted(varied) if has_use_for(flag, settings)]
    return list(itertools.product(*usable))


def names(text: str, flag: str) -> tuple[str, ...]:
    """A comma-separated list without repeats; InputError for an empty part."""
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not all(found):
        raise InputError(f"--{flag}: expected names separated by commas, got {shown(text)}")
    return found


def positive(text: str, flag: str) -> float:
    """A number above 0; InputError for anything else."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise InputError(f"--{flag}: expected a number above 0, got {shown(text)}")
    return number


def seeds(text: str) -> tuple[int, ...]:
    """Seeds such as `1-5` or `1,3,7-9`; InputError for anything else."""
    found: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,9})(?:-([0-9]{1,9}))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not 0 <= last - first < 10_000:
            raise InputError(f"--seeds: expected seeds such as 1-5 or 1,3,7, got {shown(text)}")
        found |= dict.fromkeys(range(first, last + 1))
    return tuple(found)


def assignments(texts: Iterable[str], flag: str) -> dict[str, str]:
    """`NAME=VALUE` texts as value by name; InputError for anything else, and for flags that are not to be changed."""
    found: dict[str, str] = {}
    for text in texts:
        name, _, value = text.partition("=")
        name = name.strip().removeprefix("--")
        if not value.strip() or not re.fullmatch("[a-z][a-z0-9_]*", name):
            raise InputError(f"--{flag}: expected a flag of train.py and its value as NAME=VALUE, got {shown(text)}")
        if name in NOT_TO_CHANGE:
            raise InputError(f"--{flag} {name}: the sweep or its recipes set this themselves")
        if name in found:
            raise InputError(f"--{flag} {name}: stands twice")
        found[name] = normal(value.strip())
    return found


def variations(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """`NAME=VALUE,VALUE` texts as values by name; InputError as `assignments`, and for values no folder can have."""
    found = {name: names(text, f"vary {name}") for name, text in assignments(texts, "vary").items()}
    for name, values in found.items():
        if bad := [value for value in values if not re.fullmatch(r"[\w.+-]+", value)]:
            raise InputError(f"--vary {name}: {shown(bad[0])} cannot be part of a folder's name")
    return {name: tuple(dict.fromkeys(map(normal, values))) for name, values in found.items()}


def normal(text: str) -> str:
    """A number as it is always written, so that 1e-6 and 1.0e-06 are one run; other text as it is."""
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)


def check(study: Study, runs: Sequence[Run]) -> list[str]:
    """Have train.py look at runs that are to be added, before a typing error becomes part of the study.

    One run of each recipe is enough, and one of each method and its settings on each encoder: `--dry_run` loads data
    and encoder.

    Returns:
        The notes of their plans, each once, with the first run that has it: worth reading before a long study.

    Raises:
        InputError: train.py refuses one of them, or prepro_std.py the rows that features are made of.
    """
    make_features(study, runs)
    of_task = ("train_datasets", "learning_rate")
    one_each: dict[Hashable, Run] = {}
    for run in reversed(runs):  # the first of each counts, so that one run can be both
        one_each[run.recipe] = run
        settings = study.settings[run.recipe, run.method].items()
        apart = tuple((flag, str(value)) for flag, value in settings if flag not in of_task)
        one_each[run.encoder, run.label, apart] = run
    chosen = set(one_each.values())
    looked_at = [run for run in runs if run in chosen]
    with ThreadPoolExecutor(max_workers=max(1, (os.cpu_count() or 1) // 2)) as pool:
        answers = dict(zip(looked_at, pool.map(lambda run: _look(study, run), looked_at), strict=True))
    raise_all(list(dict.fromkeys(answer.refusal for answer in answers.values() if answer.refusal)))
    first_in: dict[str, Run] = {}
    for run, answer in answers.items():
        for note in answer.notes:
            first_in.setdefault(note, run)
    return [f"{note} (first seen in {run.recipe} {run.label})" for note, run in first_in.items()]


class _Answer(NamedTuple):
    """Why train.py would not start a run, empty if it would; and what it notes in its plan."""

    refusal: str
    notes: Sequence[str] = ()


def _look(study: Study, run: Run) -> _Answer:
    command = [sys.executable, str(TRAIN), *study.flags(run), "--resume", "--dry_run"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    if done.returncode:
        said = done.stderr.strip().removeprefix("error: ")
        return _Answer(f"{run.recipe} {run.label}: {said or f'train.py ended with {done.returncode}'}")
    return _Answer("", [line.removeprefix(NOTE) for line in done.stdout.splitlines() if line.startswith(NOTE)])
