"""Span: the answer to a question is a piece of a passage, or nothing. Extractive question answering, such as SQuAD.

A row of a features file is one window of a passage (see `data_utils.windows`); the windows of a question follow one
another under one uid, and a prediction is one a question. A row's `label` is 1 where the question has no answer at all,
else 0. A window without the answer is trained to point at [CLS], the token 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from data_utils.answers import best_agreements, exact, word_f1
from data_utils.errors import InputError
from data_utils.kinds.kind import ROW, TOKEN, Column, Feature, Kind, Layout, Metric, Predictions, mean_of_rows
from data_utils.strict import encodable, parse_json, shown
from data_utils.windows import answer_place, windows

if TYPE_CHECKING:
    from data_utils.canonical import Row
    from data_utils.features import FeatureSet
    from data_utils.task_def import TaskDef
    from data_utils.tokenization import RowEncoder

LONGEST_ANSWER = 30
"""Tokens, as in BERT's and SQuAD's usual settings."""

LEAST = float(np.finfo(np.float32).min)
"""The score of an answer from a passage that has no token: a number, as files of numbers need one."""


class Span(Kind):
    """The place of an answer in a passage."""

    name = "Span"
    formats = ("MRC",)
    level = TOKEN
    cuttable = False
    answers_questions = True
    label = Column(ROW, np.int64)
    columns: ClassVar[Mapping[str, Column]] = {
        "start_position": Column(ROW, np.int64),
        "end_position": Column(ROW, np.int64),
        "char_start": Column(TOKEN, np.int32),
        "char_stop": Column(TOKEN, np.int32),
        "passage": Column(ROW, np.str_),
        "answers": Column(ROW, np.str_),
    }
    metrics: ClassVar[Mapping[str, Metric]] = {
        "EmF1": mean_of_rows(lambda predicted, gold: best_agreements(word_f1, list(predicted.values), gold)),
        "EM": mean_of_rows(lambda predicted, gold: best_agreements(exact, list(predicted.values), gold)),
    }
    default_metrics = ("EmF1", "EM")
    default_loss = "SpanCeCriterion"

    def label_names(self, task: TaskDef) -> tuple[str, ...]:
        """None: what is right is a place. MT-DNN's files may name some, which have no effect there either."""
        return ()

    def width(self, task: TaskDef) -> int:
        """Two a token: that the answer begins there, and that it ends there."""
        return 2

    def check_label(self, task: TaskDef, label: str) -> None:
        """Raise `InputError`: answers come in JSON, and are checked where that is read."""
        raise InputError(f"a row of {task.name} has answers and no label, got {shown(label)}")

    def features(self, task: TaskDef, rows: Sequence[Row], encoder: RowEncoder) -> Iterator[Feature]:
        """The windows of each question; the first of its answers is the one to train on."""
        questions = encoder.pieces([row.hypotheses[0] for row in rows])
        passages = encoder.pieces([row.premise for row in rows])
        for row, question, passage in zip(rows, questions, passages, strict=True):
            for window in windows(encoder, question, passage):
                start = stop = 0
                if row.answers:
                    text, begin = row.answers[0]
                    start, stop = answer_place(window, begin, begin + len(text))
                more = {
                    "start_position": start,
                    "end_position": stop,
                    "char_start": window.char_start.tolist(),
                    "char_stop": window.char_stop.tolist(),
                    "passage": row.premise,
                    "answers": [answer.text for answer in row.answers],
                }
                yield Feature(row.uid, int(not row.answers), (window.sequence,), more)

    def read_label(self, task: TaskDef, label: Any, lengths: Sequence[int]) -> Iterable[float]:
        """Whether the question has no answer."""
        if type(label) is not int or label not in (0, 1):
            raise InputError(f"label must be 1 for a question without an answer, else 0, got {shown(label)}")
        return [label]

    def read_columns(self, task: TaskDef, row: Mapping[str, Any], lengths: Sequence[int]) -> dict[str, Iterable[Any]]:
        """Where the answer lies, and what its text is cut from."""
        if missing := [name for name in self.columns if name not in row]:
            raise InputError(f"lacks {', '.join(missing)}; make the features with prepro_std.py")
        places = [row["start_position"], row["end_position"]]
        if set(map(type, places)) != {int} or not 0 <= places[0] <= places[1] < lengths[0]:
            raise InputError(f"start_position and end_position must be tokens in order, got {shown(places)}")
        passage, answers = row["passage"], row["answers"]
        if not isinstance(passage, str) or not encodable(passage):
            raise InputError(f"passage must be a text, got {shown(passage)}")
        if not isinstance(answers, list) or not all(isinstance(text, str) and encodable(text) for text in answers):
            raise InputError(f"answers must be a list of texts, got {shown(answers)}")
        characters = {name: _characters(row, name, lengths[0], len(passage)) for name in ("char_start", "char_stop")}
        if any(a > b or (a < 0) != (b < 0) for a, b in zip(*characters.values(), strict=True)):
            raise InputError("char_start and char_stop must be places in order, or both -1")
        texts = {"passage": [passage], "answers": [json.dumps(answers)]}
        return {"start_position": places[:1], "end_position": places[1:], **characters, **texts}

    def targets(self, features: FeatureSet, layout: Layout) -> dict[str, np.ndarray]:
        """`start` and `end` (rows,), and `inside` (rows, longest): which places hold a token."""
        return {
            "start": features.numbers("start_position")[layout.rows],
            "end": features.numbers("end_position")[layout.rows],
            "inside": layout.by_sequence(np.ones(len(layout.source), dtype=bool), 0),
        }

    def strata(self, features: FeatureSet) -> list[np.ndarray]:
        """The first windows of questions with an answer, and of those without."""
        first = _first_windows(features)
        answered = features.labels[first] == 0
        return [rows for rows in (first[answered], first[~answered]) if len(rows)]

    def with_others(self, features: FeatureSet, rows: np.ndarray) -> np.ndarray:
        """All windows of the questions that these first windows are of."""
        first = _first_windows(features)
        question = np.cumsum(np.isin(np.arange(len(features)), first)) - 1
        return np.flatnonzero(np.isin(first[question], rows))

    def uids(self, features: FeatureSet) -> list[str]:
        """The questions' ids, each once."""
        return [features.uids[row] for row in _first_windows(features)]

    def decide(self, features: FeatureSet, outputs: np.ndarray) -> Predictions:
        """The best piece of each question's passage.

        Of a task with unanswerable questions it is "" unless it scores more than the task's `null_threshold` above the
        lowest score that pointing at [CLS] has in its windows, as in SQuAD's script. `scores` (questions, 1): by how
        much it scores above that.
        """
        values, margins = _candidates(features, outputs)
        if features.task.unanswerable:
            found = margins[:, 0] > features.task.null_threshold
            values = [text if there else "" for text, there in zip(values, found, strict=True)]
        return Predictions(values, margins)

    def tuned(self, task: TaskDef, parts: Sequence[tuple[FeatureSet, np.ndarray]]) -> TaskDef:
        """The task with the `null_threshold` that gives the best primary metric on these rows.

        As SQuAD 2.0's script finds its `best_f1_thresh`.
        """
        if not task.unanswerable:
            return task
        compare = exact if task.primary_metric == "EM" else word_f1
        margins, gains = [], []
        for features, outputs in parts:
            texts, margin = _candidates(features, outputs)
            gold, none = self.gold(features), [""] * len(texts)
            gains.append(np.subtract(best_agreements(compare, texts, gold), best_agreements(compare, none, gold)))
            margins.append(margin[:, 0])
        return replace(task, null_threshold=_best_threshold(np.concatenate(margins), np.concatenate(gains)))

    def gold(self, features: FeatureSet) -> Sequence[Any]:
        """The texts that answer each question; none where it has no answer."""
        return [parse_json(features.columns["answers"][row]) for row in _first_windows(features)]

    def labelled(self, features: FeatureSet) -> bool:
        """Whether some question has an answer."""
        return any(self.gold(features))

    def is_constant(self, values: Sequence[Any] | np.ndarray, gold: Sequence[Any] | np.ndarray) -> bool:
        """Whether all questions got the same answer, such as none."""
        return len(set(values)) <= 1

    def majority(self, train: FeatureSet, features: FeatureSet) -> Predictions | None:
        """No answer to any question, where some have none."""
        return Predictions([""] * len(_first_windows(features))) if features.task.unanswerable else None

    def table(self, features: FeatureSet, predicted: Predictions) -> Iterator[Sequence[str]]:
        """The answers, in one line each, and by how much each scores above no answer: -inf where there is no word."""
        yield ["uid", "prediction", "score"]
        scores = np.full(len(predicted.values), np.nan) if predicted.scores is None else predicted.scores[:, 0]
        for uid, text, score in zip(self.uids(features), predicted.values, scores, strict=True):
            yield [uid, " ".join(text.split()), f"{score:.6f}" if score > LEAST else "-inf"]


