"""A real broker asked for what cannot be: it names the field, changes nothing, and goes on."""

from __future__ import annotations

import asyncio
import random
from time import monotonic
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.protobuf.json_format import ParseDict
from google.rpc import error_details_pb2, status_pb2

from computepool.v1 import allocation_pb2 as wire
from computepool.v1 import inventory_pb2 as inventory
from computepool.v1 import types_pb2
from support.caller import CALL_S, LIVE, Caller, reason_of, spec
from support.local_pool import CENTERS
from support.processes import eventually
from support.raw_http2 import RawClient, frame, message

if TYPE_CHECKING:
    from support.local_pool import LocalPool
    from support.processes import Daemon

MOST = 2**50
MIB = 1 << 20
CREATE = "/computepool.v1.AllocationService/CreateAllocation"
CORE = {"part": {"resources": {"cpuMilli": 1000}}}


def field_of(error: grpc.aio.AioRpcError) -> str:
    """The field that a refusal names."""
    bad = error_details_pb2.BadRequest()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Unpack(bad):
                    return str(bad.field_violations[0].field)
    return ""


async def up(pool: LocalPool, caller: Caller) -> Daemon:
    broker, region = pool.broker(report_interval_s="5", disconnected_after_s="60",
                                 lost_after_s="120"), pool.region()  # fmt: skip
    broker.start()
    await broker.ready()
    region.start()
    await region.ready()
    await caller.agents_are(inventory.AGENT_STATE_ACTIVE, *CENTERS)
    return broker


def create(**fields: Any) -> wire.CreateAllocationRequest:
    """A create of one core, with these fields in their JSON form."""
    return ParseDict({"spec": CORE} | fields, wire.CreateAllocationRequest())


def asked(**fields: Any) -> wire.CreateAllocationRequest:
    return create(spec=CORE | fields)


def part(**fields: Any) -> wire.CreateAllocationRequest:
    return create(spec={"part": fields})


Row = tuple[str, Any, str]
"""Method, request, the field or reason of the error."""

CREATES: list[tuple[Any, str]] = [
    (wire.CreateAllocationRequest(), "spec.part"),
    (part(), "spec.part"),
    (part(resources={"cpuMilli": -1}), "spec.part.resources.cpu_milli"),
    (part(resources={"cpuMilli": MOST + 1}), "spec.part.resources.cpu_milli"),
    (part(resources={"memoryMib": 2**63 - 1}), "spec.part.resources.memory_mib"),
    (part(resources={"diskMib": -(2**63)}), "spec.part.resources.disk_mib"),
    (part(resources={"extras": {"slot": -5}}), "spec.part.resources.extras[slot]"),
    (part(resources={"extras": {"s\x00t": 5}}), "spec.part.resources.extras"),
    (part(devices=2**31 - 1), "spec.part.devices"),
    (part(deviceMilli=1_001), "spec.part.device_milli"),
    (part(devices=1, models=["H800\u202e"]), "spec.part.models"),
    (part(devices=1, models=[""]), "spec.part.models"),
    (asked(count=1_000_000), "spec.count"),
    (asked(count=-1), "spec.count"),
    (asked(ttlS=1), "spec.ttl_s"),
    (asked(ttlS=315_360_000), "spec.ttl_s"),
    (asked(ttlS=-(2**63)), "spec.ttl_s"),
    (asked(regions=[""]), "spec.regions"),
    (asked(centers=["core-a\n"]), "spec.centers"),
    (asked(centers=["c" * (10 << 14)]), "spec.centers"),
    (asked(nodeLabels={"": ""}), "spec.node_labels"),
    (asked(nodeLabels={f"k{n}": "v" for n in range(5_000)}), "spec.node_labels"),
    (asked(nodeLabels={f"k{n}": "v" for n in range(100_000)}), "spec.node_labels"),
    (asked(spread={"over": 77}), "spec.spread.over"),
    (asked(contact={"policy": "CONTACT_POLICY_REPLACE_AFTER"}), "spec.contact.policy"),
    (create(labels={f"k{n}": "v" for n in range(5_000)}), "labels"),
    (create(labels={"k": "\u2066v"}), "labels[k]"),
    (create(tenant="a/b"), "tenant"),
    (create(tenant="ten\x1bant"), "tenant"),
    (create(requestId="r\u200b"), "request_id"),
    (create(requestId="r" * 129), "request_id"),
    (create(description="\u202egpj.exe"), "description"),
    (create(description="d" * (3 * MIB)), "description"),
    (create(waitFor=99), "wait_for"),
    (create(waitMs=60_001), "wait_ms"),
    (create(ackLevel=4), "ack_level"),
    (create(ackLevel=-1), "ack_level"),
    (create(ackLevel="ACK_LEVEL_CONFIRMED", waitFor="WAIT_FOR_RESERVED"), "ack_level"),
]


