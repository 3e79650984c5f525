"""The paper's experiments as settings of train.py: a recipe is `<encoder>/<task>` and comes with several methods.

    python -m experiments.glue.recipes                                       # what there is
    python -m experiments.glue.recipes bert_base/rte --method pats > rte.yml
    python train.py --config rte.yml --data_dir data/canonical_data/bert-base-uncased --output_dir runs/rte

All of them come from a table of learning rates per encoder (`recipes/<encoder>.yml`) and one file of what they share
(`recipes/paper.yml`). Another encoder is another file in that folder.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from data_utils.cli import Parser
from data_utils.errors import InputError, entry_point
from data_utils.strict import read_yaml_mapping, shown

FOLDER = Path(__file__).with_suffix("")
SHARED = "paper"
NOT_ENCODERS = frozenset({SHARED, "paper_table1", "search"})
MTL = "mtl"


def as_arguments(settings: Mapping[str, Any]) -> list[str]:
    """Value by flag as arguments of train.py, where what is true or false is a switch: `--epochs 3 --bf16`."""
    arguments = []
    for flag, value in settings.items():
        switch = {"true": f"--{flag}", "false": f"--no-{flag}"}.get(str(value).lower())
        arguments += [switch] if switch else [f"--{flag}", str(value)]
    return arguments


@dataclass(frozen=True)
class Recipe:
    """One experiment of the paper.

    Attributes:
        name: `<encoder>/<task>`, such as `bert_base/rte`; the task is `mtl` for all tasks on one encoder.
        method: such as `pats`.
        settings: value by flag of train.py, all but data, output folder and seed; `--config` takes them as YAML.
    """

    name: str
    method: str
    settings: Mapping[str, Any]

    def to_yaml(self) -> str:
        """The settings as a file for `--config`, without a last line end."""
        return f"# {self.name}, {self.method}\n{yaml.safe_dump(dict(self.settings), sort_keys=False)}".rstrip()

    def to_flags(self) -> list[str]:
        """The settings as arguments of train.py."""
        return as_arguments(self.settings)


@dataclass(frozen=True)
class _Method:
    """What a method adds to the shared settings; its rate is `times` that of `rate_of` where it has none of its own."""

    settings: Mapping[str, Any]
    rate_of: str = ""
    times: float = 1.0


@dataclass(frozen=True)
class _Shared:
    """What `paper.yml` holds; `mtl` are the tasks that are trained together."""

    settings: Mapping[str, Any]
    methods: Mapping[str, _Method]
    mtl: tuple[str, ...]

    @classmethod
    def load(cls) -> _Shared:
        path, raw = _read(SHARED, "settings", "methods", "mtl")
        try:
            methods = {name: _Method(**entry) for name, entry in raw["methods"].items()}
            return cls(dict(raw["settings"]), methods, tuple(raw["mtl"]))
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{path}: not what recipes share: {error}") from None


@dataclass(frozen=True)
class _Encoder:
    """What `<encoder>.yml` holds; `rates` is learning rate by method and task."""

    init_checkpoint: str
    rates: Mapping[str, Mapping[str, float]]

    @classmethod
    def load(cls, name: str) -> _Encoder:
        path, raw = _read(name, "init_checkpoint", "learning_rates")
        try:
            rows = raw["learning_rates"].items()
            rates = {method: {task: float(rate) for task, rate in row.items()} for method, row in rows}
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{path}: learning_rates must be numbers by method and task: {error}") from None
        return cls(raw["init_checkpoint"], rates)

    def tasks(self) -> tuple[str, ...]:
        """All tasks that some method has a rate for."""
        return tuple(dict.fromkeys(task for row in self.rates.values() for task in row))

    def learning_rates(self, method: str, shared: _Shared) -> dict[str, float]:
        """The rate by task of any method; {} when the encoder has none for it."""
        if method in self.rates:
            return dict(self.rates[method])
        entry = shared.methods[method]
        return {task: entry.times * rate for task, rate in self.rates.get(entry.rate_of, {}).items()}


def _read(name: str, *keys: str) -> tuple[Path, dict[str, Any]]:
    """A file of recipes, and what it holds."""
    path = FOLDER / f"{name}.yml"
    raw = read_yaml_mapping(path)
    if raw.keys() != set(keys):
        raise InputError(f"{path}: expected the keys {', '.join(keys)}, got {', '.join(raw) or 'none'}")
    return path, raw


def encoder_names() -> tuple[str, ...]:
    """The first parts of recipes' names."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yml") if path.stem not in NOT_ENCODERS))


def recipe_names() -> tuple[str, ...]:
    """All recipes, an encoder's together; InputError for a damaged file."""
    return tuple(f"{encoder}/{task}" for encoder in encoder_names() for task in _Encoder.load(encoder).tasks())


def methods_of(name: str) -> tuple[str, ...]:
    """The methods that a recipe has.

    Raises:
        InputError: there is no such recipe, or a file is damaged.
    """
    return tuple(_by_method(name))


def load_recipe(name: str, method: str) -> Recipe:
    """The recipe of this name with one of its methods.

    Raises:
        InputError: there is no such recipe or method, or a file is damaged.
    """
    recipes = _by_method(name)
    if method not in recipes:
        raise InputError(f"recipe {name}: unknown method {shown(method)}; there are: {', '.join(recipes)}")
    return recipes[method]


def _by_method(name: str) -> dict[str, Recipe]:
    """A recipe with each of its methods."""
    encoder_name, _, task = name.partition("/")
    if encoder_name not in encoder_names():
        known = ", ".join(encoder_names())
        raise InputError(f"unknown recipe {shown(name)}: expected ENCODER/TASK; encoders: {known}")
    encoder, shared = _Encoder.load(encoder_name), _Shared.load()
    if task not in encoder.tasks():
        raise InputError(f"unknown recipe {shown(name)}: tasks of {encoder_name}: {', '.join(encoder.tasks())}")
    data = {"init_checkpoint": encoder.init_checkpoint, "train_datasets": ",".join(shared.mtl) if task == MTL else task}
    recipes = {}
    for method, entry in shared.methods.items():
        rates = encoder.learning_rates(method, shared)
        if task in rates:
            settings = {**data, **shared.settings, **entry.settings, "learning_rate": rates[task]}
            recipes[method] = Recipe(name, method, settings)
    return recipes


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 when done, 2 when there is no such recipe or method."""
    parser = Parser(description="Print a recipe as settings of train.py, or all recipes' names.", allow_abbrev=False)
    parser.add_argument("recipe", nargs="?", help="such as bert_base/rte; none: list all recipes with their methods")
    parser.add_argument("--method", help="a method of the recipe (default: pats)")
    parser.add_argument("--flags", action="store_true", help="as arguments of train.py, one a line, and not as YAML")
    args = parser.parse_args(argv)
    if args.recipe is None:
        if args.method is not None or args.flags:
            raise InputError("--method and --flags would have no effect without a recipe, such as bert_base/rte")
        print("\n".join(f"{name}: {', '.join(methods_of(name))}" for name in recipe_names()))
        return 0
    recipe = load_recipe(args.recipe, args.method or "pats")
    print("\n".join(recipe.to_flags()) if args.flags else recipe.to_yaml())
    return 0


if __name__ == "__main__":
    sys.exit(main())
