"""Task definitions: one immutable, self-checking record per task, read from MT-DNN's YAML format.

The allowed names are MT-DNN's (`data_utils.task_names`), so that its task files load unchanged. What this toolkit can
train is narrower and is checked for the tasks that a command asks for, as is what is wrong with a task: the others of
its file stay usable.
"""

from __future__ import annotations

import dataclasses
import math
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from data_utils.errors import InputError, raise_all
from data_utils.kinds import KINDS, Kind
from data_utils.kinds.classification import class_of
from data_utils.kinds.regression import number_of
from data_utils.strict import encodable, listed, read_yaml_entries, shown
from data_utils.task_names import LOSSES, METRICS, SPELLINGS, DataFormat, TaskType

KEPT_ONLY = ("kd_loss", "enable_san", "actf", "encoder_type")
"""MT-DNN's keys that leave plain training as it is; `kd_loss` counts where there is a teacher, the others never."""

OWN_KEYS = {
    "loss_weight": 1.0,
    "head_lr_factor": None,
    "label_mean": 0.0,
    "label_std": 1.0,
    "null_threshold": 0.0,
    "train_files": (),
    "unanswerable": False,
}
"""Keys that MT-DNN does not have, and what they are where they are left out."""

MAX_CLASSES = 1_000_000
MAX_NAME_BYTES = 80  # names of files hold a task's and a split's name, and may have 255


def name_problems(kind: str, name: str, allowed: str = "") -> list[str]:
    """What forbids a task's or a split's name: it is a part of file names, `<task>_<split>.json`.

    No separator, dot, comma, white space or control character, so that a file stays in its folder and lists of names
    can be written with commas; no `_` either unless `allowed`, so that a file's name can be taken apart again.
    """
    forbidden = set("_./\\,") - set(allowed)
    if not name or any(c in forbidden or c.isspace() or unicodedata.category(c) in ("Cc", "Cs") for c in name):
        marks = "'.', ','" if allowed else "'_', '.', ','"
        limits = f"must not be empty nor contain {marks}, slashes, white space or control characters"
        return [f"the {kind} {limits}, got {shown(name)}"]
    too_long = len(name.encode()) > MAX_NAME_BYTES
    return [f"the {kind} must not be longer than {MAX_NAME_BYTES} bytes, got {shown(name)}"] * too_long


def is_train(split: str) -> bool:
    """Whether this split is trained on, as far as its name says: `train`, or one of several such as `r1_train`."""
    return split.endswith("train")


def is_test(split: str) -> bool:
    """Whether rows of this split may lack labels, as where they are not public."""
    return split.endswith("test")


