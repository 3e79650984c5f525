"""Models by hub name: asked once whether the hub answers, so that a computer without it does not wait for retries."""

from __future__ import annotations

import functools
from pathlib import Path

from data_utils.errors import InputError

CONNECT_SECONDS = 10.0
"""A slow network connects within this; a download itself has no such limit."""


def model_source(name_or_dir: str, flag: str) -> str:
    """Where to load a model from: its folder, its hub name, or without a hub the folder of an earlier download.

    Args:
        name_or_dir: a folder, or a hub name.
        flag: names the flag in errors, such as `--model`.

    Raises:
        InputError: a hub name, no hub in reach and no earlier download.
    """
    if Path(name_or_dir).is_dir() or (reason := why_no_hub()) is None:
        return name_or_dir
    from huggingface_hub import snapshot_download

    try:
        return snapshot_download(name_or_dir, local_files_only=True)
    except Exception:  # not there, or no name at all: ValueError, OSError, ...
        raise InputError(
            f"{flag}: {name_or_dir!r} is no folder here and was not downloaded before, and {reason}"
        ) from None


def earlier_download(name_or_dir: str, source: str) -> str:
    """What to add to an error about `source`, where `model_source` gives it for another name: it may lack files."""
    return "" if source == name_or_dir else f"; this is what was downloaded before, and {why_no_hub()}"


@functools.cache
def why_no_hub() -> str | None:
    """Why the hub cannot be used, with the cure; None where it answers."""
    import huggingface_hub  # half a second, and workers do not need it
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set; unset it, or give the folder of the model"
    try:  # any answer will do, also one that says no
        huggingface_hub.get_session().head(constants.ENDPOINT, timeout=CONNECT_SECONDS)
    except Exception as error:  # the HTTP library's, whichever huggingface_hub uses
        reason = str(error).strip() or type(error).__name__
        return (
            f"{constants.ENDPOINT} cannot be reached ({reason}); give the folder of the model, or try again with a "
            "network (HF_HUB_OFFLINE=1 saves the asking)"
        )
    return None
