"""Lists on the wire: what is asked for, the page, the token of the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from computepool.v1 import allocation_pb2
from computepool.v1 import inventory_pb2 as wire
from computepool_broker.errors import InvalidArgumentError
from computepool_broker.model.accelerators import DEFAULT_PRECISION, catalogue
from computepool_broker.model.amounts import WHOLE_DEVICE
from computepool_broker.model.records import AllocationState
from computepool_broker.query.fields import Field, Kind
from computepool_broker.query.filters import read_filter
from computepool_broker.query.order import read_order
from computepool_broker.query.tokens import query_digest, read_token, write_token
from computepool_broker.rpc import from_wire, limits, to_wire
from computepool_broker.rpc.centers import centers_of
from computepool_broker.rpc.rows import agent_row, node_row
from computepool_broker.services.listed import LONG_AGO
from computepool_broker.services.pool import NEVER
from computepool_broker.services.walks import Query, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from google.protobuf.message import Message

    from computepool_broker.model.book import NodeBook
    from computepool_broker.model.records import Allocation
    from computepool_broker.rpc.answers import Answers
    from computepool_broker.services.inventory import InventoryService
    from computepool_broker.services.lists import ListService
    from computepool_broker.services.pool import Pool
    from computepool_broker.services.walks import Page

MAX_AGENTS = 10_000
ROW_BYTES = 8
"""Of a row in its message, besides its own."""
PERCENT = 100

R = TypeVar("R")
M = TypeVar("M", bound="Message")
Asked = (
    allocation_pb2.ListAllocationsRequest
    | wire.ListNodesRequest
    | wire.ListAgentsRequest
    | wire.ListCentersRequest
)


class _Place(NamedTuple):
    """A center as it was at one time of the service clock."""

    center: wire.Center
    now_ms: int


class Lists:
    """Reads what is asked for, has the page made, writes the answer."""

    def __init__(
        self, pool: Pool, service: ListService, inventory: InventoryService, answers: Answers
    ) -> None:
        self._pool = pool
        self._service = service
        self._inventory = inventory
        self._answers = answers

    async def allocations(
        self, request: allocation_pb2.ListAllocationsRequest
    ) -> allocation_pb2.ListAllocationsResponse:
        """See ListAllocations."""
        tenant = from_wire.read_tenant("tenant", request.tenant) if request.tenant else ""
        ended = request.include_ended
        tests: list[Callable[[Allocation], bool]] = []
        if not ended:
            tests.append(lambda a: a.state is not AllocationState.ENDED)
        if tenant:
            tests.append(lambda a: a.tenant == tenant)
        fields = self._service.allocation_fields
        query, digest = _read(request, fields, "id", tests, ("allocations", tenant, ended))
        page = await self._service.allocations(query, self._show_allocation)
        return allocation_pb2.ListAllocationsResponse(
            allocations=page.rows, next_page_token=_next(page, digest)
        )

    def _show_allocation(self, a: Allocation) -> tuple[allocation_pb2.Allocation, int]:
        row = allocation_pb2.Allocation()
        self._answers.fill(row, a)
        return _sized(row)

    async def nodes(self, request: wire.ListNodesRequest) -> wire.ListNodesResponse:
        """See ListNodes."""
        center = from_wire.read_id("center", request.center) if request.center else ""
        tests: list[Callable[[NodeBook], bool]] = []
        if center:
            tests.append(lambda book: book.record.center == center)
        query, digest = _read(request, self._service.node_fields, "name", tests, ("nodes", center))
        page = await self._service.nodes(query, lambda book: _sized(node_row(self._pool, book)))
        return wire.ListNodesResponse(nodes=page.rows, next_page_token=_next(page, digest))

    async def agents(self, request: wire.ListAgentsRequest) -> wire.ListAgentsResponse:
        """See ListAgents."""
        fields = self._service.agent_fields
        query, digest = _read(request, fields, "name", [], ("agents",), MAX_AGENTS, MAX_AGENTS)
        page = await self._service.agents(query, lambda book: _sized(agent_row(self._pool, book)))
        return wire.ListAgentsResponse(agents=page.rows, next_page_token=_next(page, digest))

    async def centers(self, request: wire.ListCentersRequest) -> wire.ListCentersResponse:
        """See ListCenters."""
        precision = request.precision or DEFAULT_PRECISION
        catalogue().peak_gflops("", precision)  # refuses an unknown precision, naming the field
        query, digest = _read(request, CENTER_FIELDS, "name", [], ("centers", precision))
        pool = self._pool
        places = await self._inventory.view(
            lambda sums: {
                c.view.center: _Place(c, pool.clock.now_ms)
                for c in centers_of(pool, sums, precision)
            }
        )
        page = await self._service.values(Table(places), query, lambda p: _sized(p.center))
        return wire.ListCentersResponse(
            centers=page.rows, next_page_token=_next(page, digest), precision=precision
        )


def _read(
    request: Asked,
    fields: Mapping[str, Field[R]],
    name: str,
    tests: list[Callable[[R], bool]],
    kind: tuple[object, ...],
    most: int = from_wire.MAX_PAGE,
    usual: int = from_wire.DEFAULT_PAGE,
) -> tuple[Query[R], bytes]:
    """What a page is asked for, and the digest that its tokens carry."""
    size = limits.ranged("page_size", request.page_size, 0, most) or usual
    passing = read_filter(request.filter, fields)
    order = read_order(request.order_by, fields, name)
    if passing.matches is not None:
        tests.append(passing.matches)
    digest = query_digest(*kind, passing.text, order.text)
    start = None
    if request.page_token:
        start = read_token(request.page_token, digest)
        if not order.takes(start.raw):
            raise InvalidArgumentError("page_token", "is no token that a page of this broker gave")
    return Query(tuple(tests), order, size, to_wire.PAGE_BYTES, start), digest


def _next(page: Page[Any], digest: bytes) -> str:
    return "" if page.end is None else write_token(digest, page.end)


def _sized(row: M) -> tuple[M, int]:
    return row, row.ByteSize() + ROW_BYTES


def _models(p: _Place) -> list[str]:
    return [m.model for m in p.center.view.models]


def _devices(p: _Place, *names: str) -> int:
    """Sum of amounts of all models, in thousandths of a device."""
    return sum(getattr(m.devices, name) for m in p.center.view.models for name in names)


def _use(p: _Place) -> int:
    """Foreign and granted in thousandths of a percent of the total; 0 without devices."""
    total = _devices(p, "total")
    return _devices(p, "granted", "foreign") * PERCENT * WHOLE_DEVICE // total if total else 0


def _age_order(p: _Place) -> int:
    age = p.center.view.age_ms
    return LONG_AGO if age == NEVER else age - p.now_ms


CENTER_FIELDS: Mapping[str, Field[_Place]] = {
    "name": Field(Kind.TEXT, lambda p: p.center.view.center),
    "region": Field(Kind.TEXT, lambda p: p.center.region),
    "role": Field(Kind.TEXT, lambda p: p.center.role),
    "cordoned": Field(Kind.FLAG, lambda p: p.center.view.cordoned),
    "nodes": Field(Kind.NUMBER, lambda p: p.center.view.nodes),
    "nodes_schedulable": Field(Kind.NUMBER, lambda p: p.center.view.nodes_schedulable),
    "model": Field(Kind.TEXTS, _models),
    "devices": Field(Kind.NUMBER, lambda p: _devices(p, "total"), scale=WHOLE_DEVICE),
    "devices_free": Field(Kind.NUMBER, lambda p: _devices(p, "free"), scale=WHOLE_DEVICE),
    "use_percent": Field(Kind.NUMBER, _use, scale=WHOLE_DEVICE),
    "cpu_free_milli": Field(Kind.NUMBER, lambda p: p.center.view.cpu_milli.free),
    "memory_free_mib": Field(Kind.NUMBER, lambda p: p.center.view.memory_mib.free),
    "disk_free_mib": Field(Kind.NUMBER, lambda p: p.center.view.disk_mib.free),
    "agents": Field(Kind.NUMBER, lambda p: p.center.view.agents),
    "agents_active": Field(Kind.NUMBER, lambda p: p.center.view.agents_active),
    "age_ms": Field(Kind.DURATION, lambda p: p.center.view.age_ms, order=_age_order),
}