@dataclass(frozen=True, kw_only=True)
class TaskDef:
    """One task. Field names are the keys of MT-DNN's task definition files, and those of `OWN_KEYS`, which are ours.

    Attributes:
        name: the task's name; also the key of its head and the stem of its files. Must not contain `_` or `.`.
        data_format: the layout of its canonical rows.
        task_type: what is predicted.
        n_class: number of classes; 1 for regression. Derived from `labels` when left out.
        labels: label names in the order of their ids; empty when the files already hold numbers.
        metric_meta: metrics to report. The primary one is the first that is not `ACC`, else `ACC`.
        loss: training criterion.
        loss_weight: what the criterion is multiplied by in training, beside other tasks; 1 for plain.
        head_lr_factor: learning rate of the task's head as a multiple of the run's; None takes `--head_lr_factor`.
        train_files: what the head is trained on, as `<task>_<split>`; other tasks' files may be among them. Empty: the
            file of the split `train`.
        kd_loss: what a student minimises against a teacher's outputs, with `--distill_from`; None takes `loss`.
        adv_loss: how SMART (`--baseline smart`) measures how far an output moves; None takes the kind's usual one.
        dropout_p: dropout before the head; None takes the run's `--dropout_p`.
        enable_san: whether MT-DNN may use its SAN answer module. Read and kept; a linear head is used here.
        actf: MT-DNN's activation of a task of its own. Read and kept.
        encoder_type: MT-DNN's kind of encoder. Read and kept; here `--init_checkpoint` says it.
        label_mean: of a Regression task, what is taken from a label before it is trained on; predictions have it again.
        label_std: likewise, what the rest is divided by: a new head learns numbers around 0, of about 1, the fastest.
        unanswerable: of a Span task, whether some questions have no answer, as in SQuAD 2.0.
        null_threshold: likewise, by how much an answer must score above none. Trained models have one tuned on dev.
        split_names: the splits that have files of their own.
    """

    name: str
    data_format: DataFormat
    task_type: TaskType | str
    n_class: int = 0
    labels: tuple[str, ...] = ()
    metric_meta: tuple[str, ...] = ()
    loss: str = ""
    loss_weight: float = 1.0
    head_lr_factor: float | None = None
    train_files: tuple[str, ...] = ()
    kd_loss: str | None = None
    adv_loss: str | None = None
    dropout_p: float | None = None
    label_mean: float = 0.0
    label_std: float = 1.0
    enable_san: bool = False
    actf: str | None = None
    encoder_type: str | None = None
    unanswerable: bool = False
    null_threshold: float = 0.0
    split_names: tuple[str, ...] = ("train", "dev", "test")

    def __post_init__(self) -> None:
        if self.type_name in KINDS:
            object.__setattr__(self, "loss", self.loss or self.kind.default_loss)
            object.__setattr__(self, "metric_meta", self.metric_meta or self.kind.metrics_for(self.labels))
            object.__setattr__(self, "n_class", self.n_class or self.kind.default_classes(self.labels))
        else:  # read and kept
            object.__setattr__(self, "n_class", self.n_class or len(self.labels) or 1)
        raise_all([f"task {shown(self.name)}: {problem}" for problem in self._problems()])

    def _problems(self) -> list[str]:
        bad = name_problems("name", self.name) + self._label_problems()
        bad += [problem for split in self.split_names for problem in name_problems("split name", split, allowed="_")]
        if not self.split_names or len(set(self.split_names)) != len(self.split_names):
            bad.append(f"split_names must be different names, at least one, got {listed(self.split_names)}")
        kind = KINDS.get(self.type_name)  # what a kind brings itself need not be MT-DNN's
        metrics = tuple(dict.fromkeys([*METRICS, *(kind.metrics if kind else ())]))
        losses = tuple(dict.fromkeys([*LOSSES, *([kind.default_loss] if kind else [])]))
        unknown = [metric for metric in self.metric_meta if metric not in metrics]
        bad += [f"metric_meta: unknown {shown(metric)}; allowed: {', '.join(metrics)}" for metric in unknown]
        for key in ("loss", "kd_loss", "adv_loss"):
            if (value := getattr(self, key)) and value not in losses:
                bad.append(f"{key}: unknown {shown(value)}; allowed: {', '.join(losses)}")
        bad += kind.problems(self) if kind else []
        if self.unanswerable and kind and not kind.answers_questions:
            bad.append(f"unanswerable would have no effect: a {self.type_name} task has no questions to answer")
        if self.null_threshold and not self.unanswerable:
            bad.append("null_threshold would have no effect: it needs unanswerable: true")
        if not math.isfinite(self.null_threshold):
            bad.append(f"null_threshold must be finite, got {self.null_threshold}")
        bad += self._scale_problems()
        if not 1 <= self.n_class <= MAX_CLASSES:
            bad.append(f"n_class must be in 1 to {MAX_CLASSES:,}, got {shown(self.n_class)}")
        if "F1" in self.metric_meta and self.n_class > 2:
            bad.append(f"metric_meta: F1 is for two classes, n_class is {self.n_class}; use F1MAC or F1MIC")
        if self.dropout_p is not None and not 0 <= self.dropout_p < 1:
            bad.append(f"dropout_p must be in [0, 1), got {self.dropout_p}")
        if not 0 < self.loss_weight < math.inf:
            bad.append(f"loss_weight must be > 0 and finite, got {self.loss_weight}")
        if self.head_lr_factor is not None and not 0 < self.head_lr_factor < math.inf:
            bad.append(f"head_lr_factor must be > 0 and finite, got {self.head_lr_factor}")
        return bad + self._file_problems()

    def _scale_problems(self) -> list[str]:
        mean, std = self.label_mean, self.label_std
        bad = [f"label_mean must be finite, got {mean}"] * (not math.isfinite(mean))
        bad += [f"label_std must be > 0 and finite, got {std}"] * (not 0 < std < math.inf)
        if self.is_scaled and self.type_name != TaskType.Regression.value:
            bad.append(f"label_mean and label_std would have no effect: labels of {self.type_name} are no numbers")
        return bad

    def _file_problems(self) -> list[str]:
        bad = []
        for file in self.train_files:
            task, _, split = file.partition("_")
            if name_problems("", task) or name_problems("", split, allowed="_") or is_test(split):
                bad.append(f"train_files: expected <task>_<split>, such as {self.name}_train, got {shown(file)}")
        if len(set(self.train_files)) != len(self.train_files):
            bad.append(f"train_files: a file stands twice in {listed(self.train_files)}")
        return bad

    def _label_problems(self) -> list[str]:
        bad = []
        if self.labels and len(self.labels) != self.n_class:
            bad.append(f"n_class is {self.n_class} but labels names {len(self.labels)}: {listed(self.labels)}")
        if len(set(self.labels)) != len(self.labels):
            bad.append(f"labels must differ from each other, got {listed(self.labels)}")
        unfit = [label for label in self.labels if set("\t\r\n") & set(label) or not label or not encodable(label)]
        rule = "no label may be empty, or hold a tab, a line end or half a surrogate pair"
        bad += [f"labels: {shown(label)} cannot stand in a canonical row: {rule}" for label in unfit]
        return bad

    @property
    def type_name(self) -> str:
        """The task type as task files have it."""
        return self.task_type.value if isinstance(self.task_type, TaskType) else self.task_type

    @property
    def not_trained(self) -> str:
        """What keeps a task of this type and format from being trained, and what can be; "" for nothing."""
        data_format, task_type = self.data_format.value, self.type_name
        if task_type not in KINDS:
            return f"task_type {task_type} is not trained by this toolkit; it trains {', '.join(KINDS)}"
        if data_format not in self.kind.formats:
            return f"a {task_type} task has rows of the format {', '.join(self.kind.formats)}, got {data_format}"
        return ""

    @property
    def kind(self) -> Kind:
        """What kind of task it is; KeyError for one that is `not_trained`."""
        return KINDS[self.type_name]

    @property
    def is_scaled(self) -> bool:
        """Whether labels are trained on as other numbers, see `label_mean`."""
        return (self.label_mean, self.label_std) != (0, 1)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of their ids, `("0", "1", …)` where the YAML gives none; () if numeric."""
        return self.kind.label_names(self)

    @property
    def dummy_label(self) -> str:
        """What stands for the label of a row that has none."""
        return self.label_names[0] if self.label_names else "0"

    @property
    def primary_metric(self) -> str:
        """The metric that selects the best epoch: the first that is not `ACC`, else `ACC`.

        On GLUE this gives the paper's choice: Matthews on CoLA, F1 on MRPC and QQP, Pearson on STS-B, else accuracy.
        """
        return next((m for m in self.metric_meta if m != "ACC"), "ACC")

    @property
    def training_files(self) -> tuple[tuple[str, str], ...]:
        """The files that the head is trained on, each as a task's name and a split."""
        files = self.train_files or (f"{self.name}_train",)
        return tuple((task, split) for task, _, split in (file.partition("_") for file in files))

    @property
    def dev_splits(self) -> tuple[str, ...]:
        """The splits that scores are measured on; a task's score is the mean of the primary metric over them."""
        return tuple(s for s in self.split_names if s.endswith("dev"))

    def label_id(self, text: str) -> int | float:
        """Turn a label as written in a canonical row into the number that features hold.

        Raises:
            InputError: not a finite number where labels are numbers, or not one of the task's classes.
        """
        return class_of(self, text) if self.label_names else number_of(self, text)

    def to_dict(self) -> dict[str, Any]:
        """The YAML form, without the name and without unset keys."""
        raw = {k: v for k, v in dataclasses.asdict(self).items() if k != "name" and v is not None and v != ()}
        for key, plain in OWN_KEYS.items():  # definitions in checkpoints from before these keys are the same
            if key in raw and raw[key] == plain:
                del raw[key]
        return {k: v.value if isinstance(v, Enum) else list(v) if isinstance(v, tuple) else v for k, v in raw.items()}

    @classmethod
    def from_dict(cls, name: str, raw: Mapping[str, Any]) -> TaskDef:
        """Build a task from its YAML mapping.

        Raises:
            InputError: unknown or missing keys, values of the wrong type or outside the allowed names.
        """
        if not isinstance(raw, Mapping):
            raise InputError(f"task {shown(name)}: expected a mapping of keys, got {shown(raw)}")
        known = {f.name for f in dataclasses.fields(cls)} - {"name"}
        bad = [f"unknown key {shown(key)}; allowed: {', '.join(sorted(known))}" for key in raw if key not in known]
        bad += [f"the key {key!r} is missing" for key in ("data_format", "task_type") if key not in raw]
        values: dict[str, Any] = {}
        for key, value in raw.items():
            if key in known:
                try:
                    values[key] = _PARSERS[key](value)
                except InputError as error:
                    bad.append(f"{key}: {error}")
        raise_all([f"task {shown(name)}: {problem}" for problem in bad])
        return cls(name=name, **values)


