"""A suite's experiments as settings of train.py: a recipe is `<encoder>/<task>` and comes with several methods.

    python -m studies.recipes                                       # what there is
    python -m studies.recipes bert_base/rte --method pats > rte.yml
    python train.py --config rte.yml --data_dir data/canonical_data/bert-base-uncased --output_dir runs/rte

All of them come from a table of learning rates per encoder (`recipes/<encoder>.yml` of the suite) and one file of what
they share (`recipes/paper.yml`). Another encoder is another file in that folder.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from data_utils.cli import Parser
from data_utils.errors import InputError, entry_point
from data_utils.strict import listed, read_yaml_mapping, shown
from studies.suite import Suite, add_suite

SHARED, SEARCH = "paper", "search"
MTL = "mtl"
ALL = "all"
"""In place of methods' names: all methods of a recipe."""
RATE = "learning_rate"
METHOD_FLAGS = frozenset({"optim", "optimizer", "baseline"})
NOT_IN_SETTINGS = frozenset(
    "init_checkpoint train_datasets seed output_dir resume dry_run config data_dir task_def device".split()
)
METHOD_NAME = re.compile(r"[\w.+-]+")
"""What can be part of a folder's name, and of a label such as `pats@pats_lambda=1e-6`."""


def as_arguments(settings: Mapping[str, Any]) -> list[str]:
    """Value by flag as arguments of train.py, where what is true or false is a switch: `--epochs 3 --bf16`.

    A list and nothing are written as the flags take them, and `--config` takes both: `cola,rte`, `none`.
    """
    arguments = []
    for flag, value in settings.items():
        text = "none" if value is None else ",".join(map(str, value)) if isinstance(value, list) else str(value)
        switch = {"true": f"--{flag}", "false": f"--no-{flag}"}.get(text.lower())
        arguments += [switch] if switch else [f"--{flag}", text]
    return arguments


def check_settings(where: str, settings: Any) -> None:
    """Raise TypeError for settings that are no mapping, ValueError for flags that recipes or sweeps set themselves."""
    if not isinstance(settings, Mapping):
        raise TypeError(f"{where} must be a mapping, got {settings!r}")
    if theirs := sorted(NOT_IN_SETTINGS & settings.keys()):
        raise ValueError(f"{where} holds {', '.join(theirs)}, which a recipe or a sweep sets itself")


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
class Method:
    """What a method adds to the shared settings; its rate is `times` that of `rate_of` where it has none of its own.

    `by_task` has what single tasks need beside or in place of `settings`; `source` says where both come from.

    Raises:
        TypeError: `settings` or a task's settings are no mapping.
        ValueError: settings that belong elsewhere, `times` that is no number above zero.
    """

    settings: Mapping[str, Any]
    by_task: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    rate_of: str = ""
    times: float = 1.0
    source: str = ""

    def __post_init__(self) -> None:
        """Check what a file gave."""
        if not isinstance(self.by_task, Mapping):
            raise TypeError(f"by_task must be settings by task, got {self.by_task!r}")
        by_task = [(f"by_task: {task}", settings) for task, settings in self.by_task.items()]
        for where, settings in [("settings", self.settings), *by_task]:
            check_settings(where, settings)
        for task, settings in self.by_task.items():
            if other := sorted(METHOD_FLAGS & settings.keys()):
                raise ValueError(f"by_task of {task} holds {', '.join(other)}: that would be another method")
        if isinstance(self.times, bool) or not isinstance(self.times, (int, float)) or not self.times > 0:
            raise ValueError(f"times must be a number above zero, got {self.times!r}")
        if not isinstance(self.rate_of, str):
            raise TypeError(f"rate_of must be a method's name, got {self.rate_of!r}")
        if rated := [task for task, settings in self.by_task.items() if RATE in settings]:
            raise ValueError(f"by_task of {', '.join(rated)} holds a {RATE}; it belongs under learning_rates")

    def for_task(self, task: str) -> dict[str, Any]:
        """What the method adds to the shared settings for a task."""
        return {**self.settings, **self.by_task.get(task, {})}


