"""From a table to a task: its definition, canonical rows and features, all of them or none, and what was found."""

from __future__ import annotations

import dataclasses
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import yaml

from data_utils.atomic import StagedFiles
from data_utils.canonical import Row, canonical_path, write_rows
from data_utils.errors import InputError, raise_all
from data_utils.kinds.regression import finite_number, scale_of
from data_utils.prepare import PreparationConfig, SplitFile, prepare_files
from data_utils.scoring import unsupported_metrics
from data_utils.strict import listed
from data_utils.tables.examples import ColumnMap, Example, ReadTable, check_labels, read_table
from data_utils.tables.labels import Labels, find_labels, point_for
from data_utils.tables.options import STANDARD, TableOptions
from data_utils.tables.split import DEV, TEST, TRAIN, SplitConfig, split_examples
from data_utils.tables.told import tell_splits, tell_table
from data_utils.task_def import TaskDef, load_task_defs
from data_utils.task_names import DataFormat, TaskType

YAML_LINE_ENDS = frozenset("\x85\u2028\u2029")
MADE = "# Made by prepro_std.py from"
"""How a definition begins that this module has written."""


@dataclass(frozen=True, kw_only=True)
class TableConfig:
    """What to make of a table; the fields are flags of `prepro_std.py`, and see `PreparationConfig`.

    Attributes:
        table: the table; `-` for standard input.
        task: the name of the task to be.
        columns: which column is what.
        options: how tables are written.
        kind: classification or regression; None: by the labels.
        labels: the classes in order; None: sorted.
        metrics: of the task; None: its kind's.
        dev_table, test_table: tables of the same columns; None: a share of `table`.
        shares: how large these are.
    """

    model: str
    root_dir: str
    table: str
    task: str
    columns: ColumnMap
    options: TableOptions = field(default_factory=TableOptions)
    kind: str | None = None
    labels: tuple[str, ...] | None = None
    metrics: tuple[str, ...] = ()
    dev_table: str | None = None
    test_table: str | None = None
    shares: SplitConfig = field(default_factory=SplitConfig)
    max_seq_len: int = 512
    workers: int = 1

    @property
    def wanted_shares(self) -> dict[str, float]:
        """The splits to be taken from the table, besides train, and their shares."""
        shares = {DEV: self.shares.dev_share, TEST: self.shares.test_share}
        given = {DEV: self.dev_table, TEST: self.test_table}
        return {name: share for name, share in shares.items() if given[name] is None and share > 0}

    @property
    def task_def_path(self) -> Path:
        """Where the task's definition goes."""
        return Path(self.root_dir) / f"{self.task}_task_def.yml"


class PreparedTable(NamedTuple):
    """What was made of a table.

    Attributes:
        data_dir: the folder of features.
        has_test: whether there is a test split.
        unscored: why it cannot be scored; "" where it can, or is not there.
    """

    data_dir: Path
    has_test: bool
    unscored: str


def prepare_table(config: TableConfig) -> PreparedTable:
    """Make a task of a table, and tell what was found.

    Raises:
        InputError: anything wrong in flags or tables; nothing is written then.
    """
    _check_places(config)
    table = read_table(config.table, config.options, config.columns)
    labelled = [example for example in table.examples if example.label]
    counts = Counter(example.label for example in labelled)
    labels = find_labels(config.columns.label or "", counts, config.kind, config.labels)
    regression = labels.task_type is TaskType.Regression
    others = _other_tables(config)
    grouped = config.columns.group is not None
    splits = split_examples(
        labelled, config.wanted_shares, config.shares.split_seed, regression=regression, grouped=grouped
    )
    for name, other in others.items():
        splits[name] = other.examples if name == TEST else [example for example in other.examples if example.label]
    splits = {name: splits[name] for name in (TRAIN, DEV, TEST) if name in splits}
    _check_splits(splits, {name: other.name for name, other in others.items()}, labels)
    task = _task(config, labels, splits)
    tell_table(table, config.columns, counts, labels, task.kind.notes(task))
    tell_splits(splits, config.wanted_shares, config.shares.split_seed, config.columns.group, others, labels)
    test = splits.get(TEST, ())
    unscored = _unscored(test, others[TEST].name if TEST in others else f"the split {TEST}")
    return PreparedTable(_write(config, task, splits), has_test=bool(test), unscored=unscored)


def _unscored(test: Sequence[Example], name: str) -> str:
    """Why test rows, which are those of `name`, cannot be scored; "" where they can, or where there are none."""
    counts = Counter(example.label for example in test)
    if unlabelled := counts[""]:
        lack = "lacks" if unlabelled == 1 else "lack"
        return (
            f"{unlabelled:,} of {len(test):,} rows of {name} {lack} a label: label them or take them out to have "
            f"{TEST} scored; predict.py takes them as they are"
        )
    return f"all rows of {name} have the label {listed(list(counts))}" if len(counts) == 1 else ""


def _check_places(config: TableConfig) -> None:
    """Raise `InputError` where something would be overwritten that was not made from a table."""
    rows = [canonical_path(config.root_dir, config.task, split) for split in (TRAIN, DEV, TEST)]
    paths = [config.task_def_path, *rows]
    tables = {"--table": config.table, "--dev_table": config.dev_table, "--test_table": config.test_table}
    given = [Path(source).resolve() for source in tables.values() if source is not None and source != STANDARD]
    bad = [f"{path} is a table to read, and would be overwritten" for path in paths if path.resolve() in given]
    if not bad and not _made_here(config.task_def_path) and (found := [str(path) for path in paths if path.exists()]):
        bad.append(f"{', '.join(found)}: there already, and not made from a table")
    if list(tables.values()).count(STANDARD) > 1:
        raise InputError("only one table can be read from standard input")
    raise_all([f"{problem}: choose another --root_dir or --task" for problem in bad])


