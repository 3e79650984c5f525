"""Bad input to train.py: one clear message, exit code 2, nothing written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers

import train
from tests.conftest import Workshop
from tests.tiny_models import write_tiny_roberta


def other_tokenizer(workshop: Workshop, tmp_path: Path) -> list[str]:
    return ["--init_checkpoint", str(write_tiny_roberta(tmp_path / "tiny-roberta"))]


def encoder_without_tokenizer(workshop: Workshop, tmp_path: Path) -> list[str]:
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(workshop.encoder / name, folder)
    return ["--init_checkpoint", str(folder)]


def decoder(workshop: Workshop, tmp_path: Path) -> list[str]:
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    transformers.LlamaModel(transformers.LlamaConfig(vocab_size=300, **shape)).save_pretrained(tmp_path / "llama")
    return ["--init_checkpoint", str(tmp_path / "llama")]


def features(workshop: Workshop, tmp_path: Path, name: str, change: Callable[[bytes], bytes]) -> list[str]:
    """A copy of the features without manifest, with one file changed."""
    folder = tmp_path / "features"
    shutil.copytree(workshop.data_dir, folder, ignore=shutil.ignore_patterns("manifest.json", "*.safetensors"))
    path = folder / name
    path.write_bytes(change(path.read_bytes()))
    return ["--data_dir", str(folder)]


def task_file(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "tasks.yml"
    path.write_text(text)
    return ["--task_def", str(path)]


COLA = "cola: {data_format: PremiseOnly, task_type: Classification"

CASES: dict[str, tuple[Callable[[Workshop, Path], list[str]], str]] = {
    "no data folder": (lambda w, t: ["--data_dir", str(t / "none")], "none: no such folder"),
    "no features": (lambda w, t: ["--data_dir", str(t)], "cola_train.json: no such file; make it with prepro_std.py"),
    "unknown task": (lambda w, t: ["--train_datasets", "cola,kola"], "--train_datasets: unknown task 'kola'; "),
    "a task twice": (lambda w, t: ["--train_datasets", "cola,cola"], "--train_datasets: a task stands twice"),
    "no task": (lambda w, t: ["--train_datasets", ","], "--train_datasets: no task named; allowed: cola, "),
    "tested but not trained": (lambda w, t: ["--test_datasets", "rte"], "--test_datasets: rte is not trained"),
    "no train split": (lambda w, t: ["--train_datasets", "ax"], "--train_datasets: ax has no train split"),
    "no encoder folder": (lambda w, t: ["--init_checkpoint", "./none"], "--init_checkpoint: no folder './none'"),
    "not an encoder": (lambda w, t: ["--init_checkpoint", str(t)], "cannot be loaded"),
    "another tokenizer": (other_tokenizer, "features made with the tokenizer of tiny-bert"),
    "no tokenizer, other name": (encoder_without_tokenizer, "features made for tiny-bert"),
    "no task file": (lambda w, t: ["--task_def", "none.yml"], "none.yml: cannot be read"),
    "unknown task key": (
        lambda w, t: task_file(t, COLA + ", metrics: [ACC]}"),
        "tasks.yml: task 'cola': unknown key 'metrics'; allowed: actf, adv_loss, data_format",
    ),
    "unknown metric": (
        lambda w, t: task_file(t, COLA + ", metric_meta: [BLEU]}"),
        "tasks.yml: task 'cola': metric_meta: unknown 'BLEU'; allowed: ACC, F1, MCC",
    ),
    "unknown loss": (
        lambda w, t: task_file(t, COLA + ", loss: Hinge}"),
        "tasks.yml: task 'cola': loss: unknown 'Hinge'; allowed: CeCriterion",
    ),
    "a loss that cannot be trained": (
        lambda w, t: task_file(t, COLA + ", loss: SymKlCriterion}"),
        "task 'cola': Classification is not trained with loss SymKlCriterion; use CeCriterion",
    ),
    "a loss for another task type": (
        lambda w, t: task_file(t, COLA + ", loss: MseCriterion}"),
        "task 'cola': Classification is not trained with loss MseCriterion; use CeCriterion",
    ),
    "a decoder": (
        decoder,
        "its model type is llama, a decoder, whose first token sees nothing of its row; needed is an encoder",
    ),
    "a metric that cannot be computed": (
        lambda w, t: task_file(t, COLA + ", metric_meta: [SeqEval]}"),
        "task 'cola': Classification has no metric SeqEval; use ACC, F1",
    ),
    "a kind that is not trained": (
        lambda w, t: task_file(t, "cola: {data_format: PremiseOnly, task_type: Ranking}"),
        "tasks.yml: task 'cola': a Ranking task has rows of the format PremiseAndMultiHypothesis, got PremiseOnly",
    ),
    "one task of several with a mistake": (
        lambda w, t: task_file(t, COLA + ", loss: Hinge}\nrte: {data_format: PremiseOnly, task_type: Classification}"),
        "tasks.yml: task 'cola': loss: unknown 'Hinge'; allowed: CeCriterion",
    ),
    "invalid UTF-8": (
        lambda w, t: features(w, t, "cola_dev.json", lambda text: text.replace(b'"0"', b'"\xff"', 1)),
        "cola_dev.json:1: ",
    ),
    "an empty file": (lambda w, t: features(w, t, "cola_train.json", lambda text: b""), "cola_train.json: "),
    "a line that is no feature": (
        lambda w, t: features(w, t, "cola_train.json", lambda text: text + b'{"uid": "x"}\n'),
        "cola_train.json:25: ",
    ),
    "a label out of range": (
        lambda w, t: features(w, t, "cola_train.json", lambda text: text.replace(b'"label": 1', b'"label": 7', 1)),
        "label",
    ),
    "a token the encoder does not know": (
        lambda w, t: features(
            w, t, "cola_train.json", lambda text: text.replace(b'"token_id": [2,', b'"token_id": [99999,', 1)
        ),
        "cola_train.json: the row with uid '0' has token_id 99999, but the encoder",
    ),
    "a segment the encoder does not know": (
        lambda w, t: features(
            w, t, "cola_dev.json", lambda text: b'"type_id": [0, 2,'.join(text.rsplit(b'"type_id": [0, 0,', 1))
        ),
        "cola_dev.json: the row with uid '11' has type_id 2, but the encoder",
    ),
    "a segment the encoder does not know, and its range": (
        lambda w, t: features(
            w, t, "cola_train.json", lambda text: text.replace(b'"type_id": [0, 0,', b'"type_id": [255, 0,', 1)
        ),
        "tiny-bert takes 0 to 1: the features were made with another tokenizer",
    ),
    "no GPU": (lambda w, t: ["--device", "cuda"], "--device cuda: torch sees no CUDA device"),
    "half precision on a CPU": (lambda w, t: ["--fp16", "--device", "cpu"], "--fp16 needs a CUDA device"),
    "unknown optimizer": (lambda w, t: ["--optim", "sgd"], "--optim: unknown 'sgd'; allowed: adamax"),
    "contradicting flags": (
        lambda w, t: ["--baseline", "sage", "--optim", "pats_adamax"],
        "--baseline sage contradicts --optim pats_adamax",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    if case == "no GPU" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    change, expected = CASES[case]
    run = tmp_path / "run"
    flags = workshop.flags(run, "--train_datasets", "cola", *change(workshop, tmp_path))
    capsys.readouterr()  # what making the input printed
    assert train.main(flags) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ")
    assert expected in err
    assert "Traceback" not in err
    assert not run.exists()


def test_an_output_folder_with_another_run(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = workshop.flags(tmp_path / "run", "--train_datasets", "wnli", "--epochs", "1")
    assert train.main(flags) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert train.main(flags) == 2
    assert "holds another run; add --resume to go on with it, or choose another" in capsys.readouterr().err
    assert train.main([*flags, "--resume", "--seed", "5"]) == 2
    assert "--seed 5 contradicts" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_an_output_folder_with_other_files(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str], resume: list[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    assert train.main(workshop.flags(tmp_path, "--train_datasets", "wnli", *resume)) == 2
    assert "holds other files; choose an empty or a new folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_output_folder_that_is_a_file(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").write_text("")
    assert train.main(workshop.flags(tmp_path / "run", "--train_datasets", "wnli")) == 2
    assert "is a file, not a folder" in capsys.readouterr().err


def test_a_task_name_that_torch_needs_itself(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "features"
    data.mkdir()
    for split in ("train", "dev"):
        shutil.copy(workshop.data_dir / f"cola_{split}.json", data / f"type_{split}.json")
    tasks = task_file(tmp_path, "type: {data_format: PremiseOnly, task_type: Classification}")
    flags = ["--train_datasets", "type", "--data_dir", str(data), *tasks]
    assert train.main(workshop.flags(tmp_path / "run", *flags)) == 2
    assert "task 'type': torch keeps this name for itself" in capsys.readouterr().err


def test_a_folder_without_a_run_is_told_before_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rte").mkdir()
    (tmp_path / "rte/config.yaml").write_text("seed: 1\n")
    assert train.main(["--output_dir", str(tmp_path / "rtee"), "--resume"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: --resume: --output_dir {tmp_path / 'rtee'} holds no run; {tmp_path} has rte. ")


def test_the_nearest_flag_and_the_folder_with_the_features_are_named(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(workshop.flags(tmp_path, "--train_datasets", "cola", "--lerning_rate", "1")) == 2
    assert "\n--lerning_rate: did you mean --learning_rate?\n" in capsys.readouterr().err
    flags = workshop.flags(tmp_path, "--train_datasets", "cola", "--data_dir", str(workshop.data_dir.parent))
    assert train.main(flags) == 2
    assert f"cola_train.json: no such file; it is in --data_dir {workshop.data_dir}" in capsys.readouterr().err


def test_resume_on_other_data(workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "features"
    shutil.copytree(workshop.data_dir, data, ignore=shutil.ignore_patterns("manifest.json", "*.safetensors"))
    flags = ["--train_datasets", "wnli,cola", "--epochs", "1", "--data_dir", str(data), "--resume"]
    assert train.main(workshop.flags(tmp_path / "run", *flags)) == 0
    (tmp_path / "run" / "results.json").unlink()
    lines = (data / "cola_train.json").read_text().splitlines(keepends=True)
    (data / "cola_train.json").write_text("".join(lines[:8]))
    assert train.main(workshop.flags(tmp_path / "run", *flags)) == 2
    assert "--resume: --data_dir: the features of cola changed since" in capsys.readouterr().err


def test_resume_without_a_whole_checkpoint(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = workshop.flags(tmp_path / "run", "--train_datasets", "wnli", "--epochs", "1", "--resume")
    assert train.main(flags) == 0
    (tmp_path / "run" / "results.json").unlink()
    for state in (tmp_path / "run" / "checkpoints").glob("*/state.json"):
        state.unlink()
    assert train.main(flags) == 2
    assert "is whole; start anew in another --output_dir" in capsys.readouterr().err
    assert (tmp_path / "run" / "best").is_dir(), "nothing may be deleted"
