"""Several processes train as one does: whole replicas (DDP) and shards (FSDP), beside a run of a single process."""

from __future__ import annotations

import functools
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import train
from tests.conftest import Workshop
from tests.distributed.compare import CONTINUOUS, LEARNING_RATE, assert_close_run, assert_same_run, tensors
from tests.distributed.launch import Group, Outcome
from tests.distributed.worker import TRICKS
from tests.test_train import losses, results
from tests.tiny_models import SHAPE

GroupOf = Callable[[int], Group]

TASKS = ["--train_datasets", "cola,stsb"]  # with 24 training rows each
SPREAD = {"DDP, 2 ranks": (2, []), "DDP, 3 ranks": (3, []), "FSDP, 2 ranks": (2, ["--fsdp"])}
PATS = ["--optim", "pats_adamax", "--pats_lambda", "1e-3", *CONTINUOUS]
METHODS = {
    "NoisyTune, batches of 23 rows and of 1": ["--baseline", "noisytune", "--batch_size", "23", "--epochs", "2"],
    "PATS, passes of 23 rows and of 1": [*PATS, "--batch_size", "23", "--grad_accumulation_step", "2", "--epochs", "4"],
    "SAGE, passes of 2 rows": ["--optim", "sage_adamw", "--batch_size", "2", "--grad_accumulation_step", "3"]
    + ["--epochs", "2"],
    "RecAdam, batches of 23 rows and of 1": ["--optim", "recadam_adamax", "--recadam_anneal_t0", "4", "--batch_size"]
    + ["23", "--recadam_pretrain_cof", "100", "--epochs", "3"],
    "FreeLB, passes of 23 rows and of 1": ["--baseline", "freelb", "--freelb_init_magnitude", "0", "--batch_size", "23"]
    + ["--grad_accumulation_step", "2", "--epochs", "2"],
    "R-Drop, batches of 23 rows and of 1": ["--baseline", "rdrop", "--batch_size", "23", "--epochs", "2"],
}
"""Several methods with updates that cannot be shared out evenly, or leave a rank without any row."""


@pytest.fixture(scope="module")
def rehearsed(
    workshop: Workshop, repeatable: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[list[str], Path]]:
    """The flags of a run that has nothing random but its noise, and the folder where one process has run it."""

    @functools.cache
    def rehearse(*flags: str) -> tuple[list[str], Path]:
        fixed = ["--dropout_p", "0", "--learning_rate", str(LEARNING_RATE), "--log_per_updates", "1"]
        together = [*TASKS, "--init_checkpoint", str(repeatable), *fixed, *flags]
        folder = tmp_path_factory.mktemp("one") / "run"
        assert train.main(workshop.flags(folder, *together)) == 0
        return together, folder

    return rehearse


