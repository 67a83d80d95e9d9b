"""Equal requests that are granted together get what they would get one after the other."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from computepool_broker.errors import NoRoomError, PoolError
from computepool_broker.ledger.invariants import check_invariants
from computepool_broker.placement.shape_index import LEAST_HELD
from computepool_broker.services.grants import Create, Granted
from support.broker_kit import BrokerKit, running_broker
from support.builders import make_node, make_spec

SPECS = [
    make_spec(gpus=1),
    make_spec(gpus=3, cpu=2),
    make_spec(milli=300),
    make_spec(milli=600, cpu=1),
    make_spec(cpu=3, memory=1),
    make_spec(memory=2),
    make_spec(gpus=1, count=2),
]
CALLS = st.lists(st.integers(0, len(SPECS) - 1), min_size=1, max_size=24)
NODES = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 12)), min_size=1, max_size=4)
Shown = list[tuple[str, object]]


def shown(made: list[Granted | PoolError]) -> Shown:
    return [
        ("granted", [(p.node, p.amounts) for p in each.allocation.parts])
        if isinstance(each, Granted)
        else ("refused", type(each))
        for each in made
    ]


async def together(kit: BrokerKit, calls: list[Create]) -> Shown:
    made = await kit.bulk.create_each(calls, 0)
    assert check_invariants(kit.pool.state, kit.pool.columns) == []
    return shown(made)


async def one_by_one(kit: BrokerKit, calls: list[Create]) -> Shown:
    """In the order that equal ones stand together where the first of them stands."""
    first: dict[int, list[int]] = {}
    for at, call in enumerate(calls):
        first.setdefault(id(call.spec) if call.spec.parts == 1 else -at - 1, []).append(at)
    made: dict[int, Granted | PoolError] = {}
    for at in [at for group in first.values() for at in group]:
        try:
            made[at] = await kit.allocations.create(calls[at], 0)
        except NoRoomError as error:
            made[at] = error
    return shown([made[at] for at in range(len(calls))])


@settings(deadline=None, max_examples=60)
@given(NODES, CALLS)
def test_together_is_as_one_by_one(nodes: list[tuple[int, int]], picks: list[int]) -> None:
    async def both() -> tuple[Shown, Shown]:
        records = [make_node(f"n{at}", gpus=g, cpu=c) for at, (g, c) in enumerate(nodes)]
        calls = [Create("default", "", SPECS[pick]) for pick in picks]
        async with running_broker(*records) as first, running_broker(*records) as second:
            return await together(first, calls), await one_by_one(second, calls)

    got, want = asyncio.run(both())
    assert got == want


async def test_equal_requests_fill_more_nodes_than_the_index_holds_at_once() -> None:
    nodes = [make_node(f"n{at:03d}", gpus=1) for at in range(3 * LEAST_HELD)]
    async with running_broker(*nodes) as kit:
        calls = [Create("default", "", SPECS[0])] * len(nodes)
        made = await kit.bulk.create_each([*calls, calls[0]], 0)
        assert [isinstance(each, Granted) for each in made] == [True] * len(nodes) + [False]
        assert check_invariants(kit.pool.state, kit.pool.columns) == []


async def test_the_same_request_id_among_equal_requests_is_one_grant() -> None:
    async with running_broker(make_node(gpus=8)) as kit:
        calls = [Create("default", name, SPECS[0]) for name in ("a", "b", "a", "", "", "b")]
        made = await kit.bulk.create_each(calls, 0)
        assert [isinstance(each, Granted) and each.duplicate for each in made] == [
            False, False, True, False, False, True,
        ]  # fmt: skip
        assert kit.pool.state.live == 4
        again = await kit.bulk.create_each(calls[:3], 0)
        assert all(isinstance(each, Granted) and each.duplicate for each in again)


async def test_a_row_that_was_full_takes_requests_again_when_something_is_released() -> None:
    async with running_broker(make_node(gpus=2)) as kit:
        calls = [Create("default", "", SPECS[0])] * 3
        made = await kit.bulk.create_each(calls, 0)
        assert [isinstance(each, Granted) for each in made] == [True, True, False]
        first = made[0]
        assert isinstance(first, Granted)
        await kit.allocations.release(first.allocation.id, "", "")
        await kit.report()
        assert isinstance((await kit.bulk.create_each(calls[:1], 0))[0], Granted)
