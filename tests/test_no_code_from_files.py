"""No code runs from a file: a pickle that acts when it is loaded lies under every name that the project reads.

Each file of each folder is replaced by it in turn, and the names that the libraries look for are added, before the
entry point that reads the folder is run. The trap must not spring, and where the file was needed, one message says so.
"""

from __future__ import annotations

import builtins
import hashlib
import io
import itertools
import json
import os
import pickle
import runpy
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml

import prepro_std
import train
from experiments.glue import glue_prepro
from module.encoder import load_encoder
from tests.conftest import Workshop

Main = Callable[[Sequence[str]], int]

TASK_DEF = "experiments/glue/glue_task_def.yml"
RUN = ["--train_datasets", "wnli", "--epochs", "2"]

WEIGHTS_NAMES = ["pytorch_model.bin", "pytorch_model.bin.index.json", "model.safetensors.index.json"]
"""Read in place of `model.safetensors`."""

TORCH_NAMES = [
    *WEIGHTS_NAMES,
    *("model.pt", "training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "adapter_model.bin"),
    *(".metadata", "shard-00000-model-00001-of-00001.safetensors"),
]
OTHER_NAMES = [
    *("tf_model.h5", "flax_model.msgpack", "adapter_model.safetensors", "adapter_config.json", "tokenizer.pkl"),
    *("vocab.txt", "vocab.json", "merges.txt", "spiece.model", "tokenizer.model", "tekken.json", "params.json"),
    *("added_tokens.json", "special_tokens_map.json", "chat_template.jinja", "chat_template.json"),
    *("preprocessor_config.json", "processor_config.json", "generation_config.json", "modeling_bert.py"),
    *("sentence_bert_config.json", "modules.json"),
]
"""What libraries look for in a model folder beside the files that are in ours."""


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def torch_file(marker: Path, *, zipped: bool) -> bytes:
    buffer = io.BytesIO()
    content = {"weight": torch.zeros(2), "bomb": Bomb(marker)}
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


SHAPES: dict[str, Callable[[Path], bytes]] = {
    "pickle": lambda marker: pickle.dumps(Bomb(marker)),
    "torch zip": lambda marker: torch_file(marker, zipped=True),
    "torch legacy": lambda marker: torch_file(marker, zipped=False),
}


class Trap:
    """A poisoned file's content, and whether it has sprung."""

    def __init__(self, marker: Path, shape: str) -> None:
        self.marker, self.content = marker, SHAPES[shape](marker)

    def __call__(self, path: Path) -> None:
        """Lay it at `path`."""
        path.write_bytes(self.content)

    def has_sprung(self) -> bool:
        return self.marker.exists()


@pytest.fixture(params=SHAPES)
def trap(request: pytest.FixtureRequest, tmp_path: Path) -> Trap:
    return Trap(tmp_path / "sprung", request.param)


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question on the terminal would hang a batch job; `pytest.fail` gets through any `except Exception`."""
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("a question was asked on the terminal"))


@pytest.fixture
def result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[Main, Sequence[str]], tuple[int, str]]:
    """Runs an entry point; its exit code and what it printed as error. Nothing may have sprung or come through."""

    def run(main: Main, flags: Sequence[str]) -> tuple[int, str]:
        capsys.readouterr()
        code = main(flags)
        message = capsys.readouterr().err
        assert not (tmp_path / "sprung").exists(), f"code was run: {flags}"
        assert code in (0, 1, 2)
        assert "Traceback" not in message
        assert code == 0 or message.startswith("error: "), message
        return code, message

    return run


def test_the_trap_springs_where_nobody_takes_care(tmp_path: Path) -> None:
    """Else the others would pass for nothing."""
    loads: dict[str, Callable[[io.BytesIO], Any]] = {
        "pickle": pickle.load,
        "torch zip": lambda file: torch.load(file, weights_only=False),
        "torch legacy": lambda file: torch.load(file, weights_only=False),
    }
    for shape in SHAPES:
        trap = Trap(tmp_path / shape, shape)
        loads[shape](io.BytesIO(trap.content))
        assert trap.has_sprung(), shape
    yaml.unsafe_load(yaml_bomb(tmp_path / "yaml"))
    runpy.run_path(str(write_code(tmp_path, tmp_path / "code")))
    assert (tmp_path / "yaml").is_dir() and (tmp_path / "code").is_dir()


def yaml_bomb(marker: Path) -> str:
    return f"!!python/object/apply:os.mkdir [{json.dumps(str(marker))}]\n"


def write_code(folder: Path, marker: Path) -> Path:
    path = folder / "evil.py"
    path.write_text(f"import os\nos.mkdir({str(marker)!r})\n\n\nclass Evil:\n    pass\n")
    return path


def copy_of(folder: Path, target: Path, *patterns: str) -> Path:
    """A fresh copy of the folder's files that match one of the patterns, or of all that is in it."""
    shutil.rmtree(target, ignore_errors=True)
    if not patterns:
        return shutil.copytree(folder, target)
    target.mkdir()
    for path in (path for pattern in patterns for path in folder.glob(pattern)):
        shutil.copy(path, target)
    return target


def files_below(folder: Path) -> list[str]:
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert names
    return names


def dry_run(workshop: Workshop, tmp_path: Path, *more: str) -> list[str]:
    return workshop.flags(tmp_path / "run", "--train_datasets", "wnli", "--dry_run", *more)


def test_every_file_of_an_encoder(workshop: Workshop, tmp_path: Path, trap: Trap, result: Any) -> None:
    canonical = copy_of(workshop.data_dir.parent, tmp_path / "canonical", "wnli_*.tsv")
    prepare = ["--root_dir", str(canonical), "--task_def", TASK_DEF, "--workers", "1"]
    for name in files_below(workshop.encoder):
        folder = copy_of(workshop.encoder, tmp_path / "tiny-bert")
        trap(folder / name)
        code, message = result(train.main, dry_run(workshop, tmp_path, "--init_checkpoint", str(folder)))
        assert code == 2 and "--init_checkpoint: " in message and str(folder) in message, name
        assert message.count("\n") == 1
        code, message = result(prepro_std.main, ["--model", str(folder), *prepare])
        assert code == (0 if name == "model.safetensors" else 2), name
        assert code == 0 or message.startswith("error: --model: ")


@pytest.mark.parametrize(
    ("trap", "name"),
    [*itertools.product(SHAPES, TORCH_NAMES), *(("pickle", name) for name in OTHER_NAMES)],
    indirect=["trap"],
)
def test_names_that_libraries_look_for(workshop: Workshop, tmp_path: Path, trap: Trap, result: Any, name: str) -> None:
    folder = copy_of(workshop.encoder, tmp_path / "tiny-bert")
    trap(folder / name)
    flags = dry_run(workshop, tmp_path, "--init_checkpoint", str(folder))
    code, message = result(train.main, flags)
    assert code == 0 or (code == 2 and message.startswith("error: --init_checkpoint: ")), message
    if name in WEIGHTS_NAMES:
        assert code == 0, "model.safetensors comes first"
        (folder / "model.safetensors").unlink()
        code, message = result(train.main, flags)
        assert code == 2 and message.startswith("error: --init_checkpoint: ") and message.count("\n") == 1
        assert "weights_only" not in message, "torch's advice is to run the code"


@pytest.mark.parametrize("vocabulary", ["vocab.txt", "vocab.json", "spiece.model"])
def test_a_vocabulary_without_tokenizer_json(
    workshop: Workshop, tmp_path: Path, trap: Trap, result: Any, vocabulary: str
) -> None:
    folder = copy_of(workshop.encoder, tmp_path / "tiny-bert")
    (folder / "tokenizer.json").unlink()
    trap(folder / vocabulary)
    result(train.main, dry_run(workshop, tmp_path, "--init_checkpoint", str(folder)))
    prepare = ["--model", str(folder), "--root_dir", str(workshop.data_dir.parent), "--task_def", TASK_DEF]
    code, message = result(prepro_std.main, [*prepare, "--tasks", "wnli"])
    assert code == 2 and message.startswith("error: --model: ")


def test_every_file_of_a_features_folder(workshop: Workshop, tmp_path: Path, trap: Trap, result: Any) -> None:
    made = copy_of(workshop.data_dir, tmp_path / "made", "wnli_*", "manifest.json")
    assert result(train.main, dry_run(workshop, tmp_path, "--data_dir", str(made)))[0] == 0
    names = files_below(made)
    assert {"wnli_train.json", "wnli_train.cache.safetensors", "manifest.json"} <= set(names)
    unread = {name for name in names if name.startswith("wnli_test") or ".cache." in name}  # a cache is made again
    for name in names:
        folder = copy_of(made, tmp_path / "features")
        trap(folder / name)
        code, message = result(train.main, dry_run(workshop, tmp_path, "--data_dir", str(folder)))
        assert code == (0 if name in unread else 2), name
        assert code == 0 or message.startswith(f"error: {folder / name}: ")
        (folder / "manifest.json").unlink()  # the hashes in it refuse a changed file before it is read
        code, message = result(train.main, dry_run(workshop, tmp_path, "--data_dir", str(folder)))
        assert code == (0 if name in unread | {"manifest.json"} else 2), name
        assert code == 0 or message.startswith(f"error: {folder / name}:1: ")


def test_every_file_of_a_canonical_folder(workshop: Workshop, tmp_path: Path, trap: Trap, result: Any) -> None:
    names = [path.name for path in workshop.data_dir.parent.glob("wnli_*.tsv")]
    for name in [*names, "tiny-bert/manifest.json"]:
        folder = copy_of(workshop.data_dir.parent, tmp_path / "canonical", "wnli_*.tsv")
        copy_of(workshop.data_dir, folder / "tiny-bert", "wnli_*", "manifest.json")
        trap(folder / name)
        flags = ["--model", str(workshop.encoder), "--root_dir", str(folder), "--task_def", TASK_DEF, "--workers", "1"]
        code, message = result(prepro_std.main, flags)
        assert code == 2 and message.startswith(f"error: {folder / name}:"), name


def test_files_of_raw_glue(workshop: Workshop, tmp_path: Path, trap: Trap, result: Any) -> None:
    raw = workshop.data_dir.parents[1] / "glue"
    for name in ("WNLI/train.tsv", "WNLI/test.tsv", "WNLI/dev.tsv"):
        folder = copy_of(raw / "WNLI", tmp_path / "glue" / "WNLI").parent
        trap(folder / name)
        flags = ["--glue_dir", str(folder), "--output_dir", str(tmp_path / "canonical"), "--tasks", "wnli"]
        for more in ([], ["--drop_bad_rows"]):
            code, message = result(glue_prepro.main, [*flags, *more])
            assert code == 2 and str(folder / name) in message, name


def test_yaml_files(workshop: Workshop, tmp_path: Path, trap: Trap, result: Any) -> None:
    path = tmp_path / "some.yml"
    for content in (trap.content, yaml_bomb(trap.marker).encode()):
        path.write_bytes(content)
        canonical = ["--model", str(workshop.encoder), "--root_dir", str(workshop.data_dir.parent)]
        for main, flags in (
            (train.main, dry_run(workshop, tmp_path, "--task_def", str(path))),
            (train.main, dry_run(workshop, tmp_path, "--config", str(path))),
            (prepro_std.main, [*canonical, "--task_def", str(path)]),
        ):
            code, message = result(main, flags)
            assert code == 2 and message.startswith(f"error: {path}:") and message.count("\n") == 1


@pytest.fixture(scope="session")
def finished_run(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a run with two checkpoints; not to be written to."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert train.main(workshop.flags(folder, *RUN)) == 0
    return folder


def match_manifest(folder: Path, name: str) -> None:
    """Make a folder's manifest agree with a file that was changed, as an attacker would."""
    data = (folder / name).read_bytes()
    manifest = json.loads((folder / "manifest.json").read_bytes())
    entry = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert manifest.get(name, entry).keys() == entry.keys(), "the manifest's form has changed: change it here, too"
    (folder / "manifest.json").write_text(json.dumps(manifest | {name: entry}))


def test_every_file_of_a_run(workshop: Workshop, finished_run: Path, tmp_path: Path, trap: Trap, result: Any) -> None:
    """Files beside the checkpoints: a finished run shows its results, and an unfinished one does without most."""
    names = [name for name in files_below(finished_run) if not name.startswith("checkpoints/")]
    for name in names:
        folder = copy_of(finished_run, tmp_path / "run")
        trap(folder / name)
        for unfinished in (False, True):
            if unfinished:
                (folder / "results.json").unlink()
            code, message = result(train.main, workshop.flags(folder, *RUN, "--resume"))
            needed = name == "config.yaml" or (name == "results.json" and not unfinished)
            assert code == (2 if needed else 0), (name, unfinished, message)
            assert code == 0 or name in message


def test_every_file_of_a_checkpoint(
    workshop: Workshop, finished_run: Path, tmp_path: Path, trap: Trap, result: Any
) -> None:
    newest = sorted((finished_run / "checkpoints").iterdir())[-1].relative_to(finished_run)
    for name in files_below(finished_run / newest):
        folder = copy_of(finished_run, tmp_path / "run")
        (folder / "results.json").unlink()
        trap(folder / newest / name)
        if name != "manifest.json":
            match_manifest(folder / newest, name)
        code, message = result(train.main, workshop.flags(folder, *RUN, "--resume"))
        # A damaged manifest is a damaged checkpoint, and the one before it is taken.
        assert code == (0 if name == "manifest.json" else 2), (name, message)
        assert code == 0 or str(folder / newest) in message, name


def test_every_file_of_an_exported_model(
    workshop: Workshop, finished_run: Path, tmp_path: Path, trap: Trap, result: Any
) -> None:
    for name in files_below(finished_run / "best"):
        folder = copy_of(finished_run / "best", tmp_path / "best")
        trap(folder / name)
        if name != "manifest.json":
            match_manifest(folder, name)
        code, message = result(train.main, dry_run(workshop, tmp_path, "--init_checkpoint", str(folder)))
        needed = name != "encoder/README.md"  # for people
        assert code == (2 if needed else 0), (name, message)
        assert not needed or ("--init_checkpoint: " in message and str(folder) in message)


@pytest.mark.parametrize("outside", ["../secret.txt", "{tmp_path}/secret.txt", "encoder/../../secret.txt"])
def test_a_manifest_cannot_leave_its_folder(
    workshop: Workshop, finished_run: Path, tmp_path: Path, result: Any, outside: str
) -> None:
    folder = copy_of(finished_run, tmp_path / "run")
    (folder / "results.json").unlink()
    for checkpoint in (folder / "checkpoints").iterdir():
        name = outside.format(tmp_path=tmp_path)
        (checkpoint / "encoder").mkdir()
        (checkpoint / name).write_text("secret")
        match_manifest(checkpoint, name)
    code, _ = result(train.main, workshop.flags(folder, *RUN, "--resume"))
    assert code == 2, "a checkpoint that names a file outside its folder is not whole"


@pytest.mark.parametrize("outside", ["../tiny-bert/model.safetensors", "{encoder}/model.safetensors"])
def test_an_index_of_weights_cannot_leave_its_folder(
    workshop: Workshop, tmp_path: Path, result: Any, outside: str
) -> None:
    copy_of(workshop.encoder, tmp_path / "tiny-bert")
    folder = copy_of(workshop.encoder, tmp_path / "cut")
    (folder / "model.safetensors").unlink()
    shard = outside.format(encoder=workshop.encoder)
    names = load_encoder(str(workshop.encoder), seed=0).model.state_dict()
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, shard)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    code, message = result(train.main, dry_run(workshop, tmp_path, "--init_checkpoint", str(folder)))
    assert code == 2
    assert f"model.safetensors.index.json names a file outside its folder: {shard}" in message


@pytest.mark.parametrize("model_type", ["bert", "evil"])
@pytest.mark.parametrize("tokenizer_class", ["BertTokenizer", "Evil"])
def test_code_that_comes_with_a_model(
    workshop: Workshop, tmp_path: Path, result: Any, model_type: str, tokenizer_class: str
) -> None:
    """Where `transformers` knows the classes it takes its own; where it does not, it would ask whether to run them."""
    folder = copy_of(workshop.encoder, tmp_path / "tiny-bert")
    write_code(folder, tmp_path / "sprung")
    classes = {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil", "AutoTokenizer": ["evil.Evil", "evil.Evil"]}
    changes = {"config.json": {"model_type": model_type}, "tokenizer_config.json": {"tokenizer_class": tokenizer_class}}
    for name, change in changes.items():
        config = json.loads((folder / name).read_text()) | change | {"auto_map": classes}
        (folder / name).write_text(json.dumps(config))
    code, message = result(train.main, dry_run(workshop, tmp_path, "--init_checkpoint", str(folder)))
    if model_type == "evil":
        assert code == 2 and "needs Python code that comes with it, and such code is never run" in message
    canonical = copy_of(workshop.data_dir.parent, tmp_path / "canonical", "wnli_*.tsv")
    flags = ["--model", str(folder), "--root_dir", str(canonical), "--task_def", TASK_DEF, "--workers", "1"]
    assert result(prepro_std.main, flags)[0] in (0, 2)


@pytest.mark.parametrize("zipped", [True, False], ids=["torch zip", "torch legacy"])
def test_a_sound_foreign_file_of_weights_loads(workshop: Workshop, tmp_path: Path, result: Any, zipped: bool) -> None:
    folder = copy_of(workshop.encoder, tmp_path / "tiny-bert")
    model = transformers.AutoModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    loaded, expected = (load_encoder(str(path), seed=0).model.state_dict() for path in (folder, workshop.encoder))
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())
    assert result(train.main, dry_run(workshop, tmp_path, "--init_checkpoint", str(folder)))[0] == 0


@pytest.mark.parametrize("name", ["model.pt", "some/model_3.pt", "bert_model_base"])
def test_mt_dnns_single_file_is_refused(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trap: Trap, result: Any, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    trap(Path(name))
    task_def = str(Path(__file__).parents[1] / TASK_DEF)
    flags = dry_run(workshop, tmp_path, "--init_checkpoint", name, "--task_def", task_def)
    code, message = result(train.main, flags)
    assert code == 2
    assert message == (
        f"error: --init_checkpoint: {name!r} is a file of weights; give a Hugging Face model folder or a hub name "
        "instead\n"
    )
