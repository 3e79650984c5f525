"""Recipes: the paper's tables, typed here once more, and settings that train.py takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from data_utils.errors import InputError
from data_utils.task_def import load_task_defs
from mt_dnn.config import FLAGS, TrainConfig, load_config
from studies.methods import OWN_FLAGS
from studies.recipes import Recipes, Shared, main
from studies.suite import Suite
from studies.sweeps.search import search_space

ROOT = Path(__file__).resolve().parents[2]
GLUE = Recipes.of(Suite())
METHODS = ("adamax", "sage", "noisytune", "smart", "freelb", "freelb_third", "rdrop", "mixout", "recadam")
METHODS += ("pats", "pats_lr", "pats_magnitude", "pats_magnitude_variance")
TASKS = "cola mrpc rte stsb qqp qnli mnli sst".split()
RUN = ["--data_dir", "data", "--output_dir", "out"]

TABLE_1 = """
bert_base     adamax    58.94 90.19 68.03 89.28 88.53 91.96 84.63 92.77
bert_base     sage      59.45 90.53 71.78 89.81 88.61 91.87 84.59 93.06
bert_base     noisytune 60.01 90.34 69.71 89.81 88.58 91.82 84.64 92.85
bert_base     pats      60.67 91.05 72.08 89.86 88.64 92.02 84.80 92.89
roberta_large adamax    66.67 91.89 85.44 91.98 89.26 94.45 90.25 96.10
roberta_large sage      67.36 93.27 85.56 92.05 89.27 94.54 90.25 96.25
roberta_large noisytune 67.47 93.26 85.52 92.00 89.36 94.53 90.04 96.12
roberta_large pats      68.62 93.52 86.29 92.23 89.40 94.64 90.44 96.30
"""
TABLE_2 = """
bert_base     adamax 1e-4 1e-4 1e-4 2e-4 1e-4 2e-4 8e-5 8e-5
roberta_large adamax 3e-5 5e-5 5e-5 5e-5 1e-4 1e-5 3e-5 3e-5
bert_base     pats   1e-4 3e-4 3e-4 3e-4 2e-4 2e-4 1e-4 3e-4
roberta_large pats   8e-5 8e-5 8e-5 5e-5 1e-4 3e-5 1e-5 1e-5
"""
TABLE_3 = {
    "pats_lambda": "5e-7 8e-7 1e-6 2e-6 3e-6",
    "pats_gamma": "1e-3 2e-3 3e-3 5e-3 8e-3 2e-2",
    "pats_beta": "0.5 0.55 0.6 0.65 0.7 0.75 0.8 0.85",
    "learning_rate": "1e-5 3e-5 5e-5 7e-5 8e-5 1e-4 2e-4 3e-4 5e-4",
}


def table_rows(table: str) -> list[tuple[str, str, list[float]]]:
    """Encoder, method and a number for each of `TASKS`."""
    rows = [line.split() for line in table.strip().splitlines()]
    return [(encoder, method, [float(number) for number in numbers]) for encoder, method, *numbers in rows]


def as_train_reads_it(tmp_path: Path, name: str, method: str) -> TrainConfig:
    """The configuration of a run with the recipe's YAML."""
    path = tmp_path / "recipe.yml"
    path.write_text(GLUE.load(name, method).to_yaml())
    return load_config(["--config", str(path), *RUN], "test")


def test_four_encoders_have_eight_tasks_and_all_of_them_together() -> None:
    encoders = ("bert_base", "minilm", "mpnet", "roberta_large")
    assert GLUE.names() == tuple(f"{encoder}/{task}" for encoder in encoders for task in [*TASKS, "mtl"])
    assert {GLUE.methods_of(name) for name in GLUE.names()} == {METHODS}


@pytest.mark.parametrize("name", GLUE.names())
def test_train_takes_every_recipe_with_every_method(name: str, tmp_path: Path) -> None:
    for method in METHODS:
        recipe = GLUE.load(name, method)
        config = as_train_reads_it(tmp_path, name, method)
        assert (recipe.name, recipe.method) == (name, method)
        assert config.to_dict().items() >= recipe.settings.items()
        assert load_config([*recipe.to_flags(), *RUN], "test") == config
        assert not recipe.settings.keys() & {"data_dir", "output_dir", "seed"}


