"""The record of evaluations: which one is the best, by the mean or by one task."""

from __future__ import annotations

from mt_dnn.record.results import History, summary

SCORES = [(10.0, 60.0), (40.0, 50.0), (40.0, 50.0), (20.0, 70.0)]  # two tasks; means 35, 45, 45, 45


def history(by: str) -> tuple[History, list[bool]]:
    made, improved = History(), []
    for epoch, (one, other) in enumerate(SCORES, start=1):
        scores = {"one": one, "other": other}
        tasks = {name: {"score": score, "metrics": {}, "constant": False} for name, score in scores.items()}
        improved.append(made.add(epoch, 10 * epoch, tasks, by))
    return made, improved


def test_the_best_is_the_first_of_equals_by_what_was_chosen() -> None:
    expected = {
        "mean": ([True, True, False, False], {"score": 45.0, "epoch": 2, "step": 20}, 2),
        "one": ([True, True, False, False], {"score": 40.0, "epoch": 2, "step": 20}, 2),
        "other": ([True, False, False, True], {"score": 70.0, "epoch": 4, "step": 40}, 0),
    }
    for by, (raised, best, since) in expected.items():
        made, improved = history(by)
        assert (improved, made.best_model(by), made.since_best) == (raised, {"by": by, **best}, since)
        assert made.average() == {"best": 45.0, "last": 45.0}


def test_the_summary_says_what_the_best_model_was_chosen_by() -> None:
    def told(by: str | None) -> str:
        score = {"score": 1.0, "epoch": 1}
        task = {"primary_metric": "ACC", "last": score, "best": score, "majority_score": None}
        model = {} if by is None else {"best_model": {"by": by, "epoch": 1.5, "step": 3, "score": 1.0}}
        return summary({"tasks": {"one": task}, "average": {"best": 1.0, "last": 1.0}, **model})

    assert told("one").splitlines()[-1] == "best/ is the model of epoch 1.5, chosen by one"
    assert "chosen" not in told("mean") and "chosen" not in told(None)  # None: a run from before there was a choice
