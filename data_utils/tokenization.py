"""Text to token ids: exactly what `tokenizer(premise, hypothesis, truncation=True, max_length=...)` gives, but faster.

The tokenizers of BERT's and RoBERTa's families cut text at single spaces into units whose ids depend on nothing
else. For plain rows (printable ASCII, no double spaces) the ids of each unit are therefore
computed once and looked up afterwards, which is about five times as fast as encoding each row. All other rows, and all
rows of tokenizers for which this does not hold (SentencePiece's, say), go through the tokenizer itself, in
batches. Which way a row takes changes nothing in the result; a test compares both on real data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from tokenizers import Encoding, Tokenizer

from data_utils.cutting import Text, cut_positions
from data_utils.errors import InputError
from data_utils.hub import earlier_download, model_source
from data_utils.model_folder import encoder_source
from data_utils.tokenizer_files import no_tokenizer, not_loaded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_CACHED_UNITS = 500_000
TEMPLATES = ("TemplateProcessing", "BertProcessing", "RobertaProcessing")


def load_tokenizer(name_or_dir: str, flag: str = "--model") -> PreTrainedTokenizerBase:
    """Load a fast tokenizer by hub name or from a local folder; code that comes with a model is never run.

    A run of train.py, or its `best/`, stands for the tokenizer of its encoder.

    Raises:
        InputError: no such folder, no tokenizer in it or a damaged one, no hub in reach, or a tokenizer without a fast
            form.
    """
    name = _folder_or_name(name_or_dir, flag)
    source = model_source(name, flag)
    from transformers import AutoTokenizer  # seconds to import, and workers do not need it

    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        known, special = len(tokenizer), len(set(tokenizer.all_special_ids))
    except (
        Exception
    ) as error:  # a damaged file raises what it may: KeyError, AttributeError, Rust's bare Exception, ...
        reason = not_loaded(source, error) + earlier_download(name, source)
        raise InputError(f"{flag}: cannot load a tokenizer from {name_or_dir!r}: {reason}") from None
    if not tokenizer.is_fast:
        kind = type(tokenizer).__name__
        raise InputError(
            f"{flag}: {name_or_dir!r} has only a slow tokenizer ({kind}); a fast one is needed, so take another model"
        )
    if known <= special:  # what is made up for a folder with a config.json only
        reason = no_tokenizer(Path(source)) + earlier_download(name, source)
        raise InputError(f"{flag}: cannot load a tokenizer from {name_or_dir!r}: {reason}")
    return tokenizer


def _folder_or_name(name_or_dir: str, flag: str) -> str:
    """The folder to look into, or the hub name; `InputError` for a file, and for a path at which no folder is."""
    folder = Path(encoder_source(str(Path(name_or_dir).expanduser()) if name_or_dir.startswith("~") else name_or_dir))
    looks_local = name_or_dir.startswith((".", "/", "~")) or name_or_dir.count("/") > 1
    looks_local |= "/" in name_or_dir and Path(name_or_dir).parent.is_dir()  # downloads/…, where there is a downloads
    if folder.is_file() or (looks_local and not folder.is_dir()):
        found = "is a file" if folder.is_file() else "no folder"
        raise InputError(f"{flag}: {found} {name_or_dir}; expected a model's folder or its hub name")
    return str(folder) if folder.is_dir() else name_or_dir


@dataclass(frozen=True)
class EncoderSettings:
    """All that a worker process needs to encode rows; small enough to be sent there.

    Attributes:
        backend: the fast tokenizer as JSON.
        max_seq_len: rows are cut to this many tokens, special ones included.
        truncation_side: the end of a text that is cut, "right" or "left".
        uses_type_ids: False for models without segment embeddings (RoBERTa's family): their type ids are all 0.
    """

    backend: str
    max_seq_len: int
    truncation_side: str
    uses_type_ids: bool

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, max_seq_len: int) -> EncoderSettings:
        """The settings under which `tokenizer` encodes.

        Raises:
            InputError: `max_seq_len` leaves no room for text beside the special tokens of a pair, or the tokenizer
                loads but does not work.
        """
        special = tokenizer.num_special_tokens_to_add(pair=True)
        if max_seq_len < special + 2:
            need = f"at least {special + 2}: {special} special tokens and one token of each text"
            raise InputError(f"--max_seq_len must be {need}; got {max_seq_len}")
        uses_type_ids = "token_type_ids" in tokenizer.model_input_names
        backend = tokenizer.backend_tokenizer.to_str()
        try:
            Tokenizer.from_str(backend).encode("a \u2603", "a")
        except Exception as error:  # bare from Rust: a merge of unknown tokens, no token for unknown characters, ...
            raise InputError(f"--model: the tokenizer of {tokenizer.name_or_path} is damaged: {error}") from None
        return cls(backend, max_seq_len, tokenizer.truncation_side, uses_type_ids)


def check_special_tokens(settings: EncoderSettings, name: str, *, pairs: bool) -> None:
    """Check that a row begins with a special token, which heads look at, and that two texts do not run together.

    Args:
        settings: of the tokenizer.
        name: of the model, for the message.
        pairs: whether there are rows of two texts.

    Raises:
        InputError: the tokenizer adds no such token, as one without a post-processor.
    """
    tokenizer = Tokenizer.from_str(settings.backend)
    lacks = []
    if not _Frame.probe(tokenizer, pair=False).ids[0]:
        lacks.append("before the text, so that rows begin with a word where heads expect a token such as [CLS]")
    if pairs and not _Frame.probe(tokenizer, pair=True).ids[1]:
        lacks.append("between two texts, so that they run together")
    if lacks:
        cure = "give it a template such as '[CLS] $A [SEP] $B:1 [SEP]:1' and save it again; docs/data.md shows how"
        raise InputError(f"the tokenizer of {name} puts no special token {'; and none '.join(lacks)}: {cure}")


class EncodedRow(NamedTuple):
    """Token ids and type ids of one row, equally long, and where its texts lie."""

    token_ids: list[int]
    type_ids: list[int]
    texts: tuple[Text, ...]

    @property
    def shortened(self) -> bool:
        """Whether text was cut off."""
        return any(text.stop - text.start < text.length for text in self.texts)

    def cut(self, room: int, *, left: bool) -> EncodedRow:
        """The row in at most `room` tokens."""
        if len(self.token_ids) <= room:
            return self
        kept = cut_positions(self.texts, len(self.token_ids), room, left=left)
        ids, types = ([values[i] for i in kept] for values in (self.token_ids, self.type_ids))
        before = np.searchsorted(kept, [[text.start, text.stop] for text in self.texts])
        texts = [Text(int(a), int(b), text.length) for (a, b), text in zip(before, self.texts, strict=True)]
        return EncodedRow(ids, types, tuple(texts))


class Pieces(NamedTuple):
    """The token ids of a text, without special ones, and which characters of it each stands for."""

    ids: list[int]
    spans: list[tuple[int, int]]


class RowEncoder:
    """Encodes batches of rows under fixed settings."""

    def __init__(self, settings: EncoderSettings) -> None:
        self.settings = settings
        self._tokenizer = Tokenizer.from_str(settings.backend)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        backend = json.loads(settings.backend)
        added = [token["content"] for token in backend["added_tokens"]]
        self._splits = splits_at_spaces(backend)
        self._byte_level = "ByteLevel" in json.dumps(backend["pre_tokenizer"])  # a word's space is part of its pieces
        self._first, self._later = (_UnitIds(self._tokenizer, added, before=before) for before in ("", " "))
        self._frames = [_Frame.probe(self._tokenizer, pair) for pair in (False, True)]
        model = backend["model"]
        self._unknown = model.get("unk_id", self._tokenizer.token_to_id(model.get("unk_token") or ""))

    def is_wordless(self, row: EncodedRow) -> bool:
        """Whether the row's texts gave nothing but unknown tokens, or no token at all (as U+200B alone does)."""
        return all(token == self._unknown for text in row.texts for token in row.token_ids[text.start : text.stop])

    def encode(self, premises: Sequence[str], hypotheses: Sequence[str] | None = None) -> list[EncodedRow]:
        """Encode rows of one text, or of two where `hypotheses` is given (as long as `premises`)."""
        texts = list(zip(premises)) if hypotheses is None else list(zip(premises, hypotheses, strict=True))
        rows: list[EncodedRow | None] = [self._encode_plain(row) if self._splits else None for row in texts]
        rest = [i for i, row in enumerate(rows) if row is None]
        batch = [texts[i] if hypotheses is not None else texts[i][0] for i in rest]
        for i, encoding in zip(rest, self._tokenizer.encode_batch_fast(batch), strict=True):
            rows[i] = self._from_encoding(encoding, len(texts[i]))
        room, left = self.settings.max_seq_len, self.settings.truncation_side == "left"
        return [row.cut(room, left=left) for row in rows if row is not None]

    def pieces(self, texts: Sequence[str]) -> list[Pieces]:
        """Encode texts whole, each for itself."""
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [Pieces(encoding.ids, encoding.offsets) for encoding in encodings]

    def join(self, parts: list[list[int]]) -> EncodedRow:
        """A row of one text or two, from their token ids; nothing is cut."""
        return self._frames[len(parts) - 1].fill(parts, self.settings.uses_type_ids)

    def special_tokens(self, *, pair: bool) -> int:
        """How many special tokens a row has."""
        return sum(map(len, self._frames[pair].ids))

    def encode_words(self, rows: Sequence[Sequence[str]]) -> list[tuple[EncodedRow, list[int]]]:
        """Encode rows of words, each row as one text.

        Every word has a token: one that the tokenizer makes nothing of (U+200B alone) gets the unknown one.

        Returns:
            Each row, and for each of its tokens which word it is the first piece of, -1 for all others.
        """
        spaced = [self._spaced(row) if self._byte_level else row for row in rows]
        encodings = self._tokenizer.encode_batch(
            [list(row) for row in spaced], is_pretokenized=True, add_special_tokens=False
        )
        return [self._with_words(encoding, len(row)) for encoding, row in zip(encodings, rows, strict=True)]

    @staticmethod
    def _spaced(row: Sequence[str]) -> list[str]:
        """Words with the space before each that byte-level pieces hold; a first word of nothing becomes a space."""
        return [row[0] or " ", *(f" {word}" for word in row[1:])]

    def _with_words(self, encoding: Encoding, count: int) -> tuple[EncodedRow, list[int]]:
        pieces: list[list[int]] = [[] for _ in range(count)]
        for token, word in zip(encoding.ids, encoding.word_ids, strict=True):
            if word is not None:  # a special token, of which there is none here
                pieces[word].append(token)
        pieces = [own or [self._unknown] for own in pieces]
        row = self._frames[0].fill([list(chain.from_iterable(pieces))], self.settings.uses_type_ids)
        words = np.full(len(row.token_ids), -1)
        lengths = [len(own) for own in pieces]
        words[row.texts[0].start + np.cumsum([0, *lengths[:-1]], dtype=np.int64)] = np.arange(count)
        room, left = self.settings.max_seq_len, self.settings.truncation_side == "left"
        if len(words) > room:
            words = words[cut_positions(row.texts, len(words), room, left=left)]
        return row.cut(room, left=left), words.tolist()

    def _from_encoding(self, encoding: Encoding, texts: int) -> EncodedRow:
        ids, of_text = encoding.ids, encoding.sequence_ids
        type_ids = encoding.type_ids if self.settings.uses_type_ids else [0] * len(ids)
        return EncodedRow(ids, type_ids, self._frames[texts - 1].around([of_text.count(k) for k in range(texts)]))

    def _encode_plain(self, texts: tuple[str, ...]) -> EncodedRow | None:
        """The row by looking up its units; None where that might differ from the tokenizer's own result."""
        parts = []
        for text in texts:
            if not text.isascii() or not text.isprintable() or "  " in text:
                return None
            first, *later = text.split(" ")
            try:
                parts.append([*self._first[first], *chain.from_iterable(map(self._later.__getitem__, later))])
            except _AddedTokenError:
                return None
        return self._frames[len(parts) - 1].fill(parts, self.settings.uses_type_ids)


def splits_at_spaces(backend: Mapping[str, Any]) -> bool:
    """Whether this tokenizer's ids of a plain text are those of its space-separated units, one after the other.

    `backend` is the fast tokenizer's JSON. True for BERT's scheme (split at white space and punctuation, then
    WordPiece) and for byte-level BPE (a piece starts at each single space). Added tokens must be found in the text
    itself, not in its normalised form, and hold no space, so that none can span two units.
    """
    model, pre, norm = backend["model"], backend["pre_tokenizer"] or {}, backend["normalizer"]
    bert = (
        model["type"] == "WordPiece"
        and pre.get("type") == "BertPreTokenizer"
        and (norm is None or norm["type"] == "BertNormalizer")
    )
    byte_level = (
        model["type"] == "BPE"
        and not model.get("dropout")
        and pre.get("type") == "ByteLevel"
        and pre.get("use_regex", True)
        and norm is None
    )
    added_apart = all(
        " " not in token["content"] and (norm is None or not token["normalized"]) for token in backend["added_tokens"]
    )
    template = (backend["post_processor"] or {}).get("type") in TEMPLATES
    return (bert or byte_level) and added_apart and template


class _AddedTokenError(ValueError):
    """A special or added token is written out in a text, which only the tokenizer itself treats rightly."""


class _UnitIds(dict[str, list[int]]):
    """Token ids of units, computed when first asked for.

    Args:
        tokenizer: without truncation and padding.
        added: its special and added tokens as written.
        before: what stands before each unit in its text: nothing for a text's first unit, a space for the others.
    """

    def __init__(self, tokenizer: Tokenizer, added: Sequence[str], before: str) -> None:
        super().__init__()
        self._tokenizer, self._added, self._before = tokenizer, added, before

    def __missing__(self, unit: str) -> list[int]:
        if any(token in unit for token in self._added):
            raise _AddedTokenError(unit)
        if len(self) >= MAX_CACHED_UNITS:
            self.clear()
        ids = self._tokenizer.encode(self._before + unit, add_special_tokens=False).ids
        self[unit] = ids
        return ids


@dataclass(frozen=True)
class _Frame:
    """The special tokens before, between and after the texts, with the type ids of everything.

    `ids[k]` and `types[k]` stand before text k, the last ones after the last text; `text_types[k]` is text k's.
    """

    ids: tuple[list[int], ...]
    types: tuple[list[int], ...]
    text_types: tuple[int, ...]

    @classmethod
    def probe(cls, tokenizer: Tokenizer, pair: bool) -> _Frame:
        """Read the frame off the encoding of letters, so that every template is understood alike."""
        encoding = tokenizer.encode("a", "a") if pair else tokenizer.encode("a")
        ids: list[list[int]] = [[]]
        types: list[list[int]] = [[]]
        text_types: list[int] = []
        for token_id, type_id, text in zip(encoding.ids, encoding.type_ids, encoding.sequence_ids, strict=True):
            if text is None:
                ids[-1].append(token_id)
                types[-1].append(type_id)
            elif text == len(text_types):  # the text's first token: what follows it stands after the text
                text_types.append(type_id)
                ids.append([])
                types.append([])
        return cls(tuple(ids), tuple(types), tuple(text_types))

    def fill(self, parts: list[list[int]], uses_type_ids: bool) -> EncodedRow:
        """Put the texts' ids into the frame."""
        ids = self.ids[0].copy()
        for part, after in zip(parts, self.ids[1:], strict=True):
            ids += part
            ids += after
        texts = self.around([len(part) for part in parts])
        if not uses_type_ids:
            return EncodedRow(ids, [0] * len(ids), texts)
        types = self.types[0].copy()
        for part, text_type, after in zip(parts, self.text_types, self.types[1:], strict=True):
            types += [text_type] * len(part)
            types += after
        return EncodedRow(ids, types, texts)

    def around(self, lengths: Sequence[int]) -> tuple[Text, ...]:
        """Where texts of so many tokens lie in the frame."""
        texts, end = [], 0
        for before, length in zip(self.ids, lengths, strict=False):
            start = end + len(before)
            end = start + length
            texts.append(Text(start, end, length))
        return tuple(texts)