def _enum(kind: type[Enum]) -> Any:
    def parse(value: Any) -> Enum:
        try:
            return kind(SPELLINGS.get(value, value) if isinstance(value, str) else value)
        except ValueError:
            raise InputError(f"unknown {shown(value)}; allowed: {', '.join(e.value for e in kind)}") from None

    return parse


def _task_type(value: Any) -> TaskType | str:
    """One of MT-DNN's types, or another that there is a kind for."""
    names = TaskType.__members__
    return value if isinstance(value, str) and value in KINDS.keys() - names else _enum(TaskType)(value)


def _typed(kind: type | tuple[type, ...], description: str) -> Any:
    def parse(value: Any) -> Any:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise InputError(f"expected {description}, got {shown(value)}")
        return value

    return parse


def _names(value: Any) -> tuple[str, ...]:
    """A list of names. YAML reads an unquoted `0` as a number; a label is a name all the same."""
    if not isinstance(value, list) or not all(isinstance(v, (str, int)) and not isinstance(v, bool) for v in value):
        raise InputError(f"expected a list of names, got {shown(value)}; quote names such as yes, no, on, off")
    return tuple(str(v) for v in value)


_PARSERS = {
    "data_format": _enum(DataFormat),
    "task_type": _task_type,
    "n_class": _typed(int, "a whole number"),
    "labels": _names,
    "metric_meta": _names,
    "loss": _typed(str, "a name"),
    "loss_weight": _typed((int, float), "a number"),
    "head_lr_factor": _typed((int, float), "a number"),
    "label_mean": _typed((int, float), "a number"),
    "label_std": _typed((int, float), "a number"),
    "train_files": _names,
    "kd_loss": _typed(str, "a name"),
    "adv_loss": _typed(str, "a name"),
    "dropout_p": _typed((int, float), "a number"),
    "enable_san": _typed(bool, "true or false"),
    "actf": _typed(str, "a name"),
    "encoder_type": _typed(str, "a name"),
    "unanswerable": _typed(bool, "true or false"),
    "null_threshold": _typed((int, float), "a number"),
    "split_names": _names,
}


