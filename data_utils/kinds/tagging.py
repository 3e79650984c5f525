"""Tagging: one tag a word, such as named entities. MT-DNN calls it SeqenceLabeling.

The first word piece of a word stands for it; the others, and special tokens, are neither trained nor scored. In a
features file they have the ids of MT-DNN's labels X, CLS and SEP, where a task has these, else -100.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from data_utils.errors import InputError
from data_utils.kinds.classification import class_of
from data_utils.kinds.kind import TOKEN, UNSCORED, Column, Counted, Feature, Kind, Layout, Metric, Predictions
from data_utils.metrics import entity_counts, entity_f1, of_entities
from data_utils.strict import listed, shown

if TYPE_CHECKING:
    from data_utils.canonical import Row
    from data_utils.features import FeatureSet
    from data_utils.task_def import TaskDef
    from data_utils.tokenization import RowEncoder

PIECE, FIRST, LAST = "X", "CLS", "SEP"
"""MT-DNN's labels of what is no word: further pieces of a word, the token before all words, and the one after them."""

OUTSIDE = "O"
OTHER_SCHEMES = ("S-", "E-", "L-", "U-")
"""How tags begin in BIOES and BILOU beside B- and I-."""
NO_TAG = "<cut>"
"""What stands for a word that was cut off, where the tags have no `OUTSIDE`; never a word's right tag."""


def _right_words(predicted: Predictions, gold: Sequence[Sequence[str]]) -> np.ndarray:
    """(rows, 2): how many words have the right tag, and how many words there are."""
    rows = zip(predicted.values, gold, strict=True)
    hits = [[a == b for a, b in zip(ours, right, strict=True)] for ours, right in rows]
    return np.array([[sum(row), len(row)] for row in hits], dtype=np.float64)


def _begin_with_i(tags: Sequence[str]) -> int:
    """How many of a row's I- tags continue no entity of their kind."""
    before = ["O", *tags[:-1]]
    return sum(tag.startswith("I-") and last[1:] != tag[1:] for last, tag in zip(before, tags, strict=True))


def _share(sums: np.ndarray) -> float:
    return float(sums[0] / sums[1]) if sums[1] else 0.0


