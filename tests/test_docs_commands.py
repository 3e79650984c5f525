"""Every command on every page is one that our programs take; what is cheap is run, on miniature data.

`RULES` has a rule for each word that a command may begin with: a command without one fails. A program of ours reads the
flags with its own parser. Those in `CHEAP` then run: a path that a flag of `OURS` names is replaced by one of the
miniature's, and a command with another path that is not there is left at its flags. README.md and
docs/your-own-table.md have tests of their own, in which every command runs as it stands.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import contextlib
import importlib
import io
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from torch.distributed.run import get_args_parser

from studies.study import Study
from studies.sweep import request_from
from tests.page_clone import ENCODER, FEATURES, LONGEST, MTL, ROWS, TASKS, write_page_clone
from tests.page_commands import ELLIPSIS, PAGES, ROOT, blocks, calls, named, shown
from tests.test_run_recipe import STUB

CHEAP = {
    "experiments.glue.glue_prepro": [],
    "prepro_std": ["--workers", "1", "--max_seq_len", str(LONGEST)],
    "train": ["--dry_run", "--max_seq_len", str(LONGEST)],
    "predict": [],
    "export": [],
    "studies.recipes": [],
}
"""Programs that are run, and what is added then. Of a sweep train.py looks at a run of each method."""
OURS = {
    "--data_dir": FEATURES,
    "--task_def": TASKS,
    "--init_checkpoint": ENCODER,
    "--model": ENCODER,
    "--root_dir": ROWS,
    "--checkpoint": MTL,
}
OUTPUTS = ("--output", "--output_dir")
UNSAID = {
    "train": {"--data_dir": FEATURES, "--init_checkpoint": ENCODER, "--train_datasets": "rte", "--output_dir": "runs/x"}
}
"""What stands for "…", unless it is said."""
RUN_ELSEWHERE = {"docs/in-your-program.md", "docs/optimizers.md"}
"""Pages whose programs have tests of their own, which give them models and batches."""


class Parsed(BaseException):
    """A program has read its flags."""

    def __init__(self, flags: argparse.Namespace) -> None:
        self.flags = flags


@contextlib.contextmanager
def stopping_at_flags(*, all_said: bool) -> Iterator[None]:
    """Programs raise `Parsed` once they have read their flags; unless `all_said`, none is required."""
    read = argparse.ArgumentParser.parse_args

    def parse_args(self: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> Any:
        for action in self._actions:
            action.required = action.required and all_said
        raise Parsed(read(self, *args, **kwargs))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        yield


# -- what a command is -------------------------------------------------------------------------------------------------


def check_python(words: Sequence[str]) -> None:
    """A program of ours, by file or by module, or a line of Python."""
    match list(words):
        case ["-c", code]:
            compile(code, "-c", "exec")
        case ["-m", "torch.distributed.run", *rest]:
            check_torchrun(rest)
        case ["-m", module, *rest]:
            check_program(module, rest)
        case [file, *rest] if file.endswith(".py"):
            check_program(file.removesuffix(".py"), rest)
        case _:
            raise AssertionError("no rule covers this way to call python")


def check_torchrun(words: Sequence[str]) -> None:
    """The launcher's own flags, then a program; no processes are started."""
    launched = get_args_parser().parse_args(list(words))
    flags_of(launched.training_script.removesuffix(".py"), launched.training_script_args)


def check_program(module: str, words: Sequence[str]) -> None:
    """The flags, and the program itself if that is cheap."""
    flags = flags_of(module, words)
    if module == "studies.sweep":
        check_sweep(flags)
    elif module in CHEAP and not vars(flags).get("config"):
        run_program(module, words)


def flags_of(module: str, words: Sequence[str]) -> argparse.Namespace:
    """What a program's own parser makes of its flags."""
    assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), f"no program {module}"
    main = importlib.import_module(module).main
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), stopping_at_flags(all_said=ELLIPSIS not in words):
            main([word for word in words if word != ELLIPSIS])
    except Parsed as parsed:
        return parsed.flags
    except SystemExit as ended:  # --help, or argparse's own way to refuse
        if ended.code == 0:
            return argparse.Namespace()
    raise AssertionError(said.getvalue())