@dataclass(frozen=True)
class TaskFile(Mapping[str, TaskDef]):
    """The tasks of one file, in its order: those that are whole, as a mapping by name.

    Attributes:
        path: the file.
        tasks: the tasks that are whole, of kinds that are not trained yet too.
        broken: what is wrong with each of the others, a line a problem, with file, task and key.
    """

    path: Path
    tasks: Mapping[str, TaskDef]
    broken: Mapping[str, str]

    def __getitem__(self, name: str) -> TaskDef:
        return self.tasks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)


def load_task_defs(path: str | Path) -> TaskFile:
    """Read a task definition file. What is wrong in one task is told when that task is asked for, by `select_tasks`.

    Raises:
        InputError: the file cannot be read, or no task of it is whole: with the file, task, key and allowed values of
            everything that is wrong.
    """
    path = Path(path)
    raw_tasks, refused = read_yaml_entries(path)
    tasks = {}
    broken = {name: f"{problem} (in task {shown(name)})" for name, problem in refused.items()}
    for name, raw in raw_tasks.items():
        try:
            tasks[name] = TaskDef.from_dict(name, raw)
        except InputError as error:
            broken[name] = "\n".join(f"{path}: {line}" for line in str(error).splitlines())
    if not tasks:
        raise InputError("\n".join(broken.values()) or f"{path}: no task in it")
    return TaskFile(path, tasks, broken)


def select_tasks(tasks: TaskFile, names: str, flag: str) -> list[TaskDef]:
    """Pick tasks by a comma-separated list such as `cola,rte`.

    Raises:
        InputError: a name that the file does not define, one given twice, a task with mistakes in its definition, or
            one of a kind that is not trained yet.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    defined = ", ".join([*tasks, *tasks.broken])
    if not wanted:
        raise InputError(f"{flag}: no task named; allowed: {defined}")
    if len(set(wanted)) != len(wanted):
        raise InputError(f"{flag}: a task stands twice in {names!r}")
    problems = []
    for name in wanted:
        if name in tasks.broken:
            problems.append(tasks.broken[name])
        elif name not in tasks:
            problems.append(f"{flag}: unknown task {name!r}; {tasks.path} defines: {defined}")
        elif reason := tasks[name].not_trained:
            problems.append(f"{tasks.path}: task {name!r}: {reason}")
    raise_all(problems)
    return [tasks[name] for name in wanted]
