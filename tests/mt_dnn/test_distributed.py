"""Who of several processes speaks, and what one process by itself does; the processes are in tests/distributed."""

from __future__ import annotations

import socket

import pytest
import torch

from data_utils.errors import InputError, StoppedError, entry_point, speaks
from mt_dnn.distributed import ALONE, session


def error(kind: type[Exception], **marks: bool) -> Exception:
    made = kind("no")
    for name, value in marks.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("made", "speaking"),
    [
        (error(StoppedError), ["0 of 0"]),
        (error(InputError, shared=True), ["0 of 0"]),
        (error(InputError), ["0 of 0", "0 of 1"]),
        (error(StoppedError, speaker=True), ["0 of 0", "1 of 0", "0 of 1", "1 of 1"]),
        (error(StoppedError, speaker=False), []),
    ],
    ids=["stopped", "agreed", "not agreed", "speaker", "no speaker"],
)
def test_one_process_speaks_or_one_of_each_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], made: Exception, speaking: list[str]
) -> None:
    @entry_point
    def main(argv: object) -> int:
        raise made

    found = []
    for machine in (0, 1):
        for local_rank in (0, 1):
            monkeypatch.setenv("RANK", str(2 * machine + local_rank))
            monkeypatch.setenv("LOCAL_RANK", str(local_rank))
            assert main([]) == (2 if isinstance(made, InputError) else 1)
            said = capsys.readouterr().err
            assert bool(said) == speaks(made) and said in ("", "error: no\n", "stopped: no\n")
            found += [f"{local_rank} of {machine}"] if said else []
    assert found == speaking


def test_alone_everything_is_plain() -> None:
    values = torch.ones(2)
    assert ALONE.sum_(values) is values and values.tolist() == [1, 1]
    assert ALONE.any(True) and not ALONE.any(False)
    assert ALONE.all_gather("x") == ["x"] and ALONE.broadcast("x") == "x" and ALONE.first
    with pytest.raises(InputError), ALONE.together():
        raise InputError("no")


def torchrun(monkeypatch: pytest.MonkeyPatch, **environment: object) -> None:
    ours = {"RANK": 0, "WORLD_SIZE": 4, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 4, "MASTER_ADDR": "127.0.0.1"}
    for name, value in (ours | environment).items():
        monkeypatch.setenv(name, str(value))


def test_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    torchrun(monkeypatch)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="--nproc_per_node 4: there are 1 GPUs; .* or use --device cpu"):
        with session(gpus=True):
            pass


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch is built without gloo")
def test_processes_that_cannot_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        torchrun(monkeypatch, MASTER_PORT=taken.getsockname()[1])
        with pytest.raises(StoppedError, match="could not meet: .*"):
            with session(gpus=False):
                pass


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"WORLD_SIZE": "2"}, "RANK is not set, WORLD_SIZE is 2, LOCAL_RANK is not set"),
        ({"WORLD_SIZE": "two", "RANK": "0", "LOCAL_RANK": "0"}, "WORLD_SIZE is two"),
    ],
)
def test_a_part_of_what_torchrun_sets_is_told(
    given: dict[str, str], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a scheduler leaves it, or a shell of yesterday."""
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"{found}.*started with torchrun, .*unset WORLD_SIZE"), session(gpus=False):
        pass
