"""The search over Table 3: what is tried, what is best, and how it goes on after a stop."""

from __future__ import annotations

import fcntl
import sys
from pathlib import Path

import pytest
import yaml

from data_utils.errors import BusyError, InputError
from studies.recipes import Recipes
from studies.study import Outcome, Run, Share, Status, Study
from studies.suite import Suite
from studies.sweeps.devices import Slot
from studies.sweeps.search import BEST, JOURNAL, LOCK, mean_score, search_space
from studies.sweeps.workers import Workers
from tests.studies.conftest import Sweeper

GLUE = Recipes.of(Suite())
optuna = pytest.importorskip("optuna", reason="the search needs Optuna")
FLAGS = "--recipes minilm/rte --seeds 1 --data_dir features --devices cpu --set epochs=1"


def trials(sweeper: Sweeper, method: str, seeds: str = "1") -> list[tuple[dict[str, float], float | None]]:
    """Values and score of all trials, of the last search where there are several."""
    backend = optuna.storages.journal.JournalFileBackend(str(sweeper.study_folder / JOURNAL))
    storage = optuna.storages.JournalStorage(backend)
    names = [study.study_name for study in optuna.get_all_study_summaries(storage)]
    name = [name for name in names if name.startswith(f"minilm/rte {method} seeds {seeds} of ")][-1]
    found = optuna.load_study(study_name=name, storage=storage).trials
    return [(trial.params, trial.value) for trial in found]


def test_a_method_is_searched_in_the_flags_it_has_a_use_for() -> None:
    assert list(search_space(GLUE.load("minilm/rte", "adamax").settings, GLUE.search_space)) == ["learning_rate"]
    sage = search_space(GLUE.load("minilm/rte", "sage").settings, GLUE.search_space)
    assert list(sage) == ["learning_rate", "sage_beta"]
    pats = search_space(GLUE.load("minilm/rte", "pats").settings, GLUE.search_space)
    assert list(pats) == ["pats_lambda", "pats_gamma", "pats_beta", "learning_rate"]
    assert len(pats["pats_gamma"]) == 6


def test_a_damaged_space_is_named(tmp_path: Path) -> None:
    (tmp_path / "search.yml").write_text("pats_lambda: [5e-7]\n")  # text, to YAML
    with pytest.raises(InputError, match="search.yml: pats_lambda: expected a list of numbers, with a point each"):
        search_space({}, tmp_path / "search.yml")


def test_a_small_grid_is_tried_as_a_whole(sweeper: Sweeper, capsys: pytest.CaptureFixture[str]) -> None:
    flags = FLAGS.replace("--seeds 1", "--seeds 1-2")
    assert sweeper(f"{flags} --search adamax") == 0
    tried = trials(sweeper, "adamax", seeds="1,2")
    rates = [1e-5, 3e-5, 5e-5, 7e-5, 8e-5, 1e-4, 2e-4, 3e-4, 5e-4]
    assert [values["learning_rate"] for values, _ in tried] == rates
    assert Run("minilm/rte", "adamax", (("learning_rate", "3e-05"),), 2) in sweeper.study.runs
    assert len(sweeper.study.runs) == len(sweeper.calls()) == 18
    text = (sweeper.study_folder / BEST).read_text()
    assert "the best of 9 trials, number 5" in text and "seeds 1, 2: 70.00 points" in text
    best = yaml.safe_load(text)
    recipe = GLUE.load("minilm/rte", "adamax").settings
    assert best == {**recipe, "epochs": "1", "learning_rate": 1e-4}
    assert "trial 5: learning_rate 0.0001: 70.00" in capsys.readouterr().out
    assert sweeper(f"{flags} --search adamax") == 0
    assert len(sweeper.calls()) == 18
    assert sweeper(f"{flags.replace('1-2', '2-3')} --search adamax") == 0  # other seeds: another search
    assert len(sweeper.calls()) == 27 and len(trials(sweeper, "adamax", seeds="2,3")) == 9
    assert "mean over the seeds 2, 3: 70.00" in (sweeper.study_folder / BEST).read_text()


