"""The shared encoder: any BERT-like model of `transformers`, read at the first token of each row.

Rows come in either of two layouts. *Padded*: one row a line, filled up to the longest, with `attention_mask`.
*Packed*: several rows on a line, one after the other, kept apart by a block-diagonal attention mask; the same result
(tests hold the two together) without the arithmetic that padding wastes, about half of it on GLUE's short sentences.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from torch import Tensor, nn

from .dropout import use_fast_dropout
from .foreign import check_folder
from .linear import use_fast_linear
from .perturbation import perturbed
from .pretrained import check_config, check_files, check_place, check_weights, reason_of
from .rows import check_rows, first_position, longest_row

PACKABLE = frozenset({"bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "mpnet", "albert"})
"""Model types whose packed output is tested to equal the padded one: they honour position ids and a 4-d mask."""


class EncoderOutput(NamedTuple):
    """What heads see.

    Attributes:
        pooled: (sequences, hidden), from the first tokens.
        last_hidden_state: (lines, length, hidden), the states of all tokens as they lie in the batch.
        by_sequence: (sequences, longest, hidden), the same sequence by sequence; None unless asked for.
    """

    pooled: Tensor
    last_hidden_state: Tensor
    by_sequence: Tensor | None = None

    @property
    def tokens(self) -> Tensor:
        """`by_sequence`, which must have been asked for; beyond a sequence's end stands some other token's state."""
        if self.by_sequence is None:
            raise ValueError("the states of tokens were not asked for: see `token_places` of the encoder")
        return self.by_sequence


class Pooler(nn.Module):
    """First token -> dropout -> linear -> tanh, for encoders that come without a pooler of their own, or in its place.

    Only a pooler that takes the place of the checkpoint's has dropout, as MT-DNN's.
    """

    def __init__(self, hidden_size: int, std: float, dropout_p: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout_p)
        self.dense = nn.Linear(hidden_size, hidden_size)
        nn.init.normal_(self.dense.weight, std=std)
        nn.init.zeros_(self.dense.bias)

    def forward(self, first: Tensor) -> Tensor:
        """`first` (rows, hidden) -> (rows, hidden)."""
        return torch.tanh(self.dense(self.dropout(first)))


class Encoder(nn.Module):
    """A `transformers` base model and the pooling of its first token.

    Attributes:
        model: the base model, as `AutoModel` gives it.
        untrained: names of the parameters below `model` that the checkpoint did not hold (a fresh pooler, say).
        pooler: ours, where the model has none or a new one is wanted; None where the model's own is used.
        can_pack: whether rows may be packed, see `PACKABLE`.
        remarks: what its user should know, a sentence each.

    Args:
        model: see above.
        untrained: see above.
        new_pooler: dropout before a pooler of ours that replaces the model's own; None keeps that.
    """

    def __init__(
        self,
        model: transformers.PreTrainedModel,
        untrained: frozenset[str] = frozenset(),
        new_pooler: float | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.remarks: list[str] = []
        attention = model.config._attn_implementation
        self.can_pack = model.config.model_type in PACKABLE and attention in ("sdpa", "eager")
        use_fast_dropout(model, in_attention=self.can_pack)
        use_fast_linear(model)
        if new_pooler is not None:
            setattr(model, "pooler", None)  # noqa: B010 - a module there; None, so that it is neither trained nor saved
        self.untrained = untrained & {name for name, _ in model.named_parameters()}
        has_pooler = getattr(model, "pooler", None) is not None
        std = getattr(model.config, "initializer_range", 0.02)
        self.pooler = None if has_pooler else Pooler(self.hidden_size, std, new_pooler or 0.0)
        # Longformer and its like look at a window only: without this the first token sees the row's beginning alone.
        self._global_first = "global_attention_mask" in inspect.signature(model.forward).parameters

    @property
    def config(self) -> transformers.PreTrainedConfig:
        """The base model's configuration."""
        return self.model.config

    @property
    def hidden_size(self) -> int:
        """Width of the pooled vector."""
        return self.config.hidden_size

    @property
    def position_offset(self) -> int:
        """The position id of a row's first token: see `first_position`."""
        return first_position(self.model)

    @property
    def max_length(self) -> int:
        """Longest row in tokens that the position embeddings allow."""
        return longest_row(self.model)

    @property
    def uses_type_ids(self) -> bool:
        """Whether the model tells segments apart (RoBERTa, DistilBERT, MPNet and DeBERTa do not)."""
        return getattr(self.config, "type_vocab_size", 0) > 1

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """The parameters that came from the checkpoint, in the model's order."""
        return [p for name, p in self.model.named_parameters() if name not in self.untrained]

    def forward(
        self,
        input_ids: Tensor,
        token_type_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        sequence_ids: Tensor | None = None,
        first_tokens: Tensor | None = None,
        token_places: Tensor | None = None,
        perturbation: Tensor | None = None,
    ) -> EncoderOutput:
        """Encode a batch; all token tensors have shape (lines, length).

        Args:
            input_ids: token ids.
            token_type_ids: segment ids, for models that use them.
            attention_mask: padded layout: 1 at tokens, 0 at padding.
            position_ids: packed layout: positions counted anew in each row.
            sequence_ids: packed layout: which row a token belongs to; tokens attend within their row only.
            first_tokens: packed layout: (rows,) index of each row's first token among all lines * length tokens.
            token_places: (sequences, longest) index of each token likewise, any one beyond a sequence's end; for heads
                that look at all tokens.
            perturbation: (lines, length, embedding width) to add to the word embeddings, see `perturbation`.
        """
        if sequence_ids is not None:
            attention_mask = self._block_mask(sequence_ids)
        sees_all = None
        if self._global_first:
            sees_all = torch.zeros_like(input_ids)
            sees_all[:, 0] = 1
        optional = {
            "token_type_ids": token_type_ids,
            "position_ids": position_ids,
            "global_attention_mask": sees_all,
        }
        given = {name: value for name, value in optional.items() if value is not None}
        with perturbed(self.model, perturbation):
            states = self.model(input_ids, attention_mask=attention_mask, **given).last_hidden_state
        first = states[:, 0] if first_tokens is None else states.flatten(0, 1)[first_tokens]
        by_sequence = None if token_places is None else states.flatten(0, 1)[token_places]
        return EncoderOutput(self._pool(first), states, by_sequence)

    def _block_mask(self, sequence_ids: Tensor) -> Tensor:
        """(lines, length) -> (lines, 1, length, length), true where two tokens belong to the same row."""
        same = sequence_ids[:, None, :, None] == sequence_ids[:, None, None, :]
        if self.config._attn_implementation != "eager":
            return same
        return torch.zeros(same.shape, device=same.device).masked_fill_(~same, torch.finfo(torch.float32).min)

    def _pool(self, first: Tensor) -> Tensor:
        if self.pooler is not None:
            return self.pooler(first)
        model: Any = self.model  # torch's types know no attributes of a module
        if isinstance(model.pooler, nn.Linear):  # ALBERT and BigBird keep the activation outside
            activation = getattr(model, "pooler_activation", None) or model.activation
            return activation(model.pooler(first))
        return model.pooler(first[:, None])  # BERT's poolers pick the first token themselves


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hold back `transformers`' progress bar and its report on keys, which `Encoder.untrained` states anyway."""
    log = transformers.utils.logging
    level, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bar:
            log.enable_progress_bar()


