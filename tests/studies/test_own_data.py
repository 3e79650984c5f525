"""Sweeps over one's own data without a suite: rows or features, a recipe file anywhere, an optimizer of one's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from data_utils.errors import InputError
from studies.own_data import OwnData, own_data
from studies.study import Run, Status, Study
from studies.sweeps import features
from studies.sweeps.features import features_folder
from studies.table import study_tables
from tests.conftest import Workshop
from tests.module.optim.test_own import SIGN
from tests.studies.conftest import ROOT, Sweeper

TASKS = """
mood: {data_format: PremiseOnly, task_type: Classification, labels: [sad, glad]}
pair: {data_format: PremiseAndOneHypothesis, task_type: Classification, n_class: 2, split_names: [train, dev]}
absent: {data_format: PremiseOnly, task_type: Classification, n_class: 2}
"""


@pytest.fixture
def place(tmp_path: Path, workshop: Workshop) -> Path:
    """A folder outside the tree with a task file and canonical rows of two of its three tasks."""
    folder = tmp_path / "elsewhere"
    (folder / "rows").mkdir(parents=True)
    (folder / "my_task_def.yml").write_text(TASKS)
    for task, source in (("mood", "sst"), ("pair", "mrpc")):
        for split in ("train", "dev", "test"):
            text = (workshop.data_dir.parent / f"{source}_{split}.tsv").read_bytes().decode()
            rows = [line.split("\t") for line in text.removesuffix("\n").split("\n")]
            if task == "mood":
                rows = [[uid, ("sad", "glad")[int(label)], *texts] for uid, label, *texts in rows]
            (folder / f"rows/{task}_{split}.tsv").write_bytes("".join("\t".join(row) + "\n" for row in rows).encode())
    return folder


def made(place: Path, **given: object) -> OwnData:
    usual = {"tasks": None, "init_checkpoint": "some/encoder", "learning_rate": None, "recipe_file": None}
    return own_data(str(place / "my_task_def.yml"), str(place / "rows"), **(usual | given))  # type: ignore[arg-type]


def test_tasks_with_rows_become_recipes_with_the_methods_of_glue(place: Path) -> None:
    own = made(place)
    assert own.names == ("encoder/mood", "encoder/pair") and own.suite.folder == place
    found = own.load("encoder/mood", "pats").settings
    assert found["task_def"] == str(place / "my_task_def.yml") and found["train_datasets"] == "mood"
    assert (found["init_checkpoint"], found["optim"], found["epochs"]) == ("some/encoder", "pats_adamax", 10)
    rates = {m: own.load("encoder/pair", m).settings["learning_rate"] for m in ("adamax", "sage", "noisytune", "pats")}
    assert rates == {"adamax": 1e-4, "sage": 2e-4, "noisytune": 1e-4, "pats": 1e-4}
    assert made(place, learning_rate=3e-4).load("encoder/pair", "sage").settings["learning_rate"] == 6e-4


def test_a_task_in_rounds_is_found_by_its_train_files(place: Path) -> None:
    rounds = "{data_format: PremiseOnly, task_type: Classification, n_class: 2, split_names: [r1_train, r1_dev], "
    (place / "my_task_def.yml").write_text(f"anli: {rounds}train_files: [anli_r1_train]}}\n")
    with pytest.raises(InputError, match="no training rows of the tasks of"):
        made(place)
    rows = place / "rows/anli_r1_train.tsv"
    shutil.copy(place / "rows/mood_train.tsv", rows)
    assert made(place).names == ("encoder/anli",)
    settings = made(place).load("encoder/anli", "adamax").settings
    assert features_folder(str(place / "rows"), settings) == f"{place}/rows/encoder"
    (task,) = features.trained_tasks(settings)
    assert features._absent(place / "rows/encoder", task) == ["anli", "anli"]


def test_tasks_are_named_or_trained_together(place: Path) -> None:
    assert made(place, tasks="pair").names == ("encoder/pair",)
    own = made(place, tasks="mtl")
    assert own.names == ("encoder/mtl",)
    assert own.load("encoder/mtl", "adamax").settings["train_datasets"] == "mood,pair"
    assert made(place, tasks="mood,mtl").load("encoder/mtl", "adamax").settings["train_datasets"] == "mood"
    with pytest.raises(InputError, match="--tasks: unknown task 'moods'"):
        made(place, tasks="moods")


RECIPE = """
init_checkpoint: its/own
settings: {epochs: 2, batch_size: 8}
learning_rates: {adamax: 3e-4, mine: {mood: 5.0e-3}}
methods:
  mine: {settings: {optim: "own_sign:Sign", optim_options: "beta=0.8"}}
  half: {settings: {optim: adamax}, rate_of: adamax, times: 0.5}