def test_a_search_has_the_threads_of_its_study(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """As all its runs have: another number has other last bits."""
    sweeper.study_folder.mkdir()
    Study(sweeper.study_folder, (), share=Share(1)).save()
    threads: list[int] = []
    begin = Workers.__init__

    def noted(self: Workers, study: Study, slots: list[Slot], *more: object, **named: object) -> None:
        threads.extend(slot.threads for slot in slots)
        begin(self, study, slots, *more, **named)

    monkeypatch.setattr(Workers, "__init__", noted)
    assert sweeper(f"{FLAGS} --search adamax") == 0
    assert threads and set(threads) == {1}
    assert sweeper.study.share == Share(1)


def test_a_trial_counts_by_its_last_epochs_once_all_its_seeds_are_done() -> None:
    def outcome(status: Status, last: float) -> Outcome:
        results = {"average": {"last": last, "best": last + 5}}
        return Outcome(Run("minilm/rte", "pats", (), 1), Path("x"), status, 1, results=results)

    assert mean_score([outcome(Status.DONE, 50.0), outcome(Status.DONE, 60.0)]) == 55.0
    assert mean_score([outcome(Status.DONE, 50.0), outcome(Status.FAILED, 60.0)]) is None


def test_the_best_recipe_is_one_for_train(sweeper: Sweeper) -> None:
    from mt_dnn.config import load_config

    assert sweeper(f"{FLAGS} --search pats --trials 1") == 0
    flags = ["--config", str(sweeper.study_folder / BEST), "--data_dir", "x", "--output_dir", "y"]
    config = load_config(flags, "")
    (values, _), *_ = trials(sweeper, "pats")
    assert config.pats.noise_lambda == values["pats_lambda"] and config.method.optim == "pats_adamax"
    assert config.loop.epochs == 1


def test_a_search_that_was_interrupted_tries_what_it_would_have_tried(
    sweeper: Sweeper, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sweeper(f"{FLAGS} --search pats --trials 12") == 0
    whole = trials(sweeper, "pats")
    assert len(whole) == 12 and len({str(values) for values, _ in whole}) > 8
    other = Sweeper(tmp_path_factory.mktemp("other"))
    monkeypatch.setenv("STUB_FOLDER", str(other.folder))
    varied = tuple(sorted((flag, repr(value)) for flag, value in whole[3][0].items()))
    other.behave(**{f"{Run('minilm/rte', 'pats', varied, 1).label}_1": "die"})
    assert other(f"{FLAGS} --search pats --trials 12") == 1
    assert len(trials(other, "pats")) == 4 and trials(other, "pats")[3][1] is None
    other.behave()
    assert other(f"{FLAGS} --search pats --trials 12") == 0
    assert trials(other, "pats") == whole


def test_a_trial_that_fails_is_one_without_a_score(sweeper: Sweeper) -> None:
    sweeper.behave(**{"adamax@learning_rate=3e-05_1": "refuse"})
    assert sweeper(f"{FLAGS} --search adamax") == 0
    assert [score is None for _, score in trials(sweeper, "adamax")] == [False, True, *[False] * 7]


def test_trials_that_failed_are_tried_again_once_they_were_repaired(
    sweeper: Sweeper, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = ["1e-05", "3e-05", "5e-05", "7e-05", "8e-05", "0.0001", "0.0002", "0.0003", "0.0005"]
    sweeper.behave(**{f"adamax@learning_rate={rate}_1": "crash" for rate in rates})
    assert sweeper(f"{FLAGS} --search adamax") == 2
    assert "all 9 trials failed" in capsys.readouterr().err
    sweeper.behave(**{"adamax@learning_rate=3e-05_1": "crash"})
    assert sweeper(f"{FLAGS} --search adamax") == 2, "nobody has repaired them, and nobody asks to try again"
    assert sweeper("--devices cpu --retry_failed") == 1
    assert len(sweeper.calls()) == 8
    assert sweeper(f"{FLAGS} --search adamax") == 0, "their runs are done by now"
    assert len(sweeper.calls()) == 8
    assert "the best of 8 trials" in (sweeper.study_folder / BEST).read_text()
    sweeper.behave()
    assert sweeper(f"{FLAGS} --search adamax --retry_failed") == 0
    assert len(sweeper.calls()) == 9
    assert "the best of 9 trials" in (sweeper.study_folder / BEST).read_text()


def test_trials_of_a_space_that_was_edited_since_do_not_count(
    sweeper: Sweeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither as trials of this one, nor as its best; runs that are done are not made again."""
    space = tmp_path / "search.yml"
    monkeypatch.setattr(Recipes, "search_space", space)
    edits = {
        "as it was": ("learning_rate: [1.0e-4, 3.0e-4]\npats_lambda: [1.0e-6, 2.0e-6]\n", 4, 4),
        "a flag less": ("learning_rate: [3.0e-4, 5.0e-4]\n", 2, 6),
        "a value more": ("learning_rate: [3.0e-4, 5.0e-4, 8.0e-4]\n", 3, 7),
        "in another order": ("learning_rate: [8.0e-4, 5.0e-4, 3.0e-4]\n", 3, 7),
        "a flag more": ("learning_rate: [3.0e-4]\npats_lambda: [1.0e-6, 2.0e-6]\npats_beta: [0.5]\n", 2, 9),
        "as it was again": ("learning_rate: [1.0e-4, 3.0e-4]\npats_lambda: [1.0e-6, 2.0e-6]\n", 4, 9),
    }
    for edit, (text, count, runs) in edits.items():
        space.write_text(text)
        assert sweeper(f"{FLAGS} --search pats --trials 4") == 0, edit
        assert len(sweeper.calls()) == runs, edit
        flags = yaml.safe_load(text).keys()
        best = (sweeper.study_folder / BEST).read_text()
        assert f" {count} trials" in best and flags <= yaml.safe_load(best).keys(), edit
        if edit != "as it was again":
            assert [values.keys() for values, _ in trials(sweeper, "pats")] == [flags] * count, edit


def test_an_edit_does_not_have_another_space_s_failed_trials_tried_again(
    sweeper: Sweeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = tmp_path / "search.yml"
    monkeypatch.setattr(Recipes, "search_space", space)
    space.write_text("learning_rate: [1.0e-4, 3.0e-4]\npats_lambda: [1.0e-6]\n")
    sweeper.behave(**{"pats@learning_rate=0.0001@pats_lambda=1e-06_1": "crash"})
    assert sweeper(f"{FLAGS} --search pats") == 0
    space.write_text("learning_rate: [5.0e-4]\n")
    assert sweeper(f"{FLAGS} --search pats --retry_failed") == 0
    assert [values for values, _ in trials(sweeper, "pats")] == [{"learning_rate": 5e-4}]


ALIKE = "all 2 trials score alike (60.00 points): nothing to choose between"
COLLAPSED = "all 2 trials collapsed (all dev rows got the same prediction): nothing to choose between"
CHOICES = {
    "a best": ("[1.0e-3, 1.0e-4]", {}, "", "the best of 2 trials, number 1."),
    "alike": ("[1.0e-3, 1.0e-5]", {}, ALIKE, f"{ALIKE}; this is number 0."),
    "one alone": ("[1.0e-4]", {}, "", "the best of 1 trials, number 0."),
    "collapsed": (
        "[1.0e-3, 1.0e-4]",
        {"0.001": "collapse", "0.0001": "collapse"},
        COLLAPSED,
        f"{COLLAPSED}; this is number 1.",
    ),
    "the only one collapsed": (
        "[1.0e-4]",
        {"0.0001": "collapse"},
        "the only trial with a score collapsed",
        "the only trial with a score collapsed",
    ),
    "one of them collapsed": ("[1.0e-3, 1.0e-4]", {"0.001": "collapse"}, "", "the best of 2 trials, number 1."),
    "one of them failed": ("[1.0e-3, 1.0e-4]", {"0.001": "crash"}, "", "the best of 1 trials, number 1."),
}


@pytest.mark.parametrize("case", CHOICES)
def test_where_there_is_nothing_to_choose_between_no_trial_is_called_the_best(
    case: str, sweeper: Sweeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mt_dnn.config import load_config

    rates, ends, note, head = CHOICES[case]
    (tmp_path / "search.yml").write_text(f"learning_rate: {rates}\n")
    monkeypatch.setattr(Recipes, "search_space", tmp_path / "search.yml")
    sweeper.behave(**{f"adamax@learning_rate={rate}_1": end for rate, end in ends.items()})
    assert sweeper(f"{FLAGS} --search adamax") == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert len([line for line in told if "nothing to choose between" in line]) == bool(note)
    assert any(line.startswith(f"note: {note}") for line in told) or not note
    best = sweeper.study_folder / BEST
    assert best.read_text().startswith(f"# minilm/rte, adamax: {head}")
    assert load_config(["--config", str(best), "--data_dir", "x", "--output_dir", "y"], "").loop.epochs == 1


@pytest.mark.parametrize("name", ["a%41b", "{a}", "100 % é?q#1"])
def test_a_study_may_have_any_name(sweeper: Sweeper, name: str) -> None:
    folder = sweeper.folder / name
    assert sweeper(f"{FLAGS} --search pats --trials 1", folder=folder) == 0
    assert {BEST, JOURNAL, LOCK} <= {path.name for path in folder.iterdir()}


def test_one_search_at_a_time(sweeper: Sweeper, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweeper(f"{FLAGS} --search pats --trials 1") == 0
    with (sweeper.study_folder / LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert sweeper(f"{FLAGS} --search pats --trials 2") == BusyError.exit_code
    assert "another search is under way in it" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["garbage\n{}\n", "[1]\n", '{"op_code": 99}\n', '{"op_code": 0}\n'])
def test_a_damaged_journal_is_named(sweeper: Sweeper, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    sweeper.study_folder.mkdir(parents=True)
    (sweeper.study_folder / JOURNAL).write_text(damage)
    assert sweeper(f"{FLAGS} --search pats --trials 1") == 2
    assert f"{JOURNAL}: not a journal of Optuna's" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (f"{FLAGS.replace('minilm/rte', 'minilm/rte,minilm/cola')} --search pats", "one recipe at a time"),
        (f"{FLAGS} --search pats --vary epochs=1,2", "--vary: cannot go with --search"),
        (f"{FLAGS} --search pats --trials 0", "--trials: expected a whole number from 1, got 0"),
        (f"{FLAGS} --search sgd", "unknown method 'sgd'"),
        (f"{FLAGS} --search pats --set pats_beta=0.5", "--vary pats_beta: is fixed by --set"),
        ("--search pats", "--search: would have no effect without --recipes"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    flags: str, message: str, sweeper: Sweeper, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweeper(flags) == 2
    assert message in capsys.readouterr().err
    assert not (sweeper.study_folder / JOURNAL).exists()


def test_without_optuna_one_is_told_what_to_install(
    sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert sweeper(f"{FLAGS} --search pats") == 2
    assert "--search needs Optuna: pip install -r requirements-study.txt" in capsys.readouterr().err
