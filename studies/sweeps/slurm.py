"""A study as a SLURM array job: a task for every run that is to do, stopped and saved before its time limit."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from data_utils.atomic import StagedFiles
from data_utils.errors import InputError, SignalledError
from studies.study import Run, Study
from studies.suite import ROOT

SCRIPT, LIST = "slurm.sh", "slurm_runs.txt"

_TEMPLATE = """#!/usr/bin/env bash
# Made by studies.sweep --emit slurm: one array task for each line of {list_name}, {count} in all.
# Options of sbatch win over the lines below: sbatch --time=08:00:00 --gpus=1 {script}
#SBATCH --job-name={job}
#SBATCH --array=0-{last}
#SBATCH --output={folder}/logs/slurm_%A_%a.txt
#SBATCH --open-mode=append
#SBATCH --cpus-per-task=4
#SBATCH --time=24:00:00
#SBATCH --requeue
# To what srun starts, not to this script: the run saves, in two minutes at most, and stops.
#SBATCH --signal=TERM@120
set -euo pipefail

cd {root}
study={study}
run="$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" "$study/{list_name}")"

# The sweep resumes what was cut, passes over what is done, and notes what failed.
code=0
srun {python} -m studies.sweep --output_dir "$study" --only "$run" --runs_per_device 1 || code=$?

# Stopped by a signal, and saved: to the queue again, from where it resumes.
if ((code == {signalled})); then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""


def write_slurm(study: Study, runs: Sequence[Run]) -> Path:
    """Write the script of an array job and the list of its runs into the study's folder; returns the script.

    Raises:
        InputError: nothing is to do, or the folder's name cannot stand in an #SBATCH line.
    """
    if not runs:
        raise InputError(f"{study.folder}: nothing is to do")
    folder = study.folder.resolve()
    if any(letter.isspace() or letter in "%\\\"'" for letter in str(folder)):
        raise InputError(f"--output_dir {folder}: SLURM takes no spaces, quotes, % or backslashes in it")
    script = folder / SCRIPT
    text = _TEMPLATE.format(
        list_name=LIST,
        signalled=SignalledError.exit_code,
        count=len(runs),
        last=len(runs) - 1,
        script=shlex.quote(str(script)),
        job=folder.name,
        folder=folder,
        root=shlex.quote(str(ROOT)),
        study=shlex.quote(str(folder)),
        python=shlex.quote(sys.executable),
    )
    (folder / "logs").mkdir(exist_ok=True)  # SLURM makes no folders for its output
    with StagedFiles() as staged:
        staged.path(folder / LIST).write_text("".join(f"{run.path}\n" for run in runs), encoding="utf-8")
        staged.path(script).write_text(text, encoding="utf-8")
    return script
