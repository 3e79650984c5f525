"""The shape of the code: imports point one way, modules say what they are, nothing dangerous or local in them."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT: dict[str, set[str]] = {  # package -> packages of ours that it may use besides itself
    "data_utils": set(),
    "module": set(),
    "mt_dnn": {"data_utils", "module"},
    "studies": {"data_utils", "module", "mt_dnn"},
    "experiments": {"data_utils"},
}
ENTRY_POINTS_MAY_IMPORT = {"data_utils", "module", "mt_dnn"}
OUTSIDE = {".git", ".venv", "data", "downloads", "runs", "build", "dist"}  # at the root: not ours, or made by runs
CACHES = {"__pycache__", ".pytest_cache", ".ruff_cache", ".mypy_cache", ".hypothesis"}
TEXT = {".py", ".sh", ".md", ".yml", ".yaml", ".toml", ".txt", ".cfg", ".json", ""}
LOCAL_PATH = re.compile(r"(?<![\w.~-])/(?:work|tmp|root|home|opt|mnt|Users)/\w")
FORBIDDEN_CALLS = {"eval", "exec", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "breakpoint", "pdb.set_trace"}
FORBIDDEN_MODULES = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def project_files() -> Iterator[Path]:
    """All text files of the project, without what runs and tools leave behind."""
    for folder, subfolders, names in os.walk(ROOT):
        skipped = CACHES | OUTSIDE if Path(folder) == ROOT else CACHES
        subfolders[:] = [name for name in subfolders if name not in skipped and not name.endswith(".egg-info")]
        own = (name for name in names if name not in skipped)  # `.git` is a file in a linked worktree
        yield from (Path(folder, name) for name in own if Path(name).suffix in TEXT)


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


MODULES = sorted((path for path in project_files() if path.suffix == ".py"), key=named)
PROJECT_CODE = [path for path in MODULES if path.relative_to(ROOT).parts[0] != "tests"]


def imported(tree: ast.Module) -> set[str]:
    """Dotted names of everything that is imported anywhere in a module; relative imports stay in their package."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module)
    return names


def leaves_the_wheel(path: str, tree: ast.Module) -> set[str]:
    """What the module at `path` imports that is not there under the wheel's name, or not with torch and numpy alone.

    All of `module/` finds its own files by relative imports alone. `optim`, `kernels` and `compiled`, which the wheel
    carries, find them among themselves, and beside them torch and numpy; Triton is imported in `kernels` only, Numba in
    `compiled` only.
    """
    _, *folders = path.split("/")[:-1]
    roots = {name.split(".")[0] for name in imported(tree)}
    if not folders:
        return roots & {"module"}
    relative = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    reached = [[*folders[: len(folders) + 1 - node.level], *(node.module or "").split(".")] for node in relative]
    own = {"kernels": {"triton"}, "compiled": {"numba", "llvmlite"}}
    allowed = sys.stdlib_module_names | {"torch", "numpy"} | own.get(folders[0], set())
    return (roots - allowed) | {".".join(names) for names in reached if names[0] not in {"optim", *own}}


def dangers(tree: ast.Module) -> list[str]:
    """Calls and imports that could run what a file holds."""
    found = [f"imports {name}" for name in sorted(imported(tree)) if name.split(".")[0] in FORBIDDEN_MODULES]
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        safe = any(k.arg == "weights_only" and getattr(k.value, "value", None) is True for k in call.keywords)
        if name in FORBIDDEN_CALLS or (name == "torch.load" and not safe):
            found.append(f"line {call.lineno}: {ast.unparse(call)}")
    return found


def forbidden_imports(path: str, tree: ast.Module) -> set[str]:
    """The packages of ours that the module at `path`, relative to the root, imports against the direction."""
    top = path.split("/")[0]
    roots = {name.split(".")[0] for name in imported(tree)}
    if top in MAY_IMPORT:
        entry_points = {module.stem for module in MODULES if module.parent == ROOT}
        return roots & ((MAY_IMPORT.keys() - {top} - MAY_IMPORT[top]) | entry_points | {"scripts", "tests"})
    if path.endswith(".py") and "/" not in path:
        return roots & (MAY_IMPORT.keys() - ENTRY_POINTS_MAY_IMPORT | {"scripts", "tests"})
    # Scripts may hold kernels to the float64 references, which are formulae and no tests.
    tests = {name for name in imported(tree) if name.split(".")[0] == "tests"}
    return {name for name in tests if not name.startswith("tests.reference.")}


@pytest.mark.parametrize("path", PROJECT_CODE, ids=named)
def test_imports_point_one_way(path: Path) -> None:
    wrong = forbidden_imports(named(path), ast.parse(path.read_bytes()))
    assert not wrong, f"{named(path)} may not import {sorted(wrong)}"


