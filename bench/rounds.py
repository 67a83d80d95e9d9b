"""Alternating rounds of two targets, and what they amount to.

Other work on a shared machine slows both alike when they take turns; their
ratio is what counts.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench.h2load import Load, Target, run_h2load
from bench.output import remark
from bench.process import machine_busy_s, own_busy_s, realtime

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

WARM_UP_REQUESTS = 2500
EXTRA_ROUNDS = 2
DISAGREEMENT = 0.15


@dataclass(frozen=True, slots=True)
class Round:
    """One turn of each: the baseline, then ours."""

    echo: Load
    ours: Load


@dataclass(frozen=True, slots=True)
class Rounds:
    """All turns.

    Attributes:
        turns: In order.
        others_cpu: Cores that other programs of the machine kept busy meanwhile.
    """

    turns: list[Round]
    others_cpu: float


@dataclass(frozen=True, slots=True)
class Plan:
    """How to load.

    Attributes:
        in_flight: Requests at a time.
        seconds: Length of one turn, about.
        rounds: How often both take their turn.
        most_requests: Bound of a turn, so that the pool's room suffices.
    """

    in_flight: int
    seconds: float
    rounds: int = 5
    most_requests: int = 40_000


def alternate(
    echo: Target,
    ours: Target,
    folder: Path,
    plan: Plan,
    check: Callable[[Target, int], None],
) -> Rounds:
    """Warm both up, then let them take turns; `check` follows every turn with its requests.

    A request count stands in for the time, so that nothing is cut off at the
    end and the server's counters must agree to the last request. When the
    rounds' ratios disagree by more than 15 %, two more are run.
    """

    def turn(target: Target, requests: int) -> Load:
        in_flight = target.in_flight or plan.in_flight
        load = run_h2load(target, folder, requests=requests, in_flight=in_flight)
        check(target, requests)
        remark(f"  {target.name}: {load.rate:.0f}/s, p50 {load.p50_us:.0f} us")
        return load

    counts = {}
    for target in (echo, ours):
        few = max(200, min(WARM_UP_REQUESTS, WARM_UP_REQUESTS * plan.in_flight // 4))
        warm = turn(target, max(target.in_flight, few // target.units))
        wanted = max(100 // target.units, int(warm.rate * plan.seconds))
        counts[target.name] = max(1, min(plan.most_requests // target.units, wanted))
    rounds: list[Round] = []
    machine_s, own_s, start = machine_busy_s(), own_busy_s(), time.monotonic()
    wanted = plan.rounds
    while len(rounds) < wanted:
        first = turn(echo, counts[echo.name])
        rounds.append(Round(first, turn(ours, counts[ours.name])))
        if len(rounds) == plan.rounds and disagree(rounds):
            wanted += EXTRA_ROUNDS
    others_s = (machine_busy_s() - machine_s) - (own_busy_s() - own_s)
    return Rounds(rounds, max(0.0, others_s / (time.monotonic() - start)))


def disagree(rounds: Sequence[Round]) -> bool:
    """Whether the rounds' ratios lie further apart than 15 %."""
    ratios = [one.ours.rate / one.echo.rate for one in rounds]
    return max(ratios) / min(ratios) > 1 + DISAGREEMENT


def median(rounds: Rounds, what: str, of: str) -> float:
    """Median over the rounds of one figure (`rate`, `p50_us`, ...) of `echo` or `ours`."""
    return float(statistics.median(getattr(getattr(one, of), what) for one in rounds.turns))


def described(rounds: Rounds, plan: Plan) -> dict[str, Any]:
    """What the rounds were, for the params of a row."""
    return {
        "in_flight": plan.in_flight,
        "seconds": plan.seconds,
        "rounds": [asdict(one) for one in rounds.turns],
        "rounds_disagree": disagree(rounds.turns),
        "load_cpu": max(load.load_cpu for one in rounds.turns for load in (one.echo, one.ours)),
        "others_cpu": rounds.others_cpu,
        "realtime": bool(realtime()),
    }
