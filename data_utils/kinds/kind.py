"""What a kind of task is, its data half: from canonical rows to features, and from a head's outputs to scores.

A kind is one subclass of `Kind`, in a file of its own, and one line in `data_utils.kinds.KINDS`; its model half is one
class in `module.heads`, under the same name. Files of rows (`canonical.py`), texts without features, and exports to
other libraries have a case for each form that they know; training, evaluation and studies ask for no kind by name.

Words that all kinds share:

    row        one line of a features file: what samplers draw, and what a uid names
    sequence   what the encoder reads: tokens from [CLS] to [SEP]. A row has one; a ranking's row one an option
    output     what a head gives: `width` numbers for every sequence, or for every token, as `level` says
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from data_utils.canonical import Row
    from data_utils.features import FeatureSet
    from data_utils.task_def import TaskDef
    from data_utils.tokenization import EncodedRow, RowEncoder

SEQUENCE, TOKEN, ROW = "sequence", "token", "row"
"""What there is one output for (the first two), or one value of a column."""

UNSCORED = -100
"""The label of tokens that are neither trained nor scored; torch's losses leave them out."""


class Predictions(NamedTuple):
    """What a model says of a split's rows, in their order.

    Attributes:
        values: one a row: a class id, a number, the place of an option, the tags of its words; of windows one a
            question, the answer's text. See `Kind.uids`.
        scores: probabilities where the kind has some: (rows, classes), or (rows, options) with zeros where a row has
            fewer options than another; of answers (questions, 1), see `Span.decide`.
    """

    values: Sequence[Any] | np.ndarray
    scores: np.ndarray | None = None


class ScoresNeededError(ValueError):
    """A metric that needs probabilities was given predictions alone."""


Metric = Callable[[Predictions, Any], float]
"""Predictions and what is right, one a row, to a share of 1 (or a correlation)."""


@dataclass(frozen=True)
class Counted:
    """A metric of what rows add up to, such as entities found. Rows that are counted once give it for any of them.

    Attributes:
        count: (rows, counts) float64: what each row adds.
        score: the metric from the sums (counts,).
    """

    count: Callable[[Predictions, Any], np.ndarray]
    score: Callable[[np.ndarray], float]

    def __call__(self, predicted: Predictions, gold: Any) -> float:
        """The metric of all rows."""
        return self.of_counts(self.count(predicted, gold))

    def of_counts(self, counts: np.ndarray) -> float:
        """The metric of these rows' counts."""
        return self.score(np.array([np.ascontiguousarray(column).sum() for column in counts.T]))


def mean_of_rows(credit: Callable[[Predictions, Any], Sequence[float]]) -> Counted:
    """The metric that is the mean of a credit a row."""

    def count(predicted: Predictions, gold: Any) -> np.ndarray:
        credits = np.array(credit(predicted, gold), dtype=np.float64)
        return np.stack([credits, np.ones_like(credits)], axis=1)

    return Counted(count, lambda sums: float(sums[0] / sums[1]))


NO_MORE: Mapping[str, Any] = MappingProxyType({})


class Feature(NamedTuple):
    """What becomes one row of a features file.

    Attributes:
        uid: the row's name.
        label: as JSON has it.
        sequences: one, or one an option.
        more: the kind's further keys.
    """

    uid: str
    label: Any
    sequences: Sequence[EncodedRow]
    more: Mapping[str, Any] = NO_MORE


class Column(NamedTuple):
    """A column of features: what one value is of (`ROW`, `SEQUENCE` or `TOKEN`), and its type; `np.str_` for text."""

    level: str
    dtype: type[np.generic]


class Layout(NamedTuple):
    """Where the rows of a batch lie.

    Attributes:
        rows: (rows,) indices into the features.
        sequences: (sequences,) likewise.
        sizes: (rows,) sequences of each row.
        lengths: (sequences,) tokens of each, after cutting.
        source: (tokens,) index of each token into the features, sequence by sequence.
    """

    rows: np.ndarray
    sequences: np.ndarray
    sizes: np.ndarray
    lengths: np.ndarray
    source: np.ndarray

    def by_sequence(self, values: np.ndarray, fill: int) -> np.ndarray:
        """One value a token, or several (tokens, ...), to (sequences, longest, ...), filled up."""
        table = np.full((len(self.lengths), int(self.lengths.max()), *values.shape[1:]), fill, dtype=values.dtype)
        table[np.arange(table.shape[1]) < self.lengths[:, None]] = values
        return table


