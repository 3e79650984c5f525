"""Fixtures that several test folders use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from data_utils.features import FeatureSet
from data_utils.task_def import DataFormat, TaskDef, TaskType

pytest_plugins = ["tests.threads", "tests.triton_marks"]


LONGEST = ("test_file_operations.py", "test_kills.py", "test_docs_readme.py", "test_bench_gpu.py", "test_sweep.py")
"""Files of few tests that take minutes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: begun last, each would run on one core while the others have nothing left to do."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


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
            texts=np.array([[[1, n - 1, n - 2], [-1, 0, 0]] for n in lengths], dtype=np.int32),
            sha256="",
        )

    return make


def flip_a_bit(path: Path) -> None:
    """Damage a file as a bad disk does: the last byte, which in a file of weights belongs to one of them."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@dataclass(frozen=True)
class Workshop:
    """Miniature GLUE as features, and the tiny encoder they were made for."""

    data_dir: Path
    encoder: Path

    def flags(self, output_dir: Path, *more: str) -> list[str]:
        """The flags of a short run of train.py."""
        fixed = ["--data_dir", str(self.data_dir), "--init_checkpoint", str(self.encoder)]
        return [*fixed, "--output_dir", str(output_dir), "--no-tensorboard", "--batch_size", "8", *more]


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Raw miniature GLUE through glue_prepro.py and prepro_std.py, once for all tests; not to be written to."""
    import prepro_std
    from experiments.glue import glue_prepro
    from tests.miniature_glue import write_miniature_glue
    from tests.tiny_models import write_tiny_bert

    root = tmp_path_factory.mktemp("workshop")
    glue, canonical = write_miniature_glue(root / "glue"), root / "canonical"
    encoder = write_tiny_bert(root / "tiny-bert")
    assert glue_prepro.main(["--glue_dir", str(glue), "--output_dir", str(canonical)]) == 0
    flags = ["--model", str(encoder), "--root_dir", str(canonical), "--workers", "1"]
    assert prepro_std.main([*flags, "--task_def", "experiments/glue/glue_task_def.yml"]) == 0
    return Workshop(canonical / "tiny-bert", encoder)


@pytest.fixture(scope="session")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """All kinds of task as features (`tests.miniature_kinds`); not to be written to."""
    from tests.miniature_kinds import write_miniature_kinds

    return Workshop(*write_miniature_kinds(tmp_path_factory.mktemp("kinds")))


@pytest.fixture(autouse=True)
def in_repository_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Default paths such as experiments/glue/glue_task_def.yml are relative to the repository root."""
    monkeypatch.chdir(Path(__file__).parents[1])
