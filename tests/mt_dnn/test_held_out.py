"""`--test_splits`: splits that choose nothing are scored once, with the model in best/."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, precision_score, recall_score

import train
from data_utils.bootstrap import score_interval
from data_utils.errors import SignalledError
from data_utils.features import load_features
from data_utils.kinds.kind import Predictions
from data_utils.task_def import TaskDef, load_task_defs
from mt_dnn import trainer
from mt_dnn.predict import TrainedModel
from mt_dnn.sections import LoopConfig
from tests.conftest import Workshop
from tests.test_train import results

NAMES = "cola,share,ner,pick,asked"


@pytest.fixture(scope="module")
def labelled(kinds: Workshop, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workshop, Path]:
    """All kinds of task, whose test splits have labels: more dev rows, as it happens."""
    root = tmp_path_factory.mktemp("labelled")
    shutil.copytree(kinds.data_dir, root / "features")
    (root / "features" / "manifest.json").unlink()
    for name in NAMES.split(","):
        shutil.copy(root / "features" / f"{name}_train.json", root / "features" / f"{name}_test.json")
    return Workshop(root / "features", kinds.encoder), kinds.data_dir.parents[1] / "tasks.yml"


@pytest.fixture(scope="module")
def trained(labelled: tuple[Workshop, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run") / "run"
    workshop, tasks = labelled
    flags = ["--train_datasets", NAMES, "--task_def", str(tasks), "--test_splits", "test", "--epochs", "4"]
    assert train.main(workshop.flags(run, *flags, "--learning_rate", "3e-3", "--best_by", "cola")) == 0
    return run


def of_test(run: Path, task: str) -> dict:
    return results(run)["tasks"][task]["test"]


def test_the_scores_are_those_of_the_best_model(labelled: tuple[Workshop, Path], trained: Path) -> None:
    """And not of the last one: best/, loaded anew, predicts the same."""
    workshop, tasks = labelled
    assert results(trained)["best_model"]["step"] < results(trained)["updates"], "the last epoch is the best: no test"
    model = TrainedModel.load(str(trained))
    assert list(model.tasks) == list(load_task_defs(tasks)) == NAMES.split(",")
    for name, task in model.tasks.items():
        features = load_features(workshop.data_dir, task, "test")
        predicted = model.predict(features, LoopConfig(), 512)
        gold = task.kind.gold(features)
        expected = {metric: 100 * task.kind.metrics[metric](predicted, gold) for metric in task.metric_meta}
        assert of_test(trained, name)["metrics"] == pytest.approx(expected, abs=1e-9)
        assert of_test(trained, name)["score"] == pytest.approx(expected[task.primary_metric], abs=1e-9)
        low, high = of_test(trained, name)["interval"]
        assert low <= of_test(trained, name)["score"] <= high


def test_they_stand_beside_dev_and_choose_nothing(
    labelled: tuple[Workshop, Path], trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workshop, tasks = labelled
    flags = ["--train_datasets", NAMES, "--task_def", str(tasks), "--epochs", "4", "--learning_rate", "3e-3"]
    assert train.main(workshop.flags(tmp_path / "plain", *flags, "--best_by", "cola")) == 0
    with_test, plain = results(trained), results(tmp_path / "plain")
    for name in NAMES.split(","):
        with_test["tasks"][name].pop("test")
    for timed in ("samples_per_second", "wall_seconds", "save_seconds"):
        del with_test[timed], plain[timed]
    assert with_test == plain
    told = [json.loads(line)["event"] for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert told[-2:] == ["test", "end"] and told.count("test") == 1
    capsys.readouterr()
    assert train.main(["--output_dir", str(trained), "--resume"]) == 0
    out = capsys.readouterr().out
    assert f"test, model of best/: cola MCC {of_test(trained, 'cola')['score']:.2f}, 95 % interval over rows " in out


def test_classes_and_entities(labelled: tuple[Workshop, Path], trained: Path) -> None:
    workshop, tasks = labelled
    task = load_task_defs(tasks)["cola"]
    features = load_features(workshop.data_dir, task, "test")
    values, gold = TrainedModel.load(str(trained)).predict(features, LoopConfig(), 512).values, features.labels
    found = of_test(trained, "cola")["splits"]["test"]
    assert found["rows"] == len(gold)
    assert found["confusion"] == confusion_matrix(gold, values, labels=[0, 1]).tolist()
    for label in (0, 1):
        at = found["classes"][str(label)]
        for key, metric in {"precision": precision_score, "recall": recall_score, "f1": f1_score}.items():
            assert at[key] == pytest.approx(metric(gold, values, pos_label=label, zero_division=0))
        assert at["number"] == (gold == label).sum()
    assert set(of_test(trained, "ner")["splits"]["test"]["entities"]) == {"who"}
    assert of_test(trained, "pick")["splits"]["test"] == {"rows": 24}


def test_resume_of_a_run_that_was_cut_before_its_test(
    labelled: tuple[Workshop, Path], trained: Path, tmp_path: Path
) -> None:
    """The checkpoint is that of the last epoch; the scores are those of the best one all the same."""
    shutil.copytree(trained, tmp_path / "cut")
    (tmp_path / "cut" / "results.json").unlink()
    assert train.main(["--output_dir", str(tmp_path / "cut"), "--resume"]) == 0
    assert_same_test(tmp_path / "cut", trained)


def assert_same_test(run: Path, reference: Path) -> None:
    for name in NAMES.split(","):
        assert of_test(run, name) == of_test(reference, name)
    assert (run / "metrics.jsonl").read_bytes() == (reference / "metrics.jsonl").read_bytes()


def test_a_signal_while_they_are_scored(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By then best/ is loaded: the last checkpoint stands, and the run goes on from there."""
    run = tmp_path / "cut"
    shutil.copytree(trained, run)
    (run / "results.json").unlink()
    newest = max((run / "checkpoints").iterdir())
    before = {path.name: path.read_bytes() for path in newest.iterdir()}

    def interrupted(*arguments: object) -> dict:
        os.kill(os.getpid(), signal.SIGTERM)
        return score_test(*arguments)

    score_test = trainer.score_test
    monkeypatch.setattr(trainer, "score_test", interrupted)
    assert train.main(["--output_dir", str(run), "--resume"]) == SignalledError.exit_code
    assert "SIGTERM came after update" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in newest.iterdir()} == before
    monkeypatch.undo()
    assert train.main(["--output_dir", str(run), "--resume"]) == 0
    assert_same_test(run, trained)


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        (",", "--test_splits: no split named, got ','; leave the flag out for none"),
        ("gone", "--test_splits: no evaluated task has a split 'gone'; there are: train, dev, test"),
        ("dev", "--test_splits: cola is evaluated on its split dev; a test split is one that chooses nothing"),
        ("train", "--test_splits: cola is trained on its split train; a test split is one that chooses nothing"),
        ("test", "labels of cola_test are the same: they seem to stand for labels that are not known"),
    ],
)
def test_splits_that_are_no_test(
    workshop: Workshop, tmp_path: Path, splits: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--train_datasets", "cola", "--test_splits", splits]
    assert train.main(workshop.flags(tmp_path / "run", *flags)) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_interval_covers_what_it_says() -> None:
    """Of many splits drawn from one population some 95 % have an interval that holds the population's accuracy."""
    task = TaskDef.from_dict("toy", {"data_format": "PremiseOnly", "task_type": "Classification"})
    rng, accuracy, held = np.random.default_rng(0), 0.8, 0
    for seed in range(60):
        gold = rng.integers(2, size=200)
        right = rng.random(200) < accuracy
        low, high = score_interval(task, [(Predictions(np.where(right, gold, 1 - gold)), gold)], seed)
        held += low <= 100 * accuracy <= high
        assert 4 < high - low < 16
    assert 52 <= held <= 60
