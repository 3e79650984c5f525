"""A GLUE submission from miniature runs: what is in it, by which run, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import predict
import train
from data_utils.features import load_features
from data_utils.task_def import load_task_defs
from experiments.glue import submission, validate
from experiments.glue.glue_prepro import TASK_DEF
from experiments.glue.official import OFFICIAL, OfficialFile
from experiments.glue.runs import TrainedRun, best_run
from tests.conftest import Workshop

COMMON = ["--epochs", "1", "--learning_rate", "5e-3"]
ROWS = 6  # of each of the miniature's test sets
BY_NAME = {one.name: one for one in OFFICIAL}


@pytest.fixture(autouse=True)
def miniature(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Test sets as small as the miniature's, and predict.py in this process; what it was called with."""
    calls: list[list[str]] = []

    def run_here(flags: Sequence[str]) -> None:
        calls.append(list(flags))
        assert predict.main(flags) == 0

    monkeypatch.setattr("experiments.glue.submission.predict", run_here)
    small = tuple(dataclasses.replace(one, rows=ROWS) for one in OFFICIAL)
    monkeypatch.setattr("experiments.glue.official.OFFICIAL", small)
    return calls


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Where predictions are kept for all tests here, which saves time."""
    return ["--predictions", str(tmp_path_factory.mktemp("kept"))]


@pytest.fixture(scope="module")
def runs(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished runs of all tasks but RTE, and of RTE and CoLA."""
    folder = tmp_path_factory.mktemp("runs")
    tasks = {"most": "cola,sst,mrpc,qqp,stsb,mnli,qnli,wnli", "rte": "rte,cola"}
    for name, trained in tasks.items():
        assert train.main(workshop.flags(folder / name, "--train_datasets", trained, *COMMON)) == 0
    return {name: folder / name for name in tasks}


def contents(path: Path) -> dict[str, list[list[str]]]:
    with zipfile.ZipFile(path) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    return {name: [line.split("\t") for line in text.splitlines()] for name, text in texts.items()}


def scored(run: Path, task: str) -> float:
    return TrainedRun.load(run).scores[task]


