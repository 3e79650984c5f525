"""Training with the remedies that hold on to the pretrained weights: Mixout and RecAdam."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import predict
import train
from mt_dnn.config import load_config
from mt_dnn.setup import build_trainer
from tests.conftest import Workshop
from tests.crash import train_until

MIXOUT = ["--baseline", "mixout", "--mixout_p", "0.6"]
RECADAM = ["--optim", "recadam_adamax", "--recadam_anneal_t0", "6", "--recadam_pretrain_cof", "500"]
COMMON = ["--train_datasets", "cola,stsb", "--epochs", "2", "--save_per_updates", "2", "--learning_rate", "1e-3"]
REMEDIES = {
    "mixout": MIXOUT,
    "mixout with pats, accumulated, bf16": [
        *MIXOUT,
        "--optim",
        "pats_adamax",
        "--grad_accumulation_step",
        "2",
        "--bf16",
    ],
    "recadam": RECADAM,
    "recadam on adamw": ["--optim", "recadam_adamw", *RECADAM[2:], "--weight_decay", "0.01"],
    "recadam with mixout": [*RECADAM, *MIXOUT],
}


def checkpoints(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").iterdir())


@pytest.mark.parametrize("remedy", REMEDIES)
def test_resume_equals_never_having_stopped(remedy: str, workshop: Workshop, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train.main(workshop.flags(whole, *COMMON, *REMEDIES[remedy])) == 0
    train_until(4, workshop.flags(cut, *COMMON, *REMEDIES[remedy]))
    assert train.main(["--output_dir", str(cut), "--resume"]) == 0
    last = checkpoints(whole)[-1]
    names = sorted(path.name for path in last.glob("*.safetensors"))
    assert ("pretrained.safetensors" in names) == ("mixout" in remedy)
    for name in names:
        one, two = (load_file(run / "checkpoints" / last.name / name) for run in (whole, cut))
        assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one), name


@pytest.mark.parametrize("remedy", ["mixout", "recadam"])
def test_what_comes_out_is_a_plain_model(remedy: str, workshop: Workshop, tmp_path: Path) -> None:
    assert train.main(workshop.flags(tmp_path / "run", *COMMON, *REMEDIES[remedy])) == 0
    assert train.main(workshop.flags(tmp_path / "plain", *COMMON)) == 0
    for name in ("encoder/model.safetensors", "heads.safetensors"):
        ours, plain = (load_file(tmp_path / run / "best" / name) for run in ("run", "plain"))
        assert ours.keys() == plain.keys()
    source = ["--data_dir", str(workshop.data_dir), "--task", "cola", "--split", "dev"]
    assert predict.main(["--checkpoint", str(tmp_path / "run"), *source, "--output", str(tmp_path / "out.tsv")]) == 0


def test_the_first_update_of_recadam_leaves_the_encoder_where_it_is(workshop: Workshop, tmp_path: Path) -> None:
    """Before t0 the task is learned by what is new alone: the heads."""
    flags = [*COMMON, "--warmup", "0", "--optim", "recadam_adamax", "--save_per_updates", "1"]
    train_until(2, workshop.flags(tmp_path / "run", *flags))
    trained = load_file(checkpoints(tmp_path / "run")[0] / "model.safetensors")
    before = build_trainer(load_config(workshop.flags(tmp_path / "new", *flags), "")).parallel.model.state_dict()
    differ = {name for name in trained if not torch.equal(trained[name], before[name])}
    assert differ and all(name.startswith(("heads.", "encoder.model.pooler.")) for name in differ)


def test_mixout_at_zero_is_training_without_the_encoders_dropout(workshop: Workshop, tmp_path: Path) -> None:
    trainer = build_trainer(load_config(workshop.flags(tmp_path / "run", "--train_datasets", "cola", *MIXOUT), ""))
    dropouts = [m for m in trainer.parallel.model.encoder.model.modules() if isinstance(m, torch.nn.Dropout)]
    assert dropouts and all(module.p == 0 for module in dropouts)
    assert trainer.parallel.model.heads["cola"].dropout.p > 0


@pytest.mark.parametrize("remedy", ["mixout", "recadam"])
def test_noisytunes_weights_are_those_that_count_as_pretrained(remedy: str, workshop: Workshop, tmp_path: Path) -> None:
    """As are those of an earlier run: what training begins with."""
    flags = [*COMMON, *REMEDIES[remedy], "--noisytune_lambda", "0.15", "--save_per_updates", "1"]
    noisy = build_trainer(load_config(workshop.flags(tmp_path / "new", *flags), "")).parallel.model.state_dict()
    train_until(3, workshop.flags(tmp_path / "run", *flags))
    (checkpoint,) = checkpoints(tmp_path / "run")[-1:]
    name = "encoder.layer.0.output.dense"
    weight = noisy[f"encoder.model.{name}.weight"]
    if remedy == "mixout":
        kept = [load_file(checkpoint / "pretrained.safetensors")[name]]
    else:
        state = load_file(checkpoint / "optimizer.safetensors")
        kept = [v for key, v in state.items() if key.endswith("pretrained") and v.shape == weight.shape]
    assert any(torch.equal(value, weight) for value in kept)
    plain = build_trainer(load_config(workshop.flags(tmp_path / "plain", *COMMON), "")).parallel.model.state_dict()
    assert not torch.equal(weight, plain[f"encoder.model.{name}.weight"]), "the test can tell"


def test_the_plan_tells(workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(workshop.flags(tmp_path / "run", *COMMON, *MIXOUT, "--optim", "recadam_adamax", "--dry_run")) == 0
    told = capsys.readouterr().out
    assert "method   recadam_adamax, Mixout in place of the encoder's dropout" in told
    assert re.search(r"anneal_fun sigmoid, anneal_k 0\.5, anneal_t0 250, pretrain_cof 5000", told) and "p 0.6" in told
    assert "the first 250 hold the encoder to its pretrained weights" in told
    assert "--recadam_pretrain_cof times the learning rate is 5, and a pull above 1 counts as 1" in told
    assert "drawn to the pretrained weights" in told and "plain step" in told


def test_a_middle_below_one_is_a_share_of_the_updates(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = workshop.flags(tmp_path, *COMMON, *RECADAM, "--recadam_anneal_t0", "0.125", "--recadam_pretrain_cof", "5")
    trainer = build_trainer(load_config(flags, ""))
    updates = trainer.state.updates * trainer.config.loop.epochs
    assert {group["anneal_t0"] for group in trainer.state.optimizer.param_groups} == {updates / 8}
    assert trainer.config.recadam.anneal_t0 == 0.125, "what is saved, and read by a run that goes on, is the flag"
    assert train.main([*flags, "--dry_run"]) == 0
    told = capsys.readouterr().out
    assert f"anneal_t0 {updates / 8:g}" in told and "the first" not in told and "counts as 1" not in told


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--mixout_p", "0.9"], "--mixout_p would have no effect: it needs --baseline mixout"),
        (["--baseline", "mixout", "--mixout_p", "1"], r"--mixout_p must be in \[0, 1\), got 1"),
        (["--baseline", "mixout", "--fsdp"], "--baseline mixout contradicts --fsdp"),
        (
            ["--recadam_anneal_k", "1"],
            "--recadam_anneal_k would have no effect: --optim is adamax; it needs --optim recadam_adamax",
        ),
        (
            ["--optim", "recadam_adamw", "--recadam_anneal_fun", "linear", "--recadam_anneal_k", "1"],
            "--recadam_anneal_k would have no effect with --recadam_anneal_fun linear",
        ),
        (["--baseline", "sage", "--optim", "recadam_adamw"], "--baseline sage contradicts --optim recadam_adamw"),
    ],
)
def test_refusals(
    flags: list[str], message: str, workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(workshop.flags(tmp_path / "run", *COMMON, *flags)) == 2
    assert re.search(message, capsys.readouterr().err)