@dataclass(frozen=True)
class Shared:
    """What `paper.yml` holds; `mtl` are the tasks that are trained together.

    Its `methods` may be the path of another suite's `paper.yml`, from the file's own folder: that suite's methods.

    Raises:
        ValueError: settings that belong elsewhere, a rate of a method that there is not or that has none of its own, a
            name of a method that could not be a folder's, no list of tasks.
    """

    settings: Mapping[str, Any]
    methods: Mapping[str, Method]
    mtl: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check what files gave."""
        check_settings("settings", self.settings)
        for name, method in self.methods.items():
            if not METHOD_NAME.fullmatch(name) or name == ALL:
                raise ValueError(f"{shown(name)} is no name of a method: letters, digits, ., _, + and -, and not {ALL}")
            if method.rate_of and (method.rate_of not in self.methods or self.methods[method.rate_of].rate_of):
                raise ValueError(f"{name}: rate_of must be a method that has rates of its own, got {method.rate_of!r}")
        if not self.mtl or not all(isinstance(task, str) for task in self.mtl):
            raise ValueError(f"mtl must be a list of tasks, got {self.mtl!r}")

    @classmethod
    def load(cls, path: Path) -> Shared:
        """Read `paper.yml`; `InputError` for a file that is something else."""
        raw = _read(path, "settings", "methods", "mtl")
        if isinstance(raw["methods"], str):
            raw["methods"] = _read(path.parent / raw["methods"], "settings", "methods", "mtl")["methods"]
        try:
            methods = {name: Method(**entry) for name, entry in raw["methods"].items()}
            everywhere = {"settings": raw["settings"], **{name: method.settings for name, method in methods.items()}}
            if rated := [where for where, settings in everywhere.items() if RATE in settings]:
                raise ValueError(f"{', '.join(rated)}: {RATE} belongs under learning_rates of an encoder")
            mtl = raw["mtl"] if isinstance(raw["mtl"], list) else []
            return cls(raw["settings"], methods, tuple(mtl))
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{path}: not what recipes share: {error}") from None


@dataclass(frozen=True)
class Encoder:
    """What `<encoder>.yml` holds; `rates` is learning rate by method and task."""

    init_checkpoint: str
    rates: Mapping[str, Mapping[str, float]]

    @classmethod
    def load(cls, path: Path) -> Encoder:
        """Read `<encoder>.yml`; `InputError` for a file that is something else."""
        raw = _read(path, "init_checkpoint", "learning_rates")
        try:
            rows = raw["learning_rates"].items()
            rates = {method: {task: float(rate) for task, rate in row.items()} for method, row in rows}
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{path}: learning_rates must be numbers by method and task: {error}") from None
        return cls(raw["init_checkpoint"], rates)

    def tasks(self) -> tuple[str, ...]:
        """All tasks that some method has a rate for."""
        return tuple(dict.fromkeys(task for row in self.rates.values() for task in row))

    def learning_rates(self, method: str, shared: Shared) -> dict[str, float]:
        """The rate by task of any method; {} when the encoder has none for it."""
        if method in self.rates:
            return dict(self.rates[method])
        entry = shared.methods[method]
        return {task: entry.times * rate for task, rate in self.rates.get(entry.rate_of, {}).items()}


def _read(path: Path, *keys: str) -> dict[str, Any]:
    """What a file of recipes holds."""
    raw = read_yaml_mapping(path)
    if raw.keys() != set(keys):
        raise InputError(f"{path}: expected the keys {', '.join(keys)}, got {', '.join(raw) or 'none'}")
    return raw


@dataclass(frozen=True)
class Recipes:
    """All recipes of a folder of YAML files."""

    folder: Path

    @classmethod
    def of(cls, suite: Suite) -> Recipes:
        """Those of a suite."""
        return cls(suite.recipes)

    @property
    def shared(self) -> Path:
        """The file of what recipes share."""
        return self.folder / f"{SHARED}.yml"

    @property
    def search_space(self) -> Path:
        """The file of what a search tries."""
        return self.folder / f"{SEARCH}.yml"

    def encoders(self) -> tuple[str, ...]:
        """The first parts of recipes' names."""
        return tuple(sorted(path.stem for path in self.folder.glob("*.yml") if path.stem not in (SHARED, SEARCH)))

    def names(self) -> tuple[str, ...]:
        """All recipes, an encoder's together; InputError for a damaged file."""
        return tuple(f"{encoder}/{task}" for encoder in self.encoders() for task in self._encoder(encoder).tasks())

    def methods_of(self, name: str) -> tuple[str, ...]:
        """The methods that a recipe has.

        Raises:
            InputError: there is no such recipe, or a file is damaged.
        """
        return tuple(self._by_method(name))

    def load(self, name: str, method: str) -> Recipe:
        """The recipe of this name with one of its methods.

        Raises:
            InputError: there is no such recipe or method, or a file is damaged.
        """
        recipes = self._by_method(name)
        if method not in recipes:
            raise InputError(f"recipe {name}: unknown method {shown(method)}; there are: {', '.join(recipes)}")
        return recipes[method]

    def checkpoint_of(self, encoder: str) -> str | None:
        """The weights of an encoder's recipes; None for an encoder that there is not; InputError for a damaged file."""
        return self._encoder(encoder).init_checkpoint if encoder in self.encoders() else None

    def _encoder(self, name: str) -> Encoder:
        return Encoder.load(self.folder / f"{name}.yml")

    def _by_method(self, name: str) -> dict[str, Recipe]:
        """A recipe with each of its methods."""
        encoder_name, _, task = name.partition("/")
        if encoder_name not in self.encoders():
            known = ", ".join(self.encoders()) or f"none in {self.folder}"
            raise InputError(f"unknown recipe {shown(name)}: expected ENCODER/TASK; encoders: {known}")
        encoder, shared = self._encoder(encoder_name), Shared.load(self.shared)
        if task not in encoder.tasks():
            raise InputError(f"unknown recipe {shown(name)}: tasks of {encoder_name}: {', '.join(encoder.tasks())}")
        return recipes_of(name, encoder, shared)

    def check_names(self) -> None:
        """InputError where files name a method or a task that there is not: what they say there would go unheard.

        For who adds runs, and not for who draws tables of runs that are done. GLUE's tasks are known in any suite, as
        its methods may have been copied.
        """
        shared, encoders = Shared.load(self.shared), {name: self._encoder(name) for name in self.encoders()}
        for name, encoder in encoders.items():
            if strange := sorted(encoder.rates.keys() - shared.methods.keys()):
                raise InputError(
                    f"{self.folder / name}.yml: learning_rates of unknown methods {listed(strange)}; "
                    f"there are: {', '.join(shared.methods)}"
                )
        glue = Shared.load(Recipes.of(Suite()).shared).mtl
        known = {MTL, *glue, *(task for encoder in encoders.values() for task in encoder.tasks())}
        if strange := sorted({task for method in shared.methods.values() for task in method.by_task} - known):
            raise InputError(f"{self.shared}: by_task names tasks that no encoder has a rate for: {listed(strange)}")


