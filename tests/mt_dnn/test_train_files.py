"""Several data sets for one head: `train_files` of a task file, and MT-DNN's `<task>_<suffix>`."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import prepro_std
import train
from data_utils.features import FeatureSet, joined, load_features
from data_utils.task_def import TaskDef, load_task_defs
from mt_dnn.config import load_config
from mt_dnn.data import TaskData, load_data
from mt_dnn.tasks import choose_tasks
from tests.conftest import Workshop
from tests.crash import train_until
from tests.test_train import events, results

PAIR = "{data_format: PremiseAndOneHypothesis, task_type: Classification, labels: [not_entailment, entailment]"


@pytest.fixture
def folder(workshop: Workshop, tmp_path: Path) -> Path:
    """Features with a further file of RTE's, `rte_more_train`, and a task file that trains RTE on QNLI's rows, too."""
    shutil.copytree(workshop.data_dir, tmp_path / "features")
    text = (workshop.data_dir / "rte_train.json").read_text().splitlines(keepends=True)
    (tmp_path / "features" / "rte_more_train.json").write_text("".join(text[:5]))
    (tmp_path / "features" / "manifest.json").unlink()  # as MT-DNN's own folders are
    (tmp_path / "tasks.yml").write_text(
        f"rte: {PAIR}, train_files: [rte_train, qnli_train]}}\nqnli: {PAIR}}}\n"
        f"plain: {PAIR}, train_files: [plain_train]}}\n"
    )
    return tmp_path / "features"


def flags(workshop: Workshop, folder: Path, run: Path, *more: str) -> list[str]:
    flags = workshop.flags(run, "--data_dir", str(folder), *more)
    return [*flags, "--task_def", str(folder.parent / "tasks.yml")]


def loaded(argv: list[str]) -> TaskData:
    config = load_config(argv, "").data
    (data,) = load_data(config, *choose_tasks(config)).values()
    return data


def test_a_head_learns_from_all_files(workshop: Workshop, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = folder.parent / "run"
    data = loaded(flags(workshop, folder, run, "--train_datasets", "rte"))
    parts = [len(load_features(workshop.data_dir, data.task, "train"))]
    parts += [len(load_features(workshop.data_dir, data.task, "train", origin="qnli"))]
    assert [len(file) for file in data.train_files] == parts and len(data.train) == sum(parts)
    assert data.train.uids[0].startswith("rte_train:") and data.train.uids[-1].startswith("qnli_train:")
    assert data.train.uids[parts[0]] == "qnli_train:" + data.train_files[1].uids[0]

    assert train.main(flags(workshop, folder, run, "--train_datasets", "rte", "--epochs", "2")) == 0
    out = capsys.readouterr().out
    assert f"data     rte: rte_train ({parts[0]} rows), qnli_train ({parts[1]} rows)\n" in out
    assert events(run, "start")[0]["tasks"]["rte"]["train_rows"] == sum(parts)
    assert list(results(run)["tasks"]) == ["rte"]


@pytest.mark.parametrize(
    ("names", "files"),
    [
        ("rte,rte_more", ["rte_train", "qnli_train", "rte_more_train"]),
        ("rte_more,rte", ["rte_more_train", "rte_train", "qnli_train"]),
        ("rte_more", ["rte_more_train"]),
    ],
)
def test_a_suffix_names_a_further_file_of_a_task(
    workshop: Workshop, folder: Path, names: str, files: list[str]
) -> None:
    data = loaded(flags(workshop, folder, folder.parent / "run", "--train_datasets", names))
    assert [file.stem for file in data.train_files] == files
    assert data.task.name == "rte" and list(data.dev) == ["dev"]


def test_a_task_with_further_files_can_be_named_for_evaluation(workshop: Workshop, folder: Path) -> None:
    for names in ("rte,rte_more", "rte_more"):
        config = load_config(
            flags(workshop, folder, folder.parent / "run", "--train_datasets", names, "--test_datasets", "rte"), "test"
        )
        trained, tested = choose_tasks(config.data)
        assert tested == trained


def test_resume_equals_never_having_stopped(
    workshop: Workshop, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--train_datasets", "rte,rte_more", "--epochs", "2", "--save_per_updates", "2"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train.main(flags(workshop, folder, whole, *common)) == 0
    train_until(5, flags(workshop, folder, cut, *common))
    other = ["--output_dir", str(cut), "--resume", "--data_dir", str(folder)]
    with (folder / "qnli_train.json").open("a") as file:
        file.write((folder / "qnli_train.json").read_text().splitlines()[0] + "\n")
    assert train.main(other) == 2
    assert "--data_dir: the features of rte changed" in capsys.readouterr().err
    shutil.copy(workshop.data_dir / "qnli_train.json", folder / "qnli_train.json")
    assert train.main(other) == 0
    last = sorted((whole / "checkpoints").iterdir())[-1].name
    one, two = (load_file(run / "checkpoints" / last / "model.safetensors") for run in (whole, cut))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_share_of_the_rows_is_one_of_each_file(workshop: Workshop, folder: Path) -> None:
    run = folder.parent / "run"
    whole, half = (
        loaded(flags(workshop, folder, run, "--train_datasets", "rte", "--train_fraction", share))
        for share in ("1", "0.5")
    )
    assert [len(file) for file in half.train_files] == [round(len(file) / 2) for file in whole.train_files]


def test_files_of_other_labels_are_refused(
    workshop: Workshop, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Equal names in another order would train the head on the wrong classes."""
    shutil.copy(workshop.data_dir / "manifest.json", folder)
    (folder.parent / "tasks.yml").write_text(
        f"rte: {PAIR.replace('not_entailment, entailment', 'entailment, not_entailment')}, "
        "train_files: [qnli_train], split_names: [train]}\n"
    )
    more = ["--train_datasets", "rte", "--test_datasets", "rte"]
    assert train.main(flags(workshop, folder, folder.parent / "run", *more)) == 2
    assert "--test_datasets: rte has no dev split" in capsys.readouterr().err
    (folder.parent / "tasks.yml").write_text((folder.parent / "tasks.yml").read_text().replace("[train]", "[dev]"))
    assert train.main(flags(workshop, folder, folder.parent / "run", *more)) == 2
    error = capsys.readouterr().err
    assert "qnli_train.json: made for Classification with labels [not_entailment, entailment], but" in error
    assert error.endswith("[entailment, not_entailment]; they cannot train the head of rte\n")