@pytest.mark.parametrize("path", [path for path in MODULES if named(path).startswith("module/")], ids=named)
def test_module_can_be_carried_under_another_name(path: Path) -> None:
    wrong = leaves_the_wheel(named(path), ast.parse(path.read_bytes()))
    assert not wrong, f"{named(path)} may not import {sorted(wrong)}: the wheel has it as pats, without the toolkit"


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_every_module_opens_with_a_docstring(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_bytes())), f"{named(path)} has no docstring"


@pytest.mark.parametrize("path", PROJECT_CODE, ids=named)
def test_nothing_runs_what_a_file_holds(path: Path) -> None:
    assert not dangers(ast.parse(path.read_bytes()))


def test_no_file_names_a_path_of_the_machine_it_was_written_on() -> None:
    found = [
        f"{named(path)}:{number}: {line.strip()}"
        for path in project_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1)
        if LOCAL_PATH.search(line)
    ]
    assert not found, "\n".join(found)


WRONG_IMPORTS = [
    ("data_utils/x.py", "import module.optim", {"module"}),
    ("module/x.py", "def f():\n    from data_utils.errors import InputError", {"data_utils"}),
    ("mt_dnn/x.py", "from studies import table", {"studies"}),
    ("studies/x.py", "from experiments.glue import glue_prepro", {"experiments"}),
    ("mt_dnn/x.py", "import train", {"train"}),
    ("studies/x.py", "import mt_dnn, train", {"train"}),
    ("train.py", "import experiments", {"experiments"}),
    ("mt_dnn/x.py", "import data_utils, module.heads, torch", set()),
    ("train.py", "import mt_dnn.trainer", set()),
]


@pytest.mark.parametrize(("path", "source", "wrong"), WRONG_IMPORTS, ids=str)
def test_the_import_rule_sees_what_it_should(
    path: str, source: str, wrong: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.MODULES", [ROOT / "train.py"])
    assert forbidden_imports(path, ast.parse(source)) == wrong


LEAVING_IMPORTS = [
    ("module/x.py", "from module.rows import longest_row", {"module"}),
    ("module/x.py", "import transformers\nfrom .rows import longest_row", set()),
    ("module/optim/x.py", "def f():\n    import module.kernels.mode", {"module"}),
    ("module/optim/x.py", "import transformers", {"transformers"}),
    ("module/optim/x.py", "import triton", {"triton"}),
    ("module/optim/x.py", "import numba", {"numba"}),
    ("module/kernels/x.py", "import numba", {"numba"}),
    ("module/compiled/x.py", "import numba, llvmlite.ir, numpy\nfrom . import kernels", set()),
    ("module/optim/x.py", "from ..encoder import Encoder", {"encoder"}),
    (
        "module/optim/x.py",
        "import math, numpy, torch.nn\nfrom . import base\nfrom ..kernels.mode import WARM_UP",
        set(),
    ),
    ("module/kernels/x.py", "import triton.language as tl\nfrom .blocks import BLOCK", set()),
]


@pytest.mark.parametrize(("path", "source", "wrong"), LEAVING_IMPORTS, ids=str)
def test_the_wheels_rule_sees_what_it_should(path: str, source: str, wrong: set[str]) -> None:
    assert leaves_the_wheel(path, ast.parse(source)) == wrong


DANGEROUS = ["eval(x)", "exec(x)", "import pickle", "from pickle import loads", "torch.load(f)", "yaml.load(f)"]
HARMLESS = ["model.eval()", "torch.load(f, weights_only=True)", "yaml.safe_load(f)", "ast.literal_eval(x)"]


@pytest.mark.parametrize("source", DANGEROUS + HARMLESS)
def test_the_danger_rule_sees_what_it_should(source: str) -> None:
    assert bool(dangers(ast.parse(source))) == (source in DANGEROUS)


@pytest.mark.parametrize("folder", ["work", "tmp", "home", "Users"])
def test_the_path_rule_sees_what_it_should(folder: str) -> None:
    assert LOCAL_PATH.search(f"cd /{folder}/me") and LOCAL_PATH.search(f'"/{folder}/me"')
    assert not LOCAL_PATH.search(f"example.org/{folder}/me") and not LOCAL_PATH.search(f"../{folder}/me")


def loaded(code: str, names: set[str]) -> set[str]:
    """Those of some modules that are imported once a process has run `code`."""
    told = f"import sys\n{code}\nprint(*({names} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", told], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_start_does_not_import_what_few_runs_need() -> None:
    """scikit-learn brings pandas: a third of the time that a program takes before it can begin."""
    assert loaded("import mt_dnn.setup, mt_dnn.predict_command", {"sklearn", "pandas", "scipy.stats", "numba"}) == set()


@pytest.mark.parametrize(
    ("program", "brings"), [("prepro_std", set()), ("train", {"torch"}), ("predict", set()), ("export", set())]
)
def test_a_wrong_flag_is_told_before_anything_slow_is_imported(program: str, brings: set[str]) -> None:
    code = f"import {program}; assert {program}.main(['--no_such_flag']) == 2"
    assert loaded(code, {"torch", "transformers"}) == brings
