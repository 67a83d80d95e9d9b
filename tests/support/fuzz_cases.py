"""What to throw at each method: good requests, spoiled ones, any message, garbage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import ParseDict
from hypothesis import strategies as st

from computepool.v1 import agent_pb2, allocation_pb2, inventory_pb2
from support.fuzz_broker import ALLOCATIONS, SECONDS_LEFT, Case
from support.fuzz_messages import cut, garbage, message_class, messages, spoiled

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
    from google.protobuf.message import Message

KNOWN = (*ALLOCATIONS, *(f"{key}.0.0" for key in ALLOCATIONS), f"{ALLOCATIONS[1]}.1.0")
MOST_CALLS = 6
MOST_MESSAGES = 6
"""Of a stream of calls."""
SERVICES: dict[str, ServiceDescriptor] = {
    service.name: service
    for file in (agent_pb2, allocation_pb2, inventory_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
}

_SPEC = {"part": {"devices": 1, "resources": {"cpuMilli": 500}}, "ttlS": 60}
_CREATE = {"requestId": "r-1", "spec": {"part": {"devices": 1}, "centers": ["c1"], "count": 1}}
_NEW = {"spec": _SPEC, "waitFor": "WAIT_FOR_RESERVED", "labels": {"k": "v"}}
_SPREAD = {"spec": {"part": {"resources": {"cpuMilli": 1}}, "count": 3, "spread": {"over": 1}}}
_POWER = {"spec": {"power": {"gflops": 500_000, "mixed": True}}, "waitFor": 1}
_NODE = {
    "node": "n1",
    "total": {"cpuMilli": 8000, "memoryMib": 524288, "diskMib": 1024000, "extras": {"seats": 3}},
    "devices": [
        {"id": "n1-d0", "model": "H800", "memoryMib": 81920},
        {"id": "n1-d1", "model": "H800", "memoryMib": 81920},
    ],
    "labels": {"k": "v"},
}
_RECORD = {
    "leaseId": f"{ALLOCATIONS[0]}.0.0",
    "allocationId": ALLOCATIONS[0],
    "tenant": "default",
    "count": 1,
    "node": "n1",
    "model": "H800",
    "devices": [{"deviceId": "n1-d0", "milli": 1000}],
    "spec": {"part": {"devices": 1}},
    "mark": {"identity": "store-0", "epoch": 1, "revision": 7},
}
_STRAY = _RECORD | {"leaseId": "stray.0.0", "allocationId": "stray", "requestId": "r-9"}
_HELD = {"leaseId": f"{ALLOCATIONS[0]}.0.0", "state": "LEASE_STATE_STARTED"}
_SYNC = {"agent": "a1", "session": 1, "sequence": 2, "appliedRevision": 6}
GOOD: dict[str, list[dict[str, Any]]] = {
    "OpenSession": [
        {
            "agent": name, "journalId": f"journal-{name}", "session": session,
            "protocolVersion": 1, "center": "c1", "region": "r1", "role": "core",
            "seen": {"identity": "store-1", "epoch": epoch, "revision": 3}, "backend": "server",
        }
        for name, session, epoch in (("a1", 1, 1), ("a1", 2, 1), ("a9", 1, 2))
    ],
    "Sync": [
        _SYNC | {"nodesUnchanged": True, "leases": [_HELD]},
        _SYNC | {"nodes": [_NODE, _NODE | {"node": "n2", "devices": []}], "leases": [_HELD]},
        _SYNC | {"nodes": [_NODE], "leases": [{**_HELD, "record": _RECORD}]},
        _SYNC
        | {"nodesUnchanged": True,
           "leases": [{"leaseId": "stray.0.0", "state": 3, "record": _STRAY}]},
        _SYNC | {"delta": True, "baseSequence": 1, "nodes": [_NODE], "nodesGone": ["n2"]},
        _SYNC | {"delta": True, "baseSequence": 1, "leasesGone": [_HELD["leaseId"]]},
        _SYNC | {"part": 0, "parts": 2, "nodes": [_NODE]},
        _SYNC | {"part": 1, "parts": 2, "nodes": [_NODE | {"node": "n2"}]},
        _SYNC
        | {"nodesUnchanged": True, "leases": [_HELD | {"state": 4, "reason": "DOES_NOT_FIT"}]},
    ],
    "WatchCommands": [{"agent": "a1", "session": 1}],
    "CloseSession": [{"agent": "a2", "session": 1}],
    "CreateAllocation": [
        _CREATE, _NEW, _SPREAD, _POWER, _NEW | {"requestId": "r-5", "waitFor": 2, "waitMs": 200},
        {"requestId": "r-6", "spec": _SPEC, "waitMs": 20, "ackLevel": "ACK_LEVEL_CONFIRMED"},
    ],
    "PreviewAllocation": [{"spec": _SPEC}, {"spec": {"part": {"devices": 64}, "count": 9}}, _POWER],
    "GetAllocation": [{"id": ALLOCATIONS[0]}],
    "ListAllocations": [
        {"pageSize": 1}, {"filter": "state = ACTIVE OR devices > 0", "orderBy": "tenant desc"},
    ],
    "RenewAllocation": [{"id": ALLOCATIONS[0], "ttlS": 60}, {"id": ALLOCATIONS[2]}],
    "ReleaseAllocation": [{"id": ALLOCATIONS[1]}, {"id": ALLOCATIONS[0], "message": "done"}],
    "BatchCreateAllocations": [
        {"requests": [{"spec": _SPEC}, _NEW | {"waitFor": 0}, _CREATE], "mode": mode, "waitFor": 1}
        for mode in (1, 2)
    ],
    "BatchRenewAllocations": [{"ids": list(ALLOCATIONS), "ttlS": 30}],
    "BatchReleaseAllocations": [{"ids": [ALLOCATIONS[1], "nobody"]}],
    "StreamAllocations": [
        {"ticket": 1, "create": _NEW}, {"ticket": 2, "renew": {"id": ALLOCATIONS[0]}},
        {"ticket": 3, "release": {"id": ALLOCATIONS[1]}}, {"ticket": 3, "create": _CREATE},
    ],
    "WatchAllocations": [{"filter": "tenant = default"}, {"changesOnly": True}],
    "ExplainAllocation": [
        {"id": ALLOCATIONS[0]}, {"spec": _SPEC}, {"spec": {"part": {"devices": 9}}}, _POWER | {},
    ],
    "GetView": [{"precision": "fp16"}],
    "WatchView": [{"leastIntervalMs": 200}],
    "ListCenters": [{"filter": "use_percent > 1", "orderBy": "devices_free desc"}],
    "ListNodes": [{"center": "c1", "pageSize": 1}, {"filter": "labels.k = v"}],
    "ListAgents": [{"orderBy": "last_sync_age_ms desc"}],
    "ListBrokers": [{}],
    "ForgetAgent": [{"agent": "a2"}],
    "Cordon": [{"node": "n1", "message": "fans"}, {"center": "c2"}],
    "Uncordon": [{"node": "n1"}, {"center": "c2"}],
    "Drain": [{"node": "n1"}, {"center": "c2", "message": "move"}],
    "AuditPool": [{}],
}  # fmt: skip
"""Requests that are taken, in their JSON form; the starting points of the spoiled ones."""


def methods() -> list[MethodDescriptor]:
    """Of all services."""
    return [method for service in SERVICES.values() for method in list(service.methods)]


def good(method: MethodDescriptor) -> list[Message]:
    """Requests of a method that are taken."""
    kind = message_class(method.input_type)
    fields = {field.json_name for field in method.input_type.fields}
    return [
        ParseDict({k: v for k, v in each.items() if k in fields}, kind())
        for each in GOOD[method.name]
    ]


def data(method: MethodDescriptor) -> st.SearchStrategy[bytes]:
    """Bytes for a method: mostly nearly right."""
    kind = method.input_type
    nearly = spoiled(good(method), KNOWN)
    any_one = messages(kind, KNOWN).map(lambda message: message.SerializeToString())
    rarely = st.one_of(any_one, any_one, any_one.flatmap(cut), garbage)
    return st.integers(0, 3).flatmap(lambda chance: nearly if chance else rarely)


def case(method: MethodDescriptor) -> st.SearchStrategy[Case]:
    """One call of a method."""
    several = MOST_MESSAGES if method.client_streaming else 1
    return st.builds(
        Case,
        st.just(f"/{method.containing_service.full_name}/{method.name}"),
        st.lists(data(method), min_size=1, max_size=several).map(tuple),
        st.sampled_from(SECONDS_LEFT),
    )


def cases(service: str) -> st.SearchStrategy[list[Case]]:
    """Some calls of a service, and now and then one of another in between."""
    own = st.sampled_from(list(SERVICES[service].methods)).flatmap(case)
    others = [m for m in methods() if m.containing_service.name != service]
    mixed = st.one_of(own, own, own, st.sampled_from(others).flatmap(case))
    return st.lists(mixed, min_size=1, max_size=MOST_CALLS)
