"""Distillation: the student's loss against its reference, and runs that learn from a teacher."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import predict
import train
from data_utils.errors import InputError
from data_utils.features import FeatureSet
from data_utils.fingerprints import Fingerprint
from data_utils.kinds.kind import softmax
from data_utils.task_def import DataFormat, TaskDef, TaskType
from mt_dnn.batching import SOFT, Batch
from mt_dnn.config import load_config
from mt_dnn.objectives import build, criterion
from mt_dnn.objectives.distill import Distillation, kd_loss
from mt_dnn.teachers import joined_to_rows
from tests.conftest import Workshop
from tests.crash import train_until
from tests.reference.distillation import hard_loss, kl_to_teacher, squared_difference
from tests.test_train import events, losses, results

STUDENT = [[0.5, -1.0, 2.0], [0.0, 3.0, -0.5], [1.5, 1.0, -2.0]]
TEACHER = [[1.0, 0.0, 0.5], [-2.0, 1.0, 1.0], [2.5, -1.0, 0.0]]
LABELS = [2, 1, 0]
FLAGS = ["--epochs", "2", "--log_per_updates", "1"]


def classes(**more: Any) -> TaskDef:
    return TaskDef(name="toy", data_format=DataFormat.PremiseOnly, task_type=TaskType.Classification, n_class=3, **more)


def loss(task: TaskDef, weight: float, temperature: float) -> torch.Tensor:
    targets = {"label": torch.tensor(LABELS), SOFT: torch.tensor(TEACHER)}
    batch = Batch({}, targets, None)  # type: ignore[arg-type]
    return Distillation(weight, temperature)(task, torch.tensor(STUDENT), batch)


@pytest.mark.parametrize("name", [None, "CeCriterion", "KlCriterion"])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("weight", [0.25, 1.0])
def test_the_students_loss_is_hintons(weight: float, temperature: float, name: str | None) -> None:
    expected = 3.0 * sum(
        weight * kl_to_teacher(student, teacher, temperature) + (1 - weight) * hard_loss(student, label)
        for student, teacher, label in zip(STUDENT, TEACHER, LABELS, strict=True)
    )
    assert loss(classes(kd_loss=name, loss_weight=3.0), weight, temperature).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_mt_dnns_squared_error_has_no_temperature(temperature: float) -> None:
    pairs = zip(STUDENT, TEACHER, strict=True)
    expected = sum(squared_difference(student, teacher) for student, teacher in pairs)
    assert loss(classes(kd_loss="MseCriterion"), 1.0, temperature).item() == pytest.approx(expected, rel=1e-6)


def test_a_batch_without_a_teacher_has_the_plain_loss() -> None:
    batch = Batch({}, {"label": torch.tensor(LABELS)}, None)  # type: ignore[arg-type]
    plain, taught = (one(classes(), torch.tensor(STUDENT), batch) for one in (criterion, Distillation(1.0, 2.0)))
    assert torch.equal(plain, taught)


def test_the_gradient_moves_the_student_to_its_teacher() -> None:
    student = torch.tensor(STUDENT, requires_grad=True)
    batch = Batch({}, {"label": torch.tensor(LABELS), SOFT: torch.tensor(TEACHER)}, None)  # type: ignore[arg-type]
    optimizer = torch.optim.Adam([student], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        Distillation(1.0, 2.0)(classes(), student, batch).backward()
        optimizer.step()
    torch.testing.assert_close(student.softmax(-1), torch.tensor(TEACHER).softmax(-1), atol=1e-3, rtol=0)


def test_what_a_task_minimises_without_a_kd_loss_follows_from_its_kind() -> None:
    number = TaskDef(name="toy", data_format=DataFormat.PremiseOnly, task_type=TaskType.Regression)
    assert (kd_loss(classes()), kd_loss(number)) == ("KlCriterion", "MseCriterion")
    with pytest.raises(ValueError, match="task 'toy': Regression is not distilled with kd_loss JSCriterion; use MseC"):
        kd_loss(replace(number, kd_loss="JSCriterion"))


@pytest.mark.parametrize("objective", ["plain", "smart", "freelb", "rdrop"])
def test_every_objective_has_the_students_loss(objective: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_width", lambda model, baseline: 4)
    places = {"data_dir": "data", "init_checkpoint": "encoder", "output_dir": "run", "distill_from": "soft"}
    flags = [part for flag, name in places.items() for part in (f"--{flag}", str(tmp_path / name))]
    flags += ["--train_datasets", "toy", "--distill_weight", "0.7", "--distill_temperature", "2"]
    flags += ["--baseline", objective] if objective != "plain" else []
    built = build.build_objective(load_config(flags, ""), None, [classes()])  # type: ignore[arg-type]
    assert type(built).__name__.lower() == objective
    assert built.criterion == Distillation(0.7, 2.0)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def taught(kinds: Workshop, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A teacher of all kinds of task, and the folder with its soft labels for their training rows."""
    root = tmp_path_factory.mktemp("taught")
    tasks = "cola,share,ner,pick,asked"
    flags = kinds.flags(root / "teacher", "--train_datasets", tasks, "--epochs", "3", "--learning_rate", "5e-3")
    assert train.main([*flags, "--task_def", str(kinds.data_dir.parents[1] / "tasks.yml")]) == 0
    (root / "soft").mkdir()
    for task in tasks.split(","):
        source = ["--data_dir", str(kinds.data_dir), "--split", "train", "--task", task, "--soft_labels"]
        output = ["--output", str(root / "soft" / f"{task}_train.jsonl")]
        assert predict.main(["--checkpoint", str(root / "teacher"), *source, *output]) == 0
    return root / "teacher", root / "soft"


