"""MT-DNN's flags: what stands for them here exists, the page about them is true, and unknown ones are told."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import predict
import prepro_std
import train
from data_utils.mt_dnn_flags import PAGE, PREDICT, PREPRO_STD, TRAIN, Counterpart, counterpart_line
from tests.fuzz.mutations import run

ROOT = Path(__file__).resolve().parents[2]
COMMANDS: dict[str, tuple[dict[str, Counterpart], Callable[[Sequence[str]], int]]] = {
    "train.py": (TRAIN, train.main),
    "prepro_std.py": (PREPRO_STD, prepro_std.main),
    "predict.py": (PREDICT, predict.main),
}
ROWS = [(command, flag) for command, (table, _) in COMMANDS.items() for flag in table]


@pytest.mark.parametrize("command", COMMANDS)
def test_what_stands_for_a_flag_exists(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    table, main = COMMANDS[command]
    with pytest.raises(SystemExit):
        main(["--help"])
    ours = set(re.findall(r"--\w+", capsys.readouterr().out))
    for flag, (here, remark) in table.items():
        assert set(here.split()) <= ours, flag
        assert f"--{flag}" not in ours or f"--{flag}" in here.split(), f"--{flag} is a flag here, and is not named"
        assert here or remark, f"--{flag}: not here, and nothing says why"
        assert set(re.findall(r"--[a-z_]+", remark)) <= ours, flag


def test_every_flag_of_theirs_has_its_row() -> None:
    assert (len(TRAIN), len(PREPRO_STD), len(PREDICT)) == (92 + 2, 8, 10)


@pytest.mark.parametrize(("command", "flag"), ROWS, ids=str)
def test_a_flag_that_is_only_theirs_is_told(command: str, flag: str) -> None:
    table, main = COMMANDS[command]
    here, remark = table[flag]
    if f"--{flag}" in here.split():
        return
    code, message = run(main, [f"--{flag}", "1"])
    assert code == 2
    assert message.startswith(f"error: --{flag} is MT-DNN's; {f'here it is {here}' if here else 'not here'}")
    assert remark in message and PAGE in message


def test_several_flags_are_told_in_one_message() -> None:
    code, message = run(
        train.main, ["--mkd_opt=1", "--train_dataset", "mnli", "--mix", "1", "--cuda", "1", "--colour", "red"]
    )
    assert code == 2
    assert message.splitlines()[:6] == [
        "error: --mkd_opt is MT-DNN's; here it is --distill_from: " + TRAIN["mkd_opt"].remark,
        "--train_dataset: no such flag; flags are not cut short here, write --train_datasets",
        "--mix is MT-DNN's --mix_opt, cut short; not here: " + TRAIN["mix_opt"].remark,
        "--cuda is MT-DNN's; here it is --device: auto, cpu or cuda",
        "--colour: no such flag",
        "(MT-DNN's flags and ours side by side: docs/mt_dnn.md)",
    ]


def test_a_key_of_a_recipe_is_told_too(tmp_path: Path) -> None:
    (tmp_path / "recipe.yml").write_text("mix_opt: 1\n")
    code, message = run(train.main, ["--config", str(tmp_path / "recipe.yml")])
    assert code == 2
    assert (
        "recipe.yml: unknown key 'mix_opt'; --mix_opt is MT-DNN's; not here: --sampler main_task mixes all" in message
    )


@pytest.mark.parametrize("flag", ["", "colour", "adv", "answer_"])
def test_what_is_no_flag_of_theirs_has_no_line(flag: str) -> None:
    assert counterpart_line(flag, TRAIN) is None


def table_of(command: str) -> str:
    """The command's table as it stands on the page."""
    rows = [f"| MT-DNN's `{command}` | here | remark |", "| --- | --- | --- |"]
    for flag, (here, remark) in COMMANDS[command][0].items():
        rows.append(f"| `--{flag}` | {', '.join(f'`{name}`' for name in here.split()) or '–'} | {remark} |")
    return "\n".join(rows)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_holds_the_table(command: str) -> None:
    assert table_of(command) in (ROOT / PAGE).read_text(encoding="utf-8"), f"{PAGE} should hold\n{table_of(command)}"
