"""What is published: the wheel's contents, and that it trains in an environment and a project of somebody else's."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import module

pytest.importorskip("build.env", reason="build, which makes the wheel, is not installed")

ROOT = Path(__file__).resolve().parents[1]
NOT_SOURCE = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "data", "downloads", "runs")


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that must succeed, without this test's own import path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make dist` builds, here from a copy: the sdist, and the wheel from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT, folder / "source", ignore=NOT_SOURCE)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, cwd=folder / "source")
    return folder


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def their_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and with torch and numpy from the one that runs this test."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    site_packages = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    )
    (site_packages / "torch_and_numpy.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-index", wheel, cwd=folder)
    return python


def test_wheel_holds_the_optimizers_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    parts = {
        f"pats/{path.relative_to(ROOT / 'module')}"
        for part in ("optim", "kernels", "compiled")
        for path in (ROOT / "module" / part).glob("*.py")
    }
    assert names == parts | {"pats/__init__.py", "pats/py.typed"}


def test_wheel_says_what_it_is(wheel: Path) -> None:
    files = zipfile.ZipFile(wheel)
    (info,) = {name.split("/")[0] for name in files.namelist() if ".dist-info/" in name}
    about = email.message_from_bytes(files.read(f"{info}/METADATA"))
    assert (about["Name"], about["Version"]) == ("pats-optim", module.__version__)
    needs = about.get_all("Requires-Dist")
    assert {re.split(r"\W", needed)[0] for needed in needs if "extra ==" not in needed} == {"torch", "numpy"}
    assert [needed for needed in needs if "extra ==" in needed] == ['numba>=0.68; extra == "fast"']
    assert about.get_payload().startswith("# PATS in your own program")
    license_text = files.read(f"{info}/licenses/LICENSE").decode()
    assert license_text == (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert f"Copyright (c) 2026 {about['Author']}\n" in license_text
    assert about["License-Expression"] == "MIT"


def test_changelog_opens_with_this_version() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == module.__version__


def test_sdist_holds_what_the_wheel_is_built_from(dist: Path) -> None:
    """No tests, no toolkit, no README, which is the toolkit's."""
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as files:
        names = {member.name.split("/", 1)[1] for member in files if member.isfile()}
    made = {name for name in names if name.startswith("pats_optim.egg-info/")} | {"PKG-INFO", "setup.cfg"}
    own = {"CHANGELOG.md", "LICENSE", "MANIFEST.in", "docs/in-your-program.md", "pyproject.toml", "setup.py"}
    assert {name for name in names - made if not name.startswith("module/")} == own
    assert "module/py.typed" in names and "module/encoder.py" not in names


THEIR_PROGRAM = """
import sys

import torch

import experiments
import module
from pats.optim import PATSAdamax, encoder_param_groups

TOOLKIT_NEEDS = {"transformers", "tokenizers", "safetensors", "sklearn", "scipy", "tensorboard", "yaml"}


def train(optimizer, model, steps):
    for step in steps:
        rows = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        (model(rows) - rows.sum(1, keepdim=True)).square().mean().backward()
        optimizer.step()


def fresh():
    torch.manual_seed(0)
    model = torch.nn.ModuleDict({"layers": torch.nn.ModuleList([torch.nn.Linear(4, 4)]), "head": torch.nn.Linear(4, 1)})
    model.forward = lambda rows: model["head"](model["layers"][0](rows).tanh())
    return model, PATSAdamax(encoder_param_groups(model, layers="layers$"), lr=1e-2, noise_lambda=1e-4, seed=3)


whole, optimizer = fresh()
train(optimizer, whole, range(8))

first, optimizer = fresh()
train(optimizer, first, range(5))
torch.save({"model": first.state_dict(), "optimizer": optimizer.state_dict()}, "checkpoint.pt")
second, optimizer = fresh()
saved = torch.load("checkpoint.pt", weights_only=True)
second.load_state_dict(saved["model"])
optimizer.load_state_dict(saved["optimizer"])
train(optimizer, second, range(5, 8))

for name, param in whole.named_parameters():
    assert torch.equal(param, second.get_parameter(name)), name
    assert torch.equal(param, first.get_parameter(name)) is False, name
assert (module.OWNER, experiments.OWNER) == ("theirs", "theirs")
by_numba = {"scipy", "yaml"} if "numba" in sys.modules else set()  # it imports them where they are there
assert not (TOOLKIT_NEEDS - by_numba) & set(sys.modules), TOOLKIT_NEEDS & set(sys.modules)
print(sys.modules["pats"].__file__, sys.modules["pats"].__version__)
"""


def test_it_trains_beside_a_project_with_names_like_ours(their_python: Path, tmp_path: Path) -> None:
    """Their `module.py`, `train.py` and `experiments/` stay theirs; state that is saved and loaded goes on alike."""
    (tmp_path / "experiments").mkdir()
    for name in ("module.py", "experiments/__init__.py"):
        (tmp_path / name).write_text("OWNER = 'theirs'\n")
    (tmp_path / "train.py").write_text(THEIR_PROGRAM)
    place, version = run(their_python, "train.py", cwd=tmp_path).split()
    assert Path(place).is_relative_to(their_python.parents[1])
    assert version == module.__version__


TYPED = """
import pats
from pats.optim import PATSAdamax

reveal_type(pats.__version__)
reveal_type(PATSAdamax([], lr=1e-4, noise_p=0.2))
PATSAdamax([], lr="fast")
"""


def test_their_type_checker_sees_types(their_python: Path, tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    (tmp_path / "typed.py").write_text(TYPED)
    (tmp_path / "mypy.ini").write_text("[mypy]\n[mypy-torch.*,numpy.*]\nfollow_imports = skip\n")  # only to be quick
    command = [sys.executable, "-m", "mypy", "--python-executable", str(their_python), "typed.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    found = [line.split(": ", 2)[2] for line in done.stdout.splitlines() if line.startswith("typed.py:")]
    assert found == [
        'Revealed type is "str"',
        'Revealed type is "pats.optim.pats.PATSAdamax"',
        'Argument "lr" to "PATSAdamax" has incompatible type "str"; expected "float"  [arg-type]',
    ], done.stdout + done.stderr
