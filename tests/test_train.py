"""train.py from features to results, on miniature GLUE with a tiny encoder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
import yaml
from safetensors.torch import load_file

import prepro_std
import train
from data_utils.features import load_features
from data_utils.task_def import load_task_defs
from mt_dnn import setup
from mt_dnn.batching import Collator
from mt_dnn.data import shortened
from mt_dnn.record.checkpoint import Checkpoints, Saved
from tests.conftest import Workshop, flip_a_bit
from tests.crash import train_until

METHODS = {
    "adamax": [],
    "pats_adamax": ["--optim", "pats_adamax"],
    "sage_adamax": ["--baseline", "sage"],
    "adamax+noisytune": ["--baseline", "noisytune"],
    "adamw": ["--optim", "adamw"],
    "pats_adamw": ["--optim", "pats_adamw", "--pats_sensitivity", "magnitude", "--pats_lambda", "1e-8"],
    "sage_adamw": ["--optim", "adamw", "--baseline", "sage"],
    "recadam_adamax": ["--optim", "recadam_adamax", "--recadam_anneal_t0", "10"],
    "adamax+mixout": ["--baseline", "mixout"],
    "adamax+smart": ["--baseline", "smart"],
    "adamax+freelb": ["--baseline", "freelb", "--freelb_step_size", "0.02", "--freelb_max_norm", "0.05"],
    "adamax+rdrop": ["--baseline", "rdrop"],
}


def events(run: Path, name: str) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == name]


def losses(run: Path) -> list[dict[str, float]]:
    return [event["loss"] for event in events(run, "train")]


def results(run: Path) -> dict[str, Any]:
    return json.loads((run / "results.json").read_text())


def without_dropout(workshop: Workshop, folder: Path) -> Path:
    """A copy of the tiny encoder that computes the same every time."""
    model = transformers.AutoModel.from_pretrained(workshop.encoder)
    model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = 0.0
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(workshop.encoder).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns(workshop: Workshop, tmp_path: Path, method: str) -> None:
    flags = ["--train_datasets", "sst", "--epochs", "40", "--learning_rate", "5e-3", "--log_per_updates", "12"]
    assert train.main(workshop.flags(tmp_path, *flags, *METHODS[method])) == 0
    curve = [loss["sst"] for loss in losses(tmp_path)]
    assert curve[-1] < 0.75 * curve[0], curve
    assert results(tmp_path)["optim"] == method


def test_bf16_on_a_cpu_computes_in_bf16_and_keeps_float32_weights(workshop: Workshop, tmp_path: Path) -> None:
    flags = ["--train_datasets", "sst", "--epochs", "2", "--log_per_updates", "1", "--device", "cpu"]
    for name, more in (("fp32", []), ("bf16", ["--bf16"])):
        assert train.main(workshop.flags(tmp_path / name, *flags, *more)) == 0
    curves = [[loss["sst"] for loss in losses(tmp_path / name)] for name in ("fp32", "bf16")]
    assert curves[0] != curves[1]
    assert curves[1] == pytest.approx(curves[0], rel=0.02)
    weights = load_file(tmp_path / "bf16" / "best" / "encoder" / "model.safetensors").values()
    assert {tensor.dtype for tensor in weights} == {torch.float32}


def test_several_tasks_on_one_encoder(workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--train_datasets", "cola,mnli,stsb,mrpc", "--test_datasets", "cola,stsb,mnli", "--epochs", "2"]
    assert train.main(workshop.flags(tmp_path, *flags, "--tensorboard", "--eval_per_updates", "5")) == 0
    result = results(tmp_path)
    assert {name: task["primary_metric"] for name, task in result["tasks"].items()} == {
        "cola": "MCC",
        "stsb": "Pearson",
        "mnli": "ACC",
    }
    mnli = result["tasks"]["mnli"]["last"]
    assert mnli["score"] == pytest.approx(
        (mnli["metrics"]["matched_dev/ACC"] + mnli["metrics"]["mismatched_dev/ACC"]) / 2
    )
    histories = [task["history"] for task in result["tasks"].values()]
    means = [sum(entry["score"] for entry in entries) / 3 for entries in zip(*histories, strict=True)]
    assert result["average"] == pytest.approx({"best": max(means), "last": means[-1]})
    assert [entry["epoch"] for entry in result["tasks"]["cola"]["history"]][-1] == 2
    assert [entry["step"] for entry in histories[0]] == [5, 10, 12, 15, 20, 24]  # every 5, and where epochs end
    assert {name for event in events(tmp_path, "train") for name in event["loss"]} <= {"cola", "mnli", "stsb", "mrpc"}
    assert list((tmp_path / "tensorboard").glob("events.*"))
    heads = load_file(tmp_path / "best" / "heads.safetensors")
    assert {name.split(".")[1] for name in heads} == {"cola", "mnli", "stsb", "mrpc"}
    assert "mnli  ACC" in capsys.readouterr().out


def test_no_noise_is_plain_adamax_and_seeds_decide(workshop: Workshop, tmp_path: Path) -> None:
    common = ["--train_datasets", "cola,stsb", "--epochs", "2", "--log_per_updates", "1"]
    runs = {
        "plain": [],
        "lambda 0": ["--optim", "pats_adamax", "--pats_lambda", "0"],
        "p 0": ["--optim", "pats_adamax", "--pats_p", "0"],
        "noise": ["--optim", "pats_adamax", "--pats_lambda", "1e-3"],
        "noise again": ["--optim", "pats_adamax", "--pats_lambda", "1e-3"],
        "other seed": ["--optim", "pats_adamax", "--pats_lambda", "1e-3", "--seed", "2"],
    }
    for name, flags in runs.items():
        assert train.main(workshop.flags(tmp_path / name, *common, *flags)) == 0
    curves = {name: losses(tmp_path / name) for name in runs}
    assert curves["plain"] == curves["lambda 0"] == curves["p 0"]
    assert curves["noise"] == curves["noise again"]
    assert curves["noise"] != curves["plain"]
    assert curves["other seed"] != curves["noise"]
    again = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("noise", "noise again")]
    assert again[0] == again[1]


def test_a_checkpoint_knows_the_best_model(workshop: Workshop, tmp_path: Path) -> None:
    """A run that resumes elsewhere may score otherwise, and tell of another model than best/ holds."""
    flags = ["--train_datasets", "cola", "--batch_size", "2", "--epochs", "1", "--eval_per_updates", "3"]
    train_until(4, workshop.flags(tmp_path, *flags))
    newest = max((tmp_path / "checkpoints").iterdir())
    assert newest.name == "step_00000003"
    history = json.loads((newest / "state.json").read_text())["progress"]["history"]
    assert [evaluation["step"] for evaluation in history["evaluations"]] == [3]


@pytest.mark.parametrize(("crash_at", "precision"), [(1, ""), (4, ""), (7, ""), (13, ""), (7, "--bf16")])
def test_resume_equals_never_having_stopped(workshop: Workshop, tmp_path: Path, crash_at: int, precision: str) -> None:
    """Dropout, two tasks, accumulation, noise, evaluation and checkpoints within an epoch; crash, resume, compare."""
    flags = ["--train_datasets", "cola,stsb", "--epochs", "3", "--optim", "pats_adamax", "--pats_lambda", "1e-4"]
    flags += ["--batch_size", "2", "--grad_accumulation_step", "3", "--log_per_updates", "2"]
    flags += ["--save_per_updates", "3", "--eval_per_updates", "5", *precision.split()]
    flags += ["--sensitivity_per_updates", "2"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train.main(workshop.flags(whole, *flags)) == 0
    train_until(crash_at, workshop.flags(cut, *flags))
    assert train.main(["--output_dir", str(cut), "--resume"]) == 0
    for log in ("metrics.jsonl", "sensitivity_log.jsonl"):
        assert (cut / log).read_bytes() == (whole / log).read_bytes()
    assert results(cut)["tasks"] == results(whole)["tasks"]
    last = sorted((whole / "checkpoints").iterdir())[-1].name
    for name in ("model", "optimizer", "random"):
        one, other = (load_file(run / "checkpoints" / last / f"{name}.safetensors") for run in (cut, whole))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), name


def test_a_damaged_checkpoint_is_passed_over(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = workshop.flags(tmp_path, "--train_datasets", "cola", "--epochs", "3")
    assert train.main(flags) == 0
    before = results(tmp_path)["tasks"]
    newest = sorted((tmp_path / "checkpoints").iterdir())[-1]
    flip_a_bit(newest / "model.safetensors")
    (tmp_path / "results.json").unlink()
    assert train.main([*flags, "--resume"]) == 0
    assert f"checkpoint {newest} is damaged (model.safetensors is not what was written)" in capsys.readouterr().out
    assert results(tmp_path)["tasks"] == before


@pytest.mark.parametrize("log", ["metrics.jsonl", "sensitivity_log.jsonl"])
def test_a_damaged_log_is_told_and_the_run_goes_on(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str], log: str
) -> None:
    flags = ["--train_datasets", "cola", "--epochs", "2", "--optim", "pats_adamax", "--sensitivity_per_updates", "1"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train.main(workshop.flags(whole, *flags, "--save_per_updates", "2")) == 0
    train_until(4, workshop.flags(cut, *flags, "--save_per_updates", "2"))
    (cut / log).write_text("")
    assert train.main(["--output_dir", str(cut), "--resume"]) == 0
    assert f"{log} is damaged (it has 0 bytes of " in capsys.readouterr().out
    lines = (cut / log).read_text().splitlines()
    assert lines and (whole / log).read_text().splitlines()[-len(lines) :] == lines
    assert results(cut)["tasks"] == results(whole)["tasks"]


def test_resume_of_a_finished_run_shows_its_results(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = workshop.flags(tmp_path, "--train_datasets", "wnli", "--epochs", "1", "--resume")
    assert train.main(flags) == 0, "--resume without a run starts one"
    written = (tmp_path / "results.json").read_bytes()
    capsys.readouterr()
    assert train.main(flags) == 0
    assert "is done" in (out := capsys.readouterr().out)
    assert "wnli  ACC" in out
    assert (tmp_path / "results.json").read_bytes() == written


@pytest.mark.parametrize(
    "flags",
    [["--batch_size", "2", "--grad_accumulation_step", "4"], ["--packing", "off"], ["--batch_size_eval", "3"]],
    ids=["accumulation", "padding", "evaluation batches"],
)
def test_the_same_arithmetic_in_other_portions(workshop: Workshop, tmp_path: Path, flags: list[str]) -> None:
    """Without dropout, how an update is cut into forward passes changes nothing but the rounding."""
    encoder = without_dropout(workshop, tmp_path / "encoder")
    common = ["--train_datasets", "cola,stsb", "--epochs", "2", "--dropout_p", "0", "--log_per_updates", "1"]
    common += ["--optim", "pats_adamax", "--init_checkpoint", str(encoder)]
    for name, more in {"one": [], "other": flags}.items():
        assert train.main(workshop.flags(tmp_path / name, *common, *more)) == 0
    one, other = losses(tmp_path / "one"), losses(tmp_path / "other")
    assert len(one) == len(other) > 4
    for mine, theirs in zip(one, other, strict=True):
        assert mine == pytest.approx(theirs, rel=2e-3)


def test_long_rows_are_shortened_and_counted(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = workshop.flags(tmp_path, "--train_datasets", "mnli", "--max_seq_len", "8", "--dry_run")
    assert train.main(flags) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("mnli"))
    assert int(line.split()[-2]) > 0


def test_soft_labels_that_are_not_trained_on_are_told(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train", "dev"):
        text = (workshop.data_dir / f"cola_{name}.json").read_bytes()
        (tmp_path / f"cola_{name}.json").write_bytes(text.replace(b'"label"', b'"softlabel": [0.5, 0.5], "label"', 3))
    flags = workshop.flags(tmp_path / "run", "--train_datasets", "cola", "--dry_run")
    assert train.main([*flags, "--data_dir", str(tmp_path)]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if "softlabel" in line]
    rest = "not used: 'softlabel' (3 rows); rows are trained on their labels alone"
    assert told == [f"data     cola_train.json: {rest}", f"data     cola_dev.json: {rest}"]
    assert train.main(flags) == 0
    assert "not used" not in capsys.readouterr().out


@pytest.mark.parametrize("optim", ["adamax", "adamw", "pats_adamw", "sage_adamax"])
def test_gradients_are_clipped(workshop: Workshop, tmp_path: Path, optim: str) -> None:
    """By all optimizers: averages of gradients of norm 1e-7 are no larger."""
    flags = ["--train_datasets", "cola", "--epochs", "1", "--optim", optim, "--global_grad_clipping", "1e-7"]
    assert train.main(workshop.flags(tmp_path, *flags)) == 0
    state = load_file(tmp_path / "checkpoints" / "step_00000003" / "optimizer.safetensors")
    assert 0 < max(value.abs().max().item() for name, value in state.items() if name.endswith("exp_avg")) < 1e-7


def test_what_was_trained_before_an_evaluation_is_told_before_it(workshop: Workshop, tmp_path: Path) -> None:
    """The evaluation may end the run."""
    flags = ["--train_datasets", "cola", "--epochs", "9", "--learning_rate", "1e-9", "--early_stopping", "1"]
    assert train.main(workshop.flags(tmp_path, *flags, "--eval_per_updates", "1", "--log_per_updates", "50")) == 0
    told = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [event["event"] for event in told] == ["start", *["train", "eval"] * 2, "end"]


def test_early_stopping(workshop: Workshop, tmp_path: Path) -> None:
    flags = ["--train_datasets", "cola", "--epochs", "9", "--learning_rate", "1e-9", "--early_stopping", "2"]
    assert train.main(workshop.flags(tmp_path, *flags)) == 0
    assert len(results(tmp_path)["tasks"]["cola"]["history"]) == 3


def test_best_is_a_model_to_go_on_with(workshop: Workshop, tmp_path: Path) -> None:
    first, second = tmp_path / "mtl", tmp_path / "tuned"
    assert train.main(workshop.flags(first, "--train_datasets", "cola,rte", "--epochs", "1")) == 0
    best = first / "best"
    model = transformers.AutoModel.from_pretrained(best / "encoder")
    tokenizer = transformers.AutoTokenizer.from_pretrained(best / "encoder")
    assert model(**tokenizer("the sailor", return_tensors="pt")).last_hidden_state.shape[-1] == 32
    labels = {name: task["labels"] for name, task in json.loads((best / "tasks.json").read_text()).items()}
    assert labels == {"rte": ["not_entailment", "entailment"], "cola": ["0", "1"]}
    more = ["--train_datasets", "rte,cola,sst", "--epochs", "1", "--init_checkpoint", str(best), "--dry_run"]
    config = train.load_config(workshop.flags(second, *more), "")
    built = setup.build_trainer(config).parallel.model
    heads = load_file(best / "heads.safetensors")
    assert torch.equal(built.heads["rte"].linear.weight, heads["heads.rte.linear.weight"])
    assert not torch.equal(built.heads["sst"].linear.weight, heads["heads.cola.linear.weight"])
    assert torch.equal(built.encoder.model.get_parameter("pooler.dense.weight"), model.pooler.dense.weight)


def test_a_damaged_best_model_is_refused_and_reported(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = workshop.flags(tmp_path / "run", "--train_datasets", "cola", "--epochs", "1")
    assert train.main(flags) == 0
    flip_a_bit(tmp_path / "run" / "best" / "encoder" / "model.safetensors")
    more = ["--train_datasets", "cola", "--init_checkpoint", str(tmp_path / "run" / "best"), "--dry_run"]
    assert train.main(workshop.flags(tmp_path / "next", *more)) == 2
    assert "best is damaged (encoder/model.safetensors is not what was written)" in capsys.readouterr().err
    (tmp_path / "run" / "results.json").unlink()
    assert train.main([*flags, "--resume"]) == 0
    out = capsys.readouterr().out
    assert "best was not whole (encoder/model.safetensors is not what was written): written again" in out
    (tmp_path / "run" / "best" / "heads.safetensors").unlink()
    assert train.main(workshop.flags(tmp_path / "next", *more)) == 2
    assert "best is damaged" in capsys.readouterr().err


def test_dry_run_prints_the_plan_and_writes_nothing(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--train_datasets", "cola,rte", "--test_datasets", "rte", "--optim", "pats_adamax", "--dry_run"]
    assert train.main(workshop.flags(tmp_path / "run", *flags)) == 0
    out = capsys.readouterr().out
    assert not (tmp_path / "run").exists()
    perturbed = next(line for line in out.splitlines() if line.startswith("encoder layers")).split()
    # Two layers of six dense weights and biases: 4 x (32 x 32 + 32) + 2 x 32 x 64 + 64 + 32 parameters each.
    assert perturbed[2:] == ["24", f"{2 * (4 * (32 * 32 + 32) + 2 * 32 * 64 + 64 + 32):,}", "0", "perturbed"]
    assert "not evaluated" in next(line for line in out.splitlines() if line.startswith("cola"))


def test_the_plan_says_where_heads_come_from_and_that_san_is_not_built(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = tmp_path / "first"
    assert train.main(workshop.flags(first, "--train_datasets", "cola", "--epochs", "1")) == 0
    text = Path("experiments/glue/glue_task_def.yml").read_text().replace("enable_san: false", "enable_san: true", 1)
    (tmp_path / "tasks.yml").write_text(text)
    more = ["--train_datasets", "cola,rte", "--init_checkpoint", str(first), "--task_def", str(tmp_path / "tasks.yml")]
    capsys.readouterr()
    assert train.main(workshop.flags(tmp_path / "run", *more, "--dry_run")) == 0
    lines = capsys.readouterr().out.splitlines()
    start = lines.index(f"head     cola: head taken over from {first / 'best'}")
    assert lines[start + 1] == f"         rte: new head ({first / 'best'} has heads for cola)"
    san = "enable_san is true for cola: a linear head is used in place of MT-DNN's SAN answer module"
    assert lines[start + 2] == f"         {san}"


def test_a_run_goes_on_though_a_key_without_effect_has_changed(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = Path("experiments/glue/glue_task_def.yml").read_text()
    tasks = tmp_path / "tasks.yml"
    flags = workshop.flags(tmp_path / "run", "--train_datasets", "wnli", "--epochs", "1", "--task_def", str(tasks))
    for changed in (text.replace("enable_san: false", "enable_san: true"), text):
        tasks.write_text(changed)
        assert train.main([*flags, "--resume"]) == 0
        (tmp_path / "run" / "results.json").unlink()
    tasks.write_text(text.replace("metric_meta: [ACC]", "metric_meta: [ACC, MCC]"))
    assert train.main([*flags, "--resume"]) == 2
    assert "definition of wnli changed since" in capsys.readouterr().err


def test_config_yaml_runs_again(workshop: Workshop, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    flags = ["--train_datasets", "cola", "--epochs", "1", "--optim", "pats_adamax", "--log_per_updates", "1"]
    assert train.main(workshop.flags(one, *flags)) == 0
    assert train.main(["--config", str(one / "config.yaml"), "--output_dir", str(other)]) == 0
    assert losses(one) == losses(other)
    assert yaml.safe_load((one / "config.yaml").read_text())["optim"] == "pats_adamax"


def test_a_bad_step_is_never_applied(workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = without_dropout(workshop, tmp_path / "encoder")
    model = transformers.AutoModel.from_pretrained(encoder)
    with torch.no_grad():
        model.encoder.layer[0].output.dense.weight[0, 0] = float("nan")
    model.save_pretrained(encoder)
    capsys.readouterr()
    flags = ["--train_datasets", "cola", "--init_checkpoint", str(encoder)]
    assert train.main(workshop.flags(tmp_path / "run", *flags)) == 1
    message = capsys.readouterr().err
    assert message.startswith("stopped: update 1, task cola: loss nan, gradient norm nan; the update was not applied")
    assert "uids: " in message
    assert not (tmp_path / "run" / "results.json").exists()


def test_no_noise_is_shown_as_no_noise(workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--train_datasets", "cola", "--optim", "pats_adamax", "--pats_p", "0", "--dry_run"]
    assert train.main(workshop.flags(tmp_path / "run", *flags)) == 0
    assert "perturbed" not in capsys.readouterr().out


def test_dev_predictions_are_those_that_were_scored(workshop: Workshop, tmp_path: Path) -> None:
    flags = ["--train_datasets", "mnli,stsb", "--epochs", "2", "--dev_predictions"]
    assert train.main(workshop.flags(tmp_path, *flags)) == 0
    kept = json.loads((tmp_path / "dev_predictions.json").read_text())
    assert {task: set(splits) for task, splits in kept.items()} == {
        "mnli": {"matched_dev", "mismatched_dev"},
        "stsb": {"dev"},
    }
    for entry in results(tmp_path)["tasks"]["mnli"]["history"]:
        splits = kept["mnli"].values()
        right = [np.mean(np.equal(split["predictions"][str(entry["step"])], split["labels"])) for split in splits]
        assert 100 * np.mean(right) == pytest.approx(entry["score"])
    assert all(len(split["uids"]) == len(split["labels"]) for splits in kept.values() for split in splits.values())


def test_dev_predictions_of_a_resumed_run_are_those_of_one_that_never_stopped(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--train_datasets", "sst", "--epochs", "3", "--dev_predictions"]
    assert train.main(workshop.flags(tmp_path / "whole", *flags)) == 0
    save, saved = Checkpoints.save, []

    def crash_at_the_second(*args: Any) -> Saved:  # when the second evaluation has been written
        saved.append(args)
        if len(saved) == 2:
            raise RuntimeError("crash")
        return save(*args)

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "save", crash_at_the_second)
        with pytest.raises(RuntimeError, match="crash"):
            train.main(workshop.flags(tmp_path / "cut", *flags))
    assert train.main(workshop.flags(tmp_path / "cut", *flags, "--resume")) == 0
    whole, cut = ((tmp_path / name / "dev_predictions.json").read_bytes() for name in ("whole", "cut"))
    assert cut == whole


def test_rows_cut_in_training_are_those_that_preparation_makes_at_that_length(
    workshop: Workshop, tmp_path: Path
) -> None:
    """Every row of every task: made at 512 and cut by the collator, or made so short."""
    root = workshop.data_dir.parent
    tasks = load_task_defs("experiments/glue/glue_task_def.yml")
    for room in (9, 16):
        (tmp_path / str(room)).mkdir()
        for path in root.glob("*.tsv"):
            shutil.copy(path, tmp_path / str(room))
        flags = ["--model", str(workshop.encoder), "--root_dir", str(tmp_path / str(room)), "--workers", "1"]
        flags += ["--task_def", "experiments/glue/glue_task_def.yml", "--max_seq_len", str(room)]
        assert prepro_std.main(flags) == 0
        cut = 0
        for name in ("cola", "rte", "mnli", "stsb"):
            folders = (workshop.data_dir, tmp_path / str(room) / "tiny-bert")
            whole, short = (load_features(folder, tasks[name], "train") for folder in folders)
            collator = Collator(pad_token_id=0, uses_type_ids=True, packing=False, position_offset=0, max_length=room)
            rows = np.arange(len(whole))
            for name_of_input, expected in collator(short, rows).inputs.items():
                assert torch.equal(collator(whole, rows).inputs[name_of_input], expected)
            cut += shortened(whole, room)
            assert shortened(short, room) == shortened(whole, room)
        assert cut > 20


def test_the_default_task_file_is_found_from_any_folder(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train.main(workshop.flags(tmp_path / "run", "--train_datasets", "sst", "--dry_run")) == 0
