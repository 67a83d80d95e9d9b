"""Limits of what agents may send: each field at its edge, and one step beyond."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from computepool.v1 import agent_pb2 as wire
from computepool_broker.errors import InvalidArgumentError
from computepool_broker.ledger.reconcile import Held, HeldState
from computepool_broker.model.records import AgentRecord, Device
from computepool_broker.rpc.from_agents import NodeReader, read_open, read_report
from computepool_broker.rpc.from_wire import SpecReader
from computepool_broker.services.messages import Mark, Open, Report
from support.agent_wire import read_whole

MOST = 2**50
MOST_REVISION = 2**62


def opening(**fields: Any) -> Open:
    usual = {
        "agent": "a1",
        "journalId": "j1",
        "session": 1,
        "protocolVersion": 1,
        "center": "c1",
        "region": "r1",
        "role": "core",
    }
    return read_open(ParseDict(usual | fields, wire.OpenSessionRequest()))


def report(**fields: Any) -> Report:
    usual = {"agent": "a1", "session": 1, "sequence": 1}
    message = ParseDict(usual | fields, wire.SyncRequest())
    return read_whole(message)


def node(**fields: Any) -> Report:
    return report(nodes=[{"node": "n1"} | fields])


def device(**fields: Any) -> Report:
    return node(devices=[{"id": "gpu-0", "model": "H800"} | fields])


RECORD = {
    "leaseId": "x.0.0",
    "allocationId": "x",
    "index": 0,
    "count": 1,
    "node": "n1",
    "resources": {"cpuMilli": 1000},
    "spec": {"part": {"resources": {"cpuMilli": 1000}}},
    "mark": {"identity": "store-0", "epoch": 1, "revision": 5},
}


def held(**fields: Any) -> Report:
    usual = {"leaseId": "x.0.0", "state": "LEASE_STATE_STARTED"}
    return report(leases=[usual | fields])


def recorded(**fields: Any) -> Report:
    return held(record=RECORD | fields)


# -- sessions --------------------------------------------------------------------------------


def test_an_agent_introduces_itself() -> None:
    got = opening(seen={"identity": "s", "epoch": 2, "revision": 3}, heldLeases=4, backend="x")
    want = AgentRecord("a1", "j1", 1, "c1", "r1", "core", "", "x")
    assert got == Open(want, 1, Mark("s", 2, 3), 4)
    assert opening().seen == Mark("", 0, 0)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"agent": ""}, "agent"),
        ({"agent": "a b"}, "agent"),
        ({"agent": "a" * 254}, "agent"),
        ({"agent": "аgent"}, "agent"),  # noqa: RUF001 - the trick
        ({"journalId": ""}, "journal_id"),
        ({"session": 0}, "session"),
        ({"session": MOST_REVISION + 1}, "session"),
        ({"center": ""}, "center"),
        ({"region": "r/1"}, "region"),
        ({"role": ""}, "role"),
        ({"role": "CORE"}, "role"),
        ({"agentVersion": "v" * 65}, "agent_version"),
        ({"backend": "a\nb"}, "backend"),
        ({"seen": {"identity": "a b"}}, "seen.identity"),
        ({"seen": {"epoch": MOST_REVISION + 1}}, "seen.epoch"),
        ({"seen": {"revision": 2**64 - 1}}, "seen.revision"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_bad_introduction_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        opening(**fields)
    assert caught.value.field == field


# -- reports ---------------------------------------------------------------------------------


def test_a_report_without_parts_is_whole() -> None:
    got = report(appliedRevision=7, nodesUnchanged=True)
    assert (got.part, got.parts, got.applied_revision, got.nodes_unchanged) == (0, 1, 7, True)


def test_an_unknown_agents_nodes_are_not_even_read() -> None:
    message = wire.SyncRequest(agent="a9", session=1, nodes=[wire.NodeReport(node="a b")])
    reading = read_report(message, SpecReader(), NodeReader({}), None)
    with pytest.raises(StopIteration) as done:
        next(reading)
    assert done.value.value.nodes == []


def test_a_node_is_where_its_agent_is() -> None:
    (got,) = node(total={"cpuMilli": 5}, labels={"k": "v"}, unschedulable=True).nodes
    assert (got.name, got.center, got.region, got.agent) == ("n1", "c1", "r1", "a1")
    assert (got.total.cpu_milli, got.labels, got.unschedulable) == (5, (("k", "v"),), True)


def test_the_oldest_number_of_a_report_counts() -> None:
    assert report(nodes=[{"node": "n1", "ageMs": 5}, {"node": "n2", "ageMs": 9}]).oldest_ms == 9


def test_only_a_device_that_is_said_to_be_sick_is_sick() -> None:
    (got,) = device(memoryMib=80, foreignMilli=300).nodes
    assert list(got.devices) == [Device("gpu-0", "H800", 80, healthy=True, foreign_milli=300)]
    (got,) = device(health="DEVICE_HEALTH_UNHEALTHY").nodes
    assert not got.devices[0].healthy


@pytest.mark.parametrize(
    ("read", "fields", "field"),
    [
        (report, {"agent": ""}, "agent"),
        (report, {"parts": 1001}, "parts"),
        (report, {"part": 1}, "part"),
        (report, {"part": 3, "parts": 3}, "part"),
        (report, {"appliedRevision": MOST_REVISION + 1}, "applied_revision"),
        (report, {"nodesUnchanged": True, "nodes": [{"node": "n1"}]}, "nodes_unchanged"),
        (node, {"node": ""}, "nodes[0].node"),
        (node, {"node": "a\tb"}, "nodes[0].node"),
        (node, {"total": {"cpuMilli": -1}}, "nodes[0].total.cpu_milli"),
        (node, {"total": {"memoryMib": MOST + 1}}, "nodes[0].total.memory_mib"),
        (node, {"reserved": {"diskMib": -1}}, "nodes[0].reserved.disk_mib"),
        (node, {"foreign": {"extras": {"slot": -1}}}, "nodes[0].foreign.extras[slot]"),
        (node, {"labels": {"k": "\x07"}}, "nodes[0].labels[k]"),
        (node, {"ageMs": MOST_REVISION + 1}, "nodes[0].age_ms"),
        (
            node,
            {"devices": [{"id": f"g{n}", "model": "H800"} for n in range(65)]},
            "nodes[0].devices",
        ),
        (node, {"devices": [{"id": "g", "model": "H800"}] * 2}, "nodes[0].devices"),
        (device, {"id": ""}, "nodes[0].devices.id"),
        (device, {"id": "g" * 129}, "nodes[0].devices.id"),
        (device, {"model": ""}, "nodes[0].devices.model"),
        (device, {"memoryMib": -1}, "nodes[0].devices.memory_mib"),
        (device, {"foreignMilli": 1001}, "nodes[0].devices.foreign_milli"),
        (device, {"foreignMilli": -1}, "nodes[0].devices.foreign_milli"),
        (held, {"leaseId": ""}, "leases[0].lease_id"),
        (held, {"leaseId": "x" * 129}, "leases[0].lease_id"),
        (held, {"state": 0}, "leases[0].state"),
        (held, {"state": "LEASE_STATE_PENDING"}, "leases[0].state"),
        (held, {"state": "LEASE_STATE_GONE"}, "leases[0].state"),
        (held, {"state": 99}, "leases[0].state"),
        (held, {"state": "LEASE_STATE_REFUSED", "reason": "lower"}, "leases[0].reason"),
        (held, {"state": "LEASE_STATE_REFUSED", "message": "\x1b[2J"}, "leases[0].message"),
        (held, {"state": "LEASE_STATE_STOPPED", "message": "x" * 1025}, "leases[0].message"),
        (recorded, {"leaseId": "y.0.0"}, "leases[0].record.lease_id"),
        (recorded, {"allocationId": "y"}, "leases[0].record.lease_id"),
        (recorded, {"placeRevision": 1}, "leases[0].record.lease_id"),
        (recorded, {"placeRevision": 1001}, "leases[0].record.place_revision"),
        (recorded, {"index": 1}, "leases[0].record.index"),
        (recorded, {"index": -1}, "leases[0].record.index"),
        (recorded, {"count": 0}, "leases[0].record.count"),
        (recorded, {"count": 2}, "leases[0].record.count"),
        (recorded, {"count": 1001}, "leases[0].record.count"),
        (recorded, {"tenant": "a b"}, "leases[0].record.tenant"),
        (recorded, {"requestId": "a b"}, "leases[0].record.request_id"),
        (recorded, {"node": ""}, "leases[0].record.node"),
        (recorded, {"model": "\n"}, "leases[0].record.model"),
        (recorded, {"spec": {}}, "leases[0].record.spec.part"),
        (recorded, {"mark": {"identity": "a b"}}, "leases[0].record.mark.identity"),
        (recorded, {"resources": {"cpuMilli": -1}}, "leases[0].record.resources.cpu_milli"),
        (
            recorded,
            {"devices": [{"deviceId": "g", "milli": 0}]},
            "leases[0].record.devices[0].milli",
        ),
        (
            recorded,
            {"devices": [{"deviceId": "g", "milli": 1001}]},
            "leases[0].record.devices[0].milli",
        ),
        (
            recorded,
            {"devices": [{"deviceId": "", "milli": 1}]},
            "leases[0].record.devices[0].device_id",
        ),
        (recorded, {"devices": [{"deviceId": "g", "milli": 1}] * 2}, "leases[0].record.devices"),
        (
            recorded,
            {"devices": [{"deviceId": f"g{n}", "milli": 1} for n in range(65)]},
            "leases[0].record.devices",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_out_of_its_range_is_refused_by_name(
    read: Any, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        read(**fields)
    assert caught.value.field == field


# -- leases ----------------------------------------------------------------------------------


def test_a_routine_report_names_its_leases_without_their_records() -> None:
    assert held().held == [Held("x.0.0", HeldState.STARTED)]


def test_a_refusal_says_why() -> None:
    got = held(state="LEASE_STATE_REFUSED", reason="DEVICE_BUSY", message="in use by 4711")
    assert got.held == [Held("x.0.0", HeldState.REFUSED, "DEVICE_BUSY", "in use by 4711")]


def test_a_first_report_brings_whole_records() -> None:
    got = recorded(devices=[{"deviceId": "g", "milli": 400}], digest="AAECAw==", requestId="r")
    (lease,) = got.held
    record = lease.record
    assert record is not None
    assert (record.lease_id, record.tenant, record.request_id) == ("x.0.0", "default", "r")
    assert record.amounts == (("cpu_milli", 1000), ("d/g", 400))
    assert (record.identity, record.epoch, record.revision) == ("store-0", 1, 5)
    assert record.digest == bytes(range(4))
