"""scripts/run_recipe.sh and the scripts per encoder and task over it: what they start, and a tiny run in earnest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from studies.recipes import Recipes
from studies.suite import Suite
from tests.conftest import Workshop

GLUE = Recipes.of(Suite())
ROOT = Path(__file__).resolve().parents[1]
DEFAULT_DATA = "data/canonical_data"
STUB = """#!/usr/bin/env bash
# Stands for python: prints recipes in earnest, and notes everything else, an argument a line.
if [[ "$2" == studies.recipes ]]; then cd "$REAL_ROOT" && exec "$REAL_PYTHON" "$@"; fi
printf '%s\\n' "call in $PWD" "$@" >>"$CALLS"
"""


@dataclass(frozen=True)
class Place:
    """A repository with nothing but the scripts, and a python for PATH that only notes what it is asked to run."""

    root: Path
    bin: Path
    calls_file: Path

    def run(
        self, script: str, *arguments: str, cwd: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        own = {"CALLS": str(self.calls_file), "REAL_ROOT": str(ROOT), "REAL_PYTHON": sys.executable}
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            ["bash", str(self.root / "scripts" / script), *arguments],
            cwd=cwd or self.root,
            env=os.environ | own | {"PATH": path} | environment,
            capture_output=True,
            text=True,
            timeout=600,
        )

    def calls(self) -> list[list[str]]:
        """The arguments of all calls of python, without those for recipes; all must come from the root."""
        text = self.calls_file.read_text() if self.calls_file.exists() else ""
        calls = [call.splitlines() for call in text.split("call in ")[1:]]
        assert all(folder == str(self.root) for folder, *_ in calls)
        return [arguments for _, *arguments in calls]

    def only_call(self, script: str, *arguments: str, cwd: Path | None = None, **environment: str) -> list[str]:
        """Run a script that must come to start python once, and return with what."""
        done = self.run(script, *arguments, cwd=cwd, **environment)
        assert done.returncode == 0, done.stderr
        (call,) = self.calls()
        return call

    def add_features(self, folder: str, *tasks: str) -> None:
        (self.root / folder).mkdir(parents=True, exist_ok=True)
        for task in tasks:
            (self.root / folder / f"{task}_train.json").touch()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    root, stub = tmp_path / "a place", tmp_path / "bin" / "python"
    shutil.copytree(ROOT / "scripts", root / "scripts")
    stub.parent.mkdir()
    stub.write_text(STUB)
    stub.chmod(0o755)
    return Place(root, stub.parent, tmp_path / "calls")


def flags_of(call: Sequence[str]) -> dict[str, str]:
    """The flags that a call of train.py ends with; of those given twice the last, as train.py takes them."""
    switches = ("--resume", "--dev_predictions")
    arguments = [argument for argument in call[call.index("train.py") + 1 :] if argument not in switches]
    return dict(zip(arguments[::2], arguments[1::2], strict=True))


def test_there_is_a_script_for_every_recipe_and_no_other() -> None:
    scripts = {path.relative_to(ROOT / "scripts"): path for path in ROOT.glob("scripts/*/*.sh")}
    assert {str(name.with_suffix("")) for name in scripts} == set(GLUE.names())
    for name, path in scripts.items():
        head, usage, call = path.read_text(encoding="utf-8").splitlines()
        assert head == "#!/usr/bin/env bash"
        assert usage.startswith("# ") and f"Usage: bash scripts/{name} [" in usage
        runner = 'exec bash "$(dirname -- "${BASH_SOURCE[0]}")/../run_recipe.sh"'
        assert call == f'{runner} {name.with_suffix("")} "$@"'
        assert os.access(path, os.X_OK)


def test_a_script_trains_by_its_recipe(place: Place) -> None:
    place.add_features(f"{DEFAULT_DATA}/bert-base-uncased", "rte")
    call = place.only_call("bert_base/rte.sh")
    assert call[0] == "train.py" and call.count("--resume") == call.count("--dev_predictions") == 1
    settings = GLUE.load("bert_base/rte", "pats").settings
    assert flags_of(call) == {
        **{f"--{flag}": str(value) for flag, value in settings.items() if flag != "dev_predictions"},
        "--task_def": "experiments/glue/glue_task_def.yml",
        "--data_dir": f"{DEFAULT_DATA}/bert-base-uncased",
        "--seed": "1",
        "--output_dir": "runs/bert_base/rte/pats/seed_1",
    }


OPTIONS = {"method": "sage", "seed": "7", "data": "my rows", "output": "out/x", "gpus": "4", "model": "my/encoder"}
AS_FLAGS = [argument for name, value in OPTIONS.items() for argument in (f"--{name}", value)]
AS_TRAINS_FLAGS = {"data": "data_dir", "output": "output_dir", "model": "init_checkpoint"}
WAYS = {
    "two arguments": (AS_FLAGS, {}),
    "one argument": ([f"--{name}={value}" for name, value in OPTIONS.items()], {}),
    "names of train.py": ([f"--{AS_TRAINS_FLAGS.get(name, name)}={value}" for name, value in OPTIONS.items()], {}),
    "variables": ([], {AS_TRAINS_FLAGS.get(k, k).upper(): v for k, v in OPTIONS.items()} | {"MODEL": "my/encoder"}),
    "arguments before variables": (AS_FLAGS, {"METHOD": "adamax", "SEED": "8", "DATA_DIR": "x", "GPUS": "2"}),
}


@pytest.mark.parametrize(("arguments", "variables"), WAYS.values(), ids=WAYS.keys())
def test_options_can_be_given_in_several_ways(arguments: list[str], variables: dict[str, str], place: Place) -> None:
    place.add_features("my rows/encoder", "rte")
    call = place.only_call("bert_base/rte.sh", *arguments, **variables)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "4", "train.py"]
    assert call[: len(launcher)] == launcher
    found = flags_of(call)
    assert (found["--baseline"], found["--learning_rate"], found["--seed"]) == ("sage", "0.0002", "7")
    assert (found["--data_dir"], found["--output_dir"]) == ("my rows/encoder", "out/x")
    assert found["--init_checkpoint"] == "my/encoder"


def test_further_flags_go_to_train_and_win(place: Place) -> None:
    place.add_features(f"{DEFAULT_DATA}/roberta-large", "cola")
    call = place.only_call("roberta_large/cola.sh", "--epochs", "3", "--pats_p=0.1", "--no-tensorboard", "--bf16")
    assert call[-5:] == ["--epochs", "3", "--pats_p=0.1", "--no-tensorboard", "--bf16"]
    assert call.index("--epochs") < len(call) - 5  # the recipe's own, before it


def test_features_that_are_not_there_are_made_first(place: Place) -> None:
    place.add_features(f"{DEFAULT_DATA}/all-mpnet-base-v2", "rte", "sst")
    assert place.run("mpnet/mtl.sh").returncode == 0
    prepare, train = place.calls()
    name = "sentence-transformers/all-mpnet-base-v2"
    assert " ".join(prepare) == (
        f"prepro_std.py --model {name} --root_dir {DEFAULT_DATA} "
        "--task_def experiments/glue/glue_task_def.yml --tasks cola,mrpc,stsb,qqp,qnli,mnli"
    )
    assert flags_of(train)["--data_dir"] == f"{DEFAULT_DATA}/all-mpnet-base-v2"
    assert flags_of(train)["--train_datasets"] == "cola,mrpc,rte,stsb,qqp,qnli,mnli,sst"


@pytest.mark.parametrize("mark", ["manifest.json", "mrpc_train.json"])
def test_a_folder_of_features_is_taken_as_it_is(mark: str, place: Place) -> None:
    place.add_features("features")
    (place.root / "features" / mark).touch()
    assert flags_of(place.only_call("minilm/mrpc.sh", "--data", "features"))["--data_dir"] == "features"


def test_paths_are_those_of_the_folder_one_is_in(place: Place) -> None:
    elsewhere = place.root.parent / "elsewhere"
    (elsewhere / "tiny").mkdir(parents=True)
    (elsewhere / "rows" / "tiny").mkdir(parents=True)
    (elsewhere / "rows" / "tiny" / "rte_train.json").touch()
    found = flags_of(
        place.only_call("bert_base/rte.sh", "--data=rows/", "--model", "./tiny/", "--output", "new", cwd=elsewhere)
    )
    assert found["--data_dir"] == f"{elsewhere}/rows/tiny"
    assert (found["--init_checkpoint"], found["--output_dir"]) == (f"{elsewhere}/tiny", f"{elsewhere}/new")


def test_paths_in_the_repository_are_the_same_from_everywhere(place: Place) -> None:
    place.add_features(f"{DEFAULT_DATA}/tiny", "rte")
    place.add_features("models/tiny")
    data, model = str(place.root / DEFAULT_DATA), str(place.root / "models" / "tiny")
    found = flags_of(place.only_call("bert_base/rte.sh", "--data", data, "--model", model, cwd=place.root.parent))
    assert (found["--data_dir"], found["--init_checkpoint"]) == (f"{DEFAULT_DATA}/tiny", "models/tiny")


def test_the_projects_own_environment_comes_first(place: Place) -> None:
    place.add_features(f"{DEFAULT_DATA}/bert-base-uncased", "rte")
    (place.root / ".venv" / "bin").mkdir(parents=True)
    (place.bin / "python").rename(place.root / ".venv" / "bin" / "python")
    (place.bin / "python").write_text("#!/usr/bin/env bash\nexit 3\n")
    (place.bin / "python").chmod(0o755)
    assert place.only_call("bert_base/rte.sh")[0] == "train.py"


def test_a_run_to_go_on_from_has_the_features_of_its_first_encoder(place: Place) -> None:
    """Two stages and a third: what is called like the run, or like best/, is not looked for."""
    place.add_features(f"{DEFAULT_DATA}/bert-base-uncased", "rte")
    for name, encoder in {"mtl": "bert-base-uncased", "second": "'runs/mtl/best'"}.items():
        (place.root / "runs" / name / "best" / "encoder").mkdir(parents=True)
        (place.root / "runs" / name / "config.yaml").write_text(f"data_dir: x\ninit_checkpoint: {encoder}\nseed: 1\n")
    for model in ("runs/mtl", "runs/mtl/best", "runs/mtl/best/encoder", "runs/second/"):
        assert place.run("bert_base/rte.sh", "--model", model).returncode == 0
        found = flags_of(place.calls()[-1])
        assert found["--data_dir"] == f"{DEFAULT_DATA}/bert-base-uncased"
        assert found["--init_checkpoint"] == model.rstrip("/")
        assert found["--output_dir"] == f"runs/bert_base/rte/pats/from_{model.rstrip('/').replace('/', '_')}/seed_1"
    assert place.run("bert_base/cola.sh", "--model", "runs/second").returncode == 0
    prepare, train = place.calls()[-2:]
    assert prepare[:3] == ["prepro_std.py", "--model", "bert-base-uncased"]
    assert flags_of(train)["--data_dir"] == f"{DEFAULT_DATA}/bert-base-uncased"


MISTAKES = {
    "": "expected a recipe first, such as bert_base/rte",
    "--seed 2": "expected a recipe first, such as bert_base/rte",
    "bert/rte": "unknown recipe 'bert/rte'",
    "bert_base/rte --method pat": "unknown method 'pat'; there are: adamax",
    "bert_base/rte --seed": "--seed: expected a value",
    "bert_base/rte --data=": "--data: expected a value",
    "bert_base/rte --gpus 0": "--gpus: expected a whole number from 1, got 0",
    "bert_base/rte --gpus all": "--gpus: expected a whole number from 1, got all",
    "bert_base/rte": "--data data/canonical_data: no such folder; make it from the GLUE download: python -m",
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.items(), ids=MISTAKES.keys())
def test_mistakes_start_nothing(arguments: str, message: str, place: Place) -> None:
    done = place.run("run_recipe.sh", *arguments.split())
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and message in done.stderr
    assert not place.calls()


@pytest.mark.parametrize("arguments", [["run_recipe.sh", "-h"], ["mpnet/mtl.sh", "--seed", "1", "--help"]], ids=str)
def test_the_options_are_explained(arguments: list[str], place: Place) -> None:
    done = place.run(*arguments)
    assert done.returncode == 0 and not place.calls()
    assert all(f"--{name} " in done.stdout for name in OPTIONS)
    assert "DATA_DIR" in done.stdout and "set -euo" not in done.stdout


@dataclass(frozen=True)
class TinyRuns:
    """Recipes in earnest, on a tiny encoder and miniature GLUE's rows."""

    encoder: Path
    rows: Path
    bin: Path

    def run(self, script: str, out: Path, *more: str) -> str:
        """What a script said; it must end well."""
        command = ["bash", f"scripts/{script}", "--data", str(self.rows), "--output", str(out), "--seed", "3"]
        command += ["--epochs", "1", "--batch_size", "8", "--no-tensorboard", *more]
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def tiny(workshop: Workshop, tmp_path: Path) -> TinyRuns:
    rows, python = tmp_path / "rows", tmp_path / "bin" / "python"
    rows.mkdir()
    for path in workshop.data_dir.parent.glob("*.tsv"):
        shutil.copy(path, rows)
    python.parent.mkdir()
    python.write_text(f'#!/usr/bin/env bash\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return TinyRuns(workshop.encoder, rows, python.parent)


def test_a_tiny_run_from_rows_to_scores_and_once_more(tiny: TinyRuns, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "learning rate 0.0003" in tiny.run("bert_base/rte.sh", out, "--model", str(tiny.encoder))
    results = json.loads((out / "results.json").read_text())
    assert (results["optim"], results["seed"], list(results["tasks"])) == ("pats_adamax", 3, ["rte"])
    again = tiny.run("bert_base/rte.sh", out, "--model", str(tiny.encoder))
    assert "token ids" not in again and f"{out} is done" in again


def test_two_stages_in_two_commands(tiny: TinyRuns, tmp_path: Path) -> None:
    """All tasks on one encoder, then one of them from there; features are those of the first encoder."""
    mtl, out = tmp_path / "runs" / "mtl", tmp_path / "runs" / "rte"
    assert "Canonical rows to token ids: cola," in tiny.run("bert_base/mtl.sh", mtl, "--model", str(tiny.encoder))
    second = tiny.run("bert_base/rte.sh", out, "--model", str(mtl))
    assert "token ids" not in second
    assert f"encoder  {mtl}/best/encoder (bert" in second
    assert f"rte: head taken over from {mtl}/best" in second
    assert list(json.loads((out / "results.json").read_text())["tasks"]) == ["rte"]
    assert [path.name for path in tiny.rows.iterdir() if path.is_dir()] == [tiny.encoder.name]
