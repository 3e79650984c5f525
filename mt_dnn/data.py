"""The features of a run's tasks, checked against each other, the task definitions and the encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import transformers

from data_utils.errors import InputError, raise_all
from data_utils.features import FeatureSet, feature_path, joined, load_features
from data_utils.manifest import Manifest, added_tokens, describe_tokenizer, model_short_name, read_manifest
from data_utils.model_folder import encoder_source
from data_utils.strict import listed, shown
from data_utils.task_def import TaskDef
from data_utils.tokenization import load_tokenizer
from module.encoder import PACKABLE, Encoder
from module.rows import try_rows
from mt_dnn.sections import DataConfig
from mt_dnn.subset import share_of
from mt_dnn.teachers import with_soft_labels

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json")
"""A folder with one of these has a tokenizer that must load; other kinds may want packages that training does not."""


@dataclass(frozen=True)
class TaskData:
    """One task's training rows, file by file, and its dev and test splits where it is evaluated (else none)."""

    task: TaskDef
    train_files: tuple[FeatureSet, ...]
    dev: dict[str, FeatureSet]
    test: dict[str, FeatureSet] = field(default_factory=dict)

    @cached_property
    def train(self) -> FeatureSet:
        """All its training rows."""
        return joined(self.train_files)

    @property
    def splits(self) -> list[FeatureSet]:
        """All files that were loaded."""
        return [*self.train_files, *self.dev.values(), *self.test.values()]


def load_data(
    config: DataConfig,
    trained: Sequence[TaskDef],
    tested: Sequence[TaskDef],
    test_splits: Sequence[str] = (),
    distill_from: str | None = None,
) -> dict[str, TaskData]:
    """Load the training rows of all tasks, or their share, by task name.

    Of the tasks to evaluate the dev rows are loaded, too, and those of `test_splits`. Training rows get the soft labels
    that `distill_from` names (`mt_dnn.teachers`).
    """
    data = {}
    training = [
        load_features(config.data_dir, task, split, origin=owner if owner != task.name else "")
        for task in trained
        for owner, split in task.training_files
    ]
    if distill_from is not None:
        training = with_soft_labels(training, distill_from, config.data_dir)
    for task in trained:
        files = [file for file in training if file.task is task]
        dev = {split: load_features(config.data_dir, task, split) for split in task.dev_splits if task in tested}
        shares = tuple(share_of(file, config.train_fraction, config.data_seed) for file in files)
        scored = [split for split in test_splits if task in tested and split in task.split_names]
        test = {split: load_features(config.data_dir, task, split) for split in scored}
        data[task.name] = TaskData(task, shares, dev, test)
    manifest = read_manifest(config.data_dir) if test_splits else None
    tests = [features for item in data.values() for features in item.test.values()]
    raise_all(list(filter(None, (_label_problem(features, config.data_dir, manifest) for features in tests))))
    return data


def _label_problem(features: FeatureSet, data_dir: str, manifest: Manifest | None) -> str:
    """What is wrong with the labels of a test split; "" for nothing."""
    task, split = features.task, features.split
    if manifest is not None and (unlabelled := manifest.unlabelled(task.name, split)):
        lack, rows = "lacks" if unlabelled == 1 else "lack", len(task.kind.uids(features))
        return (
            f"--test_splits {split}: {unlabelled:,} of {rows:,} rows of {feature_path(data_dir, task.name, split)} "
            f"{lack} a label, and only labelled rows can be scored: label them or take them out, and run "
            f"prepro_std.py again; or leave {split} out of --test_splits"
        )
    if not task.kind.labelled(features):  # features of MT-DNN, of older versions, and labels written as dummies
        return (
            f"--test_splits: all {len(features):,} labels of {features.stem} are the same: they seem to stand for "
            "labels that are not known"
        )
    return ""


def check_data(
    config: DataConfig,
    data: Mapping[str, TaskData],
    encoder: Encoder,
    tokenizer: transformers.PreTrainedTokenizerBase | None,
) -> None:
    """Do `check_fits_encoder` for all that a run has loaded."""
    check_fits_encoder(
        [split for item in data.values() for split in item.splits],
        encoder,
        tokenizer,
        data_dir=config.data_dir,
        init_checkpoint=config.init_checkpoint,
        max_seq_len=config.max_seq_len,
    )


