"""Ranking: a score for every option of a row, of which the best counts. Multiple choice is this, too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from data_utils.errors import InputError
from data_utils.kinds.classification import class_of
from data_utils.kinds.kind import (
    ROW,
    SEQUENCE,
    Column,
    Feature,
    Kind,
    Layout,
    Metric,
    Predictions,
    ScoresNeededError,
    mean_of_rows,
    softmax,
)
from data_utils.kinds.regression import MAX_FLOAT32, finite_number
from data_utils.strict import encodable, shown

if TYPE_CHECKING:
    from data_utils.canonical import Row
    from data_utils.features import FeatureSet
    from data_utils.task_def import TaskDef
    from data_utils.tokenization import RowEncoder

MOST_OPTIONS = 10_000
NOT_IN_NAMES = ",\t\r\n"


def _hits(predicted: Predictions, gold: Sequence[Sequence[float]]) -> list[float]:
    """1 for rows whose chosen option is as relevant as any."""
    return [float(row[value] == max(row)) for value, row in zip(predicted.values, gold, strict=True)]


def _reciprocal_ranks(predicted: Predictions, gold: Sequence[Sequence[float]]) -> list[float]:
    """1 / the rank of the first option that is as relevant as any.

    Options with one score stand in no order: the rank is what it is on average over their orders.
    """
    if predicted.scores is None:
        raise ScoresNeededError("MRR needs the scores of the options")
    found = []
    for scores, row in zip(predicted.scores, gold, strict=True):
        own, right = scores[: len(row)], np.equal(row, max(row))
        best = own[right].max()
        ahead, tied = int((own > best).sum()), own == best
        found.append(1 / (ahead + (tied.sum() + 1) / ((tied & right).sum() + 1)))
    return found


class Ranking(Kind):
    """A score an option, softmax over a row's options, the most relevant one is right."""

    name = "Ranking"
    formats = ("PremiseAndMultiHypothesis",)
    label = Column(ROW, np.int64)
    columns: ClassVar[Mapping[str, Column]] = {
        "olabel": Column(SEQUENCE, np.float32),
        "ruid": Column(SEQUENCE, np.str_),
    }
    nested = True
    metrics: ClassVar[Mapping[str, Metric]] = {"ACC": mean_of_rows(_hits), "MRR": mean_of_rows(_reciprocal_ranks)}
    default_metrics = ("ACC",)
    default_loss = "RankCeCriterion"

    def width(self, task: TaskDef) -> int:
        """One score an option."""
        return 1

    def label_names(self, task: TaskDef) -> tuple[str, ...]:
        """Names of the relevances, where they have some; () where they are numbers."""
        return task.labels

    def check_label(self, task: TaskDef, label: str) -> None:
        """Raise `InputError` unless it says how relevant an option is."""
        self._relevance(task, label)

    @staticmethod
    def _relevance(task: TaskDef, label: str) -> float:
        """A number as it is; where labels have names the id: the better one has the larger, as in MT-DNN."""
        if task.labels:
            return class_of(task, label)
        if (value := finite_number(label)) is None:
            kind = "is not a finite number"
            raise InputError(f"label {shown(label)} {kind}, and {task.name} ranks its options by numbers")
        return value

    def features(self, task: TaskDef, rows: Sequence[Row], encoder: RowEncoder) -> Iterator[Feature]:
        """A sequence an option: the premise and the option's text. Unlabelled options are all of relevance 0."""
        pairs = [(row.premise, text) for row in rows for text in row.hypotheses]
        encoded = iter(encoder.encode(*map(list, zip(*pairs, strict=True))))
        for row in rows:
            sequences = tuple(next(encoded) for _ in row.hypotheses)
            relevances = [self._relevance(task, label) if label else 0.0 for label in row.labels]
            best = relevances.index(max(relevances))
            yield Feature(row.uid, best, sequences, {"ruid": list(row.option_uids), "olabel": relevances})

    def read_label(self, task: TaskDef, label: Any, lengths: Sequence[int]) -> Iterable[float]:
        """The place of the best option."""
        if type(label) is not int or not 0 <= label < len(lengths):
            raise InputError(f"label {shown(label)} is not the place of an option; there are {len(lengths)}, from 0")
        return [label]

    def read_columns(self, task: TaskDef, row: Mapping[str, Any], lengths: Sequence[int]) -> dict[str, Iterable[Any]]:
        """`olabel`, each option's relevance, and `ruid`, its name; from `label` and places where they are not there."""
        if len(lengths) > MOST_OPTIONS:
            raise InputError(f"{len(lengths):,} options; a row may have {MOST_OPTIONS:,}")
        places = range(len(lengths))
        relevances = row.get("olabel", [float(place == row["label"]) for place in places])
        names = row.get("ruid", [str(place) for place in places])
        for key, values, kinds in (("olabel", relevances, (int, float)), ("ruid", names, (str, int))):
            fits = isinstance(values, list) and len(values) == len(lengths)
            if not fits or not all(isinstance(value, kinds) and not isinstance(value, bool) for value in values):
                raise InputError(f"{key} must be a list with one entry an option ({len(lengths)}), got {shown(values)}")
        if not all(abs(value) <= MAX_FLOAT32 for value in relevances):
            raise InputError(f"olabel must hold finite numbers, got {shown(relevances)}")
        if relevances[row["label"]] != max(relevances):
            raise InputError(f"label {row['label']} is not the place of the largest olabel, {shown(relevances)}")
        if unfit := [name for name in map(str, names) if set(NOT_IN_NAMES) & set(name) or not encodable(name)]:
            raise InputError(f"ruid {shown(unfit[0])} holds a comma, a tab or a line end, which tables cannot carry")
        return {"olabel": relevances, "ruid": map(str, names)}

    def targets(self, features: FeatureSet, layout: Layout) -> dict[str, np.ndarray]:
        """`label` (rows,), the best option's place; `options` (rows, most), sequences of the batch, -1 for none."""
        return {"label": features.labels[layout.rows], "options": places(layout.sizes)}

    def strata(self, features: FeatureSet) -> list[np.ndarray]:
        """Rows by the place of the best option."""
        groups = (np.flatnonzero(features.labels == place) for place in range(int(features.labels.max()) + 1))
        return [rows for rows in groups if len(rows)]

    def remarks(self, features: FeatureSet) -> list[str]:
        """Rows without a best option, as queries that nothing was found for: any choice is right there."""
        alike = sum(len(row) > 1 and min(row) == max(row) for row in self.gold(features))
        told = (
            f"of {alike:,} of {len(features):,} rows all options have one label: any choice counts as right there, and "
            "the first option is trained; leave such rows out"
        )
        return [told] * (alike > 0)

    def decide(self, features: FeatureSet, outputs: np.ndarray) -> Predictions:
        """The place of the option with the highest score, and the options' probabilities."""
        table = places(features.sizes)
        scores = np.where(table < 0, -np.inf, outputs[np.maximum(table, 0), 0])
        # In double precision, as an option far behind would get a probability of 0, and tie with others that do.
        return Predictions(scores.argmax(-1), softmax(scores.astype(np.float64)))

    def gold(self, features: FeatureSet) -> Sequence[Any]:
        """Each option's relevance, row by row."""
        return [row.tolist() for row in np.split(features.numbers("olabel"), features.starts[1:-1])]

    def is_constant(self, values: Sequence[Any] | np.ndarray, gold: Sequence[Any] | np.ndarray) -> bool:
        """Whether the same place was chosen in all rows, though the best option is not always there."""
        return bool(np.ptp(np.asarray(values)) == 0 and np.ptp([np.argmax(row) for row in gold]) > 0)

    def majority(self, train: FeatureSet, features: FeatureSet) -> Predictions:
        """The place that is most often right in training, or the last one where a row has fewer options."""
        place = int(np.bincount(train.labels).argmax())
        chosen = np.minimum(place, features.sizes - 1)
        return Predictions(chosen, np.eye(int(features.sizes.max()), dtype=np.float32)[chosen])

    def table(self, features: FeatureSet, predicted: Predictions) -> Iterator[Sequence[str]]:
        """The best option's name, then all of them from the best to the worst, with their probabilities."""
        yield ["uid", "prediction", "options", "probabilities"]
        names = features.columns["ruid"]
        for i, (uid, start, size) in enumerate(zip(features.uids, features.starts, features.sizes, strict=False)):
            shares = np.zeros(size) if predicted.scores is None else predicted.scores[i, :size]
            order = np.argsort(-shares, kind="stable")
            ranked = [names[int(start + place)] for place in order]
            best = names[int(start + predicted.values[i])]
            yield [uid, best, ",".join(ranked), ",".join(f"{shares[place]:.6f}" for place in order)]


def places(sizes: np.ndarray) -> np.ndarray:
    """(rows, most): which of all sequences, one after the other, are each row's; -1 where it has no more."""
    starts = np.cumsum(sizes) - sizes
    inside = np.arange(int(sizes.max()))
    return np.where(inside < sizes[:, None], starts[:, None] + inside, -1)