def rows(mine: str, token: str) -> list[Row]:
    """Bad calls; `mine` is an allocation that is there, `token` is of another query."""
    good, bad = create(waitFor=0), part(devices=-1)
    ids = wire.BatchRenewAllocationsRequest
    listed, released = wire.ListAllocationsRequest, wire.ReleaseAllocationRequest
    return [
        *(("CreateAllocation", request, want) for request, want in CREATES),
        *(
            ("PreviewAllocation", wire.PreviewAllocationRequest(spec=request.spec), want)
            for request, want in CREATES
            if want.startswith("spec")
        ),
        ("CreateAllocation", part(devices=1, models=["Hal-9000"]), "NO_ROOM"),
        ("CreateAllocation", asked(centers=["atlantis"]), "NO_ROOM"),
        ("CreateAllocation", part(resources={"cpuMilli": MOST}), "NO_ROOM"),
        *(
            (method, request(id=key), want)
            for method, request in (
                ("GetAllocation", wire.GetAllocationRequest),
                ("RenewAllocation", wire.RenewAllocationRequest),
                ("ReleaseAllocation", wire.ReleaseAllocationRequest),
                ("ExplainAllocation", wire.ExplainAllocationRequest),
            )
            for key, want in (
                ("", "id"),
                ("\x00", "id"),
                ("n" * 100_000, "id"),
                ("0123456789abcdef", "NOT_FOUND"),
            )
        ),
        ("RenewAllocation", wire.RenewAllocationRequest(id=mine, ttl_s=315_360_000), "ttl_s"),
        ("RenewAllocation", wire.RenewAllocationRequest(id=mine, ttl_s=-1), "ttl_s"),
        ("RenewAllocation", wire.RenewAllocationRequest(id=mine, etag="0"), "ETAG_MISMATCH"),
        ("ReleaseAllocation", wire.ReleaseAllocationRequest(id=mine, etag="0"), "ETAG_MISMATCH"),
        ("ReleaseAllocation", wire.ReleaseAllocationRequest(id=mine, message="\a"), "message"),
        ("ReleaseAllocation", wire.ReleaseAllocationRequest(id=mine, etag="e" * 65), "etag"),
        *(
            (
                "ReleaseAllocation",
                ParseDict({"id": mine, "ackLevel": level}, released()),
                "ack_level",
            )
            for level in ("ACK_LEVEL_CONFIRMED", 9)
        ),
        ("ExplainAllocation", wire.ExplainAllocationRequest(), "subject"),
        ("BatchCreateAllocations", wire.BatchCreateAllocationsRequest(), "requests"),
        (
            "BatchCreateAllocations",
            wire.BatchCreateAllocationsRequest(requests=[good] * 1_001),
            "requests",
        ),
        (
            "BatchCreateAllocations",
            wire.BatchCreateAllocationsRequest(requests=[good, good, bad]),
            "requests[2].spec.part.devices",
        ),
        (
            "BatchCreateAllocations",
            wire.BatchCreateAllocationsRequest(requests=[good], mode=9),  # type: ignore[arg-type] # a number without a name
            "mode",
        ),
        *(
            (
                "BatchCreateAllocations",
                ParseDict(request, wire.BatchCreateAllocationsRequest()),
                want,
            )
            for request, want in (
                ({"requests": [{}], "ackLevel": 7}, "requests[0].spec.part"),
                ({"requests": [{"spec": CORE}], "ackLevel": 7}, "ack_level"),
                ({"requests": [{"spec": CORE}], "ackLevel": 3, "waitFor": 1}, "ack_level"),
                ({"requests": [{"spec": CORE, "ackLevel": 1}]}, "requests[0].ack_level"),
            )
        ),
        ("BatchRenewAllocations", ids(), "ids"),
        ("BatchRenewAllocations", ids(ids=[mine] * 10_001), "ids"),
        ("BatchRenewAllocations", ids(ids=[mine, "a b"]), "ids[1]"),
        ("BatchRenewAllocations", ids(ids=[mine], ttl_s=1), "ttl_s"),
        ("BatchReleaseAllocations", wire.BatchReleaseAllocationsRequest(), "ids"),
        (
            "BatchReleaseAllocations",
            wire.BatchReleaseAllocationsRequest(ids=[mine] * 1_001),
            "ids",
        ),
        ("ListAllocations", listed(page_token=token, tenant="other"), "page_token"),
        ("ListAllocations", listed(page_token=token, order_by="tenant"), "page_token"),
        ("ListAllocations", listed(tenant="\u2067"), "tenant"),
        ("WatchAllocations", wire.WatchAllocationsRequest(filter="state = ACTIVE"), "filter"),
        ("WatchAllocations", wire.WatchAllocationsRequest(resume_token=token), "resume_token"),
        ("GetView", inventory.GetViewRequest(precision="fp\x00"), "precision"),
        ("WatchView", inventory.WatchViewRequest(least_interval_ms=1), "least_interval_ms"),
        ("WatchView", inventory.WatchViewRequest(resume_token=token), "resume_token"),
        ("ForgetAgent", inventory.ForgetAgentRequest(agent="nobody"), "NOT_FOUND"),
        ("ForgetAgent", inventory.ForgetAgentRequest(agent=CENTERS[0]), "AGENT_ALIVE"),
        ("Cordon", inventory.CordonRequest(), "target"),
        ("Cordon", inventory.CordonRequest(node="nowhere"), "NOT_FOUND"),
        ("Cordon", inventory.CordonRequest(center="c\u202e"), "center"),
        ("Cordon", inventory.CordonRequest(center=CENTERS[0], message="m" * 1_025), "message"),
        ("Uncordon", inventory.UncordonRequest(node="nowhere"), "NOT_FOUND"),
        ("Drain", inventory.DrainRequest(), "target"),
        ("Drain", inventory.DrainRequest(node="nowhere"), "NOT_FOUND"),
    ]


