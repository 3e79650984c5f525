"""The remedies that change what an update minimises: SMART, FreeLB, R-Drop."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import train
from mt_dnn.config import load_config
from mt_dnn.objectives.embeddings import Tokens
from mt_dnn.objectives.rdrop import twice
from mt_dnn.objectives.smart import Smart, SMARTConfig
from mt_dnn.setup import build_trainer
from mt_dnn.trainer import Trainer
from tests.conftest import Workshop
from tests.crash import train_until
from tests.test_train import losses, results, without_dropout

SMART, FREELB, RDROP = (["--baseline", name] for name in ("smart", "freelb", "rdrop"))
STILL = ["--dropout_p", "0", "--log_per_updates", "1", "--epochs", "2"]


def trainer_of(workshop: Workshop, run: Path, *flags: str) -> Trainer:
    return build_trainer(load_config(workshop.flags(run, "--train_datasets", "cola", *flags), ""))


def updates(trainer: Trainer, count: int) -> None:
    draws = itertools.chain.from_iterable(map(trainer.sampler.epoch, itertools.count()))
    for step, draw in enumerate(itertools.islice(draws, count), start=1):
        assert not trainer.update(draw, step).problem


@pytest.mark.parametrize(
    ("flags", "passes"),
    [
        ([], 1),
        (SMART, 3),
        ([*SMART, "--adv_k", "2"], 4),
        (FREELB, 3),
        ([*FREELB, "--freelb_steps", "2"], 2),
        (RDROP, 2),
    ],
)
@pytest.mark.parametrize("packing", ["on", "off"])
def test_an_update_costs_the_passes_that_the_plan_says(
    flags: list[str], passes: int, packing: str, workshop: Workshop, tmp_path: Path
) -> None:
    trainer = trainer_of(workshop, tmp_path, *flags, "--packing", packing, "--grad_accumulation_step", "2")
    rows = 0

    def count(module: nn.Module, args: tuple[object, ...], kwargs: dict[str, Tensor]) -> None:
        nonlocal rows
        rows += len(kwargs["first_tokens"] if packing == "on" else kwargs["input_ids"])

    trainer.parallel.model.encoder.register_forward_pre_hook(count, with_kwargs=True)
    draw = next(iter(trainer.sampler.epoch(0)))
    trainer.update(draw, 1)
    assert rows == passes * len(draw.rows)
    assert (f"{passes} forward and backward passes an update" in trainer.plan) == (passes > 1)


RESUMED = {
    "smart with pats, accumulated": [*SMART, "--optim", "pats_adamax", "--grad_accumulation_step", "2"],
    "smart, l2 by sequence, bf16": [*SMART, "--adv_p_norm", "l2", "--adv_norm_level", "sequence", "--bf16"],
    "freelb": FREELB,
    "rdrop with sage": [*RDROP, "--optim", "sage_adamax"],
}


@pytest.mark.parametrize("remedy", RESUMED)
def test_resume_equals_never_having_stopped(remedy: str, workshop: Workshop, tmp_path: Path) -> None:
    flags = ["--train_datasets", "cola,stsb", "--epochs", "2", "--save_per_updates", "2", *RESUMED[remedy]]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train.main(workshop.flags(whole, *flags)) == 0
    train_until(4, workshop.flags(cut, *flags))
    assert train.main(["--output_dir", str(cut), "--resume"]) == 0
    last = sorted((whole / "checkpoints").iterdir())[-1].name
    for name in ("model", "optimizer", "random"):
        one, two = (load_file(run / "checkpoints" / last / f"{name}.safetensors") for run in (whole, cut))
        assert all(torch.equal(one[key], two[key]) for key in one), name


@pytest.mark.parametrize("remedy", ["smart", "freelb", "rdrop"])
def test_every_kind_of_task_learns(remedy: str, kinds: Workshop, tmp_path: Path) -> None:
    tasks = "cola,share,ner,pick,asked"
    more = ["--task_def", str(kinds.data_dir.parents[1] / "tasks.yml"), "--epochs", "12", "--learning_rate", "5e-3"]
    flags = kinds.flags(tmp_path / "run", "--train_datasets", tasks, *more, "--baseline", remedy)
    assert train.main([*flags, "--log_per_updates", "15"]) == 0
    curve = losses(tmp_path / "run")
    for task in tasks.split(","):
        first, last = (next(entry[task] for entry in side if task in entry) for side in (curve, curve[::-1]))
        assert last < first, (task, first, last)
    assert results(tmp_path / "run")["optim"] == f"adamax+{remedy}"


@pytest.mark.parametrize("flags", [[*FREELB, "--freelb_steps", "1", "--freelb_init_magnitude", "0"], RDROP])
def test_without_what_disturbs_it_a_remedy_is_plain_training(
    flags: list[str], workshop: Workshop, tmp_path: Path
) -> None:
    """FreeLB with one step from no perturbation; R-Drop without dropout."""
    still = ["--train_datasets", "cola,stsb", *STILL]
    still += ["--init_checkpoint", str(without_dropout(workshop, tmp_path / "encoder"))]
    for name, more in (("plain", []), ("remedy", flags)):
        assert train.main(workshop.flags(tmp_path / name, *still, *more)) == 0
    for mine, theirs in zip(losses(tmp_path / "remedy"), losses(tmp_path / "plain"), strict=True):
        assert mine == pytest.approx(theirs, rel=2e-3)


@pytest.mark.parametrize("flags", [[*FREELB, "--freelb_step_size", "1"], [*SMART, "--adv_epsilon", "0.1"]])
def test_packed_rows_train_as_padded_ones_do(flags: list[str], workshop: Workshop, tmp_path: Path) -> None:
    """A perturbation belongs to its sequence, wherever that lies."""
    still = ["--train_datasets", "cola,stsb", *STILL]
    still += ["--init_checkpoint", str(without_dropout(workshop, tmp_path / "encoder"))]
    for packing in ("on", "off"):
        assert train.main(workshop.flags(tmp_path / packing, *still, *flags, "--packing", packing)) == 0
    for mine, theirs in zip(losses(tmp_path / "on"), losses(tmp_path / "off"), strict=True):
        assert mine == pytest.approx(theirs, rel=5e-3)


@pytest.mark.parametrize("flags", [[*FREELB, "--freelb_step_size", "1"], [*SMART, "--adv_epsilon", "0.1"], RDROP])
def test_accumulated_passes_are_one_larger_batch(flags: list[str], workshop: Workshop, tmp_path: Path) -> None:
    """On a CPU a perturbation's start is the same numbers, too, drawn in one go or in two."""
    still = ["--train_datasets", "cola,stsb", *STILL]
    still += ["--init_checkpoint", str(without_dropout(workshop, tmp_path / "encoder"))]
    for passes, rows in (("1", "8"), ("2", "4")):
        more = ["--batch_size", rows, "--grad_accumulation_step", passes]
        assert train.main([*workshop.flags(tmp_path / passes, *still, *flags), *more]) == 0
    for mine, theirs in zip(losses(tmp_path / "2"), losses(tmp_path / "1"), strict=True):
        assert mine == pytest.approx(theirs, rel=5e-3)