def test_all_eleven_files_hold_what_the_runs_predict(
    runs: dict[str, Path],
    kept: list[str],
    workshop: Workshop,
    tmp_path: Path,
    miniature: list[list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "glue.zip"
    flags = ["--runs", str(runs["most"]), str(runs["rte"]), "--output", str(output), *kept]
    assert submission.main(flags) == 0
    told = capsys.readouterr()
    assert submission.main(["--validate", str(output)]) == 0
    found = contents(output)
    assert list(found) == [one.name for one in OFFICIAL]
    better = max(runs.values(), key=lambda run: scored(run, "cola"))
    for name, (header, *rows) in found.items():
        one = BY_NAME[name]
        run = better if name == "CoLA.tsv" else runs["rte"] if name == "RTE.tsv" else runs["most"]
        row = next(line.split() for line in told.out.splitlines() if line.startswith(f"{name} "))
        assert row[1:4] == [f"{scored(run, one.head):.2f}", str(ROWS), str(run)]
        assert header == ["index", "prediction"] and [index for index, _ in rows] == list(map(str, range(ROWS)))
        again = tmp_path / "again.tsv"
        source = ["--data_dir", str(workshop.data_dir), "--split", one.split]
        source += ["--features_of", "ax"] * (name == "AX.tsv")
        model = ["--checkpoint", str(run), "--task", one.head, "--output", str(again)]
        assert predict.main([*model, *source]) == 0
        expected = [line.split("\t")[1] for line in again.read_text().splitlines()[1:]]
        if name == "STS-B.tsv":
            np.testing.assert_allclose(
                [float(value) for _, value in rows], np.clip(list(map(float, expected)), 0, 5), rtol=1e-5
            )
        else:
            assert [label for _, label in rows] == expected
    first, calls = output.read_bytes(), len(miniature)
    output.unlink()
    assert submission.main(flags) == 0
    assert output.read_bytes() == first and len(miniature) == calls, "predictions were made anew"


def test_kept_predictions_are_not_taken_for_those_of_another_model(
    runs: dict[str, Path], tmp_path: Path, miniature: list[list[str]]
) -> None:
    run = TrainedRun.load(runs["most"])
    part = submission.Part(BY_NAME["SST-2.tsv"], run, run.data_dir)
    submission.predictions(part, run, tmp_path, [])
    submission.predictions(part, run, tmp_path, [])
    assert len(miniature) == 1
    copy = Path(shutil.copytree(runs["most"], tmp_path / "copy"))
    manifest = copy / "best/manifest.json"
    raw = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(raw, indent=3))  # as of another model
    submission.predictions(part, dataclasses.replace(run, folder=copy), tmp_path, [])
    submission.predictions(part, dataclasses.replace(run, max_seq_len=10), tmp_path, [])
    assert len(miniature) == 3 and len(list(tmp_path.glob("*.tsv"))) == 3


def test_rows_go_by_their_numbers_and_scores_stay_in_range() -> None:
    text, outside = submission.content(BY_NAME["RTE.tsv"], {"2": "entailment", "10": "b", "0": "not_entailment"})
    assert (text, outside) == ("index\tprediction\n0\tnot_entailment\n2\tentailment\n10\tb\n", 0)
    text, outside = submission.content(BY_NAME["STS-B.tsv"], {"0": "-0.25", "1": "2.5", "2": "5.01"})
    assert (text, outside) == ("index\tprediction\n0\t0\n1\t2.5\n2\t5\n", 2)


def test_tasks_without_a_run_are_listed_or_filled_aloud(
    runs: dict[str, Path], kept: list[str], workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new/glue.zip"
    flags = ["--runs", str(runs["rte"]), "--output", str(output), *kept]
    assert submission.main(flags) == 2
    told = capsys.readouterr().err
    for name in BY_NAME.keys() - {"RTE.tsv", "CoLA.tsv"}:
        assert f"{name} ({BY_NAME[name].head})" in told
    assert "RTE.tsv (" not in told and "CoLA.tsv (" not in told and not output.parent.exists()
    assert submission.main([*flags, "--fill"]) == 0
    told = capsys.readouterr().err
    found, tasks = contents(output), load_task_defs(TASK_DEF)
    for name, one in BY_NAME.items():
        filled = name not in ("RTE.tsv", "CoLA.tsv")
        assert (f"warning: NOT PREDICTED: all of {name} is " in told) == filled
        if filled:
            labels = load_features(workshop.data_dir, tasks[one.head], "train").labels.tolist()
            most = max(range(3), key=labels.count)
            names = tasks[one.head].label_names
            expected = names[most] if names else f"{sum(labels) / len(labels):.6g}"
            assert {label for _, label in found[name][1:]} == {expected}, name
    assert validate.main([str(output)]) == 0


def test_a_study_gives_the_best_of_its_finished_runs_or_of_one_method(
    runs: dict[str, Path], kept: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study"
    for method, run in (("adamax", "rte"), ("pats@pats_lambda=1e-06", "most")):
        shutil.copytree(runs[run], study / f"runs/tiny/mtl/{method}/seed_1")
        (study / f"runs/tiny/mtl/{method}/seed_2").mkdir()  # not finished
    (study / "study.yml").write_text("runs: []\n")
    flags = ["--runs", str(study), "--output", str(tmp_path / "glue.zip"), *kept]
    assert submission.main(flags) == 0
    told = capsys.readouterr().out
    assert "runs/tiny/mtl/adamax/seed_1" in told and "runs/tiny/mtl/pats@pats_lambda=1e-06/seed_1" in told
    assert submission.main([*flags, "--method", "adamax"]) == 2
    assert "no run has a head for SST-2.tsv (sst), " in capsys.readouterr().err
    assert submission.main([*flags, "--method", "sage"]) == 2
    assert "no run of the method sage in this study is finished" in capsys.readouterr().err
    assert submission.main(["--runs", str(runs["most"]), "--method", "sage"]) == 2
    assert "--method sage would have no effect: no folder of --runs is a study's" in capsys.readouterr().err


def test_of_several_runs_the_best_on_dev_is_chosen(runs: dict[str, Path]) -> None:
    run = TrainedRun.load(runs["rte"])
    poor, good = (dataclasses.replace(run, scores={"rte": score}) for score in (50.0, 70.0))
    assert best_run([poor, good, poor], "rte") is good
    assert best_run([dataclasses.replace(run, scores={})], "rte") is not None  # nothing to choose
    assert best_run([poor], "mnli") is None
    with pytest.raises(ValueError, match="no dev score of rte by which to choose"):
        best_run([dataclasses.replace(run, scores={}), good], "rte")


def test_features_are_found_from_where_the_run_was_started(
    runs: dict[str, Path], workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(runs["rte"], tmp_path / "run"))
    config = (copy / "config.yaml").read_text().splitlines()
    config = [line for line in config if not line.startswith(("data_dir:", "started_in:"))]
    where = ["data_dir: tiny-bert", f"started_in: {workshop.data_dir.parent}"]
    (copy / "config.yaml").write_text("\n".join([*config, *where]))
    assert os.path.samefile(TrainedRun.load(copy).data_dir, workshop.data_dir)
    monkeypatch.chdir(workshop.data_dir.parent)
    assert TrainedRun.load(copy).data_dir == Path("tiny-bert")


def test_files_without_test_rows_are_filled_aloud(
    runs: dict[str, Path], kept: list[str], workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, output = Path(shutil.copytree(workshop.data_dir, tmp_path / "data")), tmp_path / "glue.zip"
    (data / "mnli_matched_test.json").unlink()
    flags = ["--runs", *map(str, runs.values()), "--data_dir", str(data), "--output", str(output), *kept]
    assert submission.main(flags) == 2
    assert "MNLI-m.tsv: no test rows" in capsys.readouterr().err and not output.exists()
    assert submission.main([*flags, "--fill"]) == 0
    told = capsys.readouterr().err
    assert told.count("NOT PREDICTED") == 1 and "NOT PREDICTED: all of MNLI-m.tsv is " in told
    assert len({label for _, label in contents(output)["MNLI-m.tsv"][1:]}) == 1

    for path in data.glob("*_test.json"):
        path.unlink()
    assert submission.main([*flags, "--fill"]) == 2
    assert "--fill: no run has test rows for any file" in capsys.readouterr().err


def relabelled(run: Path, folder: Path) -> Path:
    """A copy of a run whose RTE has other words for its labels."""
    copy = Path(shutil.copytree(run, folder))
    path = copy / "best/tasks.json"
    path.write_text(path.read_text().replace('"not_entailment"', '"0"').replace('"entailment"', '"1"'))
    return copy


def test_what_can_be_known_to_be_wrong_is_told_at_once_and_nothing_is_predicted(
    runs: dict[str, Path],
    workshop: Workshop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    miniature: list[list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = Path(shutil.copytree(workshop.data_dir, tmp_path / "data"))
    (data / "ax_test.json").unlink()
    short = tuple(dataclasses.replace(one, rows=5 if one.task == "sst" else ROWS) for one in OFFICIAL)
    monkeypatch.setattr("experiments.glue.official.OFFICIAL", short)
    bad = relabelled(runs["rte"], tmp_path / "relabelled")
    output = tmp_path / "new/glue.zip"
    flags = ["--runs", str(runs["most"]), str(bad), "--data_dir", str(data), "--output", str(output)]
    assert submission.main(flags) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[0] == f"error: SST-2.tsv: {data / 'sst_test.json'} has 6 rows, GLUE's test set 5"
    assert told[1] == f"RTE.tsv: the head rte of {bad} predicts 0, 1; GLUE wants entailment, not_entailment"
    assert told[2].startswith(
        f"AX.tsv: no test rows for {runs['most']}: {data / 'ax_test.json'}: no such file; make it"
    )
    assert len(told) == 3 and not miniature and not output.parent.exists()


def test_a_zip_that_would_be_refused_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "glue.zip"
    path.write_bytes(b"an earlier one")
    with pytest.raises(ValueError, match=f"{path} is not written: AX.tsv is missing"):
        submission.write_zip(path, {one.name: submission.content(one, {})[0] for one in OFFICIAL[:-1]})
    assert path.read_bytes() == b"an earlier one" and [p.name for p in tmp_path.iterdir()] == ["glue.zip"]


FLAGS: dict[str, tuple[list[str], str]] = {
    "nothing": ([], "--runs is required, or --validate ZIP"),
    "both": (["--validate", "x.zip", "--runs", "x", "--fill"], "--validate goes alone; given too: runs, fill"),
    "no run": (["--runs", "experiments"], "--runs experiments: expected the --output_dir of a finished run"),
}


@pytest.mark.parametrize(("flags", "message"), FLAGS.values(), ids=FLAGS.keys())
def test_wrong_flags_are_one_message(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert submission.main(flags) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_every_file_has_a_source_in_the_miniature(workshop: Workshop) -> None:
    def rows(one: OfficialFile) -> int:
        return len((workshop.data_dir / f"{one.task}_{one.split}.json").read_text().splitlines())

    assert {one.name: rows(one) for one in OFFICIAL} == dict.fromkeys(BY_NAME, ROWS)