@pytest.mark.parametrize(("encoder", "method", "rates"), table_rows(TABLE_2))
def test_learning_rates_are_those_of_table_2(encoder: str, method: str, rates: list[float]) -> None:
    for task, rate in zip(TASKS, rates, strict=True):
        assert GLUE.load(f"{encoder}/{task}", method).settings["learning_rate"] == rate
    assert GLUE.load(f"{encoder}/mtl", method).settings["learning_rate"] == min(rates)


def test_the_baselines_rates_follow_from_the_plain_one() -> None:
    largest = max(yaml.safe_load(GLUE.search_space.read_text())["learning_rate"])
    searched = {"minilm/cola", "minilm/mrpc"}  # for every method by itself
    for name in sorted(set(GLUE.names()) - searched):
        rate = {method: GLUE.load(name, method).settings["learning_rate"] for method in METHODS}
        assert rate["noisytune"] == rate["adamax"] == rate["pats_magnitude"] == rate["pats_magnitude_variance"]
        assert rate["sage"] == 2 * rate["adamax"]
        if name.startswith(("bert_base/", "roberta_large/")):  # the paper's own; others have rates that were searched
            assert rate["sage"] <= largest
    assert GLUE.load("mpnet/rte", "adamax").settings["learning_rate"] == 1e-4
    assert GLUE.load("mpnet/rte", "sage").settings["learning_rate"] == 2e-4


@pytest.mark.parametrize(
    ("method", "optimizer", "noisytune"),
    [
        ("adamax", "adamax", 0.0),
        ("sage", "sage_adamax", 0.0),
        ("noisytune", "adamax", 0.15),
        ("pats", "pats_adamax", 0.0),
        ("pats_lr", "pats_adamax", 0.0),
        ("pats_magnitude", "pats_adamax", 0.0),
        ("pats_magnitude_variance", "pats_adamax", 0.0),
    ],
)
def test_settings_are_those_of_appendix_a2(method: str, optimizer: str, noisytune: float, tmp_path: Path) -> None:
    settings = GLUE.load("bert_base/rte", method).settings
    assert (settings["batch_size"], settings["epochs"], settings["warmup"]) == (32, 10, 0.1)
    config = as_train_reads_it(tmp_path, "bert_base/rte", method).method
    assert (config.optimizer_name, config.noisytune_intensity) == (optimizer, noisytune)
    if method.startswith("pats"):
        assert [settings[f"pats_{name}"] for name in ("lambda", "gamma", "beta", "p")] == [2e-6, 0.002, 0.75, 0.2]
        reading = (
            "magnitude" if "magnitude" in method else "signed",
            "std" if method == "pats_magnitude" else "variance",
        )
        assert (settings["pats_sensitivity"], settings["pats_noise_form"]) == reading
        assert settings["pats_noise_schedule"] == ("lr" if method == "pats_lr" else "constant")
    assert settings.get("sage_beta") == (0.75 if method == "sage" else None)


def test_mtl_trains_all_tasks_and_the_others_their_own() -> None:
    assert GLUE.load("minilm/mtl", "pats").settings["train_datasets"] == ",".join(TASKS)
    assert GLUE.load("minilm/sst", "pats").settings["train_datasets"] == "sst"
    assert set(TASKS) <= load_task_defs("experiments/glue/glue_task_def.yml").keys()


def test_encoders_are_known_by_their_names_on_the_hub() -> None:
    found = {name: GLUE.load(f"{name}/rte", "pats").settings["init_checkpoint"] for name in GLUE.encoders()}
    assert found == {
        "bert_base": "bert-base-uncased",
        "roberta_large": "roberta-large",
        "minilm": "sentence-transformers/all-MiniLM-L6-v2",
        "mpnet": "sentence-transformers/all-mpnet-base-v2",
    }