def load_encoder(name_or_dir: str, seed: int, *, weights: bool = True, new_pooler: float | None = None) -> Encoder:
    """Load an encoder by hub name or from a local folder, with float32 weights; code that comes with it is never run.

    What the checkpoint lacks (a pooler; anything else is an error) is initialised from `seed`; the global random
    stream is left alone. Without `weights` all is: for a model whose weights are going to come from elsewhere.

    Args:
        name_or_dir: hub name or local folder.
        seed: for what is initialised.
        weights: whether to read any.
        new_pooler: dropout before a new pooler that replaces the checkpoint's, see `Pooler`; None keeps that.

    Raises:
        ValueError: it cannot be loaded, is not an encoder, or its weights are not those that its `config.json`
            describes.
    """
    check_place(name_or_dir)
    try:
        with quiet_transformers(), torch.random.fork_rng(devices=[]):
            return _load(name_or_dir, seed, weights, new_pooler)
    except Exception as error:  # readers of foreign files raise what they happen upon: KeyError, unpickling errors, ...
        where = "" if Path(name_or_dir).is_dir() else " from the hub"
        raise ValueError(f"{name_or_dir!r} cannot be loaded{where}: {reason_of(error)}") from None


def _load(name_or_dir: str, seed: int, weights: bool, new_pooler: float | None) -> Encoder:
    if Path(name_or_dir).is_dir():
        check_folder(Path(name_or_dir))
    config = transformers.AutoConfig.from_pretrained(name_or_dir, trust_remote_code=False)
    check_config(config)
    config._attn_implementation = None  # the default: a `config.json` could name a kernel to download and run
    if config.model_type == "big_bird":  # its sparse attention reseeds numpy, and is given up at a batch of short rows
        config.attention_type = "original_full"
    torch.default_generator.manual_seed(seed)  # the CPU's alone: `torch.manual_seed` would reseed GPUs, too
    if not weights:
        model = transformers.AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False)
        return _checked(Encoder(model, frozenset(name for name, _ in model.named_parameters()), new_pooler))
    if Path(name_or_dir).is_dir():
        check_files(config, Path(name_or_dir))
    model, info = transformers.AutoModel.from_pretrained(
        name_or_dir,
        config=config,
        dtype=torch.float32,
        trust_remote_code=False,
        weights_only=True,
        ignore_mismatched_sizes=True,  # not ignored: `check_weights` says which, where `transformers` would not
        output_loading_info=True,
    )
    check_weights(model, info)
    return _checked(Encoder(model, frozenset(info["missing_keys"]), new_pooler))


def _checked(encoder: Encoder) -> Encoder:
    """The encoder with its remarks, in evaluation mode; whatever `forward` raises where its settings cannot work."""
    with torch.no_grad():  # one token, so that settings that cannot work are told now and not as a crash in training
        encoder.eval()(torch.zeros((1, 1), dtype=torch.long), attention_mask=torch.ones((1, 1), dtype=torch.long))
    encoder.remarks = check_rows(encoder)
    return encoder