def longest_allowed(data: DataConfig, encoder: Encoder) -> int:
    """Tokens that a row has at most in training: as asked for, as features were cut, and as the encoder takes them."""
    manifest = read_manifest(data.data_dir)
    return min(data.max_seq_len, encoder.max_length, *([manifest.max_seq_len] if manifest else []))


def check_fits_encoder(
    splits: Sequence[FeatureSet],
    encoder: Encoder,
    tokenizer: transformers.PreTrainedTokenizerBase | None,
    *,
    data_dir: str,
    init_checkpoint: str,
    max_seq_len: int,
) -> None:
    """Raise `InputError` unless the features were made with this encoder's tokenizer and fit its embeddings.

    `data_dir` is where they lie, `init_checkpoint` what the encoder is called, `max_seq_len` the longest rows to take.
    """
    manifest = read_manifest(data_dir)
    if manifest is not None:
        _check_tokenizer(manifest, encoder, tokenizer, data_dir, init_checkpoint)
    for features in splits:
        check_added_tokens(features, encoder, tokenizer, init_checkpoint)
    longest = min(encoder.max_length, max_seq_len)
    bad = []
    for features in splits:
        bad += cutting_problems(features, max_seq_len)
        bad += _range_problems(features, encoder, data_dir, init_checkpoint)
    if longest < max_seq_len and any(int(split.lengths.max()) > longest for split in splits):
        bad.append(f"--max_seq_len {max_seq_len}: the encoder takes at most {longest} tokens; ask for that")
    raise_all(bad)
    try_length(encoder, min(longest, max(int(split.lengths.max()) for split in splits)), init_checkpoint)


def check_added_tokens(
    features: FeatureSet, encoder: Encoder, tokenizer: transformers.PreTrainedTokenizerBase | None, name: str
) -> None:
    """Raise `InputError` where rows hold tokens that only the tokenizer of the encoder, called `name`, knows."""
    known, largest = encoder.config.vocab_size, int(np.max(features.token_ids, initial=0))
    if tokenizer is not None and known <= largest < len(tokenizer):
        where = features.stem if features.split else "a text"
        raise InputError(
            f"{where} holds token id {largest}, which the tokenizer of {name} knows ({len(tokenizer)} tokens) and its "
            f"embeddings do not ({known}): tokens were added to the tokenizer only. Add them to the encoder with "
            "model.resize_token_embeddings(len(tokenizer)) and model.save_pretrained(FOLDER)"
        )


def try_length(encoder: Encoder, length: int, name: str) -> None:
    """Raise `InputError` unless the encoder, called `name`, takes rows of so many tokens; see `try_rows`."""
    if encoder.config.model_type in PACKABLE:  # tests hold these types to `max_length`; large ones would take seconds
        return
    try:
        try_rows(encoder, length)
    except ValueError as error:
        raise InputError(f"--init_checkpoint {name}: {error}") from None


def _range_problems(features: FeatureSet, encoder: Encoder, data_dir: str, init_checkpoint: str) -> list[str]:
    """A line for token ids, and one for type ids, that the encoder has no embedding for; each names the first row."""
    ids = {"token_id": (features.token_ids, encoder.config.vocab_size)}
    if encoder.uses_type_ids:
        ids["type_id"] = (features.type_ids, encoder.config.type_vocab_size)
    bad = []
    for key, (values, count) in ids.items():
        if not (beyond := np.flatnonzero(values >= count)).size:
            continue
        sequence = int(np.searchsorted(features.offsets, beyond[0], side="right")) - 1
        uid = features.uids[int(np.searchsorted(features.starts, sequence, side="right")) - 1]
        path = feature_path(data_dir, features.origin or features.task.name, features.split)
        bad.append(
            f"{path}: the row with uid {shown(uid)} has {key} {values[beyond[0]]}, but the encoder "
            f"{init_checkpoint} takes 0 to {count - 1}: the features were made with another tokenizer"
        )
    return bad


