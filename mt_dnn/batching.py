"""From rows of features to the tensors of one forward pass, padded or packed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from data_utils.errors import InputError
from data_utils.features import FeatureSet, ranges
from data_utils.kinds.kind import SEQUENCE, TOKEN, Layout

if TYPE_CHECKING:  # who only asks for flags need not load transformers
    from transformers import PreTrainedTokenizerBase

    from module.encoder import Encoder

SHORTEST_LINE = 64
"""Packed lines are at least this long where there are rows enough. Longer lines waste attention (its cost grows with
the line, not the row), shorter ones leave gaps at their ends; 48 to 96 measured alike on CPU and best."""

LINE_STEP, LINE_WIDTHS = 32, 3
"""Packed lines have one of so many widths, multiples of this, from the longest row's on. So batches of 32 rows have few
shapes (a few rows, which fill no line, have more): CPUs and compilers make their matrix products anew for each, and the
kernels that oneDNN keeps take memory."""

EVEN_WIDTH = 512
"""The width, about, at which attention over a line costs as much as all else that its tokens go through."""


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
        widest: None, or: lines and width are rounded up to sizes from a small set (`bucket_size`), the width to so many
            tokens at most. Lines of padding alone make up for those that rows do not fill.
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
        widest: int | None = None,
    ) -> None:
        self.pad_token_id = pad_token_id
        self.uses_type_ids = uses_type_ids
        self.packing = packing
        self.position_offset = position_offset
        self.max_length = max_length
        self.cut_left = cut_left
        self.widest = widest

    @classmethod
    def for_encoder(
        cls,
        encoder: Encoder,
        *,
        packing: bool,
        max_length: int,
        tokenizer: PreTrainedTokenizerBase | None = None,
        buckets: bool = False,
    ) -> Collator:
        """A collator that fits `encoder` and cuts rows as its tokenizer does."""
        return cls(
            pad_token_id=encoder.config.pad_token_id or 0,
            uses_type_ids=encoder.uses_type_ids,
            packing=packing,
            position_offset=encoder.position_offset,
            max_length=max_length,
            cut_left=tokenizer is not None and tokenizer.truncation_side == "left",
            widest=min(max_length, encoder.max_length) if buckets else None,
        )

    def __call__(self, features: FeatureSet, rows: np.ndarray) -> Batch:
        """A batch of the given rows, in their order."""
        layout, kind = self.layout(features, rows), features.task.kind
        lengths = layout.lengths
        line, start, shape = self._place(lengths)
        width = shape[1]
        inside = ranges(np.zeros_like(lengths), lengths)  # position of each token within its sequence
        first = line * width + start
        target = np.repeat(first, lengths) + inside
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

    def _place(self, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
        """The line of each sequence and its offset there, and the shape of the batch: lines, width."""
        longest = int(lengths.max())
        if self.widest is not None:
            longest = max(longest, min(bucket_size(longest), self.widest))
        if not self.packing:
            # As many as the batch has, the same for all batches but the last one of an epoch.
            return np.arange(len(lengths)), np.zeros(len(lengths), dtype=np.int64), (len(lengths), longest)
        longest = max(longest, SHORTEST_LINE)
        if self.widest is None:
            return _pack_well(lengths, longest)
        line, start = _pack(lengths, longest)
        return line, start, (bucket_size(int(line.max()) + 1), longest)

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


def bucket_size(size: int) -> int:
    """The smallest of 1, 2, 3, 4, 6, 8, 12, 16, 24, ... (powers of two, and half as much again) that holds `size`."""
    power = 1 << (size - 1).bit_length()
    return min(one for one in (power, power * 3 // 4) if one >= size)


def _pack_well(lengths: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Pack into lines of the width that costs least among a few: each row's line and offset there, and the shape."""
    least = -(-longest // LINE_STEP) * LINE_STEP
    found = []
    for capacity in range(least, least + LINE_WIDTHS * LINE_STEP, LINE_STEP):
        line, start = _pack(lengths, capacity)
        lines, filled = int(line.max()) + 1, int((start + lengths).max())
        width = min(capacity, -(-filled // 8) * 8)  # few rows, such as a single one to predict, fill no line
        found.append((lines * width * (1 + width / EVEN_WIDTH), width, line, start))
    _, width, line, start = min(found, key=lambda one: one[:2])
    return line, start, (int(line.max()) + 1, width)


def _pack(lengths: np.ndarray, capacity: int) -> tuple[np.ndarray, np.ndarray]:
    """First-fit decreasing into lines of `capacity`: each row's line, and its offset there; both (rows,) int64."""
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
