"""The shell scripts: they parse, can be started from any folder, and refuse a Python that will not do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENTRY_SCRIPTS = [ROOT / "scripts" / name for name in ("quickstart.sh", "run_recipe.sh", "test.sh")] + [ROOT / ".ci/run"]
SCRIPTS = sorted({*ROOT.glob("scripts/**/*.sh"), *ENTRY_SCRIPTS})
SHELLCHECK = shutil.which("shellcheck", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
FILE_IN_README = re.compile(
    r"(?<![\w./-])((?:scripts|experiments|docs|\.ci)/[\w./-]*\w|(?:train|prepro_std|predict)\.py)"
)


def bash(script: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script], cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=600
    )


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def source_common(command: str) -> str:
    return f"set -euo pipefail; source '{ROOT}/scripts/common.sh'; {command}"


@pytest.mark.parametrize("path", SCRIPTS, ids=named)
def test_scripts_parse(path: Path) -> None:
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(SHELLCHECK is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("path", SCRIPTS, ids=named)
def test_shellcheck_finds_nothing(path: Path) -> None:
    done = subprocess.run([SHELLCHECK, "-x", path], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", ENTRY_SCRIPTS, ids=named)
def test_entry_scripts_are_executable(path: Path) -> None:
    assert os.access(path, os.X_OK)
    assert path.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")


def test_files_named_in_the_readme_exist() -> None:
    names = set(FILE_IN_README.findall((ROOT / "README.md").read_text(encoding="utf-8")))
    assert {"scripts/quickstart.sh", "scripts/test.sh", "train.py"} <= names
    missing = sorted(name for name in names if not (ROOT / name).exists())
    assert not missing, f"README.md names files that are not there: {missing}"


def test_ci_only_calls_the_test_script() -> None:
    code = [line for line in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert code == ['exec bash "$(dirname -- "${BASH_SOURCE[0]}")/../scripts/test.sh" "$@"']


def test_quickstart_explains_itself_from_any_folder(tmp_path: Path) -> None:
    done = bash(f"'{ROOT}/scripts/quickstart.sh' --help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "SEED " in done.stdout and "OUTPUT_DIR" in done.stdout and "set -euo" not in done.stdout


def test_the_root_is_found_through_cdpath_and_relative_names(tmp_path: Path) -> None:
    done = bash('source scripts/common.sh; printf %s "$ROOT"', CDPATH=str(tmp_path.parent))
    assert done.stdout == str(ROOT), done.stderr


def test_a_python_that_will_not_do_is_refused(tmp_path: Path) -> None:
    done = bash(source_common("find_python"), PYTHON="/bin/false")
    assert done.returncode == 2
    assert "PYTHON=/bin/false: not a Python 3.11 to 3.14 with the venv module" in done.stderr
    bare = bash(source_common("find_python"), PATH=f"{bin_with_only(tmp_path, 'dirname')}", PYTHON="")
    assert bare.returncode == 2
    assert "found no Python 3.11 to 3.14" in bare.stderr and "python3-venv" in bare.stderr


def bin_with_only(folder: Path, *commands: str) -> Path:
    """A folder for PATH with nothing but `bash` and the given commands in it."""
    for command in ("bash", *commands):
        found = shutil.which(command)
        assert found
        (folder / command).symlink_to(found)
    return folder


@pytest.mark.skipif(sys.version_info[:2] < (3, 11), reason="the scripts need Python 3.11, for the pinned requirements")
def test_a_named_python_is_used() -> None:
    done = bash(source_common("find_python"), PYTHON=sys.executable)
    assert done.stdout.strip() == sys.executable, done.stderr


PIP_STUB = """
pip_install() { echo "pip $*" >>"$LOG"; [[ "$*" != *+cpu* || "$HAS_CPU_BUILD" == yes ]]; }
nvidia-smi() { [[ "$HAS_GPU" == yes ]]; }
install_torch
"""


@pytest.mark.parametrize(
    ("gpu", "cpu_build", "expected"),
    [("yes", "yes", ["PIN"]), ("no", "yes", ["PIN+cpu"]), ("no", "no", ["PIN+cpu", "PIN"])],
)
def test_torch_is_a_cpu_build_where_there_is_no_gpu(
    gpu: str, cpu_build: str, expected: list[str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    done = bash(source_common(PIP_STUB), HAS_GPU=gpu, HAS_CPU_BUILD=cpu_build, LOG=str(log))
    assert done.returncode == 0, done.stderr
    pin = next(line for line in (ROOT / "requirements.txt").read_text().splitlines() if line.startswith("torch=="))
    assert log.read_text().splitlines() == [f"pip {name.replace('PIN', pin)}" for name in expected]
    assert ("PyTorch's CPU wheel index" in done.stdout) == (cpu_build == "no")


INSTALL_STUB = """
VENV="$TMP"; pip_install() { echo "pip $*" >>"$TMP/log"; }; install_torch() { pip_install torch; }
install_requirements requirements.txt; install_requirements requirements.txt
"""


def test_requirements_are_installed_once_and_torch_first(tmp_path: Path) -> None:
    done = bash(source_common(INSTALL_STUB), TMP=str(tmp_path))
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "log").read_text().splitlines()
    assert [call.split()[1] for call in calls] == ["torch", "-r", "--no-deps"]
    (tmp_path / ".installed-requirements.txt").write_text("another state")
    assert bash(source_common(INSTALL_STUB), TMP=str(tmp_path)).returncode == 0
    assert len((tmp_path / "log").read_text().splitlines()) == 2 * len(calls)


def test_quickstart_gives_the_flags_of_pats_to_pats_alone() -> None:
    function = re.search(r"^own_flags\(\) \{.*?^\}", (ROOT / "scripts/quickstart.sh").read_text(), re.M | re.S)
    assert function

    def flags_for(optim: str, flags: str) -> list[str]:
        done = bash(f'set -euo pipefail\n{function[0]}\nown_flags {optim} {flags}; printf "%s\\n" "${{FLAGS[@]}}"')
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    given = "--epochs 4 --pats_lambda 1e-6 --pats_p=0.1 --bf16"
    assert flags_for("adamax", given) == ["--optim", "adamax", "--epochs", "4", "--bf16"]
    assert flags_for("adamax", "--pats_lambda") == flags_for("adamax", "") == ["--optim", "adamax"]
    assert flags_for("pats_adamax", given) == ["--optim", "pats_adamax", *given.split()]
