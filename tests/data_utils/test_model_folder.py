"""A run, its best/ and the encoder in it are one model, in every command that takes one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import prepro_std
import train
from data_utils.model_folder import encoder_source, exported_model
from tests.conftest import Workshop


@pytest.fixture(scope="module")
def run(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "x"
    assert train.main(workshop.flags(folder, "--train_datasets", "sst", "--epochs", "1")) == 0
    return folder


@pytest.mark.parametrize("part", ["", "best", "best/encoder"])
def test_prepro_and_train_take_each_of_them(
    part: str, run: Path, workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in workshop.data_dir.parent.glob("sst_*.tsv"):
        shutil.copy(path, tmp_path)
    flags = ["--model", str(run / part), "--root_dir", str(tmp_path), "--workers", "1", "--tasks", "sst"]
    assert prepro_std.main([*flags, "--task_def", "experiments/glue/glue_task_def.yml"]) == 0
    (features,) = (path.parent for path in tmp_path.glob("*/manifest.json"))
    more = ["--train_datasets", "sst", "--dry_run", "--init_checkpoint", str(run / part), "--data_dir", str(features)]
    assert train.main(workshop.flags(tmp_path / "next", *more)) == 0, capsys.readouterr().err


def test_other_names_stay_as_they_are(run: Path, tmp_path: Path) -> None:
    for name in ("bert-base-uncased", str(tmp_path), str(run / "best" / "encoder")):
        assert exported_model(name) == encoder_source(name) == name
    assert exported_model(str(run)) == str(run / "best")
    assert encoder_source(str(run)) == encoder_source(str(run / "best")) == str(run / "best" / "encoder")
