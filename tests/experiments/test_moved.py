"""The study commands' old names say where they went."""

from __future__ import annotations

import runpy

import pytest

COMMANDS = ("figures", "readings", "recipes", "report", "sensitivity", "sweep", "table")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_old_name_says_the_new_one(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"experiments.glue.{name}", run_name="__main__")
    assert ended.value.code == 2
    assert f"experiments.glue.{name} is now studies.{name}: python -m studies.{name}" in capsys.readouterr().err