"""


def test_a_recipe_file_says_what_differs(place: Path) -> None:
    (place / "recipe.yml").write_text(RECIPE)
    own = made(place, init_checkpoint=None, recipe_file=str(place / "recipe.yml"))
    rates = {
        method: [own.load(f"own/{task}", method).settings["learning_rate"] for task in ("mood", "pair")]
        for method in ("adamax", "mine", "half", "pats", "sage")
    }
    assert rates == {
        "adamax": [3e-4, 3e-4],
        "mine": [5e-3, 1e-4],
        "half": [1.5e-4, 1.5e-4],
        "pats": [1e-4, 1e-4],
        "sage": [6e-4, 6e-4],
    }
    found = own.load("own/mood", "mine").settings
    assert (found["epochs"], found["batch_size"], found["warmup"]) == (2, 8, 0.1)
    assert (found["optim"], found["optim_options"]) == ("own_sign:Sign", "beta=0.8")


def test_a_rate_among_the_settings_is_the_usual_one(place: Path) -> None:
    (place / "recipe.yml").write_text("settings: {learning_rate: 3.0e-5}\nlearning_rates: {pats: 2.0e-4}\n")

    def rates(given: float | None = None) -> list[float]:
        own = made(place, recipe_file=str(place / "recipe.yml"), learning_rate=given)
        return [own.load("encoder/mood", method).settings["learning_rate"] for method in ("adamax", "sage", "pats")]

    assert rates() == [3e-5, 6e-5, 2e-4]
    assert rates(1e-3) == [1e-3, 2e-3, 2e-4]


def test_settings_by_task_are_of_own_tasks_alone(place: Path) -> None:
    """GLUE's are left out: a task of the same name is another one."""
    (place / "my_task_def.yml").write_text(TASKS.replace("mood:", "cola:"))
    for split in ("train", "dev", "test"):
        (place / f"rows/mood_{split}.tsv").rename(place / f"rows/cola_{split}.tsv")
    (place / "recipe.yml").write_text("methods: {mine: {settings: {epochs: 2}, by_task: {cola: {epochs: 4}}}}")
    own = made(place, recipe_file=str(place / "recipe.yml"))
    assert own.load("encoder/cola", "freelb").settings["freelb_max_norm"] == 0.28
    assert [own.load(f"encoder/{task}", "mine").settings["epochs"] for task in ("cola", "pair")] == [4, 2]


