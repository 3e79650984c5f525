"""From rows of features to the tensors of one forward pass, padded or packed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from data_utils.errors import InputError
from data_utils.features import FeatureSet, ranges
from data_utils.kinds.kind import SEQUENCE, TOKEN, Layout
from module.encoder import Encoder

SHORTEST_LINE = 64
"""Packed lines are at least this long where there are rows enough. Longer lines waste attention (its cost grows with
the line, not the row), shorter ones leave gaps at their ends; 48 to 96 measured alike on CPU and best."""


SOFT = "soft"
"""Where a batch's targets have what a teacher says; see `mt_dnn.objectives.distill`."""


class Batch(NamedTuple):
    """Rows of one task, ready for the model.

    Attributes:
        inputs: the encoder's keyword arguments.
        targets: what the task's criterion needs, by name; under `SOFT` a teacher's outputs, of the shape of the
            model's, where there is a teacher.
        layout: where the rows lie among the features, in NumPy.
    """

    inputs: dict[str, Tensor]
    targets: dict[str, Tensor]
    layout: Layout

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`; from the CPU to a GPU without waiting for the copy."""
        if device.type == "cpu":
            return self
        inputs, targets = (
            {name: value.pin_memory().to(device, non_blocking=True) for name, value in values.items()}
            for values in (self.inputs, self.targets)
        )
        return self._replace(inputs=inputs, targets=targets)


class Collator:
    """Builds batches for one encoder.

    Args:
        pad_token_id: id that fills the gaps.
        uses_type_ids: whether the encoder takes `token_type_ids`.
        packing: several rows a line rather than one (see `module.encoder`).
        position_offset: the position id of a row's first token.
        max_length: rows are cut to so many tokens, see `data_utils.cutting`.
        cut_left: whether a text is cut at its beginning, as the tokenizer does it.
    """

    def __init__(
        self,
        *,
        pad_token_id: int,
        uses_type_ids: bool,
        packing: bool,
        position_offset: int,
        max_length: int,
        cut_left: bool = False,
    ) -> None:
        self.pad_token_id = pad_token_id
        self.uses_type_ids = uses_type_ids
        self.packing = packing
        self.position_offset = position_offset
        self.max_length = max_length
        self.cut_left = cut_left

    @classmethod
    def for_encoder(
        cls,
        encoder: Encoder,
        *,
        packing: bool,
        max_length: int,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> Collator:
        """A collator that fits `encoder` and cuts rows as its tokenizer does."""
        return cls(
            pad_token_id=encoder.config.pad_token_id or 0,
            uses_type_ids=encoder.uses_type_ids,
            packing=packing,
            position_offset=encoder.position_offset,
            max_length=max_length,
            cut_left=tokenizer is not None and tokenizer.truncation_side == "left",
        )

    def __call__(self, features: FeatureSet, rows: np.ndarray) -> Batch:
        """A batch of the given rows, in their order."""
        layout, kind = self.layout(features, rows), features.task.kind
        lengths = layout.lengths
        alone = np.arange(len(lengths)), np.zeros(len(lengths), dtype=np.int64)
        line, start = _pack(lengths) if self.packing else alone
        width = int((start + lengths).max())
        inside = ranges(np.zeros_like(lengths), lengths)  # position of each token within its sequence
        first = line * width + start
        target = np.repeat(first, lengths) + inside
        shape = (int(line.max()) + 1, width)
        inputs = {"input_ids": _scatter(features.token_ids[layout.source], target, shape, self.pad_token_id)}
        if self.uses_type_ids:
            inputs["token_type_ids"] = _scatter(features.type_ids[layout.source], target, shape, 0)
        if self.packing:
            inputs["position_ids"] = _scatter(inside + self.position_offset, target, shape, self.position_offset)
            inputs["sequence_ids"] = _scatter(np.repeat(np.arange(len(lengths)), lengths), target, shape, -1)
            inputs["first_tokens"] = torch.from_numpy(first)
        else:
            inputs["attention_mask"] = _scatter(np.ones_like(inside), target, shape, 0)
        if kind.level == TOKEN:
            inputs["token_places"] = torch.from_numpy(layout.by_sequence(target, 0))
        targets = {name: torch.from_numpy(values) for name, values in kind.targets(features, layout).items()}
        if features.soft is not None:
            logits = features.soft.logits
            by_sequence = kind.level == SEQUENCE
            soft = logits[layout.sequences] if by_sequence else layout.by_sequence(logits[layout.source], 0)
            targets[SOFT] = torch.from_numpy(soft)
        return Batch(inputs, targets, layout)

    def layout(self, features: FeatureSet, rows: np.ndarray) -> Layout:
        """Which tokens a batch of the given rows has, rows cut to the longest length."""
        sequences = features.sequences(rows)
        lengths = np.minimum(features.lengths[sequences], self.max_length)
        source = ranges(features.offsets[sequences], lengths)
        begins = np.cumsum(lengths) - lengths
        for i in np.flatnonzero(features.lengths[sequences] > self.max_length):
            kept = features.positions(sequences[i], self.max_length, left=self.cut_left)
            source[begins[i] : begins[i] + lengths[i]] = kept
        return Layout(rows, sequences, features.sizes[rows], lengths, source)

    def units(self, features: FeatureSet, rows: np.ndarray) -> int:
        """How many losses the rows have; at least 1, so that a mean over them can be taken."""
        if features.task.kind.level == SEQUENCE:
            return len(rows)
        return max(1, features.task.kind.units(features, self.layout(features, rows)))


def pick_packing(wanted: str, encoder: Encoder) -> bool:
    """Whether rows are packed; `InputError` when that was asked for and the encoder does not allow it."""
    if wanted == "on" and not encoder.can_pack:
        raise InputError(f"--packing on: not tested for {encoder.config.model_type} encoders; use auto or off")
    return encoder.can_pack and wanted != "off"


def _scatter(values: np.ndarray, target: np.ndarray, shape: tuple[int, int], fill: int) -> Tensor:
    flat = np.full(shape[0] * shape[1], fill, dtype=np.int64)
    flat[target] = values
    return torch.from_numpy(flat.reshape(shape))


def _pack(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First-fit decreasing: the line and the offset within it of each row; both (rows,) int64."""
    capacity = max(int(lengths.max()), SHORTEST_LINE)
    line, start = np.empty_like(lengths), np.empty_like(lengths)
    filled: list[int] = []
    for row in np.argsort(-lengths, kind="stable"):
        length = int(lengths[row])
        found = next((k for k, used in enumerate(filled) if used + length <= capacity), None)
        if found is None:
            found = len(filled)
            filled.append(0)
        line[row], start[row] = found, filled[found]
        filled[found] += length
    return line, start
