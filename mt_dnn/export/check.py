"""Whether what was written is our model: loaded as others load it, and compared with ours on a handful of rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from data_utils.kinds.kind import TOKEN
from data_utils.tables.examples import one_line
from data_utils.task_def import TaskDef
from data_utils.tokenization import EncoderSettings, RowEncoder
from module.encoder import Encoder, quiet_transformers
from mt_dnn.export.heads import USES, place_of
from mt_dnn.model import MTDNN

TOLERANCE = 1e-5
"""Largest difference of two logits that are the same, as a share of the largest logit where that is above 1."""

LENGTHS = (3, 6, 11, 18, 7, 4)
"""Tokens of the rows that are compared; rows beside longer ones are padded."""


def sample_rows(encoder: Encoder, lengths: tuple[int, ...] = LENGTHS) -> dict[str, Tensor]:
    """Rows of token ids from all over the vocabulary, padded: the encoder's arguments, (rows, longest) each."""
    lengths = tuple(min(length, encoder.max_length) for length in lengths)
    known, pad = encoder.config.vocab_size, encoder.config.pad_token_id or 0
    place = torch.arange(len(lengths) * max(lengths)).view(len(lengths), -1)
    ids = (place * 7919 + 1) % known
    ids = torch.where(ids == pad, (ids + 1) % known, ids)
    own = torch.tensor(lengths)[:, None]
    inside = torch.arange(max(lengths)) < own
    rows = {"input_ids": torch.where(inside, ids, pad), "attention_mask": inside.long()}
    if encoder.uses_type_ids:
        rows["token_type_ids"] = (inside & (torch.arange(max(lengths)) >= own // 2)).long()
    return rows


@torch.no_grad()
def our_outputs(model: MTDNN, task: TaskDef, rows: Mapping[str, Tensor]) -> Tensor:
    """Our logits, as `comparable` gives others': (rows, numbers), or (tokens that are there, numbers)."""
    mask = rows["attention_mask"]
    places = torch.arange(mask.numel()).view_as(mask)
    more = {"token_places": places} if task.kind.level == TOKEN else {}
    outputs = model.eval()(task.name, {**rows, **more})
    return outputs[mask.bool()] if more else outputs


def as_given(task: TaskDef, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The rows as the exported class takes them: for a choice the rows in two halves, the options of one row each."""
    if USES[task.type_name].auto != "AutoModelForMultipleChoice":
        return dict(rows)
    return {name: value.view(-1, 2, value.shape[1]) for name, value in rows.items()}


def comparable(task: TaskDef, outputs: Any, mask: Tensor) -> Tensor:
    """What an exported model gives, as `our_outputs` gives ours; `mask` is (rows, longest)."""
    logits = outputs["logits"] if "logits" in outputs else torch.stack(list(outputs.values())[:2], dim=-1)
    if task.kind.level == TOKEN:
        return logits[mask.bool()]
    return logits.reshape(len(mask), -1)


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, as `TOLERANCE` counts it; infinite where the shapes differ or a number is not finite."""
    if ours.shape != theirs.shape or not theirs.isfinite().all():
        return float("inf")
    return float((ours - theirs).abs().max() / max(1.0, float(ours.abs().max())))


def load(encoder: Encoder, task: TaskDef, folder: Path) -> torch.nn.Module:
    """An exported model, in evaluation mode.

    Code is run where `custom_model` was copied there a moment ago, and no other.
    """
    auto, custom = getattr(transformers, USES[task.type_name].auto), place_of(encoder, task) is None
    with quiet_transformers():
        return auto.from_pretrained(folder, trust_remote_code=custom, dtype=torch.float32).eval()


@torch.no_grad()
def loaded_difference(model: MTDNN, task: TaskDef, folder: Path) -> float:
    """Load `folder` with the Auto class of the task's kind, and compare its logits with ours on `sample_rows`."""
    rows = sample_rows(model.encoder)
    outputs = load(model.encoder, task, folder)(**as_given(task, rows))
    return difference(our_outputs(model, task, rows), comparable(task, outputs, rows["attention_mask"]))


@torch.no_grad()
def encoder_difference(encoder: Encoder, folder: Path) -> float:
    """The same for an encoder alone: its tokens' states, by `AutoModel`."""
    with quiet_transformers():
        loaded = transformers.AutoModel.from_pretrained(folder, trust_remote_code=False, dtype=torch.float32).eval()
    rows = sample_rows(encoder)
    mask = rows["attention_mask"].bool()
    theirs = loaded(**rows).last_hidden_state[mask]
    return difference(encoder.model.eval()(**rows).last_hidden_state[mask], theirs)


TEXTS = ("A first text, with some punctuation (and 3 numbers: 1, 2).", "naïve café", "one word after another " * 400)
"""What a tokenizer is tried on; the last is longer than most encoders take."""


def tells_breaks(tokenizer: transformers.PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer reads line ends and tabs otherwise than the spaces that training has in their place."""
    texts = ("one line\nand another", "a column\tand another")
    return any(tokenizer(text)["input_ids"] != tokenizer(one_line(text))["input_ids"] for text in texts)


def other_tokens(tokenizer: transformers.PreTrainedTokenizerBase, folder: Path, max_length: int) -> str:
    """The beginning of a text that the tokenizer in `folder` reads unlike ours does; "" where there is none.

    It is asked as others ask it, cutting to its own `model_max_length`.
    """
    with quiet_transformers():
        loaded = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    encoder = RowEncoder(EncoderSettings.of(tokenizer, max_length))
    for text, row in zip(TEXTS, encoder.encode(TEXTS), strict=True):
        if loaded(text, truncation=True)["input_ids"] != row.token_ids:
            return text[:40]
    (pair,) = encoder.encode(TEXTS[:1], TEXTS[1:2])  # where two are cut is told in many ways
    return "" if pair.shortened or loaded(*TEXTS[:2])["input_ids"] == pair.token_ids else "two texts"
