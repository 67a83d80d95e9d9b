"""Which answers count, and what they do."""

from __future__ import annotations

import pytest

from computepool_agents.admission import Refusal
from computepool_agents.answers import Arbiter, Plan, Verdict, verdict
from computepool_agents.book import Book
from computepool_agents.model import ADMITTED, RELEASING, STARTED, STOPPED, Held, Mark
from fakes.agent_builders import (
    admit,
    make_answer,
    make_held,
    make_node,
    make_record,
    revoke,
    start,
)

SEEN = Mark("store-1", 3, 10)


@pytest.mark.parametrize(
    ("identity", "epoch", "revision", "want"),
    [
        ("store-1", 3, 11, Verdict.APPLY),
        ("store-1", 4, 11, Verdict.APPLY),
        ("store-1", 3, 10, Verdict.IGNORE),
        ("store-1", 3, 9, Verdict.IGNORE),
        ("store-1", 2, 11, Verdict.REOPEN),
        ("store-2", 4, 11, Verdict.REOPEN),
        ("store-1", 3, 1 << 63, Verdict.REOPEN),
    ],
)
def test_verdict(identity: str, epoch: int, revision: int, want: Verdict) -> None:
    answer = make_answer(revoke("a.0.0"), identity=identity, epoch=epoch, revision=revision)
    assert verdict(answer, SEEN, "store-1", applied_revision=10) is want


def test_old_answer_without_commands_does_no_harm() -> None:
    answer = make_answer(epoch=3, revision=9)
    assert verdict(answer, SEEN, "store-1", applied_revision=10) is Verdict.APPLY


@pytest.mark.parametrize(("epoch", "want"), [(3, Verdict.REOPEN), (4, Verdict.APPLY)])
def test_other_store_must_have_raised_its_epoch(epoch: int, want: Verdict) -> None:
    answer = make_answer(identity="store-2", epoch=epoch, revision=1)
    assert verdict(answer, SEEN, "store-2", applied_revision=0) is want


def plan(*commands: object, held: tuple[Held, ...] = (), refused: tuple[Held, ...] = ()) -> Plan:
    arbiter = Arbiter(
        Book(held),
        {lease.lease_id: lease for lease in refused},
        {"n1": make_node()},
        lambda _: None,
    )
    return arbiter.plan(make_answer(*commands))  # type: ignore[arg-type]


def test_admit_counts_what_the_same_answer_admits() -> None:
    made = plan(*(admit(make_record(f"a{i}.0.0", cpu=3)) for i in range(3)))
    assert [h.lease_id for h in made.change.puts] == ["a0.0.0", "a1.0.0"]
    assert [(h.lease_id, h.reason) for h in made.refused] == [("a2.0.0", "DOES_NOT_FIT")]


def test_admit_twice_is_once() -> None:
    record = make_record()
    assert len(plan(admit(record), admit(record)).change.puts) == 1
    assert plan(admit(record), held=(make_held(),)).change.puts == ()


def test_refused_lease_is_not_admitted_later() -> None:
    made = plan(admit(make_record()), refused=(make_held(),))
    assert made.change.puts == made.refused == ()


def test_record_must_be_the_leases_own() -> None:
    command = admit(make_record("a.0.0"))
    command.lease_id = "b.0.0"
    (refused,) = plan(command).refused
    assert (refused.lease_id, refused.reason) == ("b.0.0", "MALFORMED")


def test_admit_without_a_record_is_refused() -> None:
    command = admit(make_record("a.0.0"))
    command.ClearField("record")
    assert [h.reason for h in plan(command).refused] == ["MALFORMED"]


def test_start_counts_for_admitted_leases_only() -> None:
    held = (make_held("a.0.0", ADMITTED), make_held("b.0.0", STARTED), make_held("c.0.0", STOPPED))
    made = plan(start("a.0.0"), start("b.0.0"), start("c.0.0"), start("d.0.0"), held=held)
    assert [h.lease_id for h in made.starts] == ["a.0.0"]


def test_revoke_wins_over_start() -> None:
    made = plan(start("a.0.0"), revoke("a.0.0"), held=(make_held("a.0.0"),))
    assert made.starts == ()
    assert [(h.lease_id, h.state) for h in made.teardowns] == [("a.0.0", RELEASING)]


def test_revoke_forgets_what_is_stopped_or_refused() -> None:
    made = plan(
        revoke("a.0.0"),
        revoke("b.0.0"),
        revoke("c.0.0"),
        held=(make_held("a.0.0", STOPPED),),
        refused=(make_held("b.0.0"),),
    )
    assert (made.change.drops, made.forgotten, made.teardowns) == (("a.0.0",), ("b.0.0",), ())


def test_revoked_capacity_is_not_free_before_it_is_torn_down() -> None:
    held = make_held("a.0.0", STARTED, cpu=8)
    made = plan(revoke("a.0.0"), admit(make_record("b.0.0", cpu=1)), held=(held,))
    assert [h.reason for h in made.refused] == ["DOES_NOT_FIT"]


def test_the_engine_may_say_no() -> None:
    arbiter = Arbiter(Book(), {}, {"n1": make_node()}, lambda _: Refusal("QUEUE_CLOSED", "closed"))
    made = arbiter.plan(make_answer(admit(make_record())))
    assert [h.reason for h in made.refused] == ["QUEUE_CLOSED"]


def test_mark_is_kept_when_it_rises() -> None:
    arbiter = Arbiter(Book(seen=SEEN), {}, {}, lambda _: None)
    assert arbiter.plan(make_answer(epoch=3, revision=10)).change.mark is None
    assert arbiter.plan(make_answer(epoch=3, revision=11)).change.mark == Mark("store-1", 3, 11)
