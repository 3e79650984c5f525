"""`torchrun train.py` as users start it: on one machine, from two agents that find each other, and with bad input."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from tests.conftest import Workshop
from tests.distributed.compare import assert_same_run
from tests.distributed.launch import Group, end_of, run_train, start


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_two_agents_are_one_run(workshop: Workshop, tmp_path: Path, group_of: Callable[[int], Group]) -> None:
    """As on two machines with a file system in common; the same to the last bit as two processes of one agent."""
    flags = ["--train_datasets", "cola,stsb", "--epochs", "2", "--optim", "pats_adamax", "--log_per_updates", "1"]
    meeting = ["--nnodes", "2", "--nproc_per_node", "1", "--rdzv_backend", "c10d", "--rdzv_id", "x"]
    meeting += ["--rdzv_endpoint", f"127.0.0.1:{free_port()}"]
    agents = [start(*meeting, "train.py", *workshop.flags(tmp_path / "run", *flags)) for _ in range(2)]
    ended = [end_of(agent) for agent in agents]
    assert [one.code for one in ended] == [0, 0], ended
    assert not [one.err for one in ended if "Warning" in one.err], "libraries that warn do so once a process"
    assert sorted(len(one.lines("written: ")) for one in ended) == [0, 1]
    assert sorted(bool(one.out) for one in ended) == [False, True], "the other agent's process says nothing"
    outcomes = group_of(2).train(workshop.flags(tmp_path / "one agent", *flags))
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes[0].err
    assert_same_run(tmp_path / "one agent", tmp_path / "run")


def test_bad_input_is_one_line(workshop: Workshop, tmp_path: Path) -> None:
    ended = run_train(*workshop.flags(tmp_path / "run", "--train_datasets", "colla"), ranks=2)
    assert ended.code == 1, "torchrun's own code"
    assert len(ended.lines("error:")) == 1
    assert ended.lines("error:")[0].startswith("error: ")
    assert "exitcode  : 2" in ended.err, "the processes' code, in torchrun's report"
    assert ended.out == ""
    assert not (tmp_path / "run").exists()
