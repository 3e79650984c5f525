"""Whether kernels are compiled or interpreted; asked without importing Triton."""

from __future__ import annotations

import os


def interpreted() -> bool:
    """Whether Triton's interpreter stands in for a GPU (`TRITON_INTERPRET=1`, set before the first step)."""
    return os.environ.get("TRITON_INTERPRET") == "1"
