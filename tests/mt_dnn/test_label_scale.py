"""A regression that is trained on scaled labels: what leaves the run is in the labels' own units."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import predict
import prepro_std
import train
from data_utils.atomic import write_folder
from data_utils.task_def import DataFormat, TaskDef, TaskType
from mt_dnn.model import TASKS_FILE, build_model, export_model
from tests.tiny_models import write_tiny_bert

PRICE = TaskDef(
    name="price",
    data_format=DataFormat.PremiseOnly,
    task_type=TaskType.Regression,
    label_mean=300.0,
    label_std=80.0,
)


def test_an_exported_head_gives_the_labels_and_is_taken_up_in_any_units(tmp_path: Path) -> None:
    source = str(write_tiny_bert(tmp_path / "tiny"))
    model = build_model(source, [PRICE], dropout_p=0.0, seed=1)
    write_folder(tmp_path / "best", lambda folder: export_model(model, model.state_dict(), folder, [PRICE], None))
    assert not {"label_mean", "label_std"} & json.loads((tmp_path / "best" / TASKS_FILE).read_text())["price"].keys()
    tasks = {
        "the labels'": dataclasses.replace(PRICE, label_mean=0.0, label_std=1.0),
        "others": dataclasses.replace(PRICE, label_mean=250.0, label_std=7.0),
        "the same": PRICE,
    }
    states = torch.randn(5, model.encoder.hidden_size)
    wanted = model.heads["price"].linear(states) * 80 + 300  # type: ignore[operator,union-attr]
    for task in tasks.values():
        again = build_model(str(tmp_path / "best"), [task], dropout_p=0.0, seed=2)
        assert again.head_origins == {"price": f"head taken over from {tmp_path / 'best'}"}
        found = again.heads["price"].linear(states) * task.label_std + task.label_mean  # type: ignore[operator,union-attr]
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a table of prices by how many apples there are, its task, and a run on it."""
    root = tmp_path_factory.mktemp("prices")
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 6, 60)
    with (root / "prices.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "price"])
        rows.writerows([f"a {'red ' * int(n)}tea {i}", 1000 + 37.5 * n] for i, n in enumerate(counts))
    encoder = write_tiny_bert(root / "tiny")
    made = ["--model", str(encoder), "--root_dir", str(root), "--table", str(root / "prices.csv"), "--text", "text"]
    assert prepro_std.main([*made, "--label", "price", "--task", "price"]) == 0
    flags = ["--data_dir", str(root / "tiny"), "--task_def", str(root / "price_task_def.yml"), "--no-tensorboard"]
    flags += ["--init_checkpoint", str(encoder), "--train_datasets", "price", "--test_splits", "test"]
    flags += ["--output_dir", str(root / "run"), "--dev_predictions", "--learning_rate", "3e-3", "--epochs", "10"]
    assert train.main([*flags, "--batch_size", "8"]) == 0
    return root


def test_a_table_of_large_numbers_is_learned(trained: Path) -> None:
    """Without a scale the mean alone is a thousand of Adamax's steps away."""
    results = json.loads((trained / "run" / "results.json").read_text())["tasks"]["price"]
    assert results["best"]["score"] > 50 and not results["best"]["constant"]


def test_predictions_of_a_run_are_those_of_its_model(trained: Path, tmp_path: Path) -> None:
    flags = ["--checkpoint", str(trained / "run"), "--data_dir", str(trained / "tiny"), "--split", "dev"]
    assert predict.main([*flags, "--output", str(tmp_path / "dev.tsv")]) == 0
    lines = list(csv.DictReader((tmp_path / "dev.tsv").open(), delimiter="\t"))
    kept = json.loads((trained / "run" / "dev_predictions.json").read_text())
    step = json.loads((trained / "run" / "results.json").read_text())["best_model"]["step"]
    wanted = kept["price"]["dev"]["predictions"][str(step)]
    assert [float(line["prediction"]) for line in lines] == pytest.approx(wanted, rel=1e-5)
    assert 900 < min(wanted) and max(wanted) < 1300


def test_soft_labels_are_in_the_labels_units(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A student of other units learns the same; its plan says how good its teacher is, and what it does not use."""
    soft = tmp_path / "price_train.jsonl"
    flags = ["--checkpoint", str(trained / "run"), "--data_dir", str(trained / "tiny"), "--split", "train"]
    assert predict.main([*flags, "--soft_labels", "--output", str(soft)]) == 0
    assert all(900 < json.loads(line)["logits"][0] < 1300 for line in soft.read_text().splitlines())
    with soft.open("a") as file:
        file.write('{"uid": "nobody", "logits": [1.0], "labels": []}\n')
    task_def = tmp_path / "tasks.yml"
    task_def.write_text(
        "price: {data_format: PremiseOnly, task_type: Regression, label_mean: 900, label_std: 50, "
        "split_names: [train, dev]}\n"
    )
    student = ["--data_dir", str(trained / "tiny"), "--task_def", str(task_def), "--no-tensorboard", "--epochs", "1"]
    student += ["--init_checkpoint", str(trained / "run"), "--train_datasets", "price", "--distill_weight", "1"]
    student += ["--dropout_p", "0", "--learning_rate", "1e-12", "--distill_from", str(soft), "--log_per_updates", "1"]
    capsys.readouterr()
    assert train.main([*student, "--output_dir", str(tmp_path / "student")]) == 0
    told = capsys.readouterr().out
    assert "note     price: labels are trained on as (label - 900) / 50; " in told
    assert f"{soft} (Pearson " in told and " by the labels of these rows; lines of other rows, not used: 1)" in told
    log = [json.loads(line) for line in (tmp_path / "student" / "metrics.jsonl").read_text().splitlines()]
    losses = [entry["loss"]["price"] for entry in log if entry.get("event") == "train"]
    assert losses and max(losses) < 0.2, (
        losses
    )  # dropout inside the encoder; in units of the teacher it is a hundredfold
