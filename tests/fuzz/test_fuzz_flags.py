"""The flags of train.py and its recipes: a configuration that survives its YAML, or one message."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from data_utils.errors import InputError
from mt_dnn.config import FLAGS, TrainConfig, load_config
from mt_dnn.flags import LARGEST, Flag
from tests.fuzz.mutations import argument_lists, mutated, no_hang

REQUIRED = ["--data_dir", "d", "--init_checkpoint", "e", "--train_datasets", "cola,rte", "--output_dir", "o"]
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
odd_text = st.sampled_from(
    ["yes", "null", "~", "1", "010", "1e3", "2020-01-01", "- a", "a: b", "#", "'", '"', "!x", "\n", "\udc80"]
)


def values_of(flag: Flag) -> st.SearchStrategy[Any]:
    """Values of the flag's type, most of them allowed."""
    if flag.field.metadata["choices"]:
        return st.sampled_from(flag.field.metadata["choices"])
    small = st.floats(0, 1, exclude_min=True, exclude_max=True) if flag.kind is float else st.integers(8, 99)
    wide = {
        str: text | odd_text,
        bool: st.booleans(),
        int: small | st.integers(0, LARGEST),
        float: small | st.floats(allow_nan=False, allow_infinity=False),
    }[flag.kind]
    return (wide | st.none() if flag.optional else wide).filter(lambda value: not flag.optional or value != "none")


configs = st.fixed_dictionaries(
    {name: values_of(flag) for name, flag in FLAGS.items() if flag.required},
    optional={name: values_of(flag) for name, flag in FLAGS.items() if not flag.required},
)


def _at_home(name: str, value: Any) -> Any:
    """A path as it is read: `~` is the home folder."""
    is_path = FLAGS[name].field.metadata.get("path") and isinstance(value, str)
    return os.path.expanduser(value) if is_path else value


@given(configs)
def test_a_configuration_survives_yaml_and_the_command_line(tmp_path: Path, values: dict[str, Any]) -> None:
    values = {name: _at_home(name, value) for name, value in values.items() if name not in ("resume", "dry_run")}
    while True:  # leave out what is refused, flag by flag, until the rest is a valid configuration
        try:
            config = TrainConfig.from_values(values)
            break
        except InputError as error:
            refused = [n for n in values if f"--{n} " in f"{error} " or f"--{n}," in str(error)]
            assume(refused)
            values = {name: value for name, value in values.items() if name not in refused or FLAGS[name].required}
    config.write(tmp_path / "config.yaml")
    assert load_config(["--config", str(tmp_path / "config.yaml")], "") == config
    flags = [f"--{n}={'none' if v is None else v}" for n, v in values.items() if not isinstance(v, bool)]
    flags += [f"--{'' if v else 'no-'}{n}" for n, v in values.items() if isinstance(v, bool)]
    assert load_config(flags, "") == config


RECIPE = b"""\
data_dir: d
init_checkpoint: "e"
train_datasets: [cola, rte]
output_dir: o
learning_rate: 3e-4
epochs: 3
seed: 12345678901234567
dropout_p: 0.25
bf16: true
device: cpu
"""


def check_loads(argv: list[str]) -> None:
    """The arguments give a configuration that stands for itself, or one message."""
    try:
        with no_hang():
            config = load_config(argv, "")
    except InputError as error:
        assert str(error)
        return
    except SystemExit as stop:  # --help
        assert stop.code == 0
        return
    values = config.to_dict()
    assert TrainConfig.from_values(values) == config
    for name, flag in FLAGS.items():
        assert type(values[name]) is flag.kind or (flag.optional and values[name] is None), name
        assert flag.kind is not str or values[name] != ""


@given(data=st.data())
def test_spoiled_recipes(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yml"
    path.write_bytes(data.draw(mutated(RECIPE)))
    check_loads(["--config", str(path), *data.draw(st.sampled_from([[], REQUIRED]))])


@given(data=st.data())
def test_spoiled_settings_of_a_run_to_resume(data: st.DataObject, tmp_path: Path) -> None:
    load_config([*REQUIRED, "--output_dir", str(tmp_path)], "").write(tmp_path / "config.yaml")
    path = tmp_path / "config.yaml"
    path.write_bytes(data.draw(mutated(path.read_bytes())))
    check_loads(["--output_dir", str(tmp_path), "--resume", *data.draw(st.sampled_from([[], ["--seed", "7"]]))])


@given(argument_lists([*REQUIRED, "--seed", "3", "--fp16"], more=[f"--{name}" for name in FLAGS]))
def test_spoiled_command_lines(argv: list[str]) -> None:
    check_loads(argv)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | text | st.dates() | st.binary(max_size=3)
anything = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(text, v, max_size=2))


@pytest.mark.parametrize("kind", [str, int, float, bool], ids=lambda kind: kind.__name__)
@given(value=anything)
def test_no_value_is_taken_for_another(kind: type, value: Any) -> None:
    """What a flag makes of a YAML value, written out, is the value as it was written."""
    flag = next(f for f in FLAGS.values() if f.kind is kind and not f.optional and not f.field.metadata["choices"])
    try:
        read = flag.parse(value)
    except InputError as error:
        assert str(error).startswith(f"--{flag.field.name}: ")
        return
    assert type(read) is kind
    if isinstance(value, str):
        same = kind is str or kind is bool or float(read) == float(value)
    else:
        same = read == (",".join(value) if isinstance(value, list) else value)
    assert same, (value, read)
