"""The features folder's manifest: which tokenizer made it, the label names in order, row counts and hashes.

`manifest.json` is written last, so a folder's features are whole when it lists them. Folders made by MT-DNN have
none; they load all the same, only unchecked.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_utils.errors import InputError, raise_all
from data_utils.fingerprints import MANIFEST, Fingerprint
from data_utils.strict import listed, parse_json, shown
from data_utils.task_def import TaskDef, name_problems

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FORMAT = 1


@dataclass(frozen=True)
class TokenizerInfo:
    """What identifies a tokenizer.

    Attributes:
        name: the last part of the model's name or folder.
        tokenizer_class: its Python class, for people to read.
        vocab_size: `len(tokenizer)`, added tokens included.
        fingerprint: SHA-256 over vocabulary, merges, normaliser and special tokens; equal means equal token ids.
    """

    name: str
    tokenizer_class: str
    vocab_size: int
    fingerprint: str


@dataclass(frozen=True)
class SplitRecord:
    """One features file: its `Fingerprint`, and what its rows are.

    Attributes:
        rows: how many there are.
        sha256, bytes: the fingerprint; `bytes` is None where an older version made the file.
        unlabelled: how many canonical rows lack a label, for which features hold a dummy one; None where an older
            version made the file.
    """

    rows: int
    sha256: str
    bytes: int | None = None
    unlabelled: int | None = None

    @classmethod
    def of(cls, path: Path, rows: int, unlabelled: int) -> SplitRecord:
        """Read a file of so many rows; OSError where it cannot be read."""
        return cls(rows=rows, unlabelled=unlabelled, **Fingerprint.of(path)._asdict())

    def is_of(self, found: Fingerprint) -> bool:
        """Whether a file is the one that was recorded."""
        return self.sha256 == found.sha256 and self.bytes in (None, found.bytes)


@dataclass(frozen=True)
class TaskRecord:
    """One task as it was when its features were made; `labels` in the order of the ids, empty for regression."""

    data_format: str
    task_type: str
    labels: tuple[str, ...]
    splits: Mapping[str, SplitRecord] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """All that `manifest.json` holds. `max_seq_len` counts tokens, special ones included."""

    tokenizer: TokenizerInfo
    max_seq_len: int
    tasks: Mapping[str, TaskRecord] = field(default_factory=dict)

    def unlabelled(self, task: str, split: str) -> int:
        """How many canonical rows of a split are known to lack a label."""
        splits = self.tasks[task].splits if task in self.tasks else {}
        return (splits[split].unlabelled or 0) if split in splits else 0


def model_short_name(name_or_dir: str) -> str:
    """The last part of a hub name or of a folder's path: what the features' folder is called."""
    return Path(os.path.abspath(name_or_dir)).name


def describe_tokenizer(name_or_dir: str, tokenizer: PreTrainedTokenizerBase) -> TokenizerInfo:
    """Identify a fast tokenizer, whatever truncation and padding it happens to be set to."""
    return TokenizerInfo(
        name=model_short_name(name_or_dir),
        tokenizer_class=type(tokenizer).__name__,
        vocab_size=len(tokenizer),
        fingerprint=_fingerprint(json.loads(tokenizer.backend_tokenizer.to_str())),
    )


def _fingerprint(backend: dict[str, Any]) -> str:
    """Of a fast tokenizer's JSON, without the settings of a call."""
    state = {key: value for key, value in backend.items() if key not in ("truncation", "padding")}
    return hashlib.sha256(json.dumps(state, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def added_tokens(base: TokenizerInfo, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The tokens that make `tokenizer` out of `base`; none where it is another one, or the same."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    added = [token for token in backend["added_tokens"] if token["id"] >= base.vocab_size]
    backend["added_tokens"] = [token for token in backend["added_tokens"] if token not in added]
    return [token["content"] for token in added] if _fingerprint(backend) == base.fingerprint else []


def read_manifest(data_dir: str | Path) -> Manifest | None:
    """The manifest of a features folder, None where there is none (features written by MT-DNN).

    Raises:
        InputError: it cannot be read or does not hold what it should.
    """
    path = Path(data_dir) / MANIFEST
    cure = "run prepro_std.py again into an empty folder"
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}; {cure}") from None
    try:
        return _parse(parse_json(text))
    except InputError as error:
        raise InputError(f"{path}: damaged ({error}); {cure}") from None


def _parse(raw: Any) -> Manifest:
    if isinstance(raw, dict) and raw.get("format", FORMAT) != FORMAT:
        raise InputError(f"format {shown(raw['format'])}, this version reads {FORMAT}")
    whole = _values(raw, "the file", {"format": int, "tokenizer": dict, "max_seq_len": int, "tasks": dict})
    kinds = {"name": str, "tokenizer_class": str, "vocab_size": int, "fingerprint": str}
    tokenizer = TokenizerInfo(**_values(whole["tokenizer"], "tokenizer", kinds))
    tasks = {name: _task_record(name, task) for name, task in whole["tasks"].items()}
    return Manifest(tokenizer, whole["max_seq_len"], tasks)


def _task_record(name: str, raw: Any) -> TaskRecord:
    where = f"task {shown(name)}"
    task = _values(raw, where, {"data_format": str, "task_type": str, "labels": list, "splits": dict})
    raise_all(name_problems("name", name) + [p for s in task["splits"] for p in name_problems("split name", s, "_")])
    if not all(isinstance(label, str) for label in task["labels"]):
        raise InputError(f"{where}: labels must be names, got {shown(task['labels'])}")
    splits = {
        split: _split_record(f"{where}, split {shown(split)}", record) for split, record in task["splits"].items()
    }
    return TaskRecord(task["data_format"], task["task_type"], tuple(task["labels"]), splits)


def _split_record(where: str, raw: Any) -> SplitRecord:
    kinds: dict[str, type] = {"rows": int, "sha256": str}
    later = ("bytes", "unlabelled")  # features of older versions have none of these
    kinds |= {key: int for key in later if isinstance(raw, dict) and raw.get(key) is not None}
    return SplitRecord(**_values(raw, where, kinds))


def _values(raw: Any, where: str, kinds: Mapping[str, type]) -> dict[str, Any]:
    """The values of the keys in `kinds`; `InputError` for one that is missing or not exactly of its type."""
    if not isinstance(raw, dict):
        raise InputError(f"{where} is not an object")
    for key, kind in kinds.items():
        if type(raw.get(key)) is not kind:  # a bool is no int here
            raise InputError(f"{where}: {key} must be of type {kind.__name__}, got {shown(raw.get(key))}")
        if kind is int and raw[key] < 0:
            raise InputError(f"{where}: {key} must not be negative, got {shown(raw[key])}")
    return {key: raw[key] for key in kinds}


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the manifest as indented JSON to `path` (a temporary one: see `StagedFiles`)."""
    text = json.dumps({"format": FORMAT} | dataclasses.asdict(manifest), indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def check_features(
    manifest: Manifest | None, task: TaskDef, owner: str, split: str, path: Path, found: Fingerprint
) -> None:
    """Compare a features file, `owner`'s, and the task it is read for with the manifest, if that knows the owner.

    Raises:
        InputError: other label names or another order, another task type, or a file that was changed since.
    """
    record = manifest.tasks.get(owner) if manifest else None
    if record is None:
        return
    cure = (
        f"run prepro_std.py again for {owner}" if owner == task.name else f"they cannot train the head of {task.name}"
    )
    if record.task_type != task.type_name or record.labels != task.label_names:
        made = f"{record.task_type} with labels [{listed(record.labels)}]"
        wanted = f"{task.type_name} with labels [{listed(task.label_names)}]"
        raise InputError(f"{path}: made for {made}, but the task definition says {wanted}; {cure}")
    if split not in record.splits:
        raise InputError(f"{path}: not listed in {MANIFEST}, so left over from an earlier run; {cure}")
    expected = record.splits[split]
    if not expected.is_of(found):
        differs = f"sha256 {found.sha256[:12]}..., {MANIFEST} says {expected.sha256[:12]}..."
        raise InputError(f"{path}: changed since it was made ({differs}); {cure}")
