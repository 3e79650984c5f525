"""A study: many runs of train.py under one folder, and where each of them stands.

    study/study.yml                               which runs belong to it, and the settings of each
    study/runs/<recipe>/<method>/seed_<n>/        the output folder of one run
    study/logs/<recipe>/<method>/seed_<n>.log     what it said, in all attempts
    study/logs/<recipe>/<method>/seed_<n>.json    how its last attempt ended

A recipe is `<encoder>/<task>`. A method that is varied carries that in its name: `pats@pats_lambda=1e-06`.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from data_utils.atomic import StagedFiles
from data_utils.errors import InputError, raise_all
from data_utils.locks import locked
from data_utils.strict import printable, read_yaml_mapping
from studies.recipes import MTL, as_arguments
from studies.suite import DEFAULT, Suite

STUDY_FILE, LOCK_FILE = "study.yml", "study.lock"
KEYS = ("suite", "overrides", "settings", "share", "runs")
STUDY_SCALE = 64
"""A list of some 100,000 runs; see `read_yaml_mapping`."""
Settings = Mapping[str, Any]
"""Value by flag of train.py."""


class Status(Enum):
    """Where a run stands."""

    WAITING = "waiting"  # not started
    CUT = "cut"  # started, and neither at its end nor failed: running now, or cut off
    FAILED = "failed"
    DONE = "done"


@dataclass(frozen=True, order=True)
class Run:
    """One run of a study.

    Attributes:
        recipe: `<encoder>/<task>`, such as `bert_base/rte`.
        method: a method of the recipe, such as `pats`.
        varied: flags of train.py that differ from the recipe's, as (name, value) in the order of names.
        seed: the run's `--seed`.
    """

    recipe: str
    method: str
    varied: tuple[tuple[str, str], ...]
    seed: int

    @property
    def label(self) -> str:
        """The method with what is varied, as tables and folders have it."""
        return "@".join([self.method, *(f"{name}={value}" for name, value in self.varied)])

    @property
    def encoder(self) -> str:
        """The recipe's first part."""
        return self.recipe.split("/")[0]

    @property
    def task(self) -> str:
        """The recipe's last part: a task's name, or `mtl`."""
        return self.recipe.split("/")[-1]

    @property
    def path(self) -> Path:
        """Where its files lie, below `runs/` and `logs/`."""
        return Path(self.recipe) / self.label / f"seed_{self.seed}"


class Group(NamedTuple):
    """What is shown together: runs of one encoder, of single tasks or of `mtl`, with the same flags varied."""

    encoder: str
    multitask: bool
    varied: tuple[str, ...]

    @classmethod
    def of(cls, run: Run) -> Group:
        """The group a run belongs to."""
        return cls(run.encoder, run.task == MTL, tuple(name for name, _ in run.varied))

    def words(self) -> str:
        """Such as `minilm, one encoder for all tasks, pats_lambda varied`."""
        setting = ["one encoder for all tasks"] * self.multitask
        setting += [f"{' and '.join(self.varied)} varied"] * bool(self.varied)
        return ", ".join([self.encoder, *setting])


TEST_SPLITS = "test"
"""Scores of the splits that chose nothing, of the model in best/; beside the `last` and the `best` epoch's of dev."""


@dataclass(frozen=True)
class Share:
    """What each run of a study has of a CPU.

    Attributes:
        threads: for good, as results depend on it to the last bit.
        memory: bytes that a run is reckoned with; 0: not known.
    """

    threads: int
    memory: int = 0

    def __post_init__(self) -> None:
        if type(self.threads) is not int or self.threads < 1 or type(self.memory) is not int or self.memory < 0:
            raise ValueError(f"share: expected threads from 1 and memory from 0, got {self.threads} and {self.memory}")

    def words(self) -> str:
        """Such as `2 threads each`."""
        return f"{self.threads} thread{'s' * (self.threads > 1)} each"


@dataclass(frozen=True)
class Outcome:
    """A run and what became of it.

    Attributes:
        folder: its output folder.
        status: where it stands.
        attempts: how often it was started.
        message: what a failed run said.
        results: its `results.json`; {} unless it is done.
        span: when its last attempt began and ended, as time.time(), where a sweep has seen both.
    """

    run: Run
    folder: Path
    status: Status
    attempts: int = 0
    message: str = ""
    results: Mapping[str, Any] = field(default_factory=dict)
    span: tuple[float, float] | None = None

    @property
    def collapsed(self) -> tuple[str, ...]:
        """The tasks of which the model gave all rows the same prediction at the end."""
        tasks = self.results.get("tasks", {}).items()
        return tuple(name for name, task in tasks if task["last"].get("constant", False))

    def score(self, task: str, which: str = "last") -> float:
        """A task's score in points, of the `last` or the `best` epoch, or of `test` splits, of a run that is done.

        Raises:
            KeyError: the run is not done.
            InputError: it has no scores of test splits.
        """
        scores = self.results["tasks"][task]
        if which == TEST_SPLITS and TEST_SPLITS not in scores:
            raise InputError(
                f"--which test: {self.folder} has none of {task}; runs score test splits with --test_splits, a sweep's "
                "with --set test_splits=test"
            )
        return float(scores[which]["score"])

    @property
    def tested(self) -> bool:
        """Whether all its tasks have scores of test splits."""
        tasks = self.results.get("tasks", {})
        return bool(tasks) and all(TEST_SPLITS in scores for scores in tasks.values())


