"""Bytes that no client should send, to every method of each service.

`make fuzz MINUTES=n` throws for n minutes, `make test` for some seconds. A failure says the calls
as they are to be written into test_found_by_fuzzing.py, in hex, and the seed.
"""

from __future__ import annotations

import os
from datetime import timedelta
from random import SystemRandom
from time import monotonic

import pytest
from hypothesis import HealthCheck, given, note, seed, settings

from computepool_broker.rpc.sizes import most_bytes
from support import virtual_time
from support.fuzz_broker import Case, play
from support.fuzz_cases import SERVICES, cases, good, methods
from support.fuzz_messages import paths, stuffed

SECONDS = float(os.environ.get("COMPUTEPOOL_FUZZ_SECONDS", "5"))
"""For each service."""
SEED = int(os.environ.get("COMPUTEPOOL_FUZZ_SEED") or SystemRandom().getrandbits(32))
MOST_BLOCKED_S = 2.0
AT_ONCE = 100
"""Rounds of so many examples, until the time is over."""


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.timeout(SECONDS + 600)
def test_every_answer_is_one_of_ours_and_the_books_balance(service: str) -> None:
    began, rounds, played = monotonic(), 0, 0

    def throw(calls: list[Case]) -> None:
        nonlocal played
        played += len(calls)
        note(f"await play({calls!r})")
        _, blocked_s = virtual_time.run(play(calls))
        assert blocked_s < MOST_BLOCKED_S, f"the loop stood still for {blocked_s:.1f} s"

    quiet = settings(
        max_examples=AT_ONCE,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    while monotonic() - began < SECONDS or not rounds:
        number = SEED + rounds
        print(f"COMPUTEPOOL_FUZZ_SEED={number}")  # noqa: T201 - pytest shows it with a failure
        seed(number)(quiet(given(cases(service))(throw)))()
        rounds += 1
    took = timedelta(seconds=round(monotonic() - began))
    print(f"{service}: {played} calls in {took}")  # noqa: T201 - see above
    assert played


@pytest.mark.timeout(600)
def test_no_field_however_long_holds_up_the_others() -> None:
    """Each list, map and text in turn, as large as the call takes it, and a little larger."""
    slow: dict[str, float] = {}
    tried = 0
    for method in methods():
        name = f"/{method.containing_service.full_name}/{method.name}"
        most = most_bytes(name)
        for path in paths(method.input_type, 2):
            for size in (most - 1_000, most + 1_000):
                data = stuffed(good(method)[0], path, size)
                _, blocked_s = virtual_time.run(play([Case(name, (data,))]))
                tried += 1
                if blocked_s > MOST_BLOCKED_S:
                    slow[f"{method.name}.{'.'.join(f.name for f in path)}"] = blocked_s
    assert not slow
    assert tried > 2 * len(methods())
