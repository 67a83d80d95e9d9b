"""Which call is tried again, where and when."""

from __future__ import annotations

import pytest

from computepool_client import endpoints, errors
from computepool_client.endpoints import Endpoints
from computepool_client.retry import Attempts, Terms

UNREACHABLE = errors.UnreachableError("nobody", "UNREACHABLE")
BROKE = errors.NoAnswerError("broke", "CONNECTION_BROKE")
UNKNOWN = errors.OutcomeUnknownError("perhaps", "OUTCOME_UNKNOWN")
WARMING = errors.NotReadyError("warming up", "WARMING_UP", retry_after_s=2.0)
FULL = errors.NoRoomError("full", "NO_ROOM", retry_after_s=2.0)
BUSY = errors.PoolError("busy", "OVERLOADED", retry_after_s=0.5)


def attempts(
    *addresses: str, timeout_s: float = 30, room_s: float = 0, safe: bool = True
) -> Attempts:
    terms = Terms(timeout_s, room_s, safe)
    return Attempts(Endpoints(addresses or ("a:1",)), terms, 0.0, lambda: 0.5)


@pytest.mark.parametrize("error", [UNREACHABLE, BROKE, UNKNOWN, WARMING, BUSY])
def test_what_is_safe_is_tried_again(error: errors.PoolError) -> None:
    plan = attempts()
    plan.attempt(0)
    assert plan.failed(error, 0.1) > 0
    assert plan.attempt(1).endpoint == "a:1"


@pytest.mark.parametrize(
    "error",
    [
        FULL,
        errors.InvalidRequestError("bad", "INVALID_FIELD"),
        errors.NotFoundError("none", "NOT_FOUND"),
        errors.WrongStateError("ended", "LEASE_ENDED"),
        errors.PoolError("a bug", "INTERNAL"),
        errors.PoolError("busy, without a hint", "OVERLOADED"),
    ],
)
def test_nothing_else_is_tried_again(error: errors.PoolError) -> None:
    plan = attempts()
    plan.attempt(0)
    with pytest.raises(errors.PoolError) as caught:
        plan.failed(error, 0.1)
    assert caught.value is error


@pytest.mark.parametrize(
    ("error", "again"), [(UNREACHABLE, True), (WARMING, True), (BROKE, False), (UNKNOWN, False)]
)
def test_what_is_not_safe_is_tried_again_only_when_it_was_not_served(
    error: errors.PoolError, again: bool
) -> None:
    plan = attempts(safe=False)
    plan.attempt(0)
    if again:
        assert plan.failed(error, 0.1) > 0
    else:
        with pytest.raises(type(error)):
            plan.failed(error, 0.1)


def test_a_refusal_is_asked_again_only_while_room_is_waited_for() -> None:
    plan = attempts(room_s=5)
    plan.attempt(0)
    assert 2.0 <= plan.failed(FULL, 0) <= 2.3, "as the broker hints, not all at once"
    assert plan.failed(FULL, 4) == 1, "a last time when the patience is over"
    plan.attempt(5)
    with pytest.raises(errors.NoRoomError):
        plan.failed(FULL, 5)


def test_pauses_grow_and_stay_bounded_and_hints_are_kept_within_reason() -> None:
    plan = attempts(timeout_s=1000)
    pauses = []
    for _ in range(9):
        plan.attempt(0)
        pauses.append(plan.failed(UNREACHABLE, 0))
    assert pauses == sorted(pauses)
    assert pauses[0] < 0.2
    assert pauses[-1] <= 3
    assert plan.failed(errors.NotReadyError("x", "STOPPING", retry_after_s=1e9), 0) <= 66


def test_the_next_broker_is_asked_at_once_and_all_of_them_before_a_pause() -> None:
    plan = attempts("a:1", "b:1", "c:1")
    seen = [(plan.attempt(0).endpoint, plan.failed(UNREACHABLE, 0) > 0) for _ in range(3)]
    assert seen == [("a:1", False), ("b:1", False), ("c:1", True)]
    assert plan.attempt(1).endpoint == "a:1"


def test_two_calls_that_fail_at_one_broker_move_on_once() -> None:
    brokers = Endpoints(("a:1", "b:1", "c:1"))
    for plan in [Attempts(brokers, Terms(9), 0, lambda: 0.5) for _ in range(2)]:
        plan._asked = "a:1"
        plan.failed(UNREACHABLE, 0)
    assert brokers.present == "b:1"


def test_a_deadline_in_the_past_sends_nothing() -> None:
    for timeout_s in (0, -3):
        with pytest.raises(errors.DeadlinePassedError, match="nothing was sent"):
            attempts(timeout_s=timeout_s).attempt(0)


def test_no_attempt_outlives_the_deadline_and_none_begins_after_it() -> None:
    plan = attempts(timeout_s=12)
    assert plan.attempt(0).timeout_s == 10
    plan.failed(BROKE, 10)
    assert plan.attempt(10.5).timeout_s == 1.5
    with pytest.raises(errors.NoAnswerError):
        plan.failed(BROKE, 12)
    with pytest.raises(errors.NoAnswerError):
        plan.attempt(12)


def test_it_gives_up_at_once_when_the_pause_would_outlast_the_deadline() -> None:
    plan = attempts(timeout_s=1)
    plan.attempt(0)
    with pytest.raises(errors.NotReadyError):
        plan.failed(WARMING, 0)


def test_a_watch_that_was_told_something_has_its_patience_anew() -> None:
    plan = attempts(timeout_s=5)
    plan.attempt(0)
    plan.begin_again(100)
    assert plan.failed(BROKE, 100) > 0
    assert plan.attempt(101).timeout_s == 4


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("a:7600", ("a:7600",)),
        ("a:7600,b:7601", ("a:7600", "b:7601")),
        (" a:1 , [::1]:2 ", ("a:1", "[::1]:2")),
        ("a:1,a:1", ("a:1",)),
        ("dns:///a:1", ("a:1",)),
    ],
)
def test_endpoints_are_read(text: str, want: tuple[str, ...]) -> None:
    assert endpoints.parse(text) == want


@pytest.mark.parametrize(
    "text", ["", "a", "a:", ":1", "a:0", "a:65536", "a:1,", "http://a:1", "::1:5", "a:9" * 70]
)
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        endpoints.parse(text)


def test_without_an_endpoint_the_environment_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPUTEPOOL_ENDPOINT", "x:1,y:2")
    assert endpoints.parse(None) == ("x:1", "y:2")
    monkeypatch.delenv("COMPUTEPOOL_ENDPOINT")
    assert endpoints.parse(None) == ("127.0.0.1:7600",)