def grouped(outcomes: Iterable[Outcome]) -> dict[Group, list[Outcome]]:
    """Runs by what is shown together, in their order."""
    groups: dict[Group, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(Group.of(outcome.run), []).append(outcome)
    return groups


@dataclass(frozen=True)
class Study:
    """A study's folder, the runs that belong to it, and their settings.

    Attributes:
        overrides: flags that all runs have in place of their recipe's, as text: `--set` of the first sweep.
        settings: by recipe and method, what its runs have in common: the recipe as it was when the first run was
            planned, data, encoder, and those of `overrides` that it has a use for.
        suite: where its recipes come from.
        share: what its runs have of a CPU; None until they run on one.
    """

    folder: Path
    runs: tuple[Run, ...]
    overrides: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[tuple[str, str], Settings] = field(default_factory=dict)
    suite: Suite = Suite()
    share: Share | None = None

    @classmethod
    def load(cls, folder: Path) -> Study:
        """Read a study's list of runs.

        Raises:
            InputError: no such file, or not what `save` writes.
        """
        path = folder / STUDY_FILE
        if not path.exists():
            raise InputError(f"{path}: no such file; {_not_a_study(folder)}")
        raw = read_yaml_mapping(path, scale=STUDY_SCALE)
        if unknown := raw.keys() - KEYS:
            raise InputError(f"{path}: unknown keys {', '.join(sorted(unknown))}; allowed: {', '.join(KEYS)}")
        try:
            runs = tuple(_run(entry) for entry in raw["runs"])
            overrides = {str(flag): str(value) for flag, value in raw.get("overrides", {}).items()}
            recipes = raw.get("settings", {}).items()
            settings = {(recipe, method): dict(one) for recipe, row in recipes for method, one in row.items()}
            for one in settings.values():
                float(one.get("learning_rate", 0))  # tables compare them
            share = Share(**raw["share"]) if raw.get("share") else None
            return cls(folder, runs, overrides, settings, Suite(str(raw.get("suite", DEFAULT))), share)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: not a study's list of runs: {' '.join(str(error).split())}") from None

    def save(self) -> None:
        """Write the list of runs; a crash leaves the old or the new one."""
        runs = [
            {"recipe": run.recipe, "method": run.method, "varied": dict(run.varied), "seed": run.seed}
            for run in self.runs
        ]
        settings: dict[str, dict[str, Settings]] = {}
        for (recipe, method), values in self.settings.items():
            settings.setdefault(recipe, {})[method] = dict(values)
        share = None if self.share is None else asdict(self.share)
        raw = dict(zip(KEYS, (self.suite.name, dict(self.overrides), settings, share, runs), strict=True))
        with StagedFiles() as staged:
            staged.path(self.folder / STUDY_FILE).write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")

    def with_runs(self, runs: Iterable[Run]) -> Study:
        """The study with further runs; those that are there already stay as they are."""
        return replace(self, runs=tuple(dict.fromkeys([*self.runs, *runs])))

    def with_settings(self, settings: Mapping[tuple[str, str], Settings]) -> Study:
        """The study with the settings of further recipes and methods.

        Raises:
            InputError: the study has others for one of them: its runs could not be compared with those before.
        """
        path = self.folder / STUDY_FILE
        raise_all(
            [
                f"{recipe} {method}: {flag} is {ours.get(flag)} in {path} and would now be {new.get(flag)}: "
                "the runs of a study keep their settings; choose another --output_dir"
                for (recipe, method), new in settings.items()
                for ours in [self.settings.get((recipe, method), new)]
                for flag in [*ours, *(flag for flag in new if flag not in ours)]
                if ours.get(flag) != new.get(flag)
            ]
        )
        return replace(self, settings={**settings, **self.settings})

    @property
    def changes(self) -> str:
        """A sentence for tables and captions: what all runs have in place of their recipes' settings, or ""."""
        changed = ", ".join(f"{flag} {value}" for flag, value in self.overrides.items())
        return f"Not as in the recipes: {changed}." if changed else ""

    def flags(self, run: Run) -> list[str]:
        """A run as arguments of train.py, all but `--resume`.

        Raises:
            InputError: the study does not say with what settings.
        """
        if (run.recipe, run.method) not in self.settings:
            raise InputError(f"{self.folder / STUDY_FILE}: no settings of {run.recipe} {run.method}")
        values = {**self.settings[run.recipe, run.method], **dict(run.varied)}
        values |= {"seed": run.seed, "output_dir": self.run_folder(run).absolute()}  # runs start in another folder
        return as_arguments(values)

    def run_folder(self, run: Run) -> Path:
        """The `--output_dir` of a run."""
        return self.folder / "runs" / run.path

    def log_file(self, run: Run) -> Path:
        """What a run says goes here; how its attempts ended stands beside it, in a `.json`."""
        return self.folder / "logs" / run.path.with_name(run.path.name + ".log")

    def note_attempt(
        self, run: Run, *, attempts: int, exit_code: int, message: str, span: tuple[float, float] | None = None
    ) -> None:
        """Record how an attempt ended, and when it began and ended, if that is known."""
        text = json.dumps({"attempts": attempts, "exit_code": exit_code, "message": message, "span": span})
        with StagedFiles() as staged:  # another sweep may be reading it
            staged.path(self.log_file(run).with_suffix(".json")).write_text(text + "\n", encoding="utf-8")

    def outcome(self, run: Run) -> Outcome:
        """Where a run stands; InputError for files that are damaged."""
        folder, log = self.run_folder(run), self.log_file(run).with_suffix(".json")
        attempts, failed, message, span = _last_attempt(log) if log.is_file() else (0, False, "", None)
        if (folder / "results.json").is_file():
            return Outcome(run, folder, Status.DONE, attempts, results=_results(folder / "results.json"), span=span)
        if failed:
            return Outcome(run, folder, Status.FAILED, attempts, message)
        return Outcome(run, folder, Status.CUT if folder.exists() else Status.WAITING, attempts)

    def outcomes(self) -> list[Outcome]:
        """All runs of the study, whatever became of them."""
        return [self.outcome(run) for run in self.runs]

    def has_test_scores(self) -> bool:
        """Whether runs are done, and all of these have scored test splits; reads all outcomes."""
        done = [outcome for outcome in self.outcomes() if outcome.status is Status.DONE]
        return bool(done) and all(outcome.tested for outcome in done)


@contextlib.contextmanager
def changing(folder: Path) -> Iterator[Study]:
    """The study in a folder, or a new one; no other process can read it to change it before the block ends.

    Raises:
        InputError: the folder cannot be made, or its study cannot be read.
    """
    lock = folder / LOCK_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.open("a").close()
    except OSError as error:
        raise InputError(f"--output_dir {folder}: cannot be made: {error.strerror}") from None
    with locked(lock):
        yield Study.load(folder) if (folder / STUDY_FILE).exists() else Study(folder, ())


def _not_a_study(folder: Path) -> str:
    """Why a folder has no list of runs, and what to do."""
    if (folder / LOCK_FILE).exists():  # a sweep makes it first; train.py looks at the runs before they are listed
        return "no sweep has listed its runs here yet: give its --recipes and --methods once more"
    return "expected the --output_dir of studies.sweep"


def _run(entry: Mapping[str, Any]) -> Run:
    varied = tuple(sorted((str(name), str(value)) for name, value in entry["varied"].items()))
    recipe = str(entry["recipe"])
    if len(recipe.split("/")) != 2:
        raise ValueError(f"the recipe {recipe!r} is not of the form <encoder>/<task>")
    run = Run(recipe, str(entry["method"]), varied, int(entry["seed"]))
    if len(run.path.parts) != 4 or ".." in run.path.parts:  # <encoder>/<task>/<method>/seed_<n>
        raise ValueError(f"{run.path} cannot be the folder of a run")
    return run


def _last_attempt(path: Path) -> tuple[int, bool, str, tuple[float, float] | None]:
    """What `note_attempt` wrote: how many attempts there were, whether the last one failed, what it said, and when."""
    try:
        ended = json.loads(path.read_bytes())
        began, end = (float(moment) for moment in ended.get("span") or (0, 0))
        span = (began, end) if end else None
        return int(ended["attempts"]), bool(ended["exit_code"]), printable(str(ended["message"])), span
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        cure = "remove it: it only says how the run's last attempt ended"
        raise InputError(f"{path}: cannot be read ({error!r}); {cure}") from None


def _results(path: Path) -> Mapping[str, Any]:
    """A run's `results.json`; InputError if it lacks what every reader needs."""
    try:
        results: Mapping[str, Any] = json.loads(path.read_bytes())
        for name, task in results["tasks"].items():
            scores = [float(task[which]["score"]) for which in ("last", "best")]
            if not all(map(math.isfinite, scores)) or not isinstance(task["primary_metric"], str):
                raise ValueError(f"{name} has the scores {scores} of {task['primary_metric']}")
        return results
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        cure = "remove it, and the sweep has the run write it anew from its last checkpoint"
        raise InputError(f"{path}: cannot be read ({error!r}); {cure}") from None
