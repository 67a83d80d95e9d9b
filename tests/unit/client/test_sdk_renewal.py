"""When which leases are renewed, and which are lost."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from computepool_client import errors
from computepool_client.renewal import MOST_AT_ONCE, Renewals, settle


def plan(*ttls_s: float, jitter: float = 0.5) -> Renewals:
    made = Renewals(lambda: jitter)
    for index, ttl_s in enumerate(ttls_s):
        made.keep(f"a-{index}", ttl_s, ttl_s, 0)
    return made


def test_a_lease_is_due_when_a_third_of_its_time_is_over() -> None:
    kept = plan(30)
    assert kept.wake_s() == 10
    assert kept.due(9.9) == []
    assert kept.due(10) == ["a-0"]


def test_not_all_clients_renew_at_once() -> None:
    assert plan(30, jitter=0).wake_s() == 9
    assert plan(30, jitter=1).wake_s() == 11


def test_a_renewal_counts_from_its_sending() -> None:
    kept = plan(30)
    kept.renewed(["a-0"], sent_s=10)
    assert kept.lost(39.9) == []
    assert kept.lost(40) == ["a-0"]
    assert len(kept) == 0
    assert kept.wake_s() is None


def test_those_that_are_due_soon_go_along_and_those_that_are_not_stay() -> None:
    kept = plan(30, 34, 3600)
    assert kept.due(10) == ["a-0", "a-1"]


def test_two_hundred_leases_taken_one_after_the_other_need_one_call_a_third() -> None:
    kept = Renewals(lambda: 0.5)
    for index in range(200):
        kept.keep(f"a-{index}", 60, 60 + index * 0.02, index * 0.02)
    calls, now_s = 0, 0.0
    while now_s < 120:
        wake_s = kept.wake_s()
        assert wake_s is not None
        now_s = max(now_s, wake_s)
        if due := kept.due(now_s):
            calls += 1
            kept.renewed(due, now_s)
        assert kept.lost(now_s) == []
    assert calls <= 8


def test_a_call_takes_ten_thousand_those_that_end_first() -> None:
    kept = plan(*([30.0] * MOST_AT_ONCE), 20)
    due = kept.due(10)
    assert len(due) == MOST_AT_ONCE
    assert due[0] == f"a-{MOST_AT_ONCE}"
    kept.renewed(due, 10)
    assert len(kept.due(10)) == 1


def test_after_a_failure_it_pauses_and_pauses_grow() -> None:
    kept = plan(30)
    kept.failed(10, None)
    assert kept.due(10.1) == []
    assert kept.wake_s() == 10.2
    kept.failed(10.2, None)
    assert kept.wake_s() == 10.6
    kept.renewed(["a-0"], 10.6)
    kept.failed(20.6, None)
    assert kept.wake_s() == 20.8, "the pauses begin anew"


def test_a_hint_is_followed_but_never_until_it_is_too_late() -> None:
    kept = plan(30)
    kept.failed(10, 2.0)
    assert kept.wake_s() == 12
    kept.failed(12, 1e9)
    wake_s = kept.wake_s()
    assert wake_s is not None
    assert wake_s <= 18


def test_a_lease_that_the_broker_does_not_know_is_asked_for_ever_more_rarely() -> None:
    """So it is while a store that was lost fills up again: the worst time for a storm."""
    kept = plan(3600, 3600)
    asked, now_s = 0, 1200.0
    kept.drop("a-1")
    while now_s < 1320:
        ids = kept.due(now_s)
        asked += bool(ids)
        unknown = dict.fromkeys(ids, errors.NotFoundError("no such allocation", "NOT_FOUND"))
        assert settle(kept, {}, ids, (unknown, now_s), now_s) == []
        wake_s = kept.wake_s()
        assert wake_s is not None
        now_s = max(now_s, wake_s)
    assert asked < 40


def test_leases_that_were_not_renewed_together_are_one_failure() -> None:
    kept = plan(*[30.0] * 100)
    ids = kept.due(10)
    unknown = dict.fromkeys(ids, errors.NotFoundError("no such allocation", "NOT_FOUND"))
    settle(kept, {}, ids, (unknown, 10), 10)
    assert kept.wake_s() == 10.2


def test_a_call_ends_before_the_first_lease_does() -> None:
    kept = plan(30, 3600)
    assert kept.call_s(0) == 3
    assert kept.call_s(29) == 1
    assert kept.call_s(40) > 0


def test_a_lease_that_is_kept_late_is_renewed_before_it_ends() -> None:
    kept = Renewals(lambda: 0.5)
    kept.keep("a-0", 60, valid_until_s=6, now_s=0)
    assert kept.wake_s() == 2


@given(
    seed=st.integers(0, 2**32),
    ttls_s=st.lists(st.integers(10, 4000), min_size=1, max_size=8),
    steps=st.lists(st.tuples(st.booleans(), st.floats(0.01, 400)), max_size=60),
)
def test_it_never_believes_longer_than_the_broker_and_forgets_nobody(
    seed: int, ttls_s: list[int], steps: list[tuple[bool, float]]
) -> None:
    """The broker counts from when a renewal arrives, which is after its sending."""
    kept = Renewals(random.Random(seed).random)
    broker_until = {}
    for index, ttl_s in enumerate(ttls_s):
        kept.keep(f"a-{index}", ttl_s, ttl_s, 0)
        broker_until[f"a-{index}"] = ttl_s + 0.01
    now_s = 0.0
    for works, slow_s in steps:
        wake_s = kept.wake_s()
        if wake_s is None:
            break
        now_s = max(now_s, wake_s)
        for id_ in kept.lost(now_s):
            del broker_until[id_]
        due = kept.due(now_s)
        sent_s, now_s = now_s, now_s + min(slow_s, kept.call_s(now_s)) * bool(due)
        if due and works:
            kept.renewed(due, sent_s)
            for id_ in due:
                ttl_s = ttls_s[int(id_[2:])]
                broker_until[id_] = now_s + ttl_s
        elif due:
            kept.failed(now_s, None)
        assert len(kept) == len(broker_until)
        for id_, until_s in broker_until.items():
            assert kept._kept[id_].valid_until_s <= until_s
