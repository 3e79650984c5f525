"""Settings of the fuzz tests: short and repeatable, or long and random with FUZZ_EXAMPLES=20000."""

from __future__ import annotations

import os
from pathlib import Path

import huggingface_hub.constants
import pytest
from hypothesis import HealthCheck, settings

LONG = "FUZZ_EXAMPLES" in os.environ

settings.register_profile(
    "fuzz",
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "100")),
    derandomize=not LONG,
    deadline=None,  # hangs are caught by `tests.fuzz.mutations.no_hang`
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),  # folders are shared by all examples of a test, each writes its own files
)
settings.load_profile("fuzz")


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_repository_root: None) -> Path:
    """Work two folders deep in the test's own one, so that `../../x` lies in it too; and ask no model hub."""
    deep = tmp_path / "deep" / "down"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return deep