def _check_tokenizer(
    manifest: Manifest,
    encoder: Encoder,
    tokenizer: transformers.PreTrainedTokenizerBase | None,
    data_dir: str,
    init_checkpoint: str,
) -> None:
    """Compare the features' tokenizer with the encoder's own, or with its vocabulary where it comes without one."""
    made = manifest.tokenizer
    cure = f"run prepro_std.py --model {init_checkpoint}, or choose the encoder the features were made for"
    if tokenizer is not None:
        own = describe_tokenizer(init_checkpoint, tokenizer)
        if added := added_tokens(made, tokenizer):
            raise InputError(
                f"{data_dir}: features made with the tokenizer of {made.name} ({made.vocab_size} tokens), to "
                f"which {init_checkpoint} has added {len(added)} ({listed(added)}): {cure}"
            )
        if own.fingerprint != made.fingerprint:
            raise InputError(
                f"{data_dir}: features made with the tokenizer of {made.name} ({made.tokenizer_class}, "
                f"{made.vocab_size} tokens), but {init_checkpoint} has another ({own.tokenizer_class}, "
                f"{own.vocab_size} tokens): {cure}"
            )
    elif made.vocab_size > encoder.config.vocab_size:
        raise InputError(
            f"{data_dir}: features made with the tokenizer of {made.name} ({made.vocab_size} tokens), but "
            f"{init_checkpoint} embeds {encoder.config.vocab_size}: {cure}"
        )
    elif made.name != model_short_name(init_checkpoint):
        raise InputError(
            f"{data_dir}: features made for {made.name}; {init_checkpoint} has no tokenizer to compare "
            f"with, and its name differs: {cure}"
        )


def own_tokenizer(init_checkpoint: str) -> transformers.PreTrainedTokenizerBase | None:
    """The encoder's own tokenizer; None for a local folder that comes without.

    Raises:
        InputError: a hub name whose tokenizer cannot be loaded, or a folder whose tokenizer files are damaged.
    """
    source = encoder_source(init_checkpoint)
    try:
        return load_tokenizer(source, "--init_checkpoint")
    except InputError:
        if Path(source).is_dir() and not any((Path(source) / name).exists() for name in TOKENIZER_FILES):
            return None
        raise


def cutting_problems(features: FeatureSet, max_length: int) -> list[str]:
    """A line where rows would have to be cut that do not say where their texts end."""
    if not (count := features.uncuttable(max_length)):
        return []
    reason = f"rows of a {features.task.kind.name} task are not cut"
    if features.task.kind.cuttable:
        reason = "the features do not say where their texts end (MT-DNN's do not, nor do those of before November 2026)"
    longest = int(features.lengths.max())
    return [
        f"--max_seq_len {max_length}: {count:,} rows of {features.stem} are longer, and {reason}: make them "
        f"again, prepro_std.py --max_seq_len {max_length}, or ask for the longest row, {longest}"
    ]


def unused_keys(features: FeatureSet) -> str:
    """A line on what the rows of a features file hold and training does not use; "" where there is nothing."""
    if not features.unused:
        return ""
    found = ", ".join(f"{shown(key)} ({rows:,} rows)" for key, rows in sorted(features.unused.items()))
    alone = "; rows are trained on their labels alone" * (features.soft is None)
    return f"{features.stem}.json: not used: {found}{alone}"


def made_short(features: FeatureSet) -> np.ndarray:
    """(rows,) bool: which rows were cut when they were made."""
    kept = features.texts[:, :, 1] - features.texts[:, :, 0]
    short = ((features.texts[:, :, 0] >= 0) & (kept < features.texts[:, :, 2])).any(axis=1)
    return np.logical_or.reduceat(short, features.starts[:-1])


def shortened(features: FeatureSet, max_length: int) -> int:
    """How many rows lack some of their text: cut when they were made, or longer than `max_length` tokens now."""
    return int((made_short(features) | (features.longest > max_length)).sum())