def run_program(module: str, words: Sequence[str]) -> None:
    """Run a program on the miniature, if nothing but that is needed; it must end well."""
    if "--resume" in words:
        words = ["--resume", "--output_dir", MTL]
    else:
        said = [word for word in words if word != ELLIPSIS]
        unsaid = UNSAID.get(module, {}) if ELLIPSIS in words else {}
        words = in_miniature(module, said + [word for pair in unsaid.items() if pair[0] not in said for word in pair])
    if not all_there(words):
        return
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        code = importlib.import_module(module).main([*words, *CHEAP[module]])
    assert code == 0, told.getvalue()


def in_miniature(module: str, words: Sequence[str]) -> list[str]:
    """The same command with the paths of the miniature in place of those that are not there, and new output."""
    changed = [word for word in words if word != "--onnx"]  # half a minute; docs/your-own-table.md's test has it
    if module == "train" and "--task_def" not in changed:
        changed += ["--task_def", TASKS]
    for i, (flag, value) in enumerate(itertools.pairwise(changed), start=1):
        if flag in OUTPUTS:
            changed[i] = os.path.join(tempfile.mkdtemp(dir="."), os.path.basename(value.rstrip("/")))
        elif flag in OURS and (module == "train" or not os.path.exists(value)):
            changed[i] = OURS[flag]
    return changed


def all_there(words: Sequence[str]) -> bool:
    """Whether all that looks like a path is there, but for what is to be written."""
    inputs = [word for before, word in itertools.pairwise(["", *words]) if before not in OUTPUTS]
    return all(os.path.exists(word) for word in inputs if "/" in word and not word.startswith("-"))


def check_sweep(flags: argparse.Namespace) -> None:
    """One run of each recipe and method is what train.py takes."""
    if flags.recipes is None and flags.task_def is None:
        return
    flags.data_dir, flags.init_checkpoint = FEATURES, ENCODER
    if flags.task_def is not None:
        flags.task_def, flags.tasks = TASKS, "reviews"
    study = request_from(flags).add_to(Study(Path(tempfile.mkdtemp(dir=".")), ()))
    assert study.runs
    for run in {(run.recipe, run.label): run for run in study.runs}.values():
        run_program("train", study.flags(run))


def check_bash(words: Sequence[str]) -> None:
    """A script that is there and parses; those of recipes come to calls of programs, which are checked."""
    script, *rest = words
    assert (ROOT / script).is_file(), f"no script {script}"
    subprocess.run(["bash", "-n", ROOT / script], check=True)
    if "run_recipe.sh" not in (ROOT / script).read_text(encoding="utf-8"):
        return
    folder = Path(tempfile.mkdtemp(dir="."))
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    (folder / "data").symlink_to(Path("data").resolve())
    (folder / "bin").mkdir()
    (folder / "bin/python").write_text(STUB)
    (folder / "bin/python").chmod(0o755)
    noted = (folder / "calls").resolve()
    own = {"CALLS": str(noted), "REAL_ROOT": str(ROOT), "REAL_PYTHON": sys.executable}
    path = f"{(folder / 'bin').resolve()}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", folder / script, *rest], env=os.environ | own | {"PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for call in noted.read_text().split("call in ")[1:]:
        words = [
            word for word in call.splitlines()[1:] if word != "--resume"
        ]  # a script's own: go on if there is a run
        check_python(words)


def check_pip(words: Sequence[str]) -> None:
    """Requirements that are there, or packages that we name ourselves."""
    match list(words):
        case ["install", "-r", file]:
            assert (ROOT / file).is_file(), f"no file {file}"
        case ["install", *packages] if packages:
            files = [*ROOT.glob("requirements*.txt"), ROOT / "pyproject.toml"]
            known = "\n".join(file.read_text(encoding="utf-8") for file in files)
            for package in packages:
                name = re.split(r"[\[=<>]", package)[0]
                assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", known), f"nothing here needs {name}"
        case _:
            raise AssertionError("no rule covers this way to call pip")


def check_files(words: Sequence[str]) -> None:
    """A tool of every shell: what it is to take out of the repository is there."""
    for word in words:
        if re.match(r"(experiments|scripts|docs|tests)/", word):
            assert (ROOT / word).exists(), f"no {word}"


Rule = Callable[[Sequence[str]], None]
RULES: dict[str, Rule] = {
    "python": check_python,
    "torchrun": check_torchrun,
    "bash": check_bash,
    "pip": check_pip,
    **dict.fromkeys(("mkdir", "cp", "find", "tar", "sed"), check_files),
}


def check_script(script: str, folder: Path) -> int:
    """Check every command of a script; returns how many there are. AssertionError has those that are wrong."""
    wrong = []
    found = calls(script, folder, RULES)
    for name, *words in found:
        try:
            RULES[name](words)
        except (AssertionError, SystemExit, Exception) as error:
            wrong.append(f"{name} {shown(words)}\n    {error}")
    assert not wrong, "\n".join(wrong)
    return len(found)


# -- the pages ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_page_clone(folder)
    return folder


@pytest.fixture
def place(clone: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(clone)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return clone


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "bash")], ids=named)
def test_every_command_is_one_that_our_programs_take(page: Path, place: Path) -> None:
    assert check_script("\n".join(blocks(page, "bash")), place) > 0


