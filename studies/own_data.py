"""A study of one's own data without a suite: a task file, a folder of data, and the methods of GLUE's recipes.

What differs may stand in one YAML file anywhere, `--recipe_file`; each of its keys can be left out:

    init_checkpoint: bert-base-uncased
    settings: {epochs: 3}                          # flags of train.py for all methods; learning_rate: the usual one
    learning_rates: {adamax: 3.0e-4, mine: {rte: 1.0e-4}}    # one for all tasks, or by task
    methods:                                       # beside those of GLUE's recipes
      mine: {settings: {optim: "my_module:MyOptimizer", optim_options: "momentum=0.9"}}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data_utils.errors import InputError, raise_all
from data_utils.features import feature_path
from data_utils.manifest import model_short_name
from data_utils.strict import listed, read_yaml_mapping, shown
from data_utils.task_def import TaskDef, load_task_defs, select_tasks
from studies.recipes import MTL, RATE, Encoder, Method, Recipe, Recipes, Shared, recipes_of
from studies.suite import Suite, in_root
from studies.sweeps.features import has_rows

LEARNING_RATE = 1e-4
"""train.py's own default, for methods that have none of theirs."""
KEYS = ("init_checkpoint", "settings", "learning_rates", "methods")


@dataclass(frozen=True)
class OwnData:
    """Recipes `<encoder>/<task>` for the tasks of a task file; has what sweeps use of `studies.recipes.Recipes`.

    Attributes:
        task_def: the task file, as a run takes it.
        tasks: those that are trained, each alone.
        encoder: weights, and learning rates by method and task.
        shared: settings and methods.
    """

    task_def: str
    tasks: tuple[str, ...]
    encoder: Encoder
    shared: Shared

    @property
    def suite(self) -> Suite:
        """The task file's folder, where `labels.yml` may lie."""
        return Suite(str(Path(self.task_def).parent))

    @property
    def names(self) -> tuple[str, ...]:
        """The recipes: each task on the encoder."""
        return tuple(f"{model_short_name(self.encoder.init_checkpoint)}/{task}" for task in self.tasks)

    @property
    def search_space(self) -> Path:
        """What a search tries: the paper's Table 3, as for GLUE."""
        return Recipes.of(Suite()).search_space

    def methods_of(self, name: str) -> tuple[str, ...]:
        """The methods that a recipe has."""
        return tuple(recipes_of(name, self.encoder, self.shared))

    def load(self, name: str, method: str) -> Recipe:
        """The recipe of this name with one of its methods; `InputError` for a method that there is not."""
        recipes = recipes_of(name, self.encoder, self.shared)
        if method not in recipes:
            raise InputError(f"unknown method {shown(method)}; there are: {', '.join(recipes)}")
        return Recipe(name, method, {**recipes[method].settings, "task_def": self.task_def})


