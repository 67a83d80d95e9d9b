"""What is counted, and that counting keeps within bounds."""

from __future__ import annotations

import asyncio
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool_agents import admission
from computepool_agents.backends import simulated
from computepool_broker.errors import NoRoomError, SessionStaleError
from computepool_broker.ledger.reconcile import HeldState
from computepool_broker.model.records import AllocationState, EndReason
from computepool_broker.placement.filters import compile_shape
from computepool_broker.services.tally import (
    FOLD_AT,
    LEASE_REFUSALS,
    MOST_NAMES,
    REFUSAL_REASONS,
    SECONDS,
    Counts,
    Samples,
)
from support.broker_kit import activate, running_broker
from support.builders import make_columns, make_config, make_held, make_node, make_spec
from support.memory_store import MemoryStore
from support.watching import AllocationFollower


@given(st.lists(st.floats(0, 60), max_size=200), st.integers(0, 200))
def test_values_fall_into_the_bucket_that_includes_their_bound(
    values: list[float], look_at: int
) -> None:
    samples = Samples()
    for at, value in enumerate(values):
        samples.add(value)
        if at == look_at:
            samples.bucketed()  # looking on the way changes nothing
    want = [0] * (len(SECONDS) + 1)
    for value in values:
        want[bisect_left(SECONDS, value)] += 1
    seen = samples.bucketed()
    assert seen.counts == tuple(want)
    assert seen.total == pytest.approx(sum(values))


def test_a_bound_belongs_to_its_own_bucket() -> None:
    samples = Samples((1.0, 2.0))
    samples.extend([1.0, 2.0, 2.1])
    assert samples.bucketed().counts == (1, 1, 1)


def test_values_that_wait_for_sorting_are_bounded() -> None:
    samples = Samples()
    for _ in range(3 * FOLD_AT):
        samples.add(0.1)
        assert len(samples._fresh) < FOLD_AT
    samples.extend([0.1] * FOLD_AT)
    assert not samples._fresh
    assert sum(samples.bucketed().counts) == 4 * FOLD_AT


def test_bounds_must_rise() -> None:
    with pytest.raises(ValueError, match="rise"):
        Samples((1.0, 1.0))


def test_names_beyond_a_closed_set_are_one() -> None:
    counts = Counts(("A", "B"))
    for name in ("A", "x", "y", "z"):
        counts.add(name)
    assert counts.by_name == {"A": 1, "B": 0, "OTHER": 3}


def test_open_names_are_bounded_too() -> None:
    counts = Counts()
    for number in range(1_000):
        counts.add(f"name-{number}")
    assert len(counts.by_name) == MOST_NAMES + 1
    assert counts.by_name["OTHER"] == 1_000 - MOST_NAMES


def test_every_filter_is_a_reason() -> None:
    shapes = [
        make_spec(gpus=1, cpu=1, memory=1, disk=1, extras={"seats": 1}, labels={"a": "b"}),
        make_spec(milli=500, regions=["r1"], centers=["c1"]),
    ]
    columns, _ = make_columns(make_node(gpus=1))
    named = {f.reason for each in shapes for f in compile_shape(columns, each.shape).filters}
    assert len(named) > 8
    assert named - {"CENTER"} <= set(REFUSAL_REASONS)


def test_every_reason_of_our_agents_is_known() -> None:
    theirs = {
        value
        for module in (admission, simulated)
        for name, value in vars(module).items()
        if name.isupper() and value == name
    }
    assert {"DOES_NOT_FIT", "INJECTED"} <= theirs
    assert theirs <= set(LEASE_REFUSALS)


async def test_a_grant_counts_when_it_is_durable_and_not_before() -> None:
    store = MemoryStore()
    async with running_broker(make_node(gpus=2), store=store) as kit:
        store.hold = True
        creating = asyncio.create_task(kit.create(make_spec(gpus=1)))
        async with asyncio.timeout(20):
            while not kit.pool.state.allocations:  # noqa: ASYNC110 - the store holds all events
                await asyncio.sleep(0)
        assert kit.pool.tally.granted == 0
        store.let_go()
        await creating
        assert kit.pool.tally.granted == 1


