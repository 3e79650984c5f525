"""What `tests/torture` compares, and how it tells; the runs themselves are in `test_kills.py`."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from mt_dnn.record.run_folder import DEV_PREDICTIONS
from tests.conftest import flip_a_bit
from tests.resume.attempts import run_plainly
from tests.torture import kills as torture
from tests.torture.checks import attempt_problems, differences, newest_checkpoint
from tests.torture.world import World


@pytest.fixture(scope="module")
def finished(small_world: World, pool: Executor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is done; not to be written to."""
    run = tmp_path_factory.mktemp("finished") / "run"
    flags = "--train_datasets share --batch_size 4 --epochs 2 --optim pats_adamax --dev_predictions"
    pool.submit(run_plainly, small_world.flags(run, flags), run).result()
    return run


def edit(path: Path, change: Callable[[dict], None]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


LAST = "checkpoints/step_00000006"
TAMPERED: dict[str, tuple[Callable[[Path], object], str]] = {
    "weights": (lambda run: flip_a_bit(run / LAST / "model.safetensors"), "model.safetensors: 1 of "),
    "averages": (lambda run: flip_a_bit(run / LAST / "optimizer.safetensors"), "optimizer.safetensors: 1 of "),
    "random state": (lambda run: flip_a_bit(run / LAST / "random.safetensors"), "random.safetensors: 1 of 1 tensors"),
    "an event": (lambda run: flip_a_bit(run / "metrics.jsonl"), "metrics.jsonl, line "),
    "no events": (lambda run: (run / "metrics.jsonl").write_text(""), "metrics.jsonl, line 1: ''"),
    "a sensitivity": (lambda run: flip_a_bit(run / "sensitivity_log.jsonl"), "sensitivity_log.jsonl, line "),
    "a dev prediction": (
        lambda run: edit(run / DEV_PREDICTIONS, lambda value: value["share"]["dev"]["predictions"].pop("3")),
        "dev_predictions.json, line 1: ",
    ),
    "a score": (
        lambda run: edit(run / "results.json", lambda value: value["average"].update(best=0)),
        "results.json, line 3: '\"best\": 0,'",
    ),
    "progress": (lambda run: edit(run / LAST / "state.json", lambda value: value.update(step=7)), "state.json, line "),
    "the best model": (lambda run: flip_a_bit(run / "best" / "heads.safetensors"), "best/heads.safetensors: 1 of "),
    "a file less": (lambda run: (run / "best" / "tasks.json").unlink(), "best/tasks.json is missing"),
    "a file more": (lambda run: (run / "best" / "x").touch(), "best/x is not in the reference"),
    "a leftover": (lambda run: (run / "best.partial").mkdir(), "left over: best.partial"),
    "no checkpoint": (lambda run: shutil.rmtree(run / "checkpoints"), "last checkpoint None, the reference's step_"),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_difference_is_found(finished: Path, tmp_path: Path, what: str) -> None:
    tamper, message = TAMPERED[what]
    run = shutil.copytree(finished, tmp_path / "run")
    tamper(run)
    found = differences(finished, run)
    assert len(found) == 1 and message in found[0], found


def test_times_are_no_difference(finished: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    edit(run / "results.json", lambda value: value.update(wall_seconds=1e6, samples_per_second=0))
    edit(run / LAST / "state.json", lambda value: value["progress"].update(train_seconds=1e6))
    assert differences(finished, run) == []


TRAINED, STOPPED = "epoch 1/2  update 1/3\n", "stopped: SIGTERM came\n"
ATTEMPTS: dict[str, tuple[dict, int, str]] = {
    "saved": ({}, 6, ""),
    "killed before it trained": ({"code": -signal.SIGTERM, "err": "", "trained": False}, 6, ""),
    "another code": ({"code": 1}, 6, "exit code 1"),
    "a traceback": ({"err": STOPPED + "Traceback"}, 6, "exit code 3"),
    "no reason": ({"err": ""}, 6, "exit code 3"),
    "went on": ({}, 4, "sent when 4 updates were logged, and it went on to 6"),
    "did not resume": ({"out": TRAINED}, 6, "and the newest checkpoint was step_00000003"),
}


@pytest.mark.parametrize("what", ATTEMPTS)
def test_an_attempt_that_a_signal_has_ended(finished: Path, what: str) -> None:
    changed, logged, message = ATTEMPTS[what]
    plain = {"code": 3, "out": "resuming from step_00000003\n" + TRAINED, "err": STOPPED, "trained": True}
    attempt = SimpleNamespace(**(plain | changed))
    found = attempt_problems(attempt, signal.SIGTERM, logged, finished, Path("step_00000003"))
    assert message in found[0] if message else found == []


def test_updates_that_were_not_saved_are_noticed(finished: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(newest_checkpoint(run))
    events = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(events[:-1]))  # the last one says that the run came to its end
    dead = SimpleNamespace(code=-signal.SIGTERM, out=TRAINED, err="", trained=True)
    assert attempt_problems(dead, signal.SIGTERM, 6, run, None) == ["SIGTERM killed it while it trained"]
    stopped = SimpleNamespace(code=3, out=TRAINED, err=STOPPED, trained=True)
    assert attempt_problems(stopped, signal.SIGTERM, 6, run, None) == ["SIGTERM: 6 updates done, 3 saved"]


KILL = torture.Kill(signal.SIGKILL, 0.5, False, 7, "between checkpoints")


def chains_of(monkeypatch: pytest.MonkeyPatch, outcome: Callable[[torture.Plan], torture.Chain], kills: int) -> list:
    """The chains that are made until there are so many kills, with `outcome` for what becomes of each."""
    monkeypatch.setattr(torture, "run_chain", lambda plan, *where: outcome(plan))
    world = World.below(Path("world"))
    references = {name: torture.Reference(world, Path(name), 1.0) for name in ("one", "other")}
    with ThreadPoolExecutor(3) as pool:
        return list(torture.run_chains(pool, Path("work"), references, kills=kills, seed=1, workers=3))


@pytest.mark.parametrize("kills", [1, 6, 50])
def test_there_are_exactly_as_many_kills_as_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kills: int
) -> None:
    def survive_some(plan: torture.Plan) -> torture.Chain:
        count = min(plan.kills, plan.number % 4)
        return torture.Chain(plan, [KILL] * count, resumed=count)

    chains = chains_of(monkeypatch, survive_some, kills)
    assert {chain.plan.scenario for chain in chains} == {"one", "other"}
    assert torture.report(chains)
    assert capsys.readouterr().out.splitlines()[-1] == f"{kills} kills, {kills} resumed, {kills} equal"


def test_what_goes_wrong_is_told_and_ends_the_torture_when_it_is_enough(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chains = chains_of(monkeypatch, lambda plan: torture.Chain(plan, [KILL], 1, ["other bits"]), 500)
    assert torture.ENOUGH_FAILURES <= len(chains) <= torture.ENOUGH_FAILURES + 3
    assert not torture.report(chains)
    assert capsys.readouterr().out.splitlines()[-1] == f"{len(chains)} kills, {len(chains)} resumed, 0 equal"
    assert str(chains[0]).splitlines()[1:] == [
        "  SIGKILL to a fork after 0.500 s and 7 updates, between checkpoints",
        "  WRONG: other bits",
    ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--kills", "0"], "--kills 0: must be at least 1"),
        (["--workers", "-1"], "--workers -1: must be at least 1"),
        (["--work_dir", "README.md"], "README.md: must be a new or empty folder"),
        (["--work_dir", "tests"], "tests: must be a new or empty folder"),
    ],
    ids=str,
)
def test_bad_flags_are_refused(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert torture.main(flags) == 2
    assert message in capsys.readouterr().err
