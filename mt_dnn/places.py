"""What a run reads may lie elsewhere when it goes on. What counts is what is there, and that is compared.

Features, soft labels and task definitions are compared by what a checkpoint has of them (`mt_dnn.record.run_state`),
the encoder by its configuration and tokenizer: the checkpoint has the weights themselves, so those of the encoder are
not read again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from data_utils.manifest import describe_tokenizer
from mt_dnn.teachers import IN_FEATURES

if TYPE_CHECKING:  # who only asks for flags need not load transformers
    from transformers import PreTrainedTokenizerBase

    from module.encoder import Encoder

PLACES = ("data_dir", "init_checkpoint", "task_def", "distill_from")
"""Flags that say where something lies."""

STARTED_IN = "started_in"
"""What `config.yaml` has beside the flags: the folder that relative paths were meant from."""

NOT_THE_MODEL = frozenset({"_name_or_path", "architectures", "dtype", "transformers_version"})
"""What a `config.json` has that is about the file it came from."""


def from_here(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by flag name with places that can be found from the current folder.

    A relative path that leads nowhere from here is taken from where the run was started, if it leads somewhere there.
    """
    found, started_in = dict(values), values.get(STARTED_IN)
    if not isinstance(started_in, str):
        return found
    for name in PLACES:
        place = values.get(name)
        if place is None or place == IN_FEATURES or os.path.exists(place):
            continue
        if os.path.exists(elsewhere := os.path.join(started_in, place)):
            found[name] = elsewhere
    return found


def encoder_identity(encoder: Encoder, tokenizer: PreTrainedTokenizerBase | None) -> dict[str, Any]:
    """What must be the same of an encoder, as JSON takes it: its configuration and its tokenizer's fingerprint."""
    config = {name: value for name, value in encoder.config.to_dict().items() if name not in NOT_THE_MODEL}
    fingerprint = describe_tokenizer("", tokenizer).fingerprint if tokenizer is not None else None
    return {"config": json.loads(json.dumps(config, default=str)), "tokenizer": fingerprint}


def encoder_changes(saved: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """What differs between two identities, in words.

    Settings that only one of them has do not count: another version of `transformers` may know more.
    """
    before, now = saved["config"], own["config"]
    changed = [name for name in now if name in before and before[name] != now[name]]
    words = [f"{name} is {now[name]}, was {before[name]}" for name in changed]
    return words + ["another tokenizer"] * (saved["tokenizer"] != own["tokenizer"])