async def test_every_step_of_a_life_counts_once() -> None:
    async with running_broker(make_node(gpus=4)) as kit:
        tally = kit.pool.tally
        active = await activate(kit, gpus=1)
        made = await kit.create(make_spec(gpus=1, ttl_s=60))
        assert (tally.granted, sum(tally.admit_s.bucketed().counts)) == (2, 1)
        await kit.allocations.release(active, "", "")
        await kit.allocations.release(active, "", "")
        await kit.report(held=[])
        await kit.tick(times=10)
        await kit.report(held=[])
        assert kit.pool.state.allocations[made.id].end_reason in (
            EndReason.EXPIRED,
            EndReason.FAILED,
        )
        ended = tally.ended.by_name
        assert (ended["RELEASED"], ended["EXPIRED"] + ended["FAILED"]) == (1, 1)
        assert tally.granted == 2


async def test_states_are_counted_as_they_change() -> None:
    async with running_broker(make_node(gpus=4)) as kit:
        state = kit.pool.state
        await activate(kit, gpus=1)
        ending = await kit.create(make_spec(gpus=1))
        await kit.allocations.release(ending.id, "", "")
        want = [0] * len(state.by_state)
        for allocation in state.allocations.values():
            want[allocation.state] += 1
        assert state.by_state == want
        assert want[AllocationState.ACTIVE] == 1
        assert state.live == 1


async def test_refusals_count_by_what_stopped_the_nearest_center() -> None:
    grown_up = make_config(warm_up_s=0.0)
    async with running_broker(make_node(gpus=2, cpu=4), config=grown_up) as kit:
        await kit.create(make_spec(gpus=2))
        for spec in (make_spec(gpus=1), make_spec(gpus=1), make_spec(gpus=3)):
            with pytest.raises(NoRoomError):
                await kit.create(spec)
        counted = {name: n for name, n in kit.pool.tally.refusals.by_name.items() if n}
        assert counted == {"DEVICES": 2, "BEYOND_POOL": 1}


async def test_a_pool_without_centers_says_so() -> None:
    async with running_broker() as kit:
        with pytest.raises(NoRoomError):
            await kit.create(make_spec(gpus=1))
        assert kit.pool.tally.refusals.by_name["NO_CENTER"] == 1


async def test_reports_and_what_agents_refuse_are_counted() -> None:
    async with running_broker(make_node(gpus=2)) as kit:
        tally = kit.pool.tally
        assert (tally.sessions, tally.reports.by_name["full"], tally.report_nodes) == (1, 1, 1)
        made = await kit.create(make_spec(gpus=1))
        lease = made.parts[0].lease_id(made.id)
        await kit.report(held=[make_held(lease, HeldState.REFUSED, "DOES_NOT_FIT")])
        await kit.report(held=[make_held("nobody.0.0", HeldState.REFUSED, "\x1b[31m")])
        assert tally.reports.by_name["unchanged"] == 2
        assert tally.lease_refusals.by_name["DOES_NOT_FIT"] == 1
        with pytest.raises(SessionStaleError):
            await kit.report(session=9)
        assert tally.reports.by_name["rejected"] == 1


async def test_an_agents_own_words_are_no_label() -> None:
    async with running_broker(make_node(gpus=2)) as kit:
        made = await kit.create(make_spec(gpus=1))
        lease = made.parts[0].lease_id(made.id)
        await kit.report(held=[make_held(lease, HeldState.REFUSED, "\x1b[31mEVIL")])
        counted = kit.pool.tally.lease_refusals.by_name
        assert counted["OTHER"] == 1
        assert counted.keys() == {*LEASE_REFUSALS, "OTHER"}


async def test_the_lag_of_watches_is_measured_for_what_they_were_told() -> None:
    async with running_broker(make_node(gpus=4)) as kit:
        lag = kit.pool.tally.watch_lag_s
        follower = await AllocationFollower().watch(kit).read_to(kit.pool.state.revision)
        first = await kit.create(make_spec(gpus=1))
        await follower.read_to(first.revision)
        assert sum(lag.bucketed().counts) == 0  # nobody has asked for more: is it written?
        second = await kit.create(make_spec(gpus=1))
        await follower.read_to(second.revision)
        assert sum(lag.bucketed().counts) == 1
        assert 0 < lag.bucketed().total < 20
        await follower.stop()
