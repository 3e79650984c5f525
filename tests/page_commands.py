"""The commands of our pages, word by word as bash gives them to the programs, without running any.

A page's bash blocks are one script: variables, loops and continued lines mean there what they mean to a reader. It runs
where PATH has nothing but stand-ins, which note how they were called. A command that has none is an error.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("experiments/*/README.md"))]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", flags=re.M | re.S)
ELLIPSIS = "…"
"""Stands on a page for flags that were said before."""

BETWEEN, END = "\x1f", "\x1e"
STAND_IN = r"""#!/bin/sh
call=$(printf '%s\037' "${0##*/}" "$@")
printf '%s\036' "$call" >>"$CALLS"  # in one piece: both ends of a pipe write here
"""


def named(page: Path) -> str:
    """A page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    """A page's blocks of one language."""
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [text for _, written, text in found if written == language]


def calls(script: str, folder: Path, programs: Collection[str]) -> list[list[str]]:
    """How bash would call `programs` in a script that starts in `folder`.

    Raises:
        AssertionError: the script ends early: it is no bash, or it calls something else.
    """
    bin_folder, noted = folder / ".stand-ins", folder / ".calls"
    shutil.rmtree(bin_folder, ignore_errors=True)
    bin_folder.mkdir()
    for name in programs:
        (bin_folder / name).write_text(STAND_IN)
        (bin_folder / name).chmod(0o755)
    noted.write_text("")
    bash = shutil.which("bash")
    assert bash
    done = subprocess.run(
        [bash, "-euc", script],
        cwd=folder,
        env={"PATH": str(bin_folder), "CALLS": str(noted), "LC_ALL": os.environ.get("LC_ALL", "C.UTF-8")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"no rule covers this, or it is no bash:\n{done.stderr}"
    return [call.split(BETWEEN)[:-1] for call in noted.read_text(encoding="utf-8").split(END)[:-1]]


def shown(words: Sequence[str]) -> str:
    """A call as a message shows it."""
    return " ".join(words)