def test_rounds_of_one_task(workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As ANLI comes: several training and dev splits of one task, from canonical rows on."""
    with (workshop.data_dir.parent / "rte_train.tsv").open(newline="\n") as file:  # texts hold odd line ends, too
        source = list(file)
    for split, lines in {
        "r1_train": source[:9],
        "r2_train": source[9:],
        "r1_dev": source[:4],
        "r2_dev": source[-3:],
    }.items():
        (tmp_path / f"anli_{split}.tsv").write_text("".join(lines))
    (tmp_path / "tasks.yml").write_text(
        f"anli: {PAIR}, split_names: [r1_dev, r1_train, r2_train, r2_dev], "
        "train_files: [anli_r1_train, anli_r2_train]}\n"
    )
    made = ["--model", str(workshop.encoder), "--root_dir", str(tmp_path), "--task_def", str(tmp_path / "tasks.yml")]
    assert prepro_std.main(made) == 0
    assert "anli r1_dev: warning: 4 of 4 rows have the same text as a row of train" in capsys.readouterr().out
    data = loaded(flags(workshop, tmp_path / workshop.encoder.name, tmp_path / "run", "--train_datasets", "anli"))
    assert len(data.train) == len(source) and {split: len(rows) for split, rows in data.dev.items()} == {
        "r1_dev": 4,
        "r2_dev": 3,
    }


def test_rows_that_choose_or_measure_a_model_do_not_train_it(
    workshop: Workshop, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--train_datasets", "rte,qnli", "--test_splits", "test"]
    for files, said in (
        ("rte_train, rte_dev", "--train_datasets: rte is trained on rte_dev, which rte is evaluated on; take it from"),
        ("rte_train, qnli_dev", "--train_datasets: rte is trained on qnli_dev, which qnli is evaluated on; take it"),
    ):
        tasks = f"rte: {PAIR}, train_files: [{files}]}}\nqnli: {PAIR}}}\n"
        (folder.parent / "tasks.yml").write_text(tasks)
        assert train.main(flags(workshop, folder, folder.parent / "run", *more)) == 2
        assert said in capsys.readouterr().err
    tasks = f"rte: {PAIR}, train_files: [qnli_held]}}\nqnli: {PAIR}, split_names: [train, dev, held]}}\n"
    (folder.parent / "tasks.yml").write_text(tasks)
    assert train.main(flags(workshop, folder, folder.parent / "run", *more[:-1], "held")) == 2
    assert "--test_splits: rte is trained on qnli's split held; a test split is one that" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("rte_gone", "rte_gone_train.json: no such file; make it with prepro_std.py --tasks rte"),
        ("rte_more,rte_more", "--train_datasets: a task stands twice in 'rte_more,rte_more'"),
        ("wnli_more", "--train_datasets: unknown task 'wnli'"),
    ],
)
def test_names_that_stand_for_nothing(
    workshop: Workshop, folder: Path, names: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(flags(workshop, folder, folder.parent / "run", "--train_datasets", names)) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("entry", ["rte", "_train", "rte_", "rte_test", "a/b_train", "rte.train"])
def test_an_entry_that_is_no_file_name(entry: str, tmp_path: Path) -> None:
    (tmp_path / "tasks.yml").write_text(f"rte: {PAIR}, train_files: ['{entry}']}}\n")
    with pytest.raises(ValueError, match="train_files: expected <task>_<split>, such as rte_train, got '"):
        load_task_defs(tmp_path / "tasks.yml")


def rows(features: FeatureSet) -> list[tuple[object, ...]]:
    """What each row holds, as plain values."""

    def row(i: int) -> tuple[object, ...]:
        one = features.select(np.array([i]))
        columns = [list(values) for values in one.columns.values()]
        return (one.token_ids.tolist(), one.labels.tolist(), one.sizes.tolist(), one.texts.tolist(), columns)

    return [row(i) for i in range(len(features))]


@pytest.mark.parametrize("name", ["cola", "ner", "pick"])
def test_joined_rows_are_those_of_the_files(kinds: Workshop, name: str) -> None:
    task: TaskDef = load_task_defs(kinds.data_dir.parents[1] / "tasks.yml")[name]
    parts = [load_features(kinds.data_dir, task, split) for split in ("train", "dev")]
    both = joined(parts)
    assert rows(both) == rows(parts[0]) + rows(parts[1])
    assert both.uids[:2] == [f"{name}_train:{uid}" for uid in parts[0].uids[:2]]
    assert both.uids[-1] == f"{name}_dev:{parts[1].uids[-1]}" and len(both.uids) == len(both)
    assert joined(parts[:1]) is parts[0]
