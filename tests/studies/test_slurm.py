"""A study as a SLURM array job: the script is sound, and does what it says with stubs of srun and scontrol."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from data_utils.errors import SignalledError
from tests.studies.conftest import GRID, Sweeper

EMIT = GRID.replace("--devices cpu", "--emit slurm")
SRUN = """#!/usr/bin/env bash
printf '%s\\n' "$*" >>"$STUB_FOLDER/srun"
exit "$CODE"
"""
SCONTROL = """#!/usr/bin/env bash
printf '%s\\n' "$*" >>"$STUB_FOLDER/scontrol"
"""


@pytest.fixture
def script(sweeper: Sweeper) -> Path:
    assert sweeper(EMIT) == 0
    return sweeper.study_folder / "slurm.sh"


def run_task(sweeper: Sweeper, script: Path, task: int, code: int) -> int:
    """One task of the array."""
    tools = sweeper.folder / "bin"
    tools.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    environment = {"CODE": str(code), "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    environment |= {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_JOB_ID": "77"}
    return subprocess.run(["bash", str(script)], env=os.environ | environment, timeout=600).returncode


def test_nothing_is_run_and_all_that_is_to_do_is_listed(
    sweeper: Sweeper, script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not sweeper.calls()
    runs = [f"minilm/rte/{method}/seed_{seed}" for seed in (1, 2) for method in ("adamax", "pats")]
    assert (sweeper.study_folder / "slurm_runs.txt").read_text().splitlines() == runs
    text = script.read_text()
    assert "#SBATCH --array=0-3\n" in text and "#SBATCH --signal=TERM@120\n" in text and "#SBATCH --requeue\n" in text
    assert sweeper("--devices cpu --only minilm/rte/adamax/seed_1") == 0
    assert sweeper("--emit slurm") == 0
    assert f"3 runs to do\nsubmit: sbatch {script}" in capsys.readouterr().out
    assert (sweeper.study_folder / "slurm_runs.txt").read_text().splitlines() == runs[1:]


def test_with_nothing_to_do_there_is_no_script(sweeper: Sweeper, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweeper() == 0
    assert sweeper("--emit slurm") == 2
    assert "nothing is to do" in capsys.readouterr().err


def test_the_script_is_sound(script: Path) -> None:
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("code", "requeued"), [(0, False), (SignalledError.exit_code, True), (1, False), (2, False), (137, False)]
)
def test_a_task_runs_its_line_and_queues_again_what_was_stopped(
    code: int, requeued: bool, sweeper: Sweeper, script: Path
) -> None:
    assert run_task(sweeper, script, 2, code) == code
    (call,) = (sweeper.folder / "srun").read_text().splitlines()
    assert call.endswith("--only minilm/rte/adamax/seed_2 --runs_per_device 1")
    assert (sweeper.folder / "scontrol").exists() == requeued
    if requeued:
        assert (sweeper.folder / "scontrol").read_text() == "requeue 77\n"


def test_what_the_script_calls_is_a_sweep_of_one_run(sweeper: Sweeper, script: Path) -> None:
    (last,) = [line for line in script.read_text().splitlines() if line.startswith("srun ")]
    flags = last.partition('--output_dir "$study" ')[2].partition(" ||")[0]
    assert sweeper(flags.replace('"$run"', "minilm/rte/pats/seed_2") + " --devices cpu") == 0
    assert [status for status in sweeper.statuses().values()].count("done") == 1


def test_a_folder_that_slurm_cannot_name_is_refused(sweeper: Sweeper, capsys: pytest.CaptureFixture[str]) -> None:
    from studies import sweep

    assert sweep.main([*EMIT.split(), "--output_dir", str(sweeper.folder / "my study")]) == 2
    assert "SLURM takes no spaces" in capsys.readouterr().err