def test_commands_stand_in_blocks_of_bash() -> None:
    """Where the test above finds them."""
    hidden = [
        f"{named(page)}: {line}"
        for page in PAGES
        for text in blocks(page, "")
        for line in text.splitlines()
        if re.match(r"\s*(\$ )?(python3?|bash|pip|torchrun) ", line)
    ]
    assert not hidden, hidden


WRONG = {
    "an unknown flag": ("python train.py … --no_such_flag 1", "--no_such_flag"),
    "an unknown value": ("python train.py … --optim no_such_method", "--optim"),
    "an unknown task": ("python train.py … --train_datasets no_such_task", "no_such_task"),
    "a flag that is required": ("python predict.py --table new.csv --text review", "--checkpoint"),
    "a flag without effect": ("python train.py … --optim adamax --pats_lambda 1e-6", "no effect"),
    "a column that is not there": (
        "python predict.py --checkpoint runs/reviews --table new.csv --text no",
        "no column",
    ),
    "an unknown recipe": (
        "python -m studies.sweep --recipes minilm/no --methods pats --seeds 1 --output_dir x",
        "recipe",
    ),
    "a method's flag": ("python -m studies.sweep … --recipes minilm/rte --methods pats --seeds 1 --set no=1", "no"),
    "an unknown module": ("python -m studies.no_such_thing", "no program"),
    "an unknown script": ("bash scripts/no_such.sh", "no script"),
    "a script's flag": ("bash scripts/bert_base/rte.sh --no_such_flag 1", "--no_such_flag"),
    "the launcher's flag": ("torchrun --no_such_flag train.py …", "2"),
    "a package that nothing needs": ("pip install leftpad", "leftpad"),
    "a program without a rule": ("wget https://example.org/x.zip", "no rule covers this"),
    "a variable that nobody set": ("python train.py $NO_SUCH_VARIABLE", "NO_SUCH_VARIABLE"),
    "in a loop, over two lines": ("for S in 1 2; do\n python train.py … \\\n --seeds $S\ndone", "--seeds"),
}


@pytest.mark.parametrize(("script", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_found(script: str, message: str, place: Path) -> None:
    with pytest.raises(AssertionError, match=re.escape(message)):
        check_script(script, place)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=named)
def test_every_python_block_runs_or_its_imports_do(page: Path, place: Path) -> None:
    for number, text in enumerate(blocks(page, "python"), start=1):
        code = compile(text, f"{named(page)}, block {number}", "exec")
        if named(page) not in RUN_ELSEWHERE and needs_nothing(text):
            with contextlib.redirect_stdout(io.StringIO()):
                exec(code, {"__name__": "__main__"})
            continue
        tree = ast.parse(text)
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        for node in imports:
            check_import(node)


def needs_nothing(text: str) -> bool:
    """Whether a block uses no name that it does not define itself."""
    tree = ast.parse(text)
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    defined = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            defined |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            defined.add(node.name)
        elif isinstance(node, ast.arg):
            defined.add(node.arg)
    return {node.id for node in names} <= defined | set(dir(builtins))


def check_import(node: ast.Import | ast.ImportFrom) -> None:
    """What is imported is there; of our wheel under the clone's name."""
    modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    for module in modules:
        name = re.sub(r"^pats\b", "module", module)
        if name.split(".")[0] not in {"module", "mt_dnn", "data_utils", "studies"}:
            pytest.importorskip(name, reason=f"{name} is not installed")
        found = importlib.import_module(name)
        if isinstance(node, ast.ImportFrom):
            missing = [alias.name for alias in node.names if not hasattr(found, alias.name)]
            assert not missing, f"{module} has no {missing}"