async def asks(caller: Caller, method: str, request: Any) -> grpc.aio.AioRpcError:
    """Make a call that must fail; of a stream, read it."""
    stub = caller.allocations if hasattr(caller.allocations, method) else caller.inventory
    call: Any = getattr(stub, method)(request, timeout=CALL_S)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await (call.read() if hasattr(call, "read") else call)
    return error.value


async def everything(caller: Caller) -> Any:
    """What a call could have changed."""
    nodes = await caller.nodes()
    view = await caller.view()
    return (
        sorted((a.id, a.etag, a.state, a.revision) for a in await caller.all()),
        {n: (node.granted.cpu_milli, tuple(node.blockers)) for n, node in nodes.items()},
        (view.allocations, view.grants_total, view.mark.revision),
    )


async def middle_ms(caller: Caller, allocation_id: str) -> float:
    """How long a call takes, the median of some."""
    took = []
    for _ in range(41):
        began = monotonic()
        await caller.get(allocation_id)
        took.append((monotonic() - began) * 1000)
    return sorted(took)[20]


async def test_bad_calls_are_refused_by_name_change_nothing_and_slow_nothing_down(
    pool: LocalPool, caller: Caller
) -> None:
    broker = await up(pool, caller)
    mine = await caller.active(spec(0), "mine")
    await caller.active(spec(0), "other")

    async def started() -> bool:
        states = {lease.state for row in await caller.all() for lease in row.leases}
        return states == {types_pb2.LEASE_STATE_STARTED}

    await eventually(started, "the agents have said all that they had to say")
    first = wire.ListAllocationsRequest(page_size=1)
    token = (await caller.allocations.ListAllocations(first)).next_page_token
    assert token
    before, quick_ms = await everything(caller), await middle_ms(caller, mine.id)
    for method, request, want in rows(mine.id, token):
        error = await asks(caller, method, request)
        told = field_of(error) if want != want.upper() else reason_of(error)
        assert told == want, (method, str(request)[:200], error.details())
        assert len(error.details() or "") <= 500
    assert await everything(caller) == before
    assert await middle_ms(caller, mine.id) < 3 * quick_ms + 10
    assert not await caller.findings()
    assert "internal_error" not in broker.log


