"""What is asked or said of the kernels without importing Triton."""

from __future__ import annotations

import os

WARM_UP = "take a step outside of the CUDA graph first, with the same parameters having gradients"


def interpreted() -> bool:
    """Whether Triton's interpreter stands in for a GPU (`TRITON_INTERPRET=1`, set before anything imports Triton)."""
    return os.environ.get("TRITON_INTERPRET") == "1"