class Tagging(Kind):
    """One tag a word."""

    name = "SeqenceLabeling"
    formats = ("Seqence",)
    level = TOKEN
    label = Column(TOKEN, np.int32)
    predicts_cut_words = True
    metrics: ClassVar[Mapping[str, Metric]] = {
        "SeqEval": Counted(lambda predicted, gold: entity_counts(list(predicted.values), gold), entity_f1),
        "ACC": Counted(_right_words, _share),
    }
    default_metrics = ("SeqEval",)
    default_loss = "SeqCeCriterion"

    def metrics_for(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Entities where some begin with B-; else, as for parts of speech, words: no entity would ever be found."""
        return self.default_metrics if any(label.startswith("B-") for label in labels) else ("ACC",)

    def problems(self, task: TaskDef) -> list[str]:
        """Tags have names, as entities are read off them."""
        if len(tags_of(task)) < 2:
            return [f"labels must name two tags at least, such as [O, B-person, I-person], got {shown(task.labels)}"]
        return []

    def width(self, task: TaskDef) -> int:
        """A logit a tag."""
        return task.n_class

    def check_label(self, task: TaskDef, label: str) -> None:
        """Raise `InputError` unless it is one of the task's tags."""
        if label in task.labels and label not in tags_of(task):
            raise InputError(f"the label {label} is no word's; allowed for {task.name}: {', '.join(tags_of(task))}")
        class_of(task, label)

    def features(self, task: TaskDef, rows: Sequence[Row], encoder: RowEncoder) -> Iterator[Feature]:
        """The words' pieces, with a tag at the first of each. Words without a tag get the first one."""
        names = task.label_names
        first, last, piece = (names.index(n) if n in names else UNSCORED for n in (FIRST, LAST, PIECE))
        dummy = tags_of(task)[0]
        for row, (sequence, words) in zip(rows, encoder.encode_words([row.tokens for row in rows]), strict=True):
            ids = [names.index(label or dummy) for label in row.labels]
            (text,) = sequence.texts
            labels = [piece if word < 0 else ids[word] for word in words]
            labels[: text.start] = [first] * text.start
            labels[text.stop :] = [last] * (len(words) - text.stop)
            yield Feature(row.uid, labels, (sequence,))

    def read_label(self, task: TaskDef, label: Any, lengths: Sequence[int]) -> Iterable[float]:
        """A tag id a token, -100 for tokens that are no word's first."""
        if not isinstance(label, list) or len(label) != lengths[0] or set(map(type, label)) != {int}:
            raise InputError(f"label must be a list with one tag id a token ({lengths[0]}), got {shown(label)}")
        unscored = {UNSCORED, *(i for i, name in enumerate(task.label_names) if name in (PIECE, FIRST, LAST))}
        values = [UNSCORED if tag in unscored else tag for tag in label]
        if bad := [tag for tag in values if tag != UNSCORED and not 0 <= tag < task.n_class]:
            allowed = f"0 to {task.n_class - 1}, {UNSCORED}"
            raise InputError(f"label {bad[0]} is not a tag id of {task.name}; allowed: {allowed}")
        return values

    def targets(self, features: FeatureSet, layout: Layout) -> dict[str, np.ndarray]:
        """`label` (sequences, longest): a tag id a token, or `UNSCORED`."""
        return {"label": layout.by_sequence(features.labels[layout.source].astype(np.int64), UNSCORED)}

    def distilled(self, features: FeatureSet) -> np.ndarray:
        """Words."""
        return np.asarray(features.labels != UNSCORED)

    def units(self, features: FeatureSet, layout: Layout) -> int:
        """Words."""
        return int((features.labels[layout.source] != UNSCORED).sum())

    def strata(self, features: FeatureSet) -> list[np.ndarray]:
        """Rows by the rarest tag in them."""
        by_row = np.split(features.labels, features.offsets[1:-1])
        count = Counter(features.labels.tolist())
        count[UNSCORED] = len(features.labels) + 1  # never the rarest, but where there is no word
        rarest = np.array([min(tags.tolist(), key=lambda tag: (count[tag], tag)) for tags in by_row])
        return [np.flatnonzero(rarest == tag) for tag in np.unique(rarest)]

    def remarks(self, features: FeatureSet) -> list[str]:
        """Tags of another scheme than BIO, whose entities `SeqEval` does not see."""
        task = features.task
        if "SeqEval" not in task.metric_meta:
            return []
        other = [tag for tag in tags_of(task) if tag.startswith(OTHER_SCHEMES)]
        if other:
            return [f"SeqEval knows B- and I- alone, so {listed(other)} count as outside; write the tags as BIO"]
        begun = sum(_begin_with_i(row) for row in self.gold(features))
        told = f"entities that begin with I-, as in IOB1: {begun:,}; SeqEval does not see them, so begin each with B-"
        return [told] * (begun > 0)

    def decide(self, features: FeatureSet, outputs: np.ndarray) -> Predictions:
        """The likeliest tag of each word. One that was cut off has no output: it is `OUTSIDE`, else it has `NO_TAG`."""
        names = features.task.label_names
        is_tag = np.array([name not in (PIECE, FIRST, LAST) for name in names])
        chosen = np.where(is_tag, outputs, -np.inf).argmax(-1)
        chosen[~outputs.any(-1)] = names.index(OUTSIDE) if OUTSIDE in names else len(names)
        return Predictions(self._by_row(features, chosen))

    def gold(self, features: FeatureSet) -> Sequence[Any]:
        """The words' tags, row by row."""
        return self._by_row(features, features.labels)

    @staticmethod
    def _by_row(features: FeatureSet, tags: np.ndarray) -> list[list[str]]:
        """Names of the tags, one a token, at those that stand for words."""
        names = (*features.task.label_names, NO_TAG)
        is_word = features.labels != UNSCORED
        ends = np.cumsum([0, *np.add.reduceat(is_word.astype(np.int64), features.offsets[:-1])])
        words = tags[is_word].tolist()
        return [[names[tag] for tag in words[a:b]] for a, b in zip(ends[:-1], ends[1:], strict=True)]

    def is_constant(self, values: Sequence[Any] | np.ndarray, gold: Sequence[Any] | np.ndarray) -> bool:
        """Whether all words got the same tag."""
        return len({tag for row in values for tag in row}) <= 1

    def by_class(self, features: FeatureSet, predicted: Predictions) -> dict[str, Any]:
        """Precision, recall, F1 and number of each kind of entity."""
        return {"entities": of_entities(list(predicted.values), self.gold(features))}

    def majority(self, train: FeatureSet, features: FeatureSet) -> Predictions:
        """The most frequent training tag for every word."""
        words = train.labels[train.labels != UNSCORED]
        tag = train.task.label_names[int(np.bincount(words).argmax())] if len(words) else OUTSIDE
        return Predictions([[tag] * len(row) for row in self.gold(features)])

    def table(self, features: FeatureSet, predicted: Predictions) -> Iterator[Sequence[str]]:
        """The words' tags, with a space between them."""
        yield ["uid", "prediction"]
        yield from ([uid, " ".join(tags)] for uid, tags in zip(features.uids, predicted.values, strict=True))


def tags_of(task: TaskDef) -> list[str]:
    """The labels that a word can have."""
    return [name for name in task.labels if name not in (PIECE, FIRST, LAST)]
