"""Fixtures that several test folders use."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from data_utils.features import FeatureSet
from data_utils.task_def import DataFormat, TaskDef, TaskType


@pytest.fixture
def make_features() -> Callable[..., FeatureSet]:
    """Features in memory from rows of token ids; the second half of each row is its second segment."""

    def make(rows: Sequence[np.ndarray], labels: Sequence[float] | None = None, name: str = "toy") -> FeatureSet:
        regression = labels is not None and any(isinstance(label, float) for label in labels)
        task = TaskDef(
            name=name,
            data_format=DataFormat.PremiseOnly,
            task_type=TaskType.Regression if regression else TaskType.Classification,
        )
        lengths = np.array([len(row) for row in rows])
        types = np.concatenate([np.arange(n) >= n // 2 for n in lengths])
        values = np.zeros(len(rows)) if labels is None else np.array(labels)
        return FeatureSet(
            task=task,
            split="train",
            uids=[str(i) for i in range(len(rows))],
            labels=values.astype(np.float32 if regression else np.int64),
            token_ids=np.concatenate(rows).astype(np.int32),
            type_ids=types.astype(np.uint8),
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        )

    return make
