"""What it means to a run that something cannot be written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from data_utils.errors import StoppedError


@contextlib.contextmanager
def writing(what: Path) -> Iterator[None]:
    """Turn a failure to write in the block (a full disk, a read-only folder) into a `StoppedError` that says so."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise StoppedError(
            f"{what} cannot be written: {reason}. What was saved before stands: "
            "make room, or make the folder writable, and go on with --resume"
        ) from error