BAD_RECIPES = {
    "a typing error": (
        "method: {}\n",
        "recipe.yml: unknown keys method; allowed: init_checkpoint, settings, ",
    ),
    "no settings": ("methods: {mine: {optim: sgd}}\n", "recipe.yml: not a recipe: .*'optim'"),
    "no mapping": ("settings: 3\n", "recipe.yml: not a recipe: "),
    "no tasks": ("methods: {mine: {settings: {}, by_task: [mood]}}\n", "recipe.yml: not a recipe: by_task must be"),
    "a task's nothing": (
        "methods: {mine: {settings: {}, by_task: {mood: }}}\n",
        "recipe.yml: not a recipe: by_task: mood must be a mapping",
    ),
    "a task's rate": (
        "methods: {mine: {settings: {}, by_task: {mood: {learning_rate: 1}}}}\n",
        "recipe.yml: not a recipe: by_task of mood holds a learning_rate; it belongs under learning_rates",
    ),
    "a task that is none": (
        "methods: {mine: {settings: {}, by_task: {mod: {epochs: 1}}}}\n",
        "recipe.yml: by_task names tasks that .* does not have: mod",
    ),
    "a rate of nobody": (
        "learning_rates: {mine: 1}\n",
        "recipe.yml: learning_rates of unknown methods mine; ",
    ),
    "a rate of a task that is none": (
        "learning_rates: {pats: {mod: 1.0e-4}}\n",
        "recipe.yml: learning_rates names tasks that .* does not have: mod",
    ),
    "a rate by a name that is none": (
        "methods: {mine: {settings: {}, rate_of: adamx}}\n",
        "recipe.yml: not a recipe: mine: rate_of must be a method that has rates of its own, got 'adamx'",
    ),
    "a name that is none": (
        "methods: {all: {settings: {}}}\n",
        "recipe.yml: not a recipe: 'all' is no name of a method",
    ),
    "a method by task": (
        "methods: {mine: {settings: {}, by_task: {mood: {optim: sgd}}}}\n",
        "recipe.yml: not a recipe: by_task of mood holds optim: that would be another method",
    ),
    "a seed": (
        "settings: {seed: 3}\n",
        "recipe.yml: not a recipe: settings holds seed, which a recipe or a sweep sets",
    ),
    "a usual rate that is none": ("settings: {learning_rate: fast}\n", "recipe.yml: not a recipe: .*'fast'"),
    "times text": (
        "methods: {mine: {settings: {}, rate_of: adamax, times: '2'}}\n",
        "recipe.yml: not a recipe: times must be a number above zero, got '2'",
    ),
    "an encoder that is none": ("init_checkpoint: [a]\n", "recipe.yml: init_checkpoint must be a hub name or a folder"),
    "a method by number": ("learning_rates: {1: 1.0e-4}\n", "recipe.yml: learning_rates of unknown methods 1; there"),
    "a task by number": (
        "methods: {mine: {settings: {}, by_task: {1: {epochs: 2}}}}\n",
        "recipe.yml: by_task names tasks that .* does not have: 1",
    ),
    "a rate that is none": ("learning_rates: {pats: fast}\n", "recipe.yml: the learning rate of pats is no number"),
}


@pytest.mark.parametrize(("text", "message"), BAD_RECIPES.values(), ids=BAD_RECIPES.keys())
def test_a_damaged_recipe_file_is_named(text: str, message: str, place: Path) -> None:
    (place / "recipe.yml").write_text(text)
    with pytest.raises(InputError, match=message):
        made(place, recipe_file=str(place / "recipe.yml"))


def test_features_are_found_beside_rows(place: Path, tmp_path: Path) -> None:
    rows = str(place / "rows")
    settings = {"task_def": str(place / "my_task_def.yml"), "train_datasets": "mood,pair", "init_checkpoint": "a/bert"}
    assert features_folder(rows, settings) == f"{rows}/bert"
    assert features_folder(str(tmp_path / "none"), settings) == str(tmp_path / "none")
    run = tmp_path / "runs/mtl"
    (run / "best/encoder").mkdir(parents=True)
    (run / "config.yaml").write_text("init_checkpoint: a/bert\n")
    for model in (run, run / "best", run / "best/encoder"):
        assert features_folder(rows, {**settings, "init_checkpoint": str(model)}) == f"{rows}/bert"
    (place / "rows/manifest.json").touch()
    assert features_folder(rows, settings) == rows


