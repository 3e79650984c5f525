"""Rows as an encoder takes them: how long they may be, and whether they depend on one another.

Both are found out on a few tokens or on one row when an encoder is loaded: `config.json` says neither for sure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import transformers
from torch import Tensor

if TYPE_CHECKING:
    from .encoder import Encoder

SHORT, LONG = 7, 20
"""Tokens of the two rows that are compared; with few tokens padding weighs most."""

ROUNDING = 1e-4
"""Share of a row's largest state up to which its neighbours may change it. Rounding in float32 changes some 3e-7 of it
(24 layers of 1024: 3e-6 at most); the encoders that mix padding in change 1e-3 and more."""


def first_position(model: transformers.PreTrainedModel) -> int:
    """The position id of a row's first token.

    Some types count from `pad_token_id + 1`, as fairseq did, and give that token's position to all padding.
    """
    for name, module in model.named_modules():
        if name.split(".")[-1] == "position_embeddings" and getattr(module, "padding_idx", None) is not None:
            return int(module.padding_idx) + 1
    return 0


def longest_row(model: transformers.PreTrainedModel) -> int:
    """The longest row in tokens that the position embeddings allow; 2³¹ where nothing limits it."""
    positions = getattr(model.config, "max_position_embeddings", None)
    return positions - first_position(model) if positions else 2**31


@torch.no_grad()
def check_rows(encoder: Encoder) -> list[str]:
    """Encode a short row alone and beside a longer one, in evaluation mode; a remark for each surprise.

    Where only packing makes the difference, `encoder.can_pack` is switched off.

    Raises:
        ValueError: the first token does not see the row's end, so that nothing could be learnt from it.
    """
    short, long = _tokens(encoder, SHORT), _tokens(encoder, LONG).flip(0)
    alone = _states(encoder, short[None])
    again = _states(encoder, short[None])
    other_end = _states(encoder, torch.cat([short[:-1], long[:1]])[None])
    if torch.equal(again[:, 0], other_end[:, 0]):
        raise ValueError(_blind(encoder))
    remarks = []
    if not alone.isfinite().all():
        return []  # numbers that are not finite are told where they appear in training
    if not torch.equal(alone, again):
        remarks.append("its output is drawn at random, so that no run or prediction can be repeated")
    elif (change := _change(_padded(encoder, short, long), alone[0])) > ROUNDING:
        remarks.append(
            f"a row's output depends on the padding beside it (here {change:.2g} times its size), so scores and "
            "predictions depend on batch sizes; --batch_size_eval 1 pads nothing"
        )
    elif encoder.can_pack and _change(_packed(encoder, short, long), alone[0]) > ROUNDING:
        encoder.can_pack = False
        remarks.append("rows are not packed, as packed and padded ones give different results")
    return [f"{encoder.config.model_type}: {remark}" for remark in remarks]


def _padded(encoder: Encoder, short: Tensor, long: Tensor) -> Tensor:
    """The short row's states on a line of its own, filled up to the length of the long one below it."""
    padding = short.new_full((LONG - SHORT,), encoder.config.pad_token_id or 0)
    mask = (torch.arange(LONG) < torch.tensor([[SHORT], [LONG]])).to(short)
    return _states(encoder, torch.stack([torch.cat([short, padding]), long]), mask)[0, :SHORT]


def _packed(encoder: Encoder, short: Tensor, long: Tensor) -> Tensor:
    """The short row's states behind the long one on one line."""
    sequence = torch.cat([torch.zeros(LONG, dtype=torch.long), torch.ones(SHORT, dtype=torch.long)])
    position = torch.cat([torch.arange(LONG), torch.arange(SHORT)]) + encoder.position_offset
    output = encoder(
        torch.cat([long, short])[None],
        position_ids=position[None].to(short),
        sequence_ids=sequence[None].to(short),
        first_tokens=torch.tensor([0, LONG]).to(short),
    )
    return output.last_hidden_state[0, LONG:]


@torch.no_grad()
def try_rows(encoder: Encoder, length: int) -> None:
    """Encode two rows of so many tokens that differ in their second half; the random stream and the mode stay.

    Raises:
        ValueError: it does not work, with the longest length that does; or the first token does not see all of a row.
    """
    training = encoder.training
    encoder.eval()
    try:
        with torch.random.fork_rng(devices=[]):
            pooled, reason = _try(encoder, length)
            if pooled is None:
                works = _longest_that_works(encoder, length)
                cure = f"rows of {works} can: --max_seq_len {works}" if works else "nor can any shorter ones"
                raise ValueError(f"rows of {length} tokens cannot be encoded, {cure} ({reason})")
    finally:
        encoder.train(training)
    if torch.equal(pooled[0], pooled[1]):
        raise ValueError(f"rows of {length} tokens: {_blind(encoder)}")


def _try(encoder: Encoder, length: int) -> tuple[Tensor | None, str]:
    """First tokens' states of the two rows, or None and why there are none."""
    row = _tokens(encoder, length)
    other = torch.cat([row[: (length + 1) // 2], row.flip(0)[(length + 1) // 2 :]])
    try:
        return _states(encoder, torch.stack([row, other]))[:, 0], ""
    except Exception as error:  # whatever foreign code runs into: IndexError, RuntimeError, ...
        return None, f"{type(error).__name__}: {error}".splitlines()[0][:100]


def _longest_that_works(encoder: Encoder, failed: int) -> int:
    """By halving, as what works at one length works at the shorter ones; 0 for none."""
    works = 0
    while failed - works > 1:
        middle = (works + failed) // 2
        works, failed = (works, middle) if _try(encoder, middle)[0] is None else (middle, failed)
    return works


def _blind(encoder: Encoder) -> str:
    return (
        f"the first token of this {encoder.config.model_type} model does not see the end of its row here, so nothing "
        "could be learnt from it; needed is an encoder such as BERT or RoBERTa"
    )


def _tokens(encoder: Encoder, length: int) -> Tensor:
    """A row of token ids from all over the vocabulary, none of them padding, where the encoder is."""
    known, pad = encoder.config.vocab_size, encoder.config.pad_token_id or 0
    ids = (torch.arange(length) * 7919 + 1) % known
    return torch.where(ids == pad, (ids + 1) % known, ids).to(next(encoder.parameters()).device)


def _states(encoder: Encoder, ids: Tensor, mask: Tensor | None = None) -> Tensor:
    """(rows, length, hidden)."""
    return encoder(ids, attention_mask=torch.ones_like(ids) if mask is None else mask).last_hidden_state


def _change(states: Tensor, expected: Tensor) -> float:
    """The largest difference as a share of the largest state."""
    return float((states - expected).abs().max() / expected.abs().max())
