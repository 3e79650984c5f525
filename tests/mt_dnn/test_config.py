"""Flags and YAML: one meaning, clear errors, and a config.yaml that runs again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml

from data_utils.errors import InputError
from module.optim import OPTIMIZERS, build_optimizer
from module.optim.hyperparameters import Hyperparameters
from mt_dnn.config import FLAGS, SECTION_OF, SECTIONS, TrainConfig, load_config
from mt_dnn.method import MIXOUT
from mt_dnn.objectives.registry import OBJECTIVES
from mt_dnn.objectives.smart import SMARTConfig
from mt_dnn.plan import _values
from studies.methods import OWN_FLAGS

REQUIRED = "--data_dir d --init_checkpoint e --train_datasets cola --output_dir {out}"


def load(tmp_path: Path, *more: str) -> TrainConfig:
    return load_config([*REQUIRED.format(out=tmp_path / "run").split(), *more], "test")


def test_defaults_are_the_papers(tmp_path: Path) -> None:
    pats, loop = load(tmp_path, "--optim", "pats_adamax").pats, load(tmp_path).loop
    assert (pats.noise_lambda, pats.noise_gamma, pats.sensitivity_beta, pats.noise_p) == (2e-6, 2e-3, 0.75, 0.2)
    assert (pats.sensitivity, pats.noise_form, pats.noise_schedule) == ("signed", "variance", "constant")
    assert (loop.batch_size, loop.epochs, loop.warmup) == (32, 10, 0.1)


def test_defaults_of_the_remedies_are_those_that_the_page_on_methods_has() -> None:
    """There they stand behind the flag and the paper's symbol: `--adv_epsilon` (ε, 1e-5)."""
    text = Path("docs/methods.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"`--(\w+)` \((?:\S+,\s+)?(\d[\d.e-]*)[;,)]", text))
    for record in (SECTIONS[name] for name in (*OBJECTIVES, MIXOUT)):
        numbers = {
            flag for flag in OF_METHODS if FLAGS[flag].owner is record and not FLAGS[flag].field.metadata["choices"]
        }
        assert numbers and numbers <= told.keys()
        assert {flag: float(told[flag]) for flag in numbers} == {flag: FLAGS[flag].field.default for flag in numbers}
    smart = SMARTConfig()
    assert (smart.p_norm, smart.norm_level) == ("inf", "token")  # MT-DNN's


def test_flags_win_over_yaml_and_yaml_over_defaults(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yml"
    recipe.write_text("learning_rate: 3e-4\nepochs: 3\ntrain_datasets: [rte, cola]\nbf16: true\n")
    config = load(tmp_path, "--config", str(recipe), "--epochs", "4")
    assert config.method.learning_rate == 3e-4  # YAML 1.1 reads 3e-4 as text; a recipe writer does not
    assert config.loop.epochs == 4
    assert config.loop.bf16
    assert config.data.train_datasets == "cola"  # a flag, so it wins


def test_config_yaml_is_enough_to_run_again(tmp_path: Path) -> None:
    config = load(tmp_path, "--optim", "pats_adamw", "--pats_lambda", "1e-6", "--no-tensorboard", "--adam_eps", "1e-6")
    config.write(tmp_path / "config.yaml")
    assert load_config(["--config", str(tmp_path / "config.yaml")], "test") == config
    assert set(yaml.safe_load((tmp_path / "config.yaml").read_text())) == set(FLAGS) - {"resume", "dry_run"} | {
        "started_in"
    }


def test_optimizer_is_an_alias_of_optim(tmp_path: Path) -> None:
    assert load(tmp_path, "--optimizer", "sage_adamw").method.optim == "sage_adamw"


@pytest.mark.parametrize(
    ("flags", "name", "noisytune", "label"),
    [
        ("--optim adamax", "adamax", 0.0, "adamax"),
        ("--baseline sage", "sage_adamax", 0.0, "sage_adamax"),
        ("--optim adamw --baseline sage", "sage_adamw", 0.0, "sage_adamw"),
        ("--baseline noisytune", "adamax", 0.15, "adamax+noisytune"),
        ("--baseline noisytune --noisytune_lambda 0.1", "adamax", 0.1, "adamax+noisytune"),
        ("--optim pats_adamax --noisytune_lambda 0.2", "pats_adamax", 0.2, "pats_adamax+noisytune"),
    ],
)
def test_baselines(tmp_path: Path, flags: str, name: str, noisytune: float, label: str) -> None:
    method = load(tmp_path, *flags.split()).method
    assert (method.optimizer_name, method.noisytune_intensity, method.label) == (name, noisytune, label)


BAD = {
    "--optim adam": "--optim: unknown 'adam'; allowed: adamax, adamw, sage_adamax",
    "--learning_rate fast": "--learning_rate: expected a finite number, got 'fast'",
    "--learning_rate nan": "--learning_rate: expected a finite number, got 'nan'",
    "--learning_rate 0": "--learning_rate must be > 0, got 0.0",
    "--epochs 2.5": "--epochs: expected a whole number, got '2.5'",
    "--epochs 0": "--epochs must be at least 1, got 0",
    "--batch_size -4": "--batch_size must be at least 1, got -4",
    "--warmup 1": r"--warmup must be in \[0, 1\), got 1.0",
    "--pats_p 1.5 --optim pats_adamax": r"--pats_p must be in \[0, 1\], got 1.5",
    "--momentum 0.9": "--momentum is MT-DNN's; not here: there it is never read",
    "--learn 0.9": "--learn: no such flag; flags are not cut short here, write --learning_rate",
    "--epochs": "argument --epochs: expected one argument",
    "--fp16 --bf16": "--fp16 contradicts --bf16",
    "--optim pats_adamax --baseline sage": "--baseline sage contradicts --optim pats_adamax",
    "--optim sage_adamax --baseline sage": "--baseline sage contradicts --optim sage_adamax",
    "--optim pats_adamax --baseline noisytune": "--baseline noisytune contradicts --optim pats_adamax",
    "--baseline sage --noisytune_lambda 0.1": "--baseline sage contradicts --noisytune_lambda",
    "--pats_lambda 1e-6": "--pats_lambda would have no effect: --optim is adamax",
    "--sage_beta 0.5 --optim pats_adamax": "--sage_beta would have no effect",
    "--baseline noisytune --noisytune_lambda 0": "--noisytune_lambda must be > 0, got 0.0",
    "--keep_checkpoints 0": "--keep_checkpoints must be at least 1",
    "--learning_rate 1_0": "--learning_rate: expected a finite number, got '1_0'",
    "--seed 9223372036854775808": "--seed: expected a whole number, got '9223372036854775808'",
    "--epochs 1e300": "--epochs: expected a whole number, got '1e300'",
    "--data_dir=": "--data_dir: expected text, got ''",
    "--data_dir a\0b": r"--data_dir: expected text, got 'a\\x00b'",
    "--config=": "argument --config: expected a path, got ''",
    "--config nowhere.yml": "nowhere.yml: cannot be read",
}


@pytest.mark.parametrize(("flags", "message"), BAD.items(), ids=BAD.keys())
def test_bad_flags(tmp_path: Path, flags: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(tmp_path, *flags.split())


BAD_YAML = {
    "learning_rat: 1": "unknown key 'learning_rat'; allowed: data_dir, init_checkpoint",
    "epochs: three": "--epochs: expected a whole number, got 'three'",
    "epochs: true": "--epochs: expected a whole number, got True",
    "bf16: 2": "--bf16: expected true or false, got 2",
    "epochs: [1]": "--epochs: expected a whole number",
    "learning_rate: {a: 1}": "--learning_rate: expected a finite number",
    "output_dir:": "--output_dir: expected text, got nothing",
    "data_dir: 7": "--data_dir: expected text, got 7; quote it",
    "data_dir: 1.10": "--data_dir: expected text, got 1.1; quote it",
    "data_dir: on": "--data_dir: expected text, got True; quote it",
    "train_datasets: [cola, 7]": r"--train_datasets: expected text, got \['cola', 7\]; quote it",
    "output_dir: !!binary aGk=": "--output_dir: expected text, got b'hi'",
    'output_dir: "\\ud800"': r"--output_dir: expected text, got '\\ud800'",
    "epochs: 010": "recipe.yml:1: '010' is another number in YAML than it looks",
    "seed: 1\nepochs: 1:30": "recipe.yml:2: '1:30' is another number in YAML than it looks",
    "- a": "expected a mapping",
    "a: [": "not valid YAML",
    "epochs: 1\nepochs: 2": "the key 'epochs' stands twice",
    "!!python/object/apply:os.system [echo]": "not valid YAML",
}


@pytest.mark.parametrize(("text", "message"), BAD_YAML.items(), ids=BAD_YAML.keys())
def test_bad_yaml(tmp_path: Path, text: str, message: str) -> None:
    recipe = tmp_path / "recipe.yml"
    recipe.write_text(text)
    with pytest.raises(InputError, match=message):
        load(tmp_path, "--config", str(recipe))


def test_whole_numbers_keep_every_digit(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yml"
    recipe.write_text("seed: 9007199254740993\noutput_dir: 2022-12-07\n")
    assert load(tmp_path, "--config", str(recipe)).loop.seed == 2**53 + 1
    assert load(tmp_path, "--seed", "9007199254740993", "--epochs", "1e3").loop.seed == 2**53 + 1
    given = ["--data_dir", "d", "--init_checkpoint", "e", "--train_datasets", "cola", "--config", str(recipe)]
    assert load_config(given, "test").output.output_dir == "2022-12-07"


def test_all_problems_come_in_one_message(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, "--epochs", "0", "--warmup", "3", "--learning_rate", "-1")
    assert len(str(caught.value).splitlines()) == 3


def test_missing_flags_are_all_named() -> None:
    with pytest.raises(InputError) as caught:
        load_config([], "test")
    required = ("--data_dir", "--init_checkpoint", "--train_datasets", "--output_dir")
    assert [line.split()[0] for line in str(caught.value).splitlines()] == list(required)


def test_resume_takes_the_runs_settings_and_refuses_others(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    load(tmp_path, "--epochs", "3", "--optim", "pats_adamax").write(run / "config.yaml")
    again = load_config(["--output_dir", str(run), "--resume"], "test")
    assert (again.loop.epochs, again.method.optim, again.output.resume) == (3, "pats_adamax", True)
    assert load(tmp_path, "--resume", "--log_per_updates", "7").output.log_per_updates == 7
    with pytest.raises(InputError, match="--epochs 5 contradicts .*config.yaml, which has 3"):
        load(tmp_path, "--resume", "--epochs", "5")


OF_METHODS = [name for name, flag in FLAGS.items() if issubclass(flag.owner, Hyperparameters)]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_has_a_section_of_its_name(name: str) -> None:
    assert issubclass(SECTIONS[name], Hyperparameters)


@pytest.mark.parametrize("flag", OF_METHODS)
def test_studies_know_whose_a_methods_flag_is(flag: str) -> None:
    """Else two methods with different values of it would not be seen as comparable."""
    assert [method for begin, method in OWN_FLAGS.items() if flag.startswith(begin)] == [SECTION_OF[FLAGS[flag].owner]]


@pytest.mark.parametrize("flag", OF_METHODS)
def test_every_hyperparameter_reaches_the_plan_and_the_optimizer(flag: str, tmp_path: Path) -> None:
    owner, field = FLAGS[flag].owner, FLAGS[flag].field
    share = isinstance(field.default, float) and field.default < 1
    number = 0.25 if share else 5
    other = next((one for one in field.metadata["choices"] if one != field.default), number)
    name = SECTION_OF[owner]
    needs = ["--optim", f"{name}_adamax"] if f"{name}_adamax" in OPTIMIZERS else ["--baseline", name]
    config = load(tmp_path, *needs, f"--{flag}", str(other))
    assert f"{flag.partition('_')[2]} {other}" in _values(config, 1000)[0]
    assert [getattr(record, field.name) for record in config.in_use.values()] == [other] != [field.default]
    if (optim := config.method.optim) != "adamax":
        groups = [{"params": [torch.nn.Parameter(torch.ones(2))]}]
        built = build_optimizer(optim, groups, lr=1e-3, hyperparameters=config.of_optimizer)
        assert built.param_groups[0][field.name] == other


@pytest.mark.parametrize("flag", [name for name in FLAGS if name not in OF_METHODS])
def test_every_flag_is_read_somewhere(flag: str) -> None:
    """A flag without effect is a lie: its name must be used outside the file that declares it, or in a property."""
    root = Path(__file__).parents[2]
    declared = root / "mt_dnn" / "config.py"
    others = "".join(p.read_text() for p in [*root.glob("*.py"), *(root / "mt_dnn").glob("*.py")] if p != declared)
    assert f".{flag}" in others or f"self.{flag}" in declared.read_text().split("def problems", 1)[1]


@pytest.mark.parametrize("resume", [False, True])
def test_a_configuration_of_before_the_signed_reading_says_what_it_is(tmp_path: Path, resume: bool) -> None:
    run = tmp_path / "run"
    run.mkdir()
    load(tmp_path, "--optim", "pats_adamax", "--pats_noise_form", "std").write(run / "config.yaml")
    old = yaml.safe_load((run / "config.yaml").read_text())
    del old["pats_sensitivity"], old["pats_noise_schedule"]
    (run / "config.yaml").write_text(yaml.safe_dump(old))
    flags = ["--resume", "--output_dir", str(run)] if resume else ["--config", str(run / "config.yaml")]
    with pytest.raises(
        InputError, match="runs were what is now pats_sensitivity: magnitude. Add that line to repeat one"
    ):
        load_config(flags, "test")
    (run / "config.yaml").write_text(yaml.safe_dump(old | {"optim": "adamax"}))
    assert load_config(flags, "test").method.optim == "adamax"  # nothing that PATS would have done is in it


def test_a_tilde_is_the_home_folder_in_yaml_and_in_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "recipe.yml").write_text("data_dir: ~/features\ninit_checkpoint: ~/model\n")
    config = load_config(
        ["--config=~/recipe.yml", "--train_datasets", "cola", f"--output_dir={'~'}/run"], description="test"
    )
    assert (config.data.data_dir, config.data.init_checkpoint) == (f"{tmp_path}/features", f"{tmp_path}/model")
    assert config.output.output_dir == f"{tmp_path}/run"