def own_data(
    task_def: str,
    data_dir: str,
    tasks: str | None,
    init_checkpoint: str | None,
    learning_rate: float | None,
    recipe_file: str | None,
) -> OwnData:
    """Recipes for one's own data.

    Args:
        task_def: the task file.
        data_dir: folder of features or of canonical rows.
        tasks: comma-separated, `mtl` for all of them on one encoder; None: each that has training rows.
        init_checkpoint: the encoder; None: the recipe file's.
        learning_rate: of methods for which the recipe file has none; None: that of its `settings`, else 1e-4.
        recipe_file: a YAML file, see above.

    Raises:
        InputError: a file that cannot be read or is not what it should be, no encoder, no tasks.
    """
    raw = _read(Path(recipe_file)) if recipe_file is not None else {}
    encoder = init_checkpoint or raw.get("init_checkpoint")
    if encoder is None:
        raise InputError("--init_checkpoint is required with --task_def: the encoder, a hub name or a folder")
    glue = Shared.load(Recipes.of(Suite()).shared)
    try:
        given = {name: Method(**entry) for name, entry in raw.get("methods", {}).items()}
        settings = {**glue.settings, **raw.get("settings", {})}
        usual = float(settings.pop(RATE, LEARNING_RATE))
        own_rates = dict(raw.get("learning_rates", {}))
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{recipe_file}: not a recipe: {error}") from None
    methods = {name: replace(method, by_task={}) for name, method in glue.methods.items()} | given  # GLUE's own tasks
    if unknown := [name for name in own_rates if name not in methods]:
        raise InputError(
            f"{recipe_file}: learning_rates of unknown methods {listed(list(map(str, unknown)))}; there are: "
            f"{', '.join(methods)}"
        )
    known = {*load_task_defs(task_def), MTL}
    if strange := sorted(map(str, {task for method in given.values() for task in method.by_task} - known)):
        raise InputError(f"{recipe_file}: by_task names tasks that {task_def} does not have: {listed(strange)}")
    chosen, together = _tasks(task_def, data_dir, tasks)
    by_task = {task for rates in own_rates.values() if isinstance(rates, Mapping) for task in rates}
    if strange := sorted(map(str, by_task - known)):
        raise InputError(f"{recipe_file}: learning_rates names tasks that {task_def} does not have: {listed(strange)}")
    rates = _rates(methods, own_rates, chosen, usual if learning_rate is None else learning_rate, recipe_file)
    try:
        shared = Shared(settings, methods, together)
    except (TypeError, ValueError) as error:
        raise InputError(f"{recipe_file}: not a recipe: {error}") from None
    return OwnData(str(in_root(task_def)), chosen, Encoder(str(in_root(encoder)), rates), shared)


def _read(path: Path) -> dict[str, Any]:
    raw = read_yaml_mapping(path)
    if unknown := raw.keys() - set(KEYS):
        raise InputError(f"{path}: unknown keys {listed(sorted(unknown))}; allowed: {', '.join(KEYS)}")
    if not isinstance(encoder := raw.get("init_checkpoint"), str | None):
        raise InputError(f"{path}: init_checkpoint must be a hub name or a folder, got {shown(encoder)}")
    return raw


def _tasks(task_def: str, data_dir: str, names: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The recipes' last parts, and what `mtl` stands for."""
    defined = load_task_defs(task_def)
    if names is None:
        there = tuple(task.name for task in defined.values() if _has_data(Path(data_dir), task))
        if not there:
            such_as = listed([f"{name}_train" for name in defined])
            raise InputError(f"--data_dir {data_dir}: no training rows of the tasks of {task_def}, such as {such_as}")
        return there, there
    wanted = [name.strip() for name in names.split(",")]
    alone = ",".join(name for name in wanted if name != MTL)
    if not alone:
        together, _ = _tasks(task_def, data_dir, None)
        return (MTL,), together
    found = tuple(task.name for task in select_tasks(defined, alone, "--tasks"))
    return (*found, *[MTL] * (MTL in wanted)), found


def _has_data(folder: Path, task: TaskDef) -> bool:
    if task.not_trained:
        return False
    features = (feature_path(folder, owner, split) for owner, split in task.training_files)
    return any(path.is_file() for path in features) or has_rows(folder, [task])


def _rates(
    methods: Mapping[str, Method], own: Mapping[str, Any], tasks: tuple[str, ...], usual: float, source: str | None
) -> dict[str, dict[str, float]]:
    """Learning rate by method and task, of those methods that do not take another one's."""
    found: dict[str, dict[str, float]] = {}
    bad: list[str] = []
    for name, method in methods.items():
        given = own.get(name, method.settings.get("learning_rate"))
        if given is None and method.rate_of:
            continue
        by_task = given if isinstance(given, Mapping) else dict.fromkeys(tasks, usual if given is None else given)
        try:
            found[name] = {task: float(by_task.get(task, usual)) for task in tasks}
        except (TypeError, ValueError) as error:
            bad.append(f"{source}: the learning rate of {name} is no number: {error}")
    raise_all(bad)
    return found
