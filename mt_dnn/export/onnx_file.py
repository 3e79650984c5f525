"""The model as `model.onnx`, by torch's own exporter, checked with onnxruntime at several shapes.

`optimum`, which others use for this, does not go with `transformers` 5 (its ONNX part wants a version below 4.58).
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from data_utils.errors import InputError, StoppedError
from data_utils.task_def import TaskDef
from mt_dnn.export.check import as_given, comparable, difference, load, our_outputs, sample_rows
from mt_dnn.model import MTDNN

ONNX_FILE = "model.onnx"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")

TOLERANCE = 1e-4
"""As `check.TOLERANCE`: another library's kernels round differently."""

LARGEST_FILE = 1_900_000_000
"""Bytes of weights; ONNX's format ends at 2 GiB, and larger ones lie in a file of their own beside it."""

SHAPES = ((5, 9), (4, 4), (12, 7, 30, 3, 16, 2), (40, 40))
"""Tokens of the rows of each comparison. An even number of rows, as a choice has two options here."""


def check_packages() -> None:
    """Raise `InputError` unless everything is there that `--onnx` needs."""
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise InputError(f"--onnx needs {', '.join(missing)}: pip install {' '.join(missing)}")


class _Logits(nn.Module):
    """A model whose arguments stand in one order and whose outputs are tensors, as a graph has them."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model(**dict(zip(self.names, inputs, strict=True))).values())


def write_onnx(model: MTDNN, task: TaskDef, folder: Path) -> float:
    """Add `model.onnx` to an exported folder; the axes of rows, options and tokens are dynamic.

    Returns:
        The largest difference between its logits and ours.
    """
    loaded = load(model.encoder, task, folder)
    rows = as_given(task, sample_rows(model.encoder))
    with torch.no_grad():
        outputs = list(loaded(**rows).keys())
    axes = ("rows", "options", "tokens") if rows["input_ids"].dim() == 3 else ("rows", "tokens")
    dynamic = tuple({i: name for i, name in enumerate(axes)} for _ in rows)
    names = tuple(rows)
    with _quietly(), _told(model.encoder.config.model_type):
        torch.onnx.export(
            _Logits(loaded, names),
            tuple(rows.values()),
            folder / ONNX_FILE,
            dynamo=True,
            dynamic_shapes=(dynamic,),
            input_names=list(names),
            output_names=outputs,
            external_data=sum(p.nbytes for p in loaded.parameters()) > LARGEST_FILE,
            verbose=False,
        )
    return max(_difference(model, task, folder / ONNX_FILE, lengths) for lengths in SHAPES)


def _difference(model: MTDNN, task: TaskDef, file: Path, lengths: tuple[int, ...]) -> float:
    """Between onnxruntime's logits and ours, on rows of these lengths."""
    import onnxruntime

    rows = sample_rows(model.encoder, lengths)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    taken = {node.name for node in session.get_inputs()}
    found = session.run(None, {n: value.numpy() for n, value in as_given(task, rows).items() if n in taken})
    named: dict[str, Any] = {
        node.name: torch.from_numpy(value) for node, value in zip(session.get_outputs(), found, strict=True)
    }
    return difference(our_outputs(model, task, rows), comparable(task, named, rows["attention_mask"]))


@contextlib.contextmanager
def _told(model_type: str) -> Iterator[None]:
    """Turn the exporter's failure, many pages long, into one line."""
    try:
        yield
    except torch.onnx.errors.OnnxExporterError as error:
        lines = [line for line in f"{error.__cause__ or error}".splitlines() if line.strip()]
        reason = f"{type(error.__cause__ or error).__name__}: {lines[0] if lines else ''}"
        raise StoppedError(
            f"torch's exporter cannot make ONNX of this {model_type} model; without --onnx all else is written "
            f"({reason[:300]})"
        ) from None


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Hold back what the exporter tells, which nobody can act upon: its stages, and what is not installed."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