def student(kinds: Workshop, run: Path, soft: Path | str, *more: str) -> list[str]:
    fixed = [
        "--task_def",
        str(kinds.data_dir.parents[1] / "tasks.yml"),
        "--train_datasets",
        "cola,share,ner,pick,asked",
    ]
    return kinds.flags(run, *fixed, *FLAGS, "--distill_from", str(soft), *more)


def test_a_student_of_all_kinds_comes_near_its_teacher(
    kinds: Workshop, taught: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Soft labels alone: that the loss falls shows that each kind's outputs are joined to the right rows."""
    teacher, soft = taught
    more = ["--distill_weight", "1", "--epochs", "12", "--learning_rate", "5e-3", "--log_per_updates", "15"]
    assert train.main(student(kinds, tmp_path / "run", soft, *more, "--dropout_p", "0")) == 0
    told = capsys.readouterr().out
    assert "teacher  weight 1, temperature 1" in told and f"ner: KlCriterion, {soft / 'ner_train.jsonl'}" in told
    assert results(tmp_path / "run")["optim"] == "adamax+distilled"
    curve = losses(tmp_path / "run")
    for task in ("cola", "share", "ner", "pick", "asked"):
        first, last = (next(entry[task] for entry in side if task in entry) for side in (curve, curve[::-1]))
        assert last < 0.7 * first, (task, first, last)


def test_a_teachers_own_weights_have_no_loss_against_it(
    kinds: Workshop, taught: tuple[Path, Path], tmp_path: Path
) -> None:
    """The oracle of joining: a student that is its teacher has no loss against it, once there is no dropout."""
    teacher, soft = taught
    run = tmp_path / "run"
    copy = tmp_path / "teacher"
    shutil.copytree(teacher / "best", copy)
    config = copy / "encoder" / "config.json"
    settings = json.loads(config.read_text()) | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config.write_text(json.dumps(settings))
    rewrite_manifest(copy)
    more = ["--init_checkpoint", str(copy), "--distill_weight", "1", "--dropout_p", "0", "--learning_rate", "1e-12"]
    assert train.main(student(kinds, run, soft, *more, "--train_fraction", "0.5")) == 0
    assert all(value < 1e-6 for entry in losses(run) for value in entry.values()), losses(run)
    assert len({task for entry in losses(run) for task in entry}) == 5


def rewrite_manifest(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in manifest:
        manifest[name] = Fingerprint.of(folder / name)._asdict()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def sst_teacher(workshop: Workshop, root: Path) -> Path:
    """Soft labels of the training rows of SST and STS-B, in a folder, made by a model of an epoch."""
    names = ("sst", "stsb")
    assert train.main(workshop.flags(root / "teacher", "--train_datasets", ",".join(names), "--epochs", "1")) == 0
    (root / "soft").mkdir()
    for task in names:
        source = ["--data_dir", str(workshop.data_dir), "--split", "train", "--task", task, "--soft_labels"]
        output = ["--output", str(root / "soft" / f"{task}_train.jsonl")]
        assert predict.main(["--checkpoint", str(root / "teacher"), *source, *output]) == 0
    return root / "soft"


@pytest.fixture(scope="module")
def soft(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sst_teacher(workshop, tmp_path_factory.mktemp("sst"))


def test_a_student_that_was_killed_goes_on_to_the_bit(
    workshop: Workshop, soft: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two tasks with a teacher and one without, accumulation, part of the rows, noise, bf16; killed, moved, resumed."""
    own = tmp_path / "soft"
    shutil.copytree(soft, own)
    flags = ["--train_datasets", "sst,stsb,cola", "--distill_from", str(own), "--optim", "pats_adamax", "--bf16"]
    flags += ["--batch_size", "2", "--grad_accumulation_step", "3", "--save_per_updates", "3", *FLAGS]
    flags += ["--train_fraction", "0.5", "--distill_weight", "0.7"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train.main(workshop.flags(whole, *flags)) == 0
    assert "cola: labels alone" in capsys.readouterr().out
    train_until(5, workshop.flags(cut, *flags))
    moved = own.rename(tmp_path / "moved")
    with (moved / "sst_train.jsonl").open("a") as file:
        file.write("\n")
    resume = ["--output_dir", str(cut), "--resume", "--distill_from", str(moved)]
    assert train.main(resume) == 2
    shutil.copy(soft / "sst_train.jsonl", moved)
    with (moved / "stsb_train.jsonl").open("a") as file:  # a further line: the same rows, and another file
        file.write('{"uid": "nobody", "logits": [1.0]}\n')
    assert train.main(resume) == 2
    assert "--distill_from: the soft labels of stsb, or its kd_loss, changed" in capsys.readouterr().err
    shutil.copy(soft / "stsb_train.jsonl", moved)
    assert train.main([*resume, "--distill_weight", "0.6"]) == 2
    assert train.main(resume) == 0
    assert (cut / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    weights = [load_file(run / "best" / "heads.safetensors") for run in (whole, cut)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_soft_labels_in_features_are_those_of_a_file(workshop: Workshop, soft: Path, tmp_path: Path) -> None:
    """MT-DNN's key; packed and padded rows learn the same."""
    shutil.copytree(workshop.data_dir, tmp_path / "data", ignore=shutil.ignore_patterns("*cache*", "manifest*"))
    lines = [json.loads(line) for line in (soft / "sst_train.jsonl").read_text().splitlines()]
    by_uid = {line["uid"]: line["logits"] for line in lines}
    path = tmp_path / "data" / "sst_train.json"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row | {"softlabel": by_uid[str(row["uid"])]}) + "\n" for row in rows))
    runs = {"file": str(soft / "sst_train.jsonl"), "features": "features"}
    for name, source in runs.items():
        flags = ["--train_datasets", "sst", *FLAGS, "--distill_from", source, "--data_dir", str(tmp_path / "data")]
        assert train.main(workshop.flags(tmp_path / name, *flags)) == 0
    assert losses(tmp_path / "file") == losses(tmp_path / "features")
    assert events(tmp_path / "file", "eval") == events(tmp_path / "features", "eval")


def edited(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Path], None]:
    """Change the lines of a file of soft labels."""

    def edit(path: Path) -> None:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        change(lines)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    return edit


WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (edited(lambda lines: lines.pop(1)), ".jsonl: no soft labels for 1 of "),
    "twice": (edited(lambda lines: lines.append(lines[2])), "stands in line 3 already"),
    "width": (edited(lambda lines: lines[1]["logits"].append(0.5)), ".jsonl:2: logits has 3 numbers an output"),
    "order": (edited(lambda lines: lines[0]["labels"].reverse()), ".jsonl:1: labels are ['1', '0'], and sst has"),
    "text": (edited(lambda lines: lines[0].update(logits=["a", 1])), ".jsonl:1: logits must hold finite numbers"),
    "large": (edited(lambda lines: lines[0].update(logits=[1e300, 1])), ".jsonl:1: logits must hold finite numbers"),
    "no logits": (edited(lambda lines: lines[0].pop("logits")), ".jsonl:1: expected a JSON object with uid and logits"),
    "probabilities": (
        edited(lambda lines: [line.update(logits=softmax(np.array(line["logits"])).tolist()) for line in lines]),
        ".jsonl: logits of sst_train looks like probabilities",
    ),
    "no JSON": (lambda path: path.write_text("x\n"), ".jsonl:1: not a JSON object"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_soft_labels_are_named(
    workshop: Workshop, soft: Path, tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, message = WRONG[case]
    path = shutil.copy(soft / "sst_train.jsonl", tmp_path / "sst.jsonl")
    change(Path(path))
    flags = workshop.flags(tmp_path / "run", "--train_datasets", "sst", "--distill_from", str(path))
    assert train.main(flags) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_rows_that_share_a_uid_cannot_have_soft_labels(
    make_features: Callable[..., FeatureSet], tmp_path: Path
) -> None:
    """By their order they would be swapped wherever the teacher read them in another one."""
    features = replace(make_features([np.array([5, 7])] * 3, [0, 1, 0]), uids=["a", "a", "b"])
    with pytest.raises(InputError, match="toy_train has 1 uids that stand for several rows, .*: a; give every row"):
        joined_to_rows(features, tmp_path / "soft.jsonl", "logits")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--distill_weight 0.7", "--distill_weight would have no effect without --distill_from"),
        ("--distill_from {soft} --distill_weight 0", "--distill_weight must be in (0, 1], got 0"),
        ("--distill_from {soft} --distill_temperature 0", "--distill_temperature must be > 0 and finite, got 0"),
        (
            "--distill_from {soft} --distill_temperature 2",
            "it cancels out of MseCriterion, which is the kd_loss",
        ),
        ("--distill_from features", "no row of sst_train, stsb_train has the key softlabel"),
        (
            "--distill_from {soft}/sst_train.jsonl",
            "one file, and the run trains on sst_train, stsb_train; give",
        ),
        ("--distill_from {soft}/..", "the folder has no soft labels; expected sst_train.jsonl, stsb_train.jsonl"),
        ("--distill_from nowhere --train_datasets sst", "nowhere: cannot be read"),
    ],
)
def test_what_cannot_be_distilled_is_refused(
    workshop: Workshop, soft: Path, tmp_path: Path, flags: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fixed = ["--train_datasets", "sst,stsb"]
    assert train.main(workshop.flags(tmp_path / "run", *fixed, *flags.format(soft=soft).split())) == 2
    assert message in capsys.readouterr().err