def test_features_that_are_missing_or_older_than_their_rows_are_seen(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made_of: list[str] = []
    monkeypatch.setattr(features, "_prepare", lambda folder, model, task_def, names: made_of.extend(names))
    settings = {
        "task_def": str(place / "my_task_def.yml"),
        "train_datasets": "mood",
        "init_checkpoint": "a/encoder",
        "data_dir": str(place / "rows/encoder"),
    }
    run = Run("encoder/mood", "adamax", (), 1)
    study = Study(place / "study", (run,), {}, {("encoder/mood", "adamax"): settings})
    (place / "rows/encoder").mkdir()
    for split in ("train", "test"):
        (place / f"rows/encoder/mood_{split}.json").touch()
    features.make_features(study, [run])
    assert made_of == ["mood"]  # of dev there are rows and no features
    (place / "rows/encoder/mood_dev.json").touch()
    made_of.clear()
    features.make_features(study, [run])
    assert not made_of and "is newer" not in capsys.readouterr().out
    os.utime(place / "rows/mood_train.tsv", (2**31, 2**31))
    features.make_features(study, [run])
    note = f"note: {place}/rows/mood_train.tsv is newer than {place}/rows/encoder/mood_train.json"
    assert note in capsys.readouterr().out
    other = Run("encoder/mood", "pats", (), 1)
    both = replace(study, runs=(run, other), settings={**study.settings, ("encoder/mood", "pats"): settings})
    features.make_features(both, [run, other])
    assert capsys.readouterr().out.count(note) == 1


GRID = "--methods adamax,pats --seeds 1-2 --devices cpu"


def own_flags(place: Path) -> str:
    return f"--task_def {place}/my_task_def.yml --data_dir {place}/rows"


REFUSED = [
    ("--recipes minilm/rte --init_checkpoint x", "--recipes: cannot go with --task_def"),
    ("--suite experiments/copa --init_checkpoint x", "--suite: cannot go with --task_def"),
    ("", "--init_checkpoint is required with --task_def"),
    ("--init_checkpoint x --learning_rate 0", "--learning_rate: expected a number above 0, got '0'"),
    ("--init_checkpoint x --methods adamax,mine", "unknown method 'mine'; there are: adamax, sage, noisytune, smart"),
    ("--init_checkpoint x --tasks absent,none", "--tasks: unknown task 'none'"),
    ("--init_checkpoint x --data_dir nowhere", "--data_dir nowhere: no training rows of the tasks of"),
]


@pytest.mark.parametrize(("flags", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_cannot_be_meant_is_one_message(
    flags: str, message: str, place: Path, sweeper: Sweeper, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweeper(f"{own_flags(place)} {GRID} {flags}") == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said
    assert not sweeper.calls() and not (sweeper.study_folder / "study.yml").exists()


@pytest.mark.parametrize("flag", ["--tasks rte", "--learning_rate 1", "--recipe_file x"])
def test_flags_of_own_data_need_it(flag: str, sweeper: Sweeper, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweeper(f"--recipes minilm/rte {GRID} --data_dir x {flag}") == 2
    assert f"{flag.split()[0]}: would have no effect without --task_def" in capsys.readouterr().err
    assert sweeper(f"--task_def x {GRID}") == 2
    assert "--task_def needs --data_dir, --seeds and --methods (or --search)" in capsys.readouterr().err


def test_a_study_of_own_data_in_earnest_from_rows_to_a_table(place: Path, tmp_path: Path, workshop: Workshop) -> None:
    """From another folder; with an optimizer of one's own: one file, and one line in a recipe file outside the tree."""
    (place / "own_sign.py").write_text(SIGN)
    mine = 'methods: {mine: {settings: {optim: "own_sign:Sign", optim_options: "beta=0.8"}}}\n'
    (place / "recipe.yml").write_text(f"settings: {{epochs: 1, batch_size: 8}}\n{mine}")
    (tmp_path / "encoder").symlink_to(workshop.encoder)
    flags = f"{own_flags(Path('elsewhere'))} --methods adamax,mine --seeds 1 --tasks mood --devices cpu "
    flags += "--init_checkpoint encoder --recipe_file elsewhere/recipe.yml --output_dir study"
    call = [sys.executable, "-m", "studies.sweep", *flags.split()]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{place}"}
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"canonical rows to features, {place}/rows/encoder: mood" in done.stdout
    study = Study.load(tmp_path / "study")
    assert [run.path.as_posix() for run in study.runs] == [
        f"encoder/mood/{method}/seed_1" for method in ("adamax", "mine")
    ]
    assert all(outcome.status is Status.DONE for outcome in study.outcomes())
    results = json.loads((study.folder / "runs/encoder/mood/mine/seed_1/results.json").read_text())
    assert results["optim"] == "own_sign:Sign" and list(results["tasks"]) == ["mood"]
    (table,) = study_tables(study, ["last"], None, None, "permutation")
    assert not table.paper and tuple(table.tasks) == ("mood",) and not study.suite.labels()