@pytest.fixture(scope="module")
def soft_labels(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a teacher of CoLA says of each row; no two rows have the same."""
    folder = tmp_path_factory.mktemp("soft")
    uids = [json.loads(line)["uid"] for line in (workshop.data_dir / "cola_train.json").read_text().splitlines()]
    said = [
        {"uid": uid, "labels": ["0", "1"], "logits": [math.sin(place), 2 * math.cos(place)]}
        for place, uid in enumerate(uids)
    ]
    (folder / "cola_train.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in said))
    return folder


def train_on(group: Group, flags: list[str], trick: str = "nothing", **options: Any) -> list[Outcome]:
    """Train to the end, without a warning from any rank."""
    outcomes = group.train(flags, trick, **options)
    assert [(outcome.code, outcome.err) for outcome in outcomes] == [(0, "")] * group.ranks
    return outcomes


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("spread", SPREAD)
def test_as_one_process(
    workshop: Workshop, tmp_path: Path, group_of: GroupOf, rehearsed: Callable, spread: str, method: str
) -> None:
    ranks, more = SPREAD[spread]
    flags, one = rehearsed(*METHODS[method])
    train_on(group_of(ranks), workshop.flags(tmp_path, *flags, *more))
    assert_close_run(one, tmp_path)
    assert (results(one)["processes"], results(tmp_path)["processes"]) == (1, ranks)


@pytest.mark.parametrize("spread", SPREAD)
def test_a_student_as_one_process(
    workshop: Workshop, tmp_path: Path, group_of: GroupOf, rehearsed: Callable, soft_labels: Path, spread: str
) -> None:
    """A teacher for one of the two tasks; each rank joins its own rows to what the teacher says of them."""
    ranks, more = SPREAD[spread]
    sizes = ["--batch_size", "23", "--grad_accumulation_step", "2", "--epochs", "2"]
    flags, one = rehearsed("--distill_from", str(soft_labels), "--distill_weight", "0.9", *sizes)
    train_on(group_of(ranks), workshop.flags(tmp_path, *flags, *more))
    assert_close_run(one, tmp_path)
    untaught = losses(rehearsed(*sizes)[1])
    assert [loss for loss, plain in zip(losses(one), untaught, strict=True) if loss != plain]


@pytest.mark.parametrize("spread", SPREAD)
def test_smart_as_one_process(
    workshop: Workshop, tmp_path: Path, group_of: GroupOf, rehearsed: Callable, spread: str
) -> None:
    """The start of a perturbation is random in each process by itself, so here it is not."""
    ranks, more = SPREAD[spread]
    sizes = ["--batch_size", "23", "--grad_accumulation_step", "2", "--epochs", "2", "--replica_check_per_updates", "1"]
    large = ["--adv_noise_var", "0.1", "--adv_step_size", "0.1", "--adv_epsilon", "0.2"]
    with TRICKS["equal_starts"]([]):
        flags, one = rehearsed("--baseline", "smart", *sizes, *large)
    train_on(group_of(ranks), workshop.flags(tmp_path, *flags, *more), "equal_starts")
    assert_close_run(one, tmp_path)
    smart, plain = (sum(losses(run)[0].values()) for run in (one, rehearsed(*sizes)[1]))  # of one update, of one task
    assert smart > plain + 1e-3, "what the perturbations add to the loss is lost in rounding"


def test_the_noise_that_is_compared_is_sizeable(rehearsed: Callable) -> None:
    noisy, still = (
        tensors(rehearsed(*method, *METHODS["PATS, passes of 23 rows and of 1"][len(PATS) :])[1], "model")
        for method in (PATS, [])
    )
    name = "encoder.model.encoder.layer.0.output.dense.weight"
    assert (noisy[name] - still[name]).abs().max() > 10 * LEARNING_RATE


def shared_layers(size: int) -> transformers.PreTrainedModel:
    """ALBERT: one layer, which a forward pass calls several times."""
    shape = SHAPE | {"num_hidden_layers": 3, "embedding_size": 16, "attention_probs_dropout_prob": 0.0}
    return transformers.AlbertModel(
        transformers.AlbertConfig(vocab_size=size, max_position_embeddings=64, hidden_dropout_prob=0.0, **shape)
    )


def without_pooler(size: int) -> transformers.PreTrainedModel:
    """DistilBERT: its pooler is ours."""
    shape = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "dropout": 0.0, "attention_dropout": 0.0}
    return transformers.DistilBertModel(
        transformers.DistilBertConfig(vocab_size=size, max_position_embeddings=64, **shape)
    )


@pytest.mark.parametrize("make", [shared_layers, without_pooler], ids=["ALBERT", "DistilBERT"])
def test_other_encoders_in_shards(
    workshop: Workshop, tmp_path: Path, group_of: GroupOf, rehearsed: Callable, make: Callable
) -> None:
    encoder = tmp_path / "encoder"
    tokenizer = transformers.AutoTokenizer.from_pretrained(workshop.encoder)
    tokenizer.save_pretrained(encoder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        make(len(tokenizer)).save_pretrained(encoder)
    passes = ["--batch_size", "4", "--grad_accumulation_step", "2", "--epochs", "1"]
    flags, one = rehearsed("--init_checkpoint", str(encoder), *PATS, *passes)
    train_on(group_of(2), workshop.flags(tmp_path / "run", *flags, "--fsdp"))
    assert_close_run(one, tmp_path / "run")


def test_mixout_keeps_replicas_equal(workshop: Workshop, tmp_path: Path, group_of: GroupOf) -> None:
    """Each rank has masks of its own, all have the same weights, and the same command gives the same bits."""
    flags = [*TASKS, "--baseline", "mixout", "--epochs", "2", "--log_per_updates", "1"]
    flags += ["--replica_check_per_updates", "1", "--learning_rate", str(LEARNING_RATE)]
    first, again = (
        [outcome.notes for outcome in train_on(group_of(2), workshop.flags(tmp_path / name, *flags), "weights_noted")]
        for name in ("first", "again")
    )
    assert first[0] == first[1] == again[0]


def test_with_dropout(workshop: Workshop, tmp_path: Path, group_of: GroupOf) -> None:
    """Dropout hides something else on each rank, replicas stay equal, and the same command gives the same bits."""
    flags = [*TASKS, *PATS, "--epochs", "2", "--log_per_updates", "1", "--replica_check_per_updates", "1"]
    weights, masks = (
        [outcome.notes for outcome in train_on(group_of(3), workshop.flags(tmp_path / trick, *flags), trick)]
        for trick in ("weights_noted", "dropout_noted")
    )
    assert weights[0] == weights[1] == weights[2]
    assert len(weights[0]) == len(set(weights[0])) == results(tmp_path / "weights_noted")["updates"] == 12
    assert len({str(mask) for mask in masks}) == 3
    assert_same_run(tmp_path / "weights_noted", tmp_path / "dropout_noted")


@pytest.mark.parametrize("every", ["1", "0"], ids=["at once", "where it would be saved"])
def test_a_replica_that_differs_ends_the_run(workshop: Workshop, tmp_path: Path, group_of: GroupOf, every: str) -> None:
    """By the last bit of one weight, and of the last of the tensors: a head's."""
    flags = workshop.flags(tmp_path, *TASKS, "--epochs", "1", "--replica_check_per_updates", every)
    outcomes = group_of(3).train(flags, "tampering", rank=2, update=3, name="heads.stsb.linear.bias")
    assert [outcome.code for outcome in outcomes] == [1, 1, 1]
    assert [outcome.err for outcome in outcomes[1:]] == ["", ""]
    message = outcomes[0].err
    assert message.startswith("stopped: the processes no longer have the same weights: 1 of 43 tensors differ, ")
    assert "heads.stsb.linear.bias" in message and message.count("\n") == 1
    assert not list((tmp_path / "checkpoints").glob("*")), "what differs must not be saved"


@pytest.mark.parametrize("more", [[], ["--fsdp"]], ids=["DDP", "FSDP"])
def test_a_bad_update_is_told_once(
    workshop: Workshop, repeatable: Path, tmp_path: Path, group_of: GroupOf, more: list[str]
) -> None:
    """A number that is not finite on one rank, by its row, ends the run on all of them."""
    encoder = tmp_path / "encoder"
    shutil.copytree(repeatable, encoder)
    model = transformers.AutoModel.from_pretrained(encoder)
    longest = 27  # tokens of STS-B's longest rows; few rows reach the last position
    with torch.no_grad():
        model.embeddings.position_embeddings.weight[longest - 1 :] = torch.nan
    model.save_pretrained(encoder)
    flags = ["--train_datasets", "stsb", "--init_checkpoint", str(encoder), "--batch_size", "2", *more]
    first, second = group_of(2).train(workshop.flags(tmp_path / "run", *flags))
    assert (first.code, second.code, second.err) == (1, 1, "")
    assert first.err.startswith("stopped: update ") and "the update was not applied. uids: " in first.err
    assert first.err.count("stopped:") == 1
    assert not (tmp_path / "run" / "results.json").exists()


@pytest.mark.parametrize(("ranks", "more"), [(3, []), (2, ["--fsdp"])], ids=["DDP, 3 ranks", "FSDP, 2 ranks"])
def test_evaluation_is_that_of_one_process(
    workshop: Workshop, tmp_path: Path, group_of: GroupOf, ranks: int, more: list[str]
) -> None:
    """To the last bit, with as many batches as ranks, fewer, more, and numbers that do not divide."""
    sizes = [1, 3, 5, 6, 64]  # 12, 4, 3, 2 and 1 batches of the 12 rows
    tasks = ["--train_datasets", "stsb,mnli", "--batch_size", "24", "--learning_rate", "1e-2"]
    flags = workshop.flags(tmp_path, *tasks, "--epochs", "1", *more)
    outcomes = train_on(group_of(ranks), flags, "predictions_compared", batch_sizes=sizes)
    splits = [("stsb", "dev"), ("mnli", "matched_dev"), ("mnli", "mismatched_dev")]
    # Rows, distinct predictions (else a lost row would not be seen), whether all are equal.
    expected = [[*split, size, 12, 12, True] for split in splits for size in sizes]
    for outcome in outcomes:
        assert outcome.notes == expected


@pytest.mark.parametrize("more", [[], ["--fsdp"]], ids=["DDP", "FSDP"])
def test_the_first_process_writes_for_all(
    workshop: Workshop, tmp_path: Path, group_of: GroupOf, more: list[str]
) -> None:
    folder = tmp_path / "run"
    flags = [*TASKS, "--epochs", "2", "--keep_checkpoints", "1", "--save_per_updates", "2", "--tensorboard", *more]
    first, second = train_on(group_of(2), workshop.flags(folder, *flags), "writes_noted", folder=str(folder))
    for name in ("metrics.jsonl", "config.yaml", "results.json", "best", "checkpoints", "tensorboard"):
        assert any(f"{folder}/{name}" in note for note in first.notes), name
    assert (second.notes, second.out) == ([], "")


BAD = {
    "an unknown task": (["--train_datasets", "colla"], "unknown task 'colla'"),
    "missing data": ([*TASKS, "--data_dir", "nowhere"], "nowhere"),
    "a typo": ([*TASKS, "--optm", "adamw"], "--optm"),
    "fp16 in shards": ([*TASKS, "--fp16", "--fsdp"], "--fp16 contradicts --fsdp"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_is_told_once(workshop: Workshop, tmp_path: Path, group_of: GroupOf, bad: str) -> None:
    more, expected = BAD[bad]
    outcomes = group_of(2).train(workshop.flags(tmp_path / "run", *more))
    assert [outcome.code for outcome in outcomes] == [2, 2]
    said = outcomes[0].err
    assert said.startswith("error: ") and expected in said and said.count("error:") == 1
    assert (outcomes[0].out, outcomes[1].out, outcomes[1].err) == ("", "", "")
    assert not (tmp_path / "run").exists()


def test_shards_need_several_processes(workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(workshop.flags(tmp_path / "run", *TASKS, "--fsdp")) == 2
    assert "--fsdp shares the model out over several processes: start them with torchrun" in capsys.readouterr().err


@pytest.mark.parametrize(("more", "how"), [([], "whole (DDP)"), (["--fsdp"], "sharded (FSDP)")], ids=["DDP", "FSDP"])
def test_the_plan_is_shown_once(
    workshop: Workshop, tmp_path: Path, group_of: GroupOf, more: list[str], how: str
) -> None:
    first, second = train_on(group_of(2), workshop.flags(tmp_path / "run", *TASKS, "--dry_run", *more))
    assert first.out.count("encoder  ") == 1 and f"x 2 processes, {how}" in first.out
    assert "27,075 parameters with heads" in first.out, "the whole model's, not a shard's"
    assert second.out == ""
    assert not (tmp_path / "run").exists()