def recipes_of(name: str, encoder: Encoder, shared: Shared) -> dict[str, Recipe]:
    """The recipe `<encoder>/<task>` with each method for which the encoder has a learning rate."""
    task = name.partition("/")[2]
    tasks = ",".join(shared.mtl) if task == MTL else task
    data = {"init_checkpoint": encoder.init_checkpoint, "train_datasets": tasks}
    recipes = {}
    for method, entry in shared.methods.items():
        rates = encoder.learning_rates(method, shared)
        if task in rates:
            settings = {**data, **shared.settings, **entry.for_task(task), "learning_rate": rates[task]}
            recipes[method] = Recipe(name, method, settings)
    return recipes


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 when done, 2 when there is no such recipe or method."""
    parser = Parser(description="Print a recipe as settings of train.py, or all recipes' names.", allow_abbrev=False)
    parser.add_argument("recipe", nargs="?", help="such as bert_base/rte; none: list all recipes with their methods")
    parser.add_argument("--method", help="a method of the recipe (default: pats)")
    parser.add_argument("--flags", action="store_true", help="as arguments of train.py, one a line, and not as YAML")
    add_suite(parser)
    args = parser.parse_args(argv)
    recipes = Recipes.of(Suite.at(args.suite) if args.suite else Suite())
    recipes.check_names()
    if args.recipe is None:
        if args.method is not None or args.flags:
            raise InputError("--method and --flags would have no effect without a recipe, such as bert_base/rte")
        print("\n".join(f"{name}: {', '.join(recipes.methods_of(name))}" for name in recipes.names()))
        return 0
    recipe = recipes.load(args.recipe, args.method or "pats")
    print("\n".join(recipe.to_flags()) if args.flags else recipe.to_yaml())
    return 0


if __name__ == "__main__":
    sys.exit(main())
