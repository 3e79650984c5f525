"""The command that draws a study's figures: its files, what is missing, and what is wrong."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import train
from studies import sensitivity
from studies.figures import FIGURES, main
from studies.plots.sources import learning_curves
from studies.plots.style import FORMATS, ONE_COLUMN, TWO_COLUMNS
from studies.suite import Suite
from tests.conftest import Workshop
from tests.studies.synthetic_study import plausible_study, rte, write_sensitivities, write_study

GLUE = Suite().labels()
SVG = "{http://www.w3.org/2000/svg}"


def test_files_are_whole_the_same_every_time_and_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    varied = ((), (("pats_lambda", "5e-07"),), (("train_fraction", "0.5"),))
    study = plausible_study(tmp_path / "study", methods=("adamax", "pats"), seeds=2, varied=varied)
    assert main([str(study.folder)]) == 0
    output = capsys.readouterr().out
    first = {path.name: path.read_bytes() for path in (study.folder / "figures").iterdir()}
    assert {f"{name}_minilm.{kind}" for name in FIGURES for kind in (*FORMATS, "txt")} <= set(first)
    assert all(f"written: {study.folder / 'figures' / name}" in output for name in first)
    for name, content in first.items():
        caption = first[name.rsplit(".", 1)[0] + ".txt"].decode().strip()
        if name.endswith(".png"):
            assert content.startswith(b"\x89PNG\r\n\x1a\n") and content.endswith(b"IEND\xaeB`\x82")
            width = struct.unpack(">I", content[16:20])[0]
            assert width in (round(300 * ONE_COLUMN), round(300 * TWO_COLUMNS))
        elif name.endswith(".svg"):
            root = ElementTree.fromstring(content)
            words = [text for element in root.iter(f"{SVG}text") for text in element.itertext()]
            assert any("points" in word or "Share" in word for word in words)  # text is text
            assert caption in "".join(root.itertext()) and b"<dc:date>" not in content
    again = [str(study.folder), "--output_dir", str(tmp_path / "again")]
    assert main([*again, "--format", "svg"]) == main([*again, "--only", "lambda", "--format", "png"]) == 0
    assert all(path.read_bytes() == first[path.name] for path in (tmp_path / "again").iterdir())


def test_from_training_to_figures(workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = {rte("adamax", 1): ["--optim", "adamax"], rte("pats", 1): ["--optim", "pats_adamax"]}
    study = write_study(tmp_path / "study", list(runs))
    flags = ["--train_datasets", "rte", "--epochs", "2", "--log_per_updates", "2"]
    for run, method in runs.items():
        assert train.main(workshop.flags(study.run_folder(run), *flags, *method)) == 0
    assert sensitivity.main(["--study", str(study.folder)]) == 0
    assert main([str(study.folder), "--format", "svg"]) == 0
    figures = {path.name for path in (study.folder / "figures").glob("*.svg")}
    assert figures == {f"{name}_minilm.svg" for name in ("sensitivity", "learning_curves", "seeds", "cost")}
    assert capsys.readouterr().out.count("skipped: ") == 2
    (curves,) = learning_curves(study.outcomes(), GLUE).figures
    events = [json.loads(line) for line in (study.run_folder(rte("pats", 1)) / "metrics.jsonl").open()]
    trained = [event["loss"]["rte"] for event in events if event["event"] == "train"]
    assert [event["step"] for event in events if event["event"] == "train"] == [2, 3, 4, 6]
    assert curves.rows[1][0].lines[1].mean == pytest.approx(
        ((2 * trained[0] + trained[1]) / 3, (trained[2] + 2 * trained[3]) / 3)
    )
    assert curves.rows[0][0].lines[1].x == (1, 2)


def test_the_users_own_settings_change_nothing_and_stay(tmp_path: Path) -> None:
    import matplotlib

    study = plausible_study(tmp_path / "study", methods=("pats",), seeds=2, sensitivities=False)
    flags = [str(study.folder), "--only", "seeds", "--format", "svg", "--output_dir"]
    assert main([*flags, str(tmp_path / "plain")]) == 0
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 30, "svg.fonttype": "path", "savefig.dpi": 5}):
        before = dict(matplotlib.rcParams)
        assert main([*flags, str(tmp_path / "other")]) == 0
        assert dict(matplotlib.rcParams) == before
    plain, other = (path / "seeds_minilm.svg" for path in (tmp_path / "plain", tmp_path / "other"))
    assert plain.read_bytes() == other.read_bytes()


def test_no_figure_without_data_and_a_line_that_says_what_it_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path / "study", [rte("pats", 1)])
    assert main([str(study.folder)]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    needs = {
        "sensitivity": "studies.sensitivity --study",
        "data_share": "train_fraction=",
        "learning_curves": "metrics.jsonl",
    }
    needs |= {"seeds": "results.json", "lambda": "pats_lambda=", "cost": "results.json"}
    assert len(lines) == len(FIGURES)
    for line, name in zip(lines, FIGURES, strict=True):
        assert line.startswith(f"skipped: {name} needs ") and needs[name] in line
    assert not (study.folder / "figures").exists()


def test_only_and_format(tmp_path: Path) -> None:
    study = plausible_study(tmp_path / "study", methods=("pats",), seeds=1)
    assert main([str(study.folder), "--only", "seeds,learning_curves", "--format", "png"]) == 0
    names = {path.name for path in (study.folder / "figures").iterdir()}
    assert names == {f"{name}_minilm.{kind}" for name in ("seeds", "learning_curves") for kind in ("png", "txt")}


@pytest.mark.parametrize(
    ("flags", "message"),
    [(["--only", "loss"], "--only: unknown 'loss'"), (["--format", "pdf,svg"], "--format: unknown 'pdf'")],
    ids=lambda part: part[0].strip("-"),
)
def test_unknown_names(flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(write_study(tmp_path, [rte("pats", 1)]).folder), *flags]) == 2
    assert message in capsys.readouterr().err


def damaged_events(folder: Path) -> None:
    (folder / "metrics.jsonl").write_text('{"event": "eval"}\n')


def damaged_config(folder: Path) -> None:
    (folder / "config.yaml").write_text("pats_lambda: small\n")


def damaged_histogram(folder: Path) -> None:
    (folder / "sensitivity.safetensors").write_bytes(b"0123456789")


@pytest.mark.parametrize("damage", [damaged_events, damaged_config, damaged_histogram], ids=lambda f: f.__name__)
def test_damaged_files_are_named(damage: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = plausible_study(tmp_path, methods=("pats",), seeds=1, varied=((), (("pats_lambda", "5e-07"),)))
    damage(study.run_folder(rte("pats", 1)))
    assert main([str(tmp_path)]) == 2
    assert str(study.run_folder(rte("pats", 1))) in capsys.readouterr().err


def test_sensitivities_measured_in_two_ways_are_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = plausible_study(tmp_path, methods=("adamax", "pats"), seeds=1)
    write_sensitivities(study.run_folder(rte("pats", 1)), rte("pats", 1), batch_size=8)
    assert main([str(tmp_path), "--only", "sensitivity"]) == 2
    assert "cannot be compared" in capsys.readouterr().err


def test_without_matplotlib_it_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.style", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main([str(write_study(tmp_path, [rte("pats", 1)]).folder)]) == 2
    assert "pip install" in capsys.readouterr().err


def test_neither_torch_nor_pyplot_is_imported(tmp_path: Path) -> None:
    plausible_study(tmp_path, methods=("pats",), seeds=1)
    code = "import sys; from studies.figures import main; main(sys.argv[1:]); "
    code += "print('unwanted:', *({'torch', 'transformers', 'matplotlib.pyplot'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "unwanted:"
