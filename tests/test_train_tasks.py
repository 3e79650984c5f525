"""train.py with flags about several tasks: shares of updates, and what the best model is chosen by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

import train
from data_utils.features import FeatureSet
from data_utils.task_def import TaskDef
from mt_dnn.evaluate import Evaluator, Scored
from tests.conftest import Workshop
from tests.crash import train_until
from tests.test_train import events, results

FLAGS = {
    "best_by": "--best_by stsb --early_stopping 2",
    "temperature": "--sampler temperature --sampler_temperature 3",
    "main_task": "--sampler main_task --ratio 0.7",
    "cap": "--max_rows_per_task 11",
}


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS.keys())
def test_resume_equals_never_having_stopped(workshop: Workshop, tmp_path: Path, flags: str) -> None:
    common = ["--train_datasets", "cola,stsb,mnli", "--epochs", "3", "--save_per_updates", "2", *flags.split()]
    common += ["--log_per_updates", "1"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train.main(workshop.flags(whole, *common)) == 0
    train_until(8, workshop.flags(cut, *common))
    assert train.main(["--output_dir", str(cut), "--resume"]) == 0
    assert (cut / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert results(cut)["best_model"] == results(whole)["best_model"]
    last = sorted((whole / "checkpoints").iterdir())[-1].name
    for name in ("model", "optimizer", "random"):
        one, other = (load_file(run / "checkpoints" / last / f"{name}.safetensors") for run in (cut, whole))
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one), name


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS.keys())
def test_a_run_from_before_a_flag_does_not_take_it(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: str
) -> None:
    """Its config.yaml does not name the flag; the default is what it ran with."""
    assert train.main(workshop.flags(tmp_path, "--train_datasets", "cola,stsb", "--epochs", "1")) == 0
    (tmp_path / "results.json").unlink()
    settings = yaml.safe_load((tmp_path / "config.yaml").read_text())
    for name in ("best_by", "sampler", "sampler_temperature", "ratio", "max_rows_per_task"):
        del settings[name]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    assert train.main(["--output_dir", str(tmp_path), "--resume", *flags.split()]) == 2
    message = capsys.readouterr().err
    assert flags.split()[0] in message and "a resumed run keeps its settings" in message
    assert train.main(["--output_dir", str(tmp_path), "--resume"]) == 0


@pytest.mark.parametrize(("by", "best_epoch", "best_score"), [("mean", 2, 11 / 3), ("stsb", 1, 4.0), ("cola", 4, 4.0)])
def test_the_best_model_is_that_of_the_chosen_task(
    by: str,
    best_epoch: int,
    best_score: float,
    workshop: Workshop,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What so small a model scores differs from processor to processor, so each epoch's scores are given.
    given = {"cola": iter([1.0, 2.0, 3.0, 4.0]), "stsb": iter([4.0, 3.0, 2.0, 1.0]), "rte": iter([1.0, 6.0, 1.0, 1.0])}
    genuine = Evaluator.score

    def score(evaluator: Evaluator, task: TaskDef, splits: Mapping[str, FeatureSet]) -> Scored:
        scored = genuine(evaluator, task, splits)
        return scored._replace(scores=scored.scores | {"score": next(given[task.name])})

    monkeypatch.setattr(Evaluator, "score", score)
    flags = ["--train_datasets", "cola,stsb,rte", "--epochs", "4", "--best_by", by]
    assert train.main(workshop.flags(tmp_path, *flags)) == 0
    out, evaluations = capsys.readouterr().out, events(tmp_path, "eval")
    step = evaluations[best_epoch - 1]["step"]
    best = {"by": by, "score": pytest.approx(best_score), "epoch": best_epoch, "step": step}
    assert results(tmp_path)["best_model"] == best
    assert [e["best"] for e in evaluations] == [epoch <= best_epoch for epoch in (1, 2, 3, 4)]
    assert (f"best/    chosen by {by} alone" in out) == (by != "mean")
    assert (f"chosen by {by}\n" in out.split("metric")[-1]) == (by != "mean")


def test_a_run_stops_early_by_the_chosen_task(workshop: Workshop, tmp_path: Path) -> None:
    flags = ["--train_datasets", "cola,stsb", "--epochs", "30", "--early_stopping", "2", "--best_by", "cola"]
    assert train.main(workshop.flags(tmp_path, *flags)) == 0
    evaluations = events(tmp_path, "eval")
    assert [e["best"] for e in evaluations[-3:]] == [True, False, False] and len(evaluations) < 30
    scores = [e["tasks"]["cola"]["score"] for e in evaluations]
    assert max(scores) == scores[-3]


def test_the_plan_shows_each_tasks_share(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def plan(*flags: str) -> list[str]:
        flags = ("--train_datasets", "cola,stsb,mnli", "--dry_run", *flags)
        assert train.main(workshop.flags(tmp_path, *flags)) == 0
        return capsys.readouterr().out.splitlines()

    lines = plan("--max_rows_per_task", "10")
    assert [line.split()[-3] for line in lines if line.startswith(("cola ", "stsb ", "mnli "))] == ["2", "2", "2"]
    assert any(line.endswith("10 rows an epoch, drawn anew each epoch (--max_rows_per_task)") for line in lines)
    assert "data     all rows: no task has more (--max_rows_per_task)" in plan("--max_rows_per_task", "1000")
    assert any(line.endswith("sampler main_task 0.5") for line in plan("--sampler", "main_task", "--ratio", "0.5"))
    lines = plan("--sampler", "temperature", "--sampler_temperature", "5")
    assert any(line.endswith("sampler temperature 5") for line in lines)


def test_a_task_that_is_not_evaluated_chooses_nothing(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--train_datasets", "cola,stsb", "--test_datasets", "cola", "--best_by", "stsb"]
    assert train.main(workshop.flags(tmp_path / "run", *flags)) == 2
    assert "--best_by: 'stsb' is not evaluated; allowed: mean, cola" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
