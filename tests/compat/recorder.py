"""Records a conversation with the broker of a version, once, when that version is done.

    protoc -Iprotos --include_imports --descriptor_set_out=FOLDER/contract.binpb protos/...
    python tests/compat/recorder.py FOLDER conversation HOST:PORT
    python tests/compat/recorder.py FOLDER kept HOST:PORT

Each needs a fresh broker of that version, with an empty store and no agents. What it answers is
written beside its contract; tests replay it against every later broker. The store that the second
leaves is kept as FOLDER/ledger.sqlite3, once its broker has stopped.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc.aio
from google.protobuf import json_format

sys.path.insert(0, str(Path(__file__).parents[1]))
from compat.conversation import Contract, Speaker, Step

AGENT, POOL, LOOK = (
    f"computepool.v1.{name}Service" for name in ("Agent", "Allocation", "Inventory")
)
WHO = {"agent": "old-agent", "session": "1"}
NODES: list[dict[str, Any]] = [
    {
        "node": f"old-{at}",
        "total": {
            "cpuMilli": "64000",
            "memoryMib": "524288",
            "diskMib": "1048576",
            "extras": {"nvme_slot": "4"},
        },
        "reserved": {"cpuMilli": "2000"},
        "foreign": {"memoryMib": "1024"},
        "devices": [
            {
                "id": f"GPU-{at}-{device}",
                "model": "H100-SXM",
                "memoryMib": "81920",
                "health": "DEVICE_HEALTH_HEALTHY",
                "foreignMilli": 500 if device == 3 else 0,
            }
            for device in range(4)
        ],
        "labels": {"rack": str(at)},
        "ageMs": "5",
    }
    for at in range(2)
]
OPEN = {
    **WHO,
    "journalId": "6f1c0b52a4d14f0e",
    "agentVersion": "0.1.0",
    "protocolVersion": 1,
    "center": "old-center",
    "region": "old-region",
    "role": "support",
    "bootId": "boot-1",
    "backend": "simulated",
}
SPEC: dict[str, Any] = {
    "part": {
        "resources": {"cpuMilli": "4000", "memoryMib": "1024", "extras": {"nvme_slot": "1"}},
        "devices": 2,
        "models": ["H100"],
        "minDeviceMemoryMib": "40960",
    },
    "count": 1,
    "regions": ["old-region"],
    "centers": ["old-center"],
    "nodeLabels": {"rack": "0"},
    "ttlS": "600",
    "contact": {"policy": "CONTACT_POLICY_STOP_AFTER", "afterS": "300"},
}
CREATE = {
    "tenant": "vision",
    "requestId": "run-1",
    "spec": SPEC,
    "description": "recorded",
    "labels": {"team": "vision"},
    "waitFor": "WAIT_FOR_RESERVED",
}


JOURNALLED = {
    "leaseId": "0123456789abcdef.0.0",
    "state": "LEASE_STATE_STARTED",
    "record": {
        "leaseId": "0123456789abcdef.0.0",
        "allocationId": "0123456789abcdef",
        "tenant": "vision",
        "requestId": "run-2",
        "digest": "h4RartHZ37Axgg/BsLs7kQ==",
        "count": 1,
        "node": "old-0",
        "devices": [{"deviceId": f"GPU-0-{at}", "milli": 1000} for at in range(2)],
        "resources": SPEC["part"]["resources"],
        "spec": SPEC,
        "mark": {"identity": "lost-store", "epoch": "3", "revision": "69"},
        "description": "recorded",
        "labels": {"team": "vision"},
        "model": "H100-SXM",
    },
}
"""Its digest is that of CREATE, as version 0.1 made it."""


def held(state: str, sequence: int, revision_of: int) -> dict[str, Any]:
    """A report of the one lease."""
    return {
        "call": f"{AGENT}/Sync",
        "json": {
            **WHO,
            "sequence": str(sequence),
            "leases": [{"leaseId": "filled in", "state": f"LEASE_STATE_{state}"}],
            "nodesUnchanged": True,
        },
        "fill": {
            "applied_revision": f"{revision_of}.mark.revision",
            "leases.0.lease_id": "9.allocation.leases.0.id",
        },
    }


STEPS: list[dict[str, Any]] = [
    # 0: a whole session begins.
    {"call": f"{LOOK}/GetView", "json": {}},
    {"call": f"{POOL}/CreateAllocation", "json": CREATE},
    {"call": f"{AGENT}/OpenSession", "json": OPEN},
    {"call": f"{AGENT}/Sync", "json": {**WHO, "sequence": "1", "parts": 2, "nodes": NODES[:1]}},
    {
        "call": f"{AGENT}/Sync",
        "json": {**WHO, "sequence": "1", "part": 1, "parts": 2, "nodes": NODES[1:]},
    },
    {"call": f"{LOOK}/GetView", "json": {"precision": "fp8"}},
    {"call": f"{POOL}/PreviewAllocation", "json": {"tenant": "vision", "spec": SPEC}},
    {
        "call": f"{POOL}/PreviewAllocation",
        "json": {"spec": {"part": {"devices": 4}, "count": 3}},
    },
    {"call": f"{POOL}/CreateAllocation", "json": {"spec": {"part": {"devices": 65}}}},
    # 9: a grant, admitted, started.
    {"call": f"{POOL}/CreateAllocation", "json": CREATE},
    {"call": f"{AGENT}/WatchCommands", "json": WHO},
    {"call": f"{AGENT}/Sync", "json": {**WHO, "sequence": "2", "nodesUnchanged": True}},
    held("ADMITTED", 3, 11),
    held("STARTED", 4, 12),
    {"call": f"{POOL}/CreateAllocation", "json": CREATE},
    {"call": f"{POOL}/CreateAllocation", "json": {**CREATE, "description": "another"}},
    {"call": f"{POOL}/CreateAllocation", "json": {"spec": {"part": {"devices": 4}, "count": 2}}},
    # 17: looking.
    {"call": f"{POOL}/GetAllocation", "json": {}, "fill": {"id": "9.allocation.id"}},
    {"call": f"{POOL}/GetAllocation", "json": {"id": "nobody"}},
    {"call": f"{POOL}/ListAllocations", "json": {"pageSize": 10, "tenant": "vision"}},
    {"call": f"{LOOK}/GetView", "json": {}},
    {"call": f"{LOOK}/ListNodes", "json": {"pageSize": 1}},
    {
        "call": f"{LOOK}/ListNodes",
        "json": {"pageSize": 1},
        "fill": {"page_token": "21.next_page_token"},
    },
    {"call": f"{LOOK}/ListNodes", "json": {"center": "old-center"}},
    {"call": f"{LOOK}/ListAgents", "json": {}},
    {"call": f"{LOOK}/AuditPool", "json": {}},
    # 26: operating.
    {"call": f"{LOOK}/Cordon", "json": {"node": "old-1", "message": "repair"}},
    {"call": f"{LOOK}/Cordon", "json": {"center": "old-center"}},
    {"call": f"{LOOK}/Cordon", "json": {"node": "nobody"}},
    {"call": f"{LOOK}/Uncordon", "json": {"center": "old-center"}},
    {"call": f"{LOOK}/ForgetAgent", "json": {"agent": "old-agent"}},
    # 31: the end of the grant.
    {
        "call": f"{POOL}/RenewAllocation",
        "json": {"ttlS": "1200"},
        "fill": {"id": "9.allocation.id", "etag": "17.allocation.etag"},
    },
    {
        "call": f"{POOL}/RenewAllocation",
        "json": {"etag": "yesterday"},
        "fill": {"id": "9.allocation.id"},
    },
    {
        "call": f"{POOL}/ReleaseAllocation",
        "json": {"message": "done"},
        "fill": {"id": "9.allocation.id"},
    },
    held("STARTED", 5, 13),
    {
        "call": f"{AGENT}/Sync",
        "json": {**WHO, "sequence": "6", "nodesUnchanged": True},
        "fill": {"applied_revision": "34.mark.revision"},
    },
    {"call": f"{POOL}/RenewAllocation", "json": {}, "fill": {"id": "9.allocation.id"}},
    {"call": f"{POOL}/ListAllocations", "json": {"includeEnded": True}},
    {"call": f"{AGENT}/CloseSession", "json": WHO},
    {"call": f"{AGENT}/Sync", "json": {**WHO, "sequence": "7", "nodesUnchanged": True}},
    {"call": f"{LOOK}/ForgetAgent", "json": {"agent": "old-agent"}},
    {"call": f"{LOOK}/GetView", "json": {}},
    # 42: a session with a lease of a store that was lost, as its agent had journalled it.
    {
        "call": f"{AGENT}/OpenSession",
        "json": {
            **OPEN,
            "session": "2",
            "seen": {"identity": "lost-store", "epoch": "3", "revision": "70"},
            "heldLeases": 1,
        },
    },
    {
        "call": f"{AGENT}/Sync",
        "json": {**WHO, "session": "2", "sequence": "1", "nodes": NODES, "leases": [JOURNALLED]},
    },
    {"call": f"{POOL}/GetAllocation", "json": {"id": "0123456789abcdef"}},
    {"call": f"{POOL}/CreateAllocation", "json": {**CREATE, "requestId": "run-2"}},
]

TWO = {"part": {"devices": 1}, "count": 2, "ttlS": "31536000"}
SHARE = {"part": {"deviceMilli": 250, "models": ["H100-SXM"]}}
CORE = {"part": {"resources": {"cpuMilli": "1000"}}, "contact": {"policy": "CONTACT_POLICY_KEEP"}}


def make(spec: dict[str, Any], **others: Any) -> dict[str, Any]:
    """Ask for an allocation."""
    asked = {"spec": spec, "waitFor": "WAIT_FOR_RESERVED", **others}
    return {"call": f"{POOL}/CreateAllocation", "json": asked}


def report(state: str, sequence: int) -> dict[str, Any]:
    """A report of the leases of the first three allocations."""
    leases = [{"leaseId": "filled in", "state": f"LEASE_STATE_{state}"}] * 4
    places = ("2.allocation.leases.0", "3.allocation.leases.0", "3.allocation.leases.1")
    ids = (*places, "4.allocation.leases.0")
    return {
        "call": f"{AGENT}/Sync",
        "json": {**WHO, "sequence": str(sequence), "leases": leases, "nodesUnchanged": True},
        "fill": {
            "applied_revision": f"{4 + sequence}.mark.revision",
            **{f"leases.{at}.lease_id": f"{place}.id" for at, place in enumerate(ids)},
        },
    }


KEPT: list[dict[str, Any]] = [
    {"call": f"{AGENT}/OpenSession", "json": OPEN},
    {"call": f"{AGENT}/Sync", "json": {**WHO, "sequence": "1", "nodes": NODES}},
    make(SPEC, tenant="vision", requestId="run-1", description="kept", labels={"team": "vision"}),
    make(TWO),
    make(SHARE, labels={"a": "b", "c/d": ""}),
    make(CORE, requestId="ended"),
    {
        "call": f"{POOL}/ReleaseAllocation",
        "json": {"message": "done"},
        "fill": {"id": "5.allocation.id"},
    },
    {"call": f"{AGENT}/Sync", "json": {**WHO, "sequence": "2", "nodesUnchanged": True}},
    report("ADMITTED", 3),
    report("STARTED", 4),
    make(CORE, requestId="reserved"),
    make(CORE, requestId="releasing"),
    {"call": f"{POOL}/ReleaseAllocation", "json": {}, "fill": {"id": "11.allocation.id"}},
    {"call": f"{LOOK}/Cordon", "json": {"node": "old-1", "message": "repair"}},
    # 14: what a later broker must say, too.
    {"call": f"{POOL}/ListAllocations", "json": {"includeEnded": True}},
    {"call": f"{LOOK}/ListNodes", "json": {}},
]
"""Leaves a store with allocations in every state."""


async def record(folder: Path, target: str, steps: list[dict[str, Any]]) -> list[Step]:
    """Say every step and keep what came of it."""
    contract = Contract(folder)
    recorded = []
    async with grpc.aio.insecure_channel(target) as channel:
        speaker = Speaker(contract, channel)
        for plain in steps:
            request = json_format.ParseDict(plain["json"], contract.request(plain["call"]))
            step = Step(
                plain["call"],
                request.SerializeToString(deterministic=True).hex(),
                plain.get("fill", {}),
            )
            outcome = await speaker.say(step)
            if outcome.answer is not None:
                step.answer = outcome.answer.SerializeToString(deterministic=True).hex()
            step.error = outcome.error
            recorded.append(step)
    return recorded


def main() -> None:
    """Record what the command line names."""
    folder, name, target = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    recorded = asyncio.run(record(folder, target, {"conversation": STEPS, "kept": KEPT}[name]))
    text = json.dumps([asdict(step) for step in recorded], indent=1)
    (folder / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
