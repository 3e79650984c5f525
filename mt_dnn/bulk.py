"""Texts to outputs, many at a time: tokens once, the encoder once, and every task's head on what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from data_utils.canonical import Row
from data_utils.errors import InputError, StoppedError
from data_utils.features import FeatureSet, features_in_memory
from data_utils.kinds.kind import Predictions
from data_utils.strict import listed
from data_utils.task_def import DataFormat, TaskDef, TaskType
from data_utils.tokenization import RowEncoder
from mt_dnn.data import check_added_tokens, shortened, try_length
from mt_dnn.evaluate import batches_by_length
from mt_dnn.predict import TrainedModel
from mt_dnn.sections import LoopConfig
from mt_dnn.texts import SHAPES

TEXTS = {DataFormat.PremiseOnly: 1, DataFormat.PremiseAndOneHypothesis: 2}
"""How many texts a row has, by the formats of tasks that take texts as they are."""

WINDOW_ROWS = 4096
"""Rows in memory at a time: enough for batches of rows of like length."""


class Outputs(NamedTuple):
    """What a model gives for some rows of texts, in their order.

    Attributes:
        logits: by task, (rows, width) float32: a number a class, or the one of a regression.
        pooled: (rows, hidden) float32: what heads see of a row; None unless asked for.
        features: the rows as tokens, by how many of their texts were taken.
    """

    logits: dict[str, np.ndarray]
    pooled: np.ndarray | None
    features: dict[int, FeatureSet]

    def decided(self, task: TaskDef) -> Predictions:
        """A task's predictions: class ids and (rows, classes) probabilities, or numbers."""
        return task.kind.decide(self.features[TEXTS[task.data_format]], self.logits[task.name])

    def shortened(self, max_length: int) -> int:
        """How many rows lack some of their text."""
        return max(shortened(features, max_length) for features in self.features.values())


_FORMS = {
    count: TaskDef(name="texts", data_format=data_format, task_type=TaskType.Classification)
    for data_format, count in TEXTS.items()
}
"""What rows of texts are before any task: their labels mean nothing."""


def check_takes_texts(tasks: Sequence[TaskDef], what: str) -> None:
    """Raise `InputError` for tasks whose rows are something else than a text or two; `what` is what asks."""
    for task in tasks:
        if task.data_format not in TEXTS:
            shape = f", which takes lines of {SHAPES[task.data_format].words}" if task.data_format in SHAPES else ""
            cure = f"use predict.py --texts FILE{shape}; or --data_dir with features"
            raise InputError(
                f"{what}: {task.name} is a {task.type_name} task, not one text or two with a label: {cure}"
            )


class TextRunner:
    """Runs a trained model on texts.

    Args:
        trained: the model.
        loop: device, precision and `batch_size_eval` count.
        max_seq_len: rows are cut to so many tokens, or to what the encoder takes.
        pairs: whether there may be rows of two texts.

    Raises:
        InputError: no tokenizer, one that adds no special tokens, or a device that is not there.
    """

    def __init__(self, trained: TrainedModel, loop: LoopConfig, max_seq_len: int, *, pairs: bool) -> None:
        settings = trained.settings(max_seq_len, pairs=pairs)
        self._trained = trained
        self._rows = RowEncoder(settings)
        self.max_length = settings.max_seq_len
        self._tried = 0
        self._evaluator = trained.evaluator(loop, self.max_length)

    def run(
        self,
        texts: Sequence[tuple[str, ...]],
        tasks: Sequence[TaskDef],
        *,
        names: Sequence[str] | None = None,
        pooled: bool = False,
    ) -> Outputs:
        """Run one row or more.

        Args:
            texts: of each row one text, or of each two.
            tasks: whose heads to run; those of one text see the first of two.
            names: of the rows, for messages; None: their numbers, from 1.
            pooled: whether the rows, as they are given, are pooled.

        Raises:
            StoppedError: a row's output is not finite.
        """
        names = [str(i) for i in range(1, len(texts) + 1)] if names is None else names
        wanted = {TEXTS[task.data_format] for task in tasks} | ({len(texts[0])} if pooled else set())
        logits: dict[str, np.ndarray] = {}
        vectors = None
        features = {count: self._features(names, [row[:count] for row in texts]) for count in sorted(wanted)}
        for count, rows in features.items():
            heads = [task for task in tasks if TEXTS[task.data_format] == count]
            found, pool = self._outputs(rows, heads, pooled=pooled and count == len(texts[0]))
            logits |= found
            vectors = vectors if pool is None else pool
        return Outputs(logits, vectors, features)

    def _features(self, names: Sequence[str], texts: Sequence[tuple[str, ...]]) -> FeatureSet:
        form = _FORMS[len(texts[0])]
        rows = [Row(name, ("",), row[0], row[1:]) for name, row in zip(names, texts, strict=True)]
        features = features_in_memory(form, list(form.kind.features(form, rows, self._rows)))
        name = str(self._trained.folder)
        check_added_tokens(features, self._trained.model.encoder, self._trained.tokenizer, name)
        if (longest := int(features.lengths.max())) > self._tried:
            try_length(self._trained.model.encoder, longest, name)
            self._tried = longest
        return features

    @torch.inference_mode()
    def _outputs(
        self, features: FeatureSet, tasks: Sequence[TaskDef], *, pooled: bool
    ) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """One pass of the encoder, and of each head on what it gives."""
        evaluator, model = self._evaluator, self._trained.model.eval()
        device = evaluator.precision.device
        found: dict[str, list[np.ndarray]] = {task.name: [] for task in tasks}
        vectors: list[np.ndarray] = []
        batches = batches_by_length(features, evaluator.batch_size)
        for rows in batches:
            batch = evaluator.collator(features, rows).to(device)
            with evaluator.precision.autocast:
                encoded = model.encoder(**batch.inputs)
                for task in tasks:
                    found[task.name].append(model.heads[task.name](encoded).float().cpu().numpy())
            if pooled:
                vectors.append(encoded.pooled.float().cpu().numpy())
        back = np.argsort(np.concatenate(batches))
        logits = {name: np.concatenate(parts)[back] for name, parts in found.items()}
        for name, values in logits.items():
            _check_finite(name, values, features.uids)
        return logits, np.concatenate(vectors)[back] if pooled else None


def _check_finite(task: str, values: np.ndarray, names: Sequence[str]) -> None:
    bad = np.flatnonzero(~np.isfinite(values).all(-1))
    if bad.size:
        rows = listed([names[i] for i in bad.tolist()])
        raise StoppedError(f"{task}: the outputs of {bad.size:,} rows are not finite (rows {rows})")
