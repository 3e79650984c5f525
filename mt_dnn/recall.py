"""What RecAdam pulls back: the encoder, which is pretrained, and not heads and poolers, which may be new."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mt_dnn.model import ENCODER_PREFIX


def with_recall(groups: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Parameter groups such as `encoder_param_groups` gives, with what has pretrained weights apart from what may not.

    They have `recall` True and False. What is which follows from the names alone, so that a run that goes on, whose
    encoder is built without weights, has the same groups.
    """
    split = []
    for group in groups:
        for recall in (True, False):
            places = [i for i, name in enumerate(group["names"]) if _is_pretrained(name) == recall]
            if places:
                own = {key: [group[key][i] for i in places] for key in ("params", "names")}
                name = group["name"] if recall or group["perturb"] else f"{group['name']}, new"
                split.append(group | own | {"name": name, "recall": recall})
    return split


def _is_pretrained(name: str) -> bool:
    return name.startswith(ENCODER_PREFIX) and not name.startswith(f"{ENCODER_PREFIX}pooler.")