def test_the_papers_scores_are_those_of_table_1() -> None:
    written = yaml.safe_load(Suite().paper_table.read_text())
    expected: dict[str, dict[str, dict[str, float]]] = {}
    for encoder, method, scores in table_rows(TABLE_1):
        expected.setdefault(encoder, {})[method] = dict(zip(TASKS, scores, strict=True))
    assert written == expected


def test_the_search_ranges_are_those_of_table_3() -> None:
    written = yaml.safe_load(GLUE.search_space.read_text())
    expected = {flag: [float(number) for number in numbers.split()] for flag, numbers in TABLE_3.items()}
    assert {flag: values for flag, values in written.items() if flag in expected} == expected


@pytest.mark.parametrize("method", GLUE.methods_of("minilm/cola"))
def test_every_method_says_where_its_settings_come_from_and_what_is_searched(method: str) -> None:
    """Its rate at least, and a value of its own: a method that has flags of its own has a range for one of them."""
    assert Shared.load(GLUE.shared).methods[method].source
    settings = GLUE.load("minilm/cola", method).settings
    space = search_space(settings, GLUE.search_space)
    assert "learning_rate" in space and space.keys() <= FLAGS.keys()
    own = [flag for flag in settings if flag.startswith(tuple(OWN_FLAGS))]
    assert bool(own) == any(flag.startswith(tuple(OWN_FLAGS)) for flag in space)


def test_a_method_may_have_settings_for_a_task() -> None:
    """FreeLB has those of its authors' scripts; tasks without such a script have the shared ones."""
    found = {task: GLUE.load(f"minilm/{task}", "freelb").settings for task in ("cola", "stsb", "mtl")}
    names = ("freelb_steps", "freelb_step_size", "freelb_init_magnitude", "freelb_max_norm")
    assert [found["cola"][name] for name in names] == [4, 0.025, 0.4, 0.3]
    assert [found["stsb"][name] for name in names] == [4, 0.1, 0.16, 0.28]
    assert [found["mtl"][name] for name in names] == [3, 0.1, 0.16, 0.28]
    assert all(settings["baseline"] == "freelb" for settings in found.values())


def test_freelb_third_is_freelb_with_three_tenths_of_its_perturbations() -> None:
    for task in (*TASKS, "mtl"):
        theirs, ours = (GLUE.load(f"bert_base/{task}", method).settings for method in ("freelb", "freelb_third"))
        assert ours["freelb_steps"] == theirs["freelb_steps"]
        for name in ("freelb_step_size", "freelb_init_magnitude", "freelb_max_norm"):
            assert ours[name] == pytest.approx(0.3 * theirs[name])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("bert_large/rte", "unknown recipe 'bert_large/rte': expected ENCODER/TASK; encoders: bert_base, minilm"),
        ("paper/rte", "unknown recipe 'paper/rte': expected ENCODER/TASK"),
        ("../recipes/mpnet/rte", "expected ENCODER/TASK"),
        ("bert_base", "unknown recipe 'bert_base': tasks of bert_base: cola, mrpc, rte"),
        ("bert_base/wnli", "unknown recipe 'bert_base/wnli': tasks of bert_base: cola, mrpc, rte"),
        ("bert_base/rte --method pat", "recipe bert_base/rte: unknown method 'pat'; there are: adamax, sage"),
        ("bert_base/rte --methods pats", "unrecognized arguments: --methods"),
    ],
)
def test_what_there_is_not_is_an_error(flags: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags.split()) == 2
    assert message in capsys.readouterr().err


def test_the_command_prints_a_recipe_in_full_and_lists_all() -> None:
    def printed(*flags: str) -> str:
        command = [sys.executable, "-m", "studies.recipes", *flags]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    recipe = GLUE.load("roberta_large/mnli", "sage")
    text = printed("roberta_large/mnli", "--method", "sage")
    assert text.startswith("# roberta_large/mnli, sage\n") and yaml.safe_load(text) == recipe.settings
    assert printed("roberta_large/mnli", "--method", "sage", "--flags").splitlines() == recipe.to_flags()
    assert yaml.safe_load(printed("minilm/rte")) == GLUE.load("minilm/rte", "pats").settings
    assert printed().splitlines() == [f"{name}: {', '.join(METHODS)}" for name in GLUE.names()]


