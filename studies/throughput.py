"""How many runs an hour a study gets through, and what part of a run's time is not training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from data_utils.cli import duration
from studies.study import Outcome, Status


@dataclass(frozen=True)
class Throughput:
    """Of finished runs that a sweep has seen from their first moment to their last.

    Attributes:
        runs: how many.
        seconds: time in which at least one of them was under way; pauses do not count.
        start_up: share of the runs' own time before and after training: imports, model, data, the last files.
    """

    runs: int
    seconds: float
    start_up: float

    def words(self) -> str:
        """As a sweep and its report say it."""
        rate = 3600 * self.runs / self.seconds
        return (
            f"{rate:.4g} runs an hour ({self.runs} in {duration(self.seconds)}); "
            f"start-up and end: {100 * self.start_up:.0f} % of a run"
        )


def throughput(outcomes: Iterable[Outcome], since: float = 0.0) -> Throughput | None:
    """What runs that needed one attempt tell, of those that began at `since` (`time.time()`) or later.

    None without such runs: none is done, or what started them kept no times.
    """
    known = []
    for outcome in outcomes:
        trained = outcome.results.get("wall_seconds")
        if (
            outcome.status is Status.DONE
            and outcome.attempts == 1
            and outcome.span
            and isinstance(trained, (int, float))
        ):
            began, ended = outcome.span
            if since <= began < ended:
                known.append((began, ended, min(float(trained), ended - began)))
    if not known:
        return None
    in_all = sum(ended - began for began, ended, _ in known)
    start_up = 1 - sum(trained for *_, trained in known) / in_all
    return Throughput(len(known), _covered((began, ended) for began, ended, _ in known), start_up)


def _covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of the spans' union."""
    covered, reached = 0.0, 0.0
    for began, ended in sorted(spans):
        covered += max(0.0, ended - max(began, reached))
        reached = max(reached, ended)
    return covered