class Kind(ABC):
    """The data half of a kind of task.

    Attributes:
        name: MT-DNN's `task_type`.
        formats: MT-DNN's `data_format`s that its canonical rows can have.
        level: `SEQUENCE` or `TOKEN`: what a head gives an output for.
        label: the column of what is right, under `label` in a features file.
        columns: further columns by their key in a features file.
        nested: whether a row's `token_id` is a list of sequences.
        predicts_cut_words: whether texts to predict keep the words that the model will not see: each gets a value, too.
        cuttable: whether a row that is too long can be cut; else it has to be made again.
        answers_questions: whether a task can say that some of them are `unanswerable`.
        metrics: by MT-DNN's names.
        default_metrics: where a task names none.
        default_loss: likewise; a criterion of `module.losses`.
    """

    name: ClassVar[str]
    formats: ClassVar[tuple[str, ...]]
    level: ClassVar[str] = SEQUENCE
    label: ClassVar[Column]
    columns: ClassVar[Mapping[str, Column]] = {}
    nested: ClassVar[bool] = False
    predicts_cut_words: ClassVar[bool] = False
    cuttable: ClassVar[bool] = True
    answers_questions: ClassVar[bool] = False
    metrics: ClassVar[Mapping[str, Metric]]
    default_metrics: ClassVar[tuple[str, ...]]
    default_loss: ClassVar[str]

    # -- its definition ------------------------------------------------------------------------------------------------

    def default_classes(self, labels: Sequence[str]) -> int:
        """`n_class` of a task that leaves it out."""
        return len(labels) or 2

    def metrics_for(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """`metric_meta` of a task that leaves it out."""
        return self.default_metrics

    def problems(self, task: TaskDef) -> list[str]:
        """What is wrong in a task's definition, a line each."""
        return []

    def label_names(self, task: TaskDef) -> tuple[str, ...]:
        """Names of the classes in the order of their ids; () where labels are numbers."""
        return task.labels or tuple(str(i) for i in range(task.n_class))

    def notes(self, task: TaskDef) -> list[str]:
        """What a definition does not say by itself: lines for who prepares the task, or trains it."""
        return []

    @abstractmethod
    def width(self, task: TaskDef) -> int:
        """How many numbers an output is."""

    # -- from canonical rows to features -------------------------------------------------------------------------------

    @abstractmethod
    def check_label(self, task: TaskDef, label: str) -> None:
        """Raise `InputError` for one label of a canonical row that the task does not have."""

    @abstractmethod
    def features(self, task: TaskDef, rows: Sequence[Row], encoder: RowEncoder) -> Iterator[Feature]:
        """Canonical rows as features, in their order; an empty label stands for none."""

    @abstractmethod
    def read_label(self, task: TaskDef, label: Any, lengths: Sequence[int]) -> Iterable[float]:
        """The numbers of the column `label`, from a row's JSON; `lengths` are its sequences' tokens.

        Raises:
            InputError: it is no label of the task.
        """

    def read_columns(self, task: TaskDef, row: Mapping[str, Any], lengths: Sequence[int]) -> dict[str, Iterable[Any]]:
        """The values of the further columns, from a row's JSON; `InputError` for others."""
        return {}

    # -- training ------------------------------------------------------------------------------------------------------

    @abstractmethod
    def targets(self, features: FeatureSet, layout: Layout) -> dict[str, np.ndarray]:
        """What the criterion needs beside the outputs, by name."""

    def distilled(self, features: FeatureSet) -> np.ndarray:
        """Which outputs a student learns from a teacher's: (sequences,) or (tokens,) bool, as `level` says."""
        return np.ones(int(features.output_starts[-1]), dtype=bool)

    def units(self, features: FeatureSet, layout: Layout) -> int:
        """How many losses the criterion gives for these rows: a batch's loss is their mean."""
        return len(layout.rows)

    def strata(self, features: FeatureSet) -> list[np.ndarray]:
        """The split's rows in groups of like ones, none of them empty: a share of the rows takes of each.

        Of rows that belong together only the first: see `with_others`.
        """
        return [np.arange(len(features))]

    def with_others(self, features: FeatureSet, rows: np.ndarray) -> np.ndarray:
        """The rows of `strata` with all that belong to them."""
        return rows

    def in_training(self, task: TaskDef, values: np.ndarray) -> np.ndarray:
        """Numbers in the labels' units, such as a teacher's outputs, as the head is trained to give them."""
        return values

    def remarks(self, features: FeatureSet) -> list[str]:
        """What looks wrong in a split's labels, though they are allowed: lines for a run's plan."""
        return []

    # -- evaluation ----------------------------------------------------------------------------------------------------

    def uids(self, features: FeatureSet) -> Sequence[str]:
        """The names of what is predicted, in the order of the predictions: the rows, but where several are one."""
        return features.uids

    @abstractmethod
    def decide(self, features: FeatureSet, outputs: np.ndarray) -> Predictions:
        """Predictions from the outputs of all sequences, or tokens: (sequences or tokens, width) float32."""

    def tuned(self, task: TaskDef, parts: Sequence[tuple[FeatureSet, np.ndarray]]) -> TaskDef:
        """The task with what is best chosen on dev rows, such as a threshold; it goes with the trained model.

        `parts` are dev splits and the outputs for them, see `decide`. What is trained and scored on dev has the task as
        it is.
        """
        return task

    def gold(self, features: FeatureSet) -> Sequence[Any] | np.ndarray:
        """What is right, one a row."""
        return features.labels

    def is_constant(self, values: Sequence[Any] | np.ndarray, gold: Sequence[Any] | np.ndarray) -> bool:
        """Whether all rows got the same prediction, as they do from a model that has collapsed."""
        return bool(np.ptp(np.asarray(values)) == 0)

    def labelled(self, features: FeatureSet) -> bool:
        """Whether a split has labels, as far as can be seen: rows without any have all got the same one."""
        known = features.labels[features.labels != UNSCORED]
        return len(known) == 1 or bool(len(known) and np.ptp(known) > 0)

    def by_class(self, features: FeatureSet, predicted: Predictions) -> dict[str, Any]:
        """What a score hides, as JSON takes it: shares of 1 by class, and what was taken for what; {} for nothing."""
        return {}

    def majority(self, train: FeatureSet, features: FeatureSet) -> Predictions | None:
        """The predictions of who knows nothing but the training labels; None where that means nothing."""
        return None

    @abstractmethod
    def table(self, features: FeatureSet, predicted: Predictions) -> Iterator[Sequence[str]]:
        """The predictions as a table with a header: `uid`, `prediction`, and what the kind has beside."""


def softmax(outputs: np.ndarray) -> np.ndarray:
    """Over the last axis; -inf stays zero."""
    powers = np.exp(outputs - outputs.max(-1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(-1, keepdims=True)
    return shares
