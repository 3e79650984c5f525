"""A search over the paper's Table 3 with Optuna: every trial is a recipe with other values, over some seeds.

The runs of trials are runs of the study like all others. The trials themselves are in `search.log`, a journal of
Optuna's; the same command again goes on where it was, and tries anew what has failed and was repaired since. With
another `search.yml` it is another search, which takes over the runs that are done.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from data_utils.atomic import StagedFiles
from data_utils.errors import BusyError, InputError, StoppedError
from data_utils.strict import read_yaml_mapping
from studies.study import STUDY_FILE, Outcome, Run, Settings, Status, Study, changing
from studies.sweeps.plan import Request, check, has_use_for, normal

JOURNAL, LOCK, BEST = "search.log", "search.lock", "best_recipe.yml"

Space = Mapping[str, Sequence[float]]
Work = Callable[[Study, Sequence[Run]], object]


def search_space(settings: Settings, path: Path) -> Space:
    """The values to try (GLUE: the paper's Table 3), by flag, of those flags that a method has a use for.

    Raises:
        InputError: the file is damaged.
    """
    raw = read_yaml_mapping(path)
    for flag, values in raw.items():
        if not isinstance(values, list) or not values or not all(isinstance(value, float) for value in values):
            raise InputError(f"{path}: {flag}: expected a list of numbers, with a point each")
    return {flag: values for flag, values in raw.items() if has_use_for(flag, settings)}


@dataclass(frozen=True)
class Search:
    """A search for the best values of one method on one recipe.

    Attributes:
        folder: the study's.
        request: one recipe, one method, and the seeds of each trial.
        at_a_time: trials that are run together, so that no device waits.
        work: brings runs of a study to their end.
        retry_failed: try all failed trials again, not only those whose runs have been repaired since.
        say: prints a line.
    """

    folder: Path
    request: Request
    at_a_time: int
    work: Work
    retry_failed: bool = False
    say: Callable[[str], None] = print

    @property
    def recipe(self) -> str:
        """The recipe that is searched for."""
        return self.request.recipes[0]

    @property
    def method(self) -> str:
        """The method that is searched for."""
        return self.request.methods[0]

    def name(self, space: Space) -> str:
        """In the journal: trials over other seeds, or in another space, are those of another search.

        Optuna would count trials that have other flags as if they were of this space, and fails at other values.
        """
        values = "; ".join(f"{flag} {', '.join(map(repr, values))}" for flag, values in sorted(space.items()))
        return f"{self.recipe} {self.method} seeds {','.join(map(str, self.request.seeds))} of {values}"

    def run(self, trials: int) -> Path:
        """Try values until there are so many trials, earlier ones included; returns the file of the best.

        Where the whole grid has no more points than that, each of them is one trial; else Optuna's TPE chooses.

        Raises:
            InputError: Optuna is not there; settings that contradict the study's; no trial has a score; the journal is
                damaged.
            BusyError: another search is under way here.
            StoppedError: a signal came, or a run was killed.
        """
        optuna = _import_optuna()
        with changing(self.folder) as study:  # whether it can be extended, before there is a journal
            recipes = self.request.source(study)
            space = search_space(recipes.load(self.recipe, self.method).settings, recipes.search_space)
            self._with_trial(study, {flag: values[0] for flag, values in space.items()})
        with _alone(self.folder):
            tried = self._open(optuna, self.name(space))
            self._enqueue_failed(optuna, tried)
            if math.prod(map(len, space.values())) <= trials:
                for values in itertools.product(*space.values()):
                    tried.enqueue_trial(dict(zip(space, values, strict=True)), skip_if_exists=True)
                trials = len(_current(tried))
            while batch := _next_trials(optuna, tried, space, min(self.at_a_time, trials - _finished(tried))):
                self._try(optuna, tried, batch)
                self._write_best(optuna, tried)
            return self._write_best(optuna, tried, required=True)

    def _open(self, optuna: Any, name: str) -> Any:
        """The trials so far of the search of this name, as an Optuna study."""
        path = self.folder / JOURNAL
        backend = optuna.storages.journal.JournalFileBackend(str(path))
        try:
            storage = optuna.storages.JournalStorage(backend)
            return optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
            raise InputError(
                f"{path}: not a journal of Optuna's ({error!r}); without it a search begins anew, and takes over the "
                "runs that are done"
            ) from None

    def _enqueue_failed(self, optuna: Any, tried: Any) -> None:
        """Have trials tried again that failed, if their runs are to be, or have come to their end since."""
        study = Study.load(self.folder) if (self.folder / STUDY_FILE).exists() else Study(self.folder, ())
        for trial in _current(tried):
            if trial.state is optuna.trial.TrialState.FAIL and trial.params:
                outcomes = map(study.outcome, self._runs(trial.params))
                if self.retry_failed or not any(outcome.status is Status.FAILED for outcome in outcomes):
                    tried.enqueue_trial(trial.params)

    def _with_trial(self, study: Study, values: Mapping[str, float]) -> Study:
        varied = {flag: (normal(repr(value)),) for flag, value in values.items()}
        return replace(self.request, varied=varied).add_to(study)

    def _runs(self, values: Mapping[str, float]) -> list[Run]:
        varied = tuple(sorted((flag, normal(repr(value))) for flag, value in values.items()))
        return [Run(self.recipe, self.method, varied, seed) for seed in self.request.seeds]

    def _try(self, optuna: Any, tried: Any, batch: Mapping[int, Mapping[str, float]]) -> None:
        """Run a few trials and tell Optuna their scores."""
        with changing(self.folder) as study:
            is_new = (self.recipe, self.method) not in study.settings
            for values in batch.values():
                study = self._with_trial(study, values)
            if is_new:
                for note in check(study, [run for values in batch.values() for run in self._runs(values)]):
                    print(f"note: {note}", flush=True)
            study.save()
        self.work(study, [run for values in batch.values() for run in self._runs(values)])
        for number, values in batch.items():
            outcomes = [study.outcome(run) for run in self._runs(values)]
            if any(outcome.status in (Status.CUT, Status.WAITING) for outcome in outcomes):
                raise StoppedError(f"a run of trial {number} was killed")
            score = mean_score(outcomes)
            state = optuna.trial.TrialState.FAIL if score is None else None
            tried.tell(number, score, state=state, skip_if_finished=True)
            shown = ", ".join(f"{flag} {value:g}" for flag, value in values.items())
            self.say(f"trial {number}: {shown}: {'failed' if score is None else f'{score:.2f}'}")

    def _write_best(self, optuna: Any, tried: Any, required: bool = False) -> Path:
        """Write the best trial's settings, as `train.py --config` takes them.

        With `required`, at the end of a search, there must be one; that it is no better than others is then told, too.
        """
        path = self.folder / BEST
        done = tried.get_trials(states=[optuna.trial.TrialState.COMPLETE])
        if not done and required:
            raise InputError(f"{self.folder}: all {len(tried.trials)} trials failed: see its logs")
        if done:
            best = max(done, key=lambda trial: trial.value)  # the first of equals
            study = Study.load(self.folder)
            settings = dict(study.settings[self.recipe, self.method])
            del settings["data_dir"]  # like all recipes: data, output folder and seed are the caller's
            doubt = self._doubt(study, done)
            if doubt and required:
                self.say(f"note: {doubt}")
            seeds = ", ".join(map(str, self.request.seeds))
            found = f"{doubt}; this is" if doubt else f"the best of {len(done)} trials,"
            head = f"# {self.recipe}, {self.method}: {found} number {best.number}.\n"
            head += f"# Dev score after the last epoch, mean over the seeds {seeds}: {best.value:.2f} points.\n"
            with StagedFiles() as staged:
                text = head + yaml.safe_dump(settings | best.params, sort_keys=False)
                staged.path(path).write_text(text, encoding="utf-8")
        return path

    def _doubt(self, study: Study, done: Sequence[Any]) -> str:
        """Why none of these trials is better than the others, in words; "" where one is."""
        trials = f"all {len(done)} trials" if len(done) > 1 else "the only trial with a score"
        if all(has_collapsed([study.outcome(run) for run in self._runs(trial.params)]) for trial in done):
            return f"{trials} collapsed (all dev rows got the same prediction): nothing to choose between"
        if len(done) > 1 and len({trial.value for trial in done}) == 1:
            return f"{trials} score alike ({done[0].value:.2f} points): nothing to choose between"
        return ""


def has_collapsed(outcomes: Sequence[Outcome]) -> bool:
    """Whether in each of these runs the model gave all rows the same prediction at the end, in all of its tasks."""
    return all(
        outcome.status is Status.DONE and len(outcome.collapsed) == len(outcome.results["tasks"])
        for outcome in outcomes
    )


def mean_score(outcomes: Sequence[Outcome]) -> float | None:
    """Mean over runs of the dev score after the last epoch, in points; None if one of them has none."""
    if any(outcome.status is not Status.DONE for outcome in outcomes):
        return None
    return statistics.fmean(float(outcome.results["average"]["last"]) for outcome in outcomes)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other searches out of a study; BusyError where one is under way, which would try the same values."""
    import fcntl  # not on Windows

    with (folder / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"--output_dir {folder}: another search is under way in it") from None
        except OSError:  # a file system without locks
            pass
        yield


def _current(tried: Any) -> list[Any]:
    """All trials but those that failed and were tried again later."""
    by_values: dict[tuple[Any, ...], list[Any]] = {}
    for trial in tried.trials:
        values = trial.params or trial.system_attrs.get("fixed_params", {"trial": trial.number})
        by_values.setdefault(tuple(sorted(values.items())), []).append(trial)
    failed = {trial.number for same in by_values.values() for trial in same[:-1] if trial.state.name == "FAIL"}
    return [trial for trial in tried.trials if trial.number not in failed]


def _finished(tried: Any) -> int:
    return sum(trial.state.is_finished() for trial in _current(tried))


def _next_trials(optuna: Any, tried: Any, space: Space, count: int) -> dict[int, dict[str, float]]:
    """Values by trial: those of trials that were cut, then new ones, `count` in all.

    The sampler's state is not kept in the database, and with one seed it would begin anew; so its seed counts trials,
    and a search that was interrupted tries what it would have tried.
    """
    distributions = {flag: optuna.distributions.CategoricalDistribution(list(values)) for flag, values in space.items()}
    running = optuna.trial.TrialState.RUNNING
    found: dict[int, dict[str, float]] = {}
    for trial in tried.get_trials(states=[running]):
        if trial.params.keys() == space.keys():
            found[trial.number] = dict(trial.params)
        else:  # cut while its values were chosen
            tried.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    while len(found) < count:
        tried.sampler = optuna.samplers.TPESampler(seed=len(tried.trials))
        trial = tried.ask(distributions)
        found[trial.number] = dict(trial.params)
    return dict(list(found.items())[: max(count, 0)])


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise InputError("--search needs Optuna: pip install -r requirements-study.txt") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