METHOD = "settings: {}\nmtl: [rte]\nmethods: {pats: {settings: {optim: pats_adamax}"


@pytest.fixture
def own(tmp_path: Path) -> Recipes:
    """A folder of recipes that holds what they share: GLUE's methods, some of which have settings for GLUE's tasks."""
    (tmp_path / "paper.yml").write_text(f"settings: {{epochs: 2}}\nmethods: {GLUE.shared}\nmtl: [rte, cola]\n")
    return Recipes(tmp_path)


def test_another_encoder_is_another_file(own: Recipes) -> None:
    rates = "{adamax: {rte: 2e-5}, sage: {rte: 7e-5, cola: 5e-5}}"
    (own.folder / "mine.yml").write_text(f"init_checkpoint: runs/mine/best\nlearning_rates: {rates}\n")
    assert own.names() == ("mine/rte", "mine/cola")
    # no rate for PATS, and none is made up, but for the readings that have Adamax's
    assert own.methods_of("mine/rte") == (
        "adamax",
        "sage",
        "noisytune",
        "smart",
        "freelb",
        "freelb_third",
        "rdrop",
        "mixout",
        "recadam",
        "pats_magnitude",
        "pats_magnitude_variance",
    )
    assert own.methods_of("mine/cola") == ("sage",)
    assert own.load("mine/rte", "sage").settings["learning_rate"] == 7e-5  # its own, not twice the plain one
    assert own.load("mine/rte", "noisytune").settings["init_checkpoint"] == "runs/mine/best"


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("mine.yml", "init_checkpoint: x\n", "mine.yml: expected the keys init_checkpoint, learning_rates, got init"),
        ("mine.yml", "init_checkpoint: x\nlearning_rates: {}\nrate: 1\n", "mine.yml: expected the keys .* rate"),
        ("mine.yml", "init_checkpoint: x\nlearning_rates: {pats: {rte: fast}}\n", "mine.yml: learning_rates .*'fast'"),
        ("mine.yml", "init_checkpoint: x\nlearning_rates: {pats: 1e-4}\n", "mine.yml: learning_rates must be numbers"),
        ("mine.yml", "learning_rates: [\n", "mine.yml:2: not valid YAML"),
        ("paper.yml", "settings: {}\nmtl: []\n", "paper.yml: expected the keys settings, methods, mtl, got"),
        ("paper.yml", "settings: {}\nmtl: rte\nmethods: {}\n", "paper.yml: not what .*: mtl must be a list of tasks"),
        ("paper.yml", "settings: {learning_rate: 1}\nmtl: [rte]\nmethods: {}\n", "paper.yml: .* learning_rate belongs"),
        ("paper.yml", "settings: {}\nmtl: []\nmethods: {pats: {rate: 1}}\n", "paper.yml: not what .*'rate'"),
        (
            "mine.yml",
            "init_checkpoint: x\nlearning_rates: {pat: {rte: 1e-4}}\n",
            "mine.yml: .* of unknown methods pat; ",
        ),
        ("paper.yml", f"{METHOD}, by_task: {{rt: {{epochs: 1}}}}}}}}\n", "paper.yml: by_task names tasks .*: rt$"),
        ("paper.yml", "settings: {}\nmtl: []\nmethods: none.yml\n", "none.yml: cannot be read"),
        ("paper.yml", "settings: {}\nmtl: []\nmethods: mine.yml\n", "mine.yml: expected the keys settings, methods"),
    ],
)
def test_damaged_files_are_named(file: str, text: str, message: str, own: Recipes) -> None:
    (own.folder / "mine.yml").write_text("init_checkpoint: x\nlearning_rates: {pats: {rte: 1e-4}}\n")
    (own.folder / file).write_text(text)
    with pytest.raises(InputError, match=message):
        own.check_names()
        own.load("mine/rte", "pats")