def _made_here(definition: Path) -> bool:
    """Whether a task file's first line says that a table made it."""
    try:
        return definition.read_text(encoding="utf-8").startswith(MADE)
    except (OSError, UnicodeDecodeError):
        return False


def _other_tables(config: TableConfig) -> dict[str, ReadTable]:
    """The tables of dev and test where they are given. One of test need have neither labels nor groups."""
    columns = dataclasses.replace(config.columns, group=None)
    found = {}
    if config.dev_table is not None:
        found[DEV] = read_table(config.dev_table, config.options, columns, "--dev_table")
    if config.test_table is not None:
        found[TEST] = read_table(config.test_table, config.options, columns, "--test_table", label_optional=True)
    return found


def _check_splits(splits: Mapping[str, Sequence[Example]], names: Mapping[str, str], labels: Labels) -> None:
    """Raise `InputError` for labels of dev or test that train lacks, and for a dev split without rows."""
    known = {example.label for example in splits[TRAIN]}
    for name, place in names.items():
        found = {example.label for example in splits[name]} - {""}
        if labels.task_type is TaskType.Regression:
            others = [label for label in found if finite_number(label) is None]
            cures = {label: point_for(label) or "empty the cell" for label in others}
            bad = {label: f"the label {label!r} is no number; {cure}" for label, cure in cures.items()}
        else:
            bad = {label: f"the label {label!r} is not in train, which has {sorted(known)}" for label in found - known}
        check_labels(place, splits[name], bad)
        if not splits[name]:
            raise InputError(f"--{name}_table {place}: no row has a label")


def _task(config: TableConfig, labels: Labels, splits: Mapping[str, Sequence[Example]]) -> TaskDef:
    regression = labels.task_type is TaskType.Regression
    mean, std = scale_of([float(example.label) for example in splits[TRAIN]]) if regression else (0.0, 1.0)
    task = TaskDef(
        name=config.task,
        data_format=DataFormat.PremiseAndOneHypothesis if config.columns.text2 else DataFormat.PremiseOnly,
        task_type=labels.task_type,
        labels=labels.names,
        metric_meta=config.metrics,
        label_mean=mean,
        label_std=std,
        split_names=tuple(splits),
    )
    if unsupported := unsupported_metrics(task):
        raise InputError(
            f"--metrics: {task.type_name} has no {', '.join(unsupported)}; use {', '.join(task.kind.metrics)}"
        )
    return task


def _write(config: TableConfig, task: TaskDef, splits: Mapping[str, Sequence[Example]]) -> Path:
    """Write definition, canonical rows and features, and say what comes next."""
    with StagedFiles() as staged:
        definition = staged.path(config.task_def_path)
        definition.write_text(_yaml(config, task), encoding="utf-8")
        if changed := _lines_that_go(config.task_def_path, definition):
            print(f"{config.task_def_path}: replaced; these lines of it are gone:\n{changed}")
        task = load_task_defs(definition)[task.name]
        files = []
        for split, examples in splits.items():
            partial = staged.path(canonical_path(config.root_dir, task.name, split))
            write_rows(partial, _rows(examples), task.data_format)
            files.append(SplitFile(task, split, partial))
        preparation = PreparationConfig(
            model=config.model,
            root_dir=config.root_dir,
            task_def=str(config.task_def_path),
            max_seq_len=config.max_seq_len,
            workers=config.workers,
        )
        return prepare_files(preparation, files, staged)


def _lines_that_go(old: Path, new: Path) -> str:
    """Lines of a task file, such as an option that was added by hand, that the new one does not have."""
    if not old.exists():
        return ""
    kept = set(new.read_text(encoding="utf-8").splitlines())
    gone = [line for line in old.read_text(encoding="utf-8").splitlines() if line not in kept]
    return "\n".join(line for line in gone if not line.startswith(MADE))


def _rows(examples: Sequence[Example]) -> Iterator[Row]:
    for example in examples:
        yield Row(example.uid, (example.label,), example.texts[0], example.texts[1:])


def _yaml(config: TableConfig, task: TaskDef) -> str:
    source = "standard input" if config.table == STANDARD else Path(config.table).name
    # PyYAML writes these characters as they are, and reads them as ends of lines; escapes it reads rightly.
    readable = not any(YAML_LINE_ENDS & set(label) for label in task.labels)
    raw = {task.name: task.to_dict()}
    text = yaml.safe_dump(raw, sort_keys=False, allow_unicode=readable, default_flow_style=None)
    return f"{MADE} {source.encode('unicode_escape').decode()}.\n{text}"


def next_commands(config: TableConfig, made: PreparedTable) -> list[str]:
    """The commands that go on from here, each in one line."""
    run = str(Path("runs") / config.task)
    train: dict[str, str | None] = {
        "data_dir": str(made.data_dir),
        "task_def": str(config.task_def_path),
        "init_checkpoint": config.model,
        "train_datasets": config.task,
        "test_splits": TEST if made.has_test and not made.unscored else None,
        "output_dir": run,
    }
    columns = {"text": config.columns.text, "text2": config.columns.text2, "id": config.columns.id}
    predict = {"checkpoint": run, "table": "NEW.csv", **columns, "output": "predictions.csv"}
    return [_command("train.py", train), _command("predict.py", predict)]


def _command(script: str, flags: Mapping[str, str | None]) -> str:
    given = [f"--{name} {shlex.quote(value)}" for name, value in flags.items() if value is not None]
    return f"python {script} {' '.join(given)}"