def _characters(row: Mapping[str, Any], name: str, tokens: int, most: int) -> list[int]:
    values = row[name]
    if not isinstance(values, list) or len(values) != tokens or set(map(type, values)) != {int}:
        raise InputError(f"{name} must be a list with one place a token ({tokens}), got {shown(values)}")
    if min(values) < -1 or max(values) > most:
        raise InputError(f"{name} must hold places in the passage, -1 to {most}, got {shown(values)}")
    return values


def _candidates(features: FeatureSet, outputs: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Of each question the best piece of its passage, and (questions, 1) its score above pointing at [CLS]."""
    first = _first_windows(features)
    score, start, stop = _best_pieces(features, outputs)
    null = np.minimum.reduceat(outputs[features.offsets[:-1]].sum(-1), first)
    texts, margins = [], np.zeros((len(first), 1), dtype=np.float32)
    for i, (a, b) in enumerate(zip(first, [*first[1:], len(features)], strict=True)):
        row = int(a + np.argmax(score[a:b]))
        begin, end = features.numbers("char_start")[start[row]], features.numbers("char_stop")[stop[row]]
        texts.append(features.columns["passage"][row][begin:end].strip())
        margins[i] = max(float(score[row] - null[i]), LEAST)
    return texts, margins


def _best_threshold(margins: np.ndarray, gains: np.ndarray) -> float:
    """The threshold above which giving an answer, rather than none, gains most in sum; 0 where that does as well.

    `margins` and `gains` are (questions,). Between two margins that differ any threshold does the same: it is their
    middle, of several middles the nearest to 0.
    """
    known, where = np.unique(margins.astype(np.float64), return_inverse=True)  # in ascending order
    by_margin = np.bincount(where, weights=gains)
    above = np.append(np.cumsum(by_margin[::-1])[::-1], 0.0)  # in sum, where all from this one on are answered
    cuts = np.concatenate([[known[0] - 1], (known[:-1] + known[1:]) / 2, [known[-1] + 1]])
    best = np.flatnonzero(np.isclose(above, above.max()))
    closest: float = min(cuts[best], key=abs)
    at_zero = above[np.searchsorted(known, 0.0, side="right")]
    return 0.0 if np.isclose(at_zero, above.max()) else float(closest)


def _first_windows(features: FeatureSet) -> np.ndarray:
    """(questions,) int64: the row of each question's first window."""
    uids = list(features.uids)
    return np.array([i for i, uid in enumerate(uids) if i == 0 or uid != uids[i - 1]], dtype=np.int64)


def _best_pieces(features: FeatureSet, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each window the best piece's score, its first and its last token; -inf where there is no token to choose.

    A piece lies in the passage and has at most `LONGEST_ANSWER` tokens.
    """
    is_passage = features.numbers("char_start") >= 0
    window = np.repeat(np.arange(len(features)), features.lengths)
    starts = np.where(is_passage, outputs[:, 0], -np.inf)
    ends = np.where(is_passage, outputs[:, 1], -np.inf)
    best, length = starts + ends, np.zeros(len(starts), dtype=np.int64)
    for more in range(1, min(LONGEST_ANSWER, len(starts))):
        score = np.where(window[more:] == window[:-more], starts[:-more] + ends[more:], -np.inf)
        better = score > best[:-more]
        best[:-more][better], length[:-more][better] = score[better], more
    top = np.maximum.reduceat(best, features.offsets[:-1])
    places = np.flatnonzero(best == top[window])
    first = places[np.searchsorted(window[places], np.arange(len(features)))]
    return top, first, first + length[first]
