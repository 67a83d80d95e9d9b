"""What every store promises: what is committed lasts, in order, and revisions count it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from computepool_broker.ledger import lifecycle
from computepool_broker.ledger.transaction import (
    Blocker,
    Committed,
    PutAgent,
    PutCenter,
    PutNode,
    Rejected,
    RejectReason,
    SetBlockers,
    Transaction,
)
from computepool_broker.model.records import AgentState, PartState
from computepool_broker.placement.places import Place
from support.builders import (
    make_agent,
    make_node,
    make_resources,
    whole,
)
from support.ledger_scene import (
    ONE_CORE,
    STATES_IN_POOL,
    accept,
    cordon,
    end,
    fill_pool,
    grant,
    join,
)
from support.state_text import lasting
from support.store_places import kept, opened

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.store_places import StorePlace

MANY = 10_000
LOAD_S = 20.0
"""Generous: a loaded machine takes 2 s."""


async def test_a_new_store_is_empty_and_keeps_its_identity(place: StorePlace) -> None:
    async with opened(place) as store:
        first = lasting(store.state)
        assert (store.state.epoch, store.state.revision) == (1, 0)
        assert not store.state.nodes
        assert not store.state.allocations
        assert len(store.state.identity) == 16
    assert await kept(place) == first


async def test_two_new_stores_have_different_identities(
    redis_place: StorePlace, embedded_place: StorePlace
) -> None:
    names = [(await kept(place))["identity"] for place in (redis_place, embedded_place)]
    assert names[0] != names[1]


async def test_everything_committed_is_there_after_reopening(place: StorePlace) -> None:
    async with opened(place) as store:
        fill_pool(store)
        await store.commit()
        want = lasting(store.state)
        states = {key: a.state for key, a in store.state.allocations.items()}
    assert states == STATES_IN_POOL
    assert want["request_ids"] == {
        ("default", "r1"): "reserved",
        ("default", '"r,2"'): "moved",
        ("default", "ended"): "ended",
        ("default", "r7"): "adopted",
    }
    assert await kept(place) == want
    assert await kept(place) == want


async def test_committing_step_by_step_keeps_the_same_as_all_at_once(place: StorePlace) -> None:
    async with opened(place) as store:
        join(store, "a1", "n1", "n2")
        await store.commit()
        state = store.state
        accept(store, grant(state, "x", ("n1", whole("n1", 0)), request_id="r"))
        await store.commit()
        there = Place("n2", "H800", whole("n2", 1))
        accept(store, lifecycle.place_anew(state, state.allocations["x"], 0, there))
        await store.commit()
        accept(store, lifecycle.progress(state, state.allocations["x"], 0, PartState.ADMITTED))
        accept(store, end(state, "x"))
        await store.commit()
        accept(store, lifecycle.gone(state, state.allocations["x"], (0,)))
        await store.commit()
        ended_at = state.allocations["x"].revision
        accept(store, lifecycle.forget_ended(state, state.allocations["x"]))
        accept(store, Transaction(1, nodes=(PutNode("n2", None),)))
        await store.commit()
        want = lasting(state)
    assert want["request_ids"] == {}
    assert want["forgotten_through"] == ended_at > 0
    assert await kept(place) == want


async def test_an_id_that_is_dropped_and_comes_back_in_one_commit_was_dropped(
    place: StorePlace,
) -> None:
    async with opened(place) as store:
        join(store)
        state = store.state
        accept(store, grant(state, "x"))
        accept(store, end(state, "x"))
        accept(store, lifecycle.gone(state, state.allocations["x"], (0,)))
        ended_at = state.allocations["x"].revision
        await store.commit()
        accept(store, lifecycle.forget_ended(state, state.allocations["x"]))
        accept(store, grant(state, "x"))
        await store.commit()
        want = lasting(state)
    assert want["forgotten_through"] == ended_at
    assert await kept(place) == want


async def test_what_was_staged_and_not_committed_is_not_there_after_reopening(
    place: StorePlace,
) -> None:
    async with opened(place) as store:
        join(store)
        await store.commit()
        want = lasting(store.state)
        accept(store, grant(store.state, "x", request_id="r"))
        assert "x" in store.state.allocations
    assert await kept(place) == want


async def test_agents_come_back_silent_and_their_nodes_take_no_grants(place: StorePlace) -> None:
    async with opened(place) as store:
        join(store)
        await store.commit()
    async with opened(place) as store:
        state = store.state
        assert state.agents["a1"].state is AgentState.DISCONNECTED
        outcome = store.stage(grant(state, "x"))
        assert outcome == Rejected(RejectReason.NOT_SCHEDULABLE, "n1")
        join(store)
        accept(store, grant(state, "x"))
        await store.commit()


async def test_a_session_after_reopening_can_cordon_what_was_not_and_the_other_way_round(
    place: StorePlace,
) -> None:
    async with opened(place) as store:
        join(store, "a1", "n1", "n2")
        accept(store, cordon("n1"))
        await store.commit()
    async with opened(place) as store:
        accept(store, Transaction(1, blockers=(SetBlockers("n1", 0, Blocker.CORDONED),)))
        accept(store, cordon("n2"))
        await store.commit()
        want = lasting(store.state)
    async with opened(place) as store:
        assert lasting(store.state) == want
        books = store.state.nodes
        assert [books[n].message for n in ("n1", "n2")] == ["", "later"]
        assert not books["n1"].blockers & Blocker.CORDONED
        assert books["n2"].blockers & Blocker.CORDONED


async def test_commits_end_in_the_order_in_which_they_were_begun(place: StorePlace) -> None:
    async with opened(place) as store:
        join(store)
        done: list[int] = []
        commits = []
        for at in range(5):
            accept(store, grant(store.state, f"x{at}"))
            commits.append(commit_and_note(store.commit(), at, done))
        for waiting in reversed(commits):
            await waiting
        assert done == [0, 1, 2, 3, 4]


def commit_and_note(commit: object, at: int, done: list[int]) -> asyncio.Future[None]:
    future = asyncio.ensure_future(commit)  # type: ignore[call-overload]
    future.add_done_callback(lambda _: done.append(at))
    return future  # type: ignore[no-any-return]


async def test_a_commit_of_nothing_waits_for_the_one_before(place: StorePlace) -> None:
    async with opened(place) as store:
        join(store)
        done: list[int] = []
        first = commit_and_note(store.commit(), 0, done)
        second = commit_and_note(store.commit(), 1, done)
        await second
        assert first.done()
        await store.commit()


async def test_who_stops_waiting_for_a_commit_does_not_undo_it(place: StorePlace) -> None:
    async with opened(place) as store:
        join(store)
        commit_and_note(store.commit(), 0, []).cancel()
        accept(store, grant(store.state, "x"))
        await store.commit()
        want = lasting(store.state)
    assert await kept(place) == want


async def test_volatile_changes_do_not_raise_the_revision(place: StorePlace) -> None:
    async with opened(place) as store:
        join(store)
        await store.commit()
        before = store.state.revision
        busy = make_node(foreign=make_resources(cpu=60))
        record = make_agent()
        for tx in (
            Transaction(1, nodes=(PutNode("n1", busy),)),
            Transaction(1, nodes=(PutNode("n1", busy),)),
            Transaction(1, agents=(PutAgent("a1", record, AgentState.DISCONNECTED),)),
            Transaction(1, agents=(PutAgent("a1", record, AgentState.ACTIVE),)),
            Transaction(1, blockers=(SetBlockers("n1", Blocker.SUSPECT),)),
            Transaction(1, blockers=(SetBlockers("n1", 0, Blocker.SUSPECT),)),
        ):
            assert store.stage(tx) == Committed(before)
            await store.commit()
        assert isinstance(
            store.stage(grant(store.state, "x", ("n1", (("cpu_milli", 5000),)))), Rejected
        )
        assert accept(store, grant(store.state, "x", ("n1", (("cpu_milli", 4000),)))) == before + 1
        await store.commit()
    assert (await kept(place))["revision"] == before + 1


async def test_lasting_changes_raise_the_revision_by_one(place: StorePlace) -> None:
    async with opened(place) as store:
        join(store)
        await store.commit()
        state = store.state
        steps: tuple[Callable[[], Transaction | None], ...] = (
            lambda: grant(state, "x"),
            lambda: end(state, "x"),
            lambda: cordon("n1"),
            lambda: Transaction(1, centers=(PutCenter("c1", cordoned=True),)),
            lambda: Transaction(1, nodes=(PutNode("n1", make_node(cpu=32)),)),
            lambda: Transaction(1, agents=(PutAgent("a1", make_agent(session=2)),)),
        )
        for build in steps:
            before = state.revision
            assert accept(store, build()) == before + 1
            await store.commit()


async def test_the_revision_known_at_opening_is_the_last_committed_one(place: StorePlace) -> None:
    async with opened(place) as store:
        join(store)
        await store.commit()
        last = store.state.revision
    async with opened(place) as store:
        assert store.state.opened_revision == last
        assert store.state.known_through(1) == last


async def test_ten_thousand_allocations_load_quickly(place: StorePlace) -> None:
    async with opened(place) as store:
        join(store, "a1", *(f"n{at}" for at in range(200)))
        for at in range(MANY):
            where = (f"n{at % 200}", ONE_CORE)
            accept(store, grant(store.state, f"x{at}", where, request_id=f"r{at}"))
            if at % 500 == 0:
                await store.commit()
        await store.commit()
        want = lasting(store.state)
    begun = time.monotonic()
    async with opened(place) as store:
        took_s = time.monotonic() - begun
        assert lasting(store.state) == want
    assert len(store.state.allocations) == MANY
    assert took_s < LOAD_S