def test_smarts_term_falls_where_it_is_minimised(workshop: Workshop, tmp_path: Path) -> None:
    def roughness(run: str, *flags: str) -> float:
        encoder = str(without_dropout(workshop, tmp_path / f"{run}-encoder"))
        common = ["--init_checkpoint", encoder, "--dropout_p", "0", "--learning_rate", "5e-3", "--epochs", "12"]
        trainer = trainer_of(workshop, tmp_path / run, *common, *flags)
        updates(trainer, 30)
        data = trainer.state.data["cola"]
        batch, model = trainer.collator(data.train, np.arange(24)), trainer.parallel.model.eval()
        width = model.encoder.model.get_input_embeddings().embedding_dim
        strong = {"epsilon": 0.3, "step_size": 0.3}
        torch.manual_seed(5)
        with_term, without = (
            next(iter(Smart(SMARTConfig(alpha=alpha, **strong), width)(model, data.task, batch))).item()
            for alpha in (1.0, 1e-12)
        )
        return with_term - without

    plain = roughness("plain")
    smooth = roughness("smart", *SMART, "--adv_alpha", "20", "--adv_epsilon", "0.3", "--adv_step_size", "0.3")
    assert 0 < smooth < plain / 2, (smooth, plain)


@pytest.mark.parametrize("packing", ["on", "off"])
@pytest.mark.parametrize("order", ["l2", "inf"])
def test_norms_are_each_tokens_or_each_sequences(order: str, packing: str, workshop: Workshop, tmp_path: Path) -> None:
    trainer = trainer_of(workshop, tmp_path, "--packing", packing)
    batch = trainer.collator(trainer.state.data["cola"].train, np.arange(12))
    tokens = Tokens.of(batch)
    values = torch.randn(len(tokens.places), 8)
    by_token = values.norm(dim=1) if order == "l2" else values.abs().amax(1)
    torch.testing.assert_close(tokens.norms(values, order, "token").flatten(), by_token)
    parts = by_token.split(tokens.lengths.tolist())
    whole = torch.cat([(part.norm() if order == "l2" else part.max()).expand(len(part)) for part in parts])
    torch.testing.assert_close(tokens.norms(values, order, "sequence").flatten(), whole)
    assert tokens.norms(tokens.within(values, 0.5, order, "sequence"), order, "sequence").max() <= 0.5 + 1e-6
    lines = tokens.to_lines(values)
    assert torch.equal(lines.flatten(0, 1)[tokens.places], values)
    assert lines.abs().sum().item() == pytest.approx(values.abs().sum().item(), rel=1e-5)
    ids = batch.inputs["input_ids"].flatten()
    data = trainer.state.data["cola"].train
    assert np.array_equal(ids[tokens.places].numpy(), data.token_ids[: len(tokens.places)])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--adv_alpha", "2"], "--adv_alpha would have no effect: it needs --baseline smart"),
        ([*FREELB, "--rdrop_alpha", "2"], "--rdrop_alpha would have no effect: it needs --baseline rdrop"),
        ([*FREELB, "--freelb_steps", "0"], r"--freelb_steps must be in \[1, ∞\), got 0"),
        ([*SMART, "--fp16"], "--baseline smart contradicts --fp16"),
        ([*FREELB, "--fp16"], "--baseline freelb contradicts --fp16"),
        ([*RDROP, "--noisytune_lambda", "0"], "--noisytune_lambda must be > 0"),
    ],
)
def test_refusals(
    flags: list[str], message: str, workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(workshop.flags(tmp_path / "run", "--train_datasets", "cola", *flags)) == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_measure_that_does_not_fit_is_refused_and_only_smart_heeds_it(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = tmp_path / "tasks.yml"
    given = Path("experiments/glue/glue_task_def.yml").read_text()
    tasks.write_text(
        given.replace("\nstsb:\n", "\nstsb:\n  adv_loss: JSCriterion\n").replace("  adv_loss: MseCriterion\n", "")
    )
    flags = ["--train_datasets", "stsb", "--task_def", str(tasks), "--dry_run"]
    assert train.main(workshop.flags(tmp_path / "run", *flags, *SMART)) == 2
    assert "task 'stsb': adv_loss JSCriterion does not fit a Regression task" in capsys.readouterr().err
    assert train.main(workshop.flags(tmp_path / "run", *flags, *RDROP)) == 0


@pytest.mark.parametrize("packing", ["on", "off"])
@pytest.mark.parametrize("task", ["cola", "share", "ner", "pick", "asked"])
def test_rdrops_copies_are_read_each_by_itself(task: str, packing: str, kinds: Workshop, tmp_path: Path) -> None:
    """Two dropout masks are two only if the second output comes from the second copy's tokens."""
    where = ["--task_def", str(kinds.data_dir.parents[1] / "tasks.yml"), "--packing", packing]
    trainer = build_trainer(load_config(kinds.flags(tmp_path, "--train_datasets", task, *where), ""))
    model, draw = trainer.parallel.model.eval(), next(iter(trainer.sampler.epoch(0)))
    inputs = trainer.collator(trainer.state.data[task].train, draw.rows).inputs
    once, both = model(task, inputs), twice(inputs)
    torch.testing.assert_close(model(task, both), torch.cat([once, once]), rtol=1e-5, atol=1e-6)
    both["input_ids"][len(inputs["input_ids"]) :] = 7
    one, other = model(task, both).chunk(2)
    torch.testing.assert_close(one, once, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(other, once, rtol=1e-2, atol=1e-3)


def test_the_plan_tells_what_a_remedy_lacks_without_dropout(workshop: Workshop, tmp_path: Path) -> None:
    still = ["--init_checkpoint", str(without_dropout(workshop, tmp_path / "encoder"))]
    told = {
        "heads' dropout alone": [*RDROP, *still],
        "are the same: this is plain fine-tuning": [*RDROP, *still, "--dropout_p", "0"],
        "a perturbation of 1e-05 is lost where --bf16 rounds": [*SMART, *still, "--bf16"],
    }
    for note, flags in told.items():
        assert note in trainer_of(workshop, tmp_path / "run", *flags).plan
    large = ["--adv_noise_var", "0.01", "--adv_epsilon", "0.01"]
    for silent in (RDROP, [*SMART, "--bf16"], [*SMART, *still], [*SMART, *still, "--bf16", *large]):
        assert "nothing drops out" not in trainer_of(workshop, tmp_path / "run", *silent).plan
