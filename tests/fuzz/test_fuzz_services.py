"""Bytes that no client should send, to every method of each service.

`make fuzz MINUTES=n` throws for n minutes, `make test` for some seconds. A failure says the calls
as they are to be written into test_found_by_fuzzing.py, in hex, and the seed.
"""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from random import SystemRandom
from time import monotonic

import pytest
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st

from computepool_broker.rpc.sizes import most_bytes
from support import virtual_time
from support.fuzz_broker import Case, play, play_over
from support.fuzz_cases import SERVICES, cases, good, methods
from support.fuzz_messages import paths, stuffed

SECONDS = float(os.environ.get("COMPUTEPOOL_FUZZ_SECONDS", "3"))
"""For each service."""
SEED = int(os.environ.get("COMPUTEPOOL_FUZZ_SEED") or SystemRandom().getrandbits(32))
MOST_BLOCKED_S = 2.0
AT_ONCE = 100
"""Rounds of so many examples, until the time is over."""
QUIET = settings(
    max_examples=AT_ONCE,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)


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

    while monotonic() - began < SECONDS or not rounds:
        number = SEED + rounds
        print(f"COMPUTEPOOL_FUZZ_SEED={number}")  # noqa: T201 - pytest shows it with a failure
        seed(number)(QUIET(given(cases(service))(throw)))()
        rounds += 1
    took = timedelta(seconds=round(monotonic() - began))
    print(f"{service}: {played} calls in {took}")  # noqa: T201 - see above
    assert played


@pytest.mark.timeout(SECONDS + 600)
def test_over_a_socket_it_is_the_same() -> None:
    began, rounds = monotonic(), 0
    every = st.sampled_from(sorted(SERVICES)).flatmap(cases)

    def throw(calls: list[Case]) -> None:
        note(f"await play_over({calls!r})")
        runner.run(play_over(calls))

    with asyncio.Runner() as runner:  # one for all: gRPC knows one event loop at a time
        while monotonic() - began < SECONDS or not rounds:
            number = SEED + rounds
            print(f"COMPUTEPOOL_FUZZ_SEED={number}")  # noqa: T201 - pytest shows it with a failure
            seed(number)(settings(QUIET, max_examples=20)(given(every)(throw)))()
            rounds += 1


@pytest.mark.timeout(600)
def test_no_field_however_long_holds_up_the_others() -> None:
    """Each list, map and text in turn, as large as the call takes it."""
    slow: dict[str, float] = {}
    tried = 0
    for method in methods():
        name = f"/{method.containing_service.full_name}/{method.name}"
        most = most_bytes(name)
        for path in paths(method.input_type, 2):
            data = stuffed(good(method)[0], path, most - 1_000)
            _, blocked_s = virtual_time.run(play([Case(name, (data,))]))
            tried += 1
            if blocked_s > MOST_BLOCKED_S:
                slow[f"{method.name}.{'.'.join(f.name for f in path)}"] = blocked_s
    assert not slow
    assert tried > len(methods())