async def test_one_id_many_times_in_a_batch_is_one(pool: LocalPool, caller: Caller) -> None:
    await up(pool, caller)
    again = create(requestId="same")
    made = await caller.allocations.BatchCreateAllocations(
        wire.BatchCreateAllocationsRequest(requests=[again] * 50, wait_for=wire.WAIT_FOR_RESERVED)
    )
    ids = [result.created.allocation.id for result in made.results]
    assert len(set(ids)) == 1
    assert [result.created.duplicate for result in made.results] == [False] + [True] * 49
    assert len(await caller.all()) == 1
    renewed = await caller.allocations.BatchRenewAllocations(
        wire.BatchRenewAllocationsRequest(ids=ids)
    )
    assert renewed.renewed == 50
    request = wire.BatchReleaseAllocationsRequest(ids=[*ids, "nobody"])
    released = await caller.allocations.BatchReleaseAllocations(request)
    assert released.released == 50
    assert [f.error.reason for f in released.failures] == ["NOT_FOUND"]


async def test_a_call_whose_deadline_has_passed_is_made_once_or_not_at_all(
    pool: LocalPool, caller: Caller
) -> None:
    await up(pool, caller)
    names = [f"late-{n}" for n in range(60)]
    codes = []
    for n, name in enumerate(names):
        request = create(requestId=name)
        try:
            # From a deadline that is over before the call leaves to one that ends under way.
            await caller.allocations.CreateAllocation(request, timeout=n * 5e-5)
        except grpc.aio.AioRpcError as error:
            codes.append(error.code())
    assert set(codes) == {grpc.StatusCode.DEADLINE_EXCEEDED}
    await twice_is_once(caller, names)


async def test_calls_cancelled_at_any_time_are_made_once_or_not_at_all(
    pool: LocalPool, caller: Caller, seed: str
) -> None:
    broker = await up(pool, caller)
    rng = random.Random(seed)
    names = [f"r-{n}" for n in range(300)]

    async def one(name: str) -> None:
        wait_for = rng.choice(("WAIT_FOR_RESERVED", "WAIT_FOR_ACTIVE"))
        request = create(requestId=name, waitFor=wait_for)
        call = caller.allocations.CreateAllocation(request, timeout=CALL_S)
        asyncio.get_running_loop().call_later(rng.uniform(0, 0.03), call.cancel)
        try:
            await call
        except asyncio.CancelledError:
            cancelled.append(name)

    cancelled: list[str] = []
    for at in range(0, len(names), 10):
        await asyncio.gather(*map(one, names[at : at + 10]))
    assert cancelled
    await twice_is_once(caller, names)
    assert "internal_error" not in broker.log


async def twice_is_once(caller: Caller, names: list[str]) -> None:
    """Ask for all again: the grant of the first call is returned, or made now; none is lost."""
    there = {row.request_id: row.id for row in await caller.all()}
    for name in names:
        answer = await caller.create(create(requestId=name).spec, name)
        assert answer.duplicate == (name in there)
        assert there.setdefault(name, answer.allocation.id) == answer.allocation.id
    live = [row for row in await caller.all() if row.state in LIVE]
    assert sorted(row.request_id for row in live) == sorted(names)
    assert sum(n.granted.cpu_milli for n in (await caller.nodes()).values()) == 1000 * len(names)
    assert not await caller.findings()


# -- what no gRPC library would send ---------------------------------------------------------


async def test_messages_cut_in_half_and_garbage_leave_no_trace(
    pool: LocalPool, caller: Caller
) -> None:
    broker = await up(pool, caller)
    body = create(requestId="half").SerializeToString()
    before = await everything(caller)
    async with RawClient(pool.target) as raw:
        good = raw.begin(CREATE.replace("Create", "List") + "s")
        await raw.send(good, message(b""), end=True)
        for data in (
            message(body)[:-3],  # cut
            message(body, len(body) + 9),  # less than it says
            message(body)[:3],  # not even its length
            b"\x01" + message(body)[1:],  # says that it is compressed
            b"",
        ):
            stream = raw.begin(CREATE)
            if data:
                await raw.send(stream, data, end=True)
            else:
                raw.write(frame(0, 1, stream))

        async def over() -> bool:
            return good in raw.ended

        await eventually(over, "a good call beside them is answered")
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + b"\x00" * 500, b"\xff" * 10_000):
        async with RawClient(pool.target) as raw:
            raw.write(garbage)

            async def closed(raw: RawClient = raw) -> bool:
                return raw.gone

            await eventually(closed, "the connection is closed")
    assert await everything(caller) == before
    assert "internal_error" not in broker.log
