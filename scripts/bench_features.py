r"""Ways to keep features: the packed copy beside Arrow and Parquet (pyarrow), the same rows, in one run.

    python -m scripts.bench_features --data_dir data/canonical_data/all-MiniLM-L6-v2 \
        --task_def experiments/glue/glue_task_def.yml --task sst

Measured are the size on the disk, the time from nothing to a first batch, and batches of 32 random rows a second (their
token ids, one after the other). The ways take turns; medians of all rounds. A file is read after it was written, so
out of the memory of the operating system for all of them.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from data_utils.cli import columns
from data_utils.errors import InputError, entry_point, raise_all
from data_utils.features import FeatureSet, cache_path, feature_path, load_features, ranges
from data_utils.task_def import load_task_defs, select_tasks

BATCH = 32
TokensOf = Callable[[np.ndarray], np.ndarray]
"""From rows to their token ids, one row after the other."""


def _gather(offsets: np.ndarray, values: np.ndarray) -> TokensOf:
    def tokens_of(rows: np.ndarray) -> np.ndarray:
        return values[ranges(offsets[rows], offsets[rows + 1] - offsets[rows])]

    return tokens_of


def packed(args: argparse.Namespace, features: FeatureSet) -> TokensOf:
    """The toolkit's own: one safetensors file, memory-mapped, with its hash compared."""
    loaded = load_features(args.data_dir, features.task, "train")
    return _gather(loaded.offsets, loaded.token_ids)


def open_arrow(path: Path) -> TokensOf:
    """Arrow's file format, memory-mapped; nothing is compared."""
    import pyarrow

    table = pyarrow.ipc.open_file(pyarrow.memory_map(str(path))).read_all()
    return _of_column(table.column("token_id").combine_chunks())


def open_parquet(path: Path) -> TokensOf:
    """Parquet, read and unpacked; nothing is compared."""
    import pyarrow.parquet

    return _of_column(pyarrow.parquet.read_table(path).column("token_id").combine_chunks())


def _of_column(lists: object) -> TokensOf:
    return _gather(lists.offsets.to_numpy(), lists.values.to_numpy())  # type: ignore[attr-defined]


def write_others(features: FeatureSet, folder: Path) -> dict[str, Path]:
    """The same columns as Arrow and as Parquet."""
    import pyarrow
    import pyarrow.parquet

    offsets = pyarrow.array(features.offsets.astype(np.int32))
    table = pyarrow.table(
        {
            "uid": list(features.uids),
            "label": features.labels,
            "token_id": pyarrow.ListArray.from_arrays(offsets, features.token_ids),
            "type_id": pyarrow.ListArray.from_arrays(offsets, features.type_ids),
            "texts": pyarrow.array(features.texts.reshape(len(features.texts), -1).tolist()),
        }
    )
    paths = {"Arrow": folder / "rows.arrow", "Parquet": folder / "rows.parquet"}
    with pyarrow.ipc.new_file(str(paths["Arrow"]), table.schema) as writer:
        writer.write_table(table)
    pyarrow.parquet.write_table(table, paths["Parquet"])
    return paths


def measure(open_rows: Callable[[], TokensOf], rows: np.ndarray) -> tuple[float, float]:
    """Seconds to the first batch, and batches a second after it."""
    started = time.perf_counter()
    tokens_of = open_rows()
    tokens_of(rows[0])
    opened = time.perf_counter()
    for batch in rows[1:]:
        tokens_of(batch)
    return opened - started, (len(rows) - 1) / (time.perf_counter() - opened)


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data_dir", required=True, help="folder of features made by prepro_std.py")
    parser.add_argument("--task_def", required=True, help="task definition file")
    parser.add_argument("--task", required=True, help="whose training rows to take")
    parser.add_argument("--batches", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args(argv)
    raise_all(
        [f"--{name} must be at least 1, got {n}" for name in ("batches", "rounds") if (n := getattr(args, name)) < 1]
    )
    if importlib.util.find_spec("pyarrow") is None:
        raise InputError("Arrow and Parquet need pyarrow: pip install pyarrow")
    (task,) = select_tasks(load_task_defs(args.task_def), args.task, "--task")
    features = load_features(args.data_dir, task, "train")
    rows = np.random.default_rng(1).integers(len(features), size=(args.batches + 1, BATCH))
    with tempfile.TemporaryDirectory() as folder:
        paths = write_others(features, Path(folder))
        ways: dict[str, Callable[[], TokensOf]] = {
            "packed": lambda: packed(args, features),
            "Arrow": lambda: open_arrow(paths["Arrow"]),
            "Parquet": lambda: open_parquet(paths["Parquet"]),
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _, (name, way) in itertools.product(range(args.rounds), ways.items()):
            found[name].append(measure(way, rows))
        sizes = {name: path.stat().st_size for name, path in paths.items()}
    sizes["packed"] = cache_path(args.data_dir, task.name, "train").stat().st_size
    json_size = feature_path(args.data_dir, task.name, "train").stat().st_size
    print(f"{task.name}: {len(features):,} rows, {len(features.token_ids):,} tokens; JSON {json_size / 1e6:.1f} MB\n")
    table: list[tuple[str, ...]] = [("way", "MB", "first batch, ms", "batches/s")]
    for name, values in found.items():
        first, speed = (statistics.median(column) for column in zip(*values, strict=True))
        table.append((name, f"{sizes[name] / 1e6:.1f}", f"{1000 * first:.0f}", f"{speed:,.0f}"))
    print("\n".join(columns(table)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
