"""Lists refuse what they do not understand, naming the field, and what was expected there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from computepool.v1 import allocation_pb2 as wire
from computepool.v1 import inventory_pb2 as inventory
from computepool_broker.errors import InvalidArgumentError
from support.broker_kit import THREE, running_broker
from support.builders import make_spec

Ask = Callable[[Any], Awaitable[Any]]

BAD_FILTERS = {
    "x" * 1025: "longer than 1024",
    "tenant = a\u202eb": "do not print",
    "tenant = a\x00": "do not print",
    "tenant = a\nAND id = b": "do not print",
    "(" * 17 + "id = a" + ")" * 17: "at 17: parentheses more than 16 deep",
    " OR ".join(["id=a"] * 51): "more than 50 comparisons",
    "id=a OR id=b AND id=c": "at 14: AND and OR side by side",
    "colour = red": "at 1: no field 'colour'; there are id, tenant, request_id",
    "id": "at 3: expected one of != <= >= = < > :",
    "id =": "at 5: expected a value",
    "id == a": "at 5: expected a value; equal is written =",
    "id = a b": "at 8: expected AND, OR or the end",
    "id = 'a": "at 6: these quotes do not end",
    r"id = 'a\n'": "stands only before",
    "id = a*b": "at 6: a * stands at the beginning or the end",
    "(id = a": "at 8: expected AND, OR or )",
    "id = a)": "at 7: expected AND, OR or the end",
    "AND": "at 1: expected the name of a field",
    "NOT": "at 4: expected the name of a field",
    "--id = a": "at 2: expected the name of a field",
    "state = active": "at 9: state is compared with one of RESERVED, ACTIVE, RELEASING, ENDED",
    "state < ACTIVE": "it has no less and no more",
    "adopted = yes": "at 11: adopted is compared with true or false",
    "devices = two": "at 11: devices is compared with a whole number",
    "devices = 1.5": "a whole number",
    "devices = 1" + "0" * 30: "a whole number",
    "devices = 1*": "a whole number",
    "remaining_ttl > 10 parsecs": "expected AND, OR or the end",
    "remaining_ttl > 10min": "a duration such as",
    "create_time > 2026-01-31": "a time after RFC 3339",
    "create_time > 2026-02-30T00:00:00Z": "a time after RFC 3339",
    "create_time > 2026-01-31T00:00:00": "a time after RFC 3339",
    "labels = a": "write labels.KEY",
    "labels < a": "it has no less",
    "id.x = a": "no field 'id.x'",
    "labels.'' = a": "expected a key",
    "tenant < a*": "no * with <",
}


@pytest.mark.parametrize(
    "passing", BAD_FILTERS, ids=lambda text: text[:30].encode("ascii", "replace")
)
async def test_a_bad_filter_is_refused_with_what_was_expected_where(passing: str) -> None:
    async with running_broker() as kit:
        with pytest.raises(InvalidArgumentError) as caught:
            await kit.lists.allocations(wire.ListAllocationsRequest(filter=passing))
        assert caught.value.field == "filter"
        assert BAD_FILTERS[passing] in caught.value.problem


@pytest.mark.parametrize(
    ("order_by", "problem"),
    [
        ("colour", "no field 'colour'; there are"),
        ("id up", "is not a field"),
        ("id desc desc", "is not a field"),
        ("id,,tenant", "is not a field"),
        ("id DESC", "is not a field"),
        ("id, id desc", "names a field twice"),
        ("labels", "write labels.KEY"),
        ("id.x", "no field"),
        ("id,tenant,state,devices,parts", "more than 4 fields"),
        ("i" * 1025, "longer than"),
        ("id\u202e", "do not print"),
    ],
)
async def test_a_bad_order_is_refused_by_name(order_by: str, problem: str) -> None:
    async with running_broker() as kit:
        with pytest.raises(InvalidArgumentError, match=r"^order_by:") as caught:
            await kit.lists.allocations(wire.ListAllocationsRequest(order_by=order_by))
        assert problem in caught.value.problem


@pytest.mark.parametrize("size", [-1, 1_001, 10**9, -(2**31)])
async def test_a_page_is_bounded(size: int) -> None:
    async with running_broker() as kit:
        most = 10_001
        asks: list[tuple[Ask, Any]] = [
            (kit.lists.allocations, wire.ListAllocationsRequest(page_size=size)),
            (kit.lists.nodes, inventory.ListNodesRequest(page_size=size)),
            (kit.lists.centers, inventory.ListCentersRequest(page_size=size)),
            (
                kit.lists.agents,
                inventory.ListAgentsRequest(page_size=most if size == 1_001 else size),
            ),
        ]
        for ask, request in asks:
            with pytest.raises(InvalidArgumentError, match=r"^page_size: must be from 0 to"):
                await ask(request)


async def test_a_token_belongs_to_its_query() -> None:
    async with running_broker(*THREE) as kit:
        for _ in range(3):
            await kit.create(make_spec(cpu=1))
        first = await kit.lists.allocations(wire.ListAllocationsRequest(page_size=1, filter="id=*"))
        token = first.next_page_token
        same = wire.ListAllocationsRequest(filter='id   =   "*"', page_token=token)
        assert len((await kit.lists.allocations(same)).allocations) == 2
        of_nodes = (await kit.lists.nodes(inventory.ListNodesRequest(page_size=1))).next_page_token
        others: list[tuple[Ask, Any]] = [
            (
                kit.lists.allocations,
                wire.ListAllocationsRequest(filter="id=*", page_token=of_nodes),
            ),
            (kit.lists.allocations, wire.ListAllocationsRequest(filter="id!=a", page_token=token)),
            (
                kit.lists.allocations,
                wire.ListAllocationsRequest(filter="id=*", order_by="tenant", page_token=token),
            ),
            (
                kit.lists.allocations,
                wire.ListAllocationsRequest(filter="id=*", tenant="x", page_token=token),
            ),
            (
                kit.lists.allocations,
                wire.ListAllocationsRequest(filter="id=*", include_ended=True, page_token=token),
            ),
            (kit.lists.nodes, inventory.ListNodesRequest(center="c1", page_token=of_nodes)),
            (kit.lists.agents, inventory.ListAgentsRequest(page_token=of_nodes)),
            (kit.lists.centers, inventory.ListCentersRequest(page_token=of_nodes)),
        ]
        for ask, request in others:
            with pytest.raises(
                InvalidArgumentError, match=r"^page_token: belongs to another query"
            ):
                await ask(request)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token[:-1],
        lambda token: token[: len(token) // 2],
        lambda token: token[:5],
        lambda token: token + token,
        lambda token: token * 100,
        lambda _: "1a209151856c1dee",
        lambda _: "=",
        lambda _: "\u202e",
        lambda token: token + "\n",
    ],
)
async def test_a_spoiled_token_is_none(spoil: Callable[[str], str]) -> None:
    async with running_broker(*THREE) as kit:
        request = inventory.ListNodesRequest(page_size=1, order_by="devices")
        token = (await kit.lists.nodes(request)).next_page_token
        request.page_token = spoil(token)
        with pytest.raises(InvalidArgumentError, match=r"^page_token: (is no token|belongs to an)"):
            await kit.lists.nodes(request)
