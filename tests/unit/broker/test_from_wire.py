"""What comes from outside: every field bounded, refused by its name, and nothing else let in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from computepool.v1 import agent_pb2, types_pb2
from computepool_broker.errors import InvalidArgumentError, UnimplementedOptionError
from computepool_broker.model.amounts import MAX_AMOUNT
from computepool_broker.model.request import ContactPolicy
from computepool_broker.query import tokens
from computepool_broker.rpc import from_agents, from_wire, limits
from computepool_broker.rpc.from_wire import SpecReader, read_spec
from computepool_broker.rpc.to_wire import spec_message
from support.agent_wire import read_whole
from support.builders import make_agent, make_spec

if TYPE_CHECKING:
    from collections.abc import Callable

TRICKS = [
    "a" * 300,
    "-a",
    "a ",
    "a\n",
    "a\0",
    "caf\u00e9",
    "\u202eabc",
    "\uff41bc",
    "a/b",
    "../a",
    "\u0661",
]
INT64_MAX, INT64_MIN = 2**63 - 1, -(2**63)


def spec(**changes: object) -> types_pb2.AllocationSpec:
    message = types_pb2.AllocationSpec(part=types_pb2.PartSpec(devices=1))
    message.MergeFrom(types_pb2.AllocationSpec(**changes))  # type: ignore[arg-type]
    return message


def part(**fields: object) -> types_pb2.AllocationSpec:
    made = types_pb2.PartSpec(**fields)  # type: ignore[arg-type]
    return types_pb2.AllocationSpec(part=made)


def cpu(amount: int) -> types_pb2.AllocationSpec:
    return part(resources=types_pb2.Resources(cpu_milli=amount))


def extras(values: dict[str, int]) -> types_pb2.AllocationSpec:
    return part(devices=1, resources=types_pb2.Resources(extras=values))


STOP = types_pb2.CONTACT_POLICY_STOP_AFTER
BAD_SPECS: list[tuple[types_pb2.AllocationSpec, str]] = [
    (types_pb2.AllocationSpec(), "spec.part"),
    (part(device_milli=1, devices=1), "spec.part.device_milli"),
    (part(device_milli=1000), "spec.part.device_milli"),
    (part(device_milli=-1), "spec.part.device_milli"),
    (part(devices=65), "spec.part.devices"),
    (part(devices=-1), "spec.part.devices"),
    (part(models=["H800"], resources=types_pb2.Resources(cpu_milli=1)), "spec.part.devices"),
    (part(devices=1, min_device_memory_mib=-1), "spec.part.min_device_memory_mib"),
    (part(devices=1, models=["H800"] * 65), "spec.part.models"),
    (part(devices=1, models=["\u202eH800"]), "spec.part.models"),
    (cpu(-1), "spec.part.resources.cpu_milli"),
    (cpu(MAX_AMOUNT + 1), "spec.part.resources.cpu_milli"),
    (cpu(INT64_MAX), "spec.part.resources.cpu_milli"),
    (cpu(INT64_MIN), "spec.part.resources.cpu_milli"),
    (part(resources=types_pb2.Resources(memory_mib=-1)), "spec.part.resources.memory_mib"),
    (part(resources=types_pb2.Resources(disk_mib=-1)), "spec.part.resources.disk_mib"),
    (extras({"slot": -1}), "spec.part.resources.extras[slot]"),
    (extras({"d/x": 1}), "spec.part.resources.extras"),
    (extras({f"e{number}": 1 for number in range(33)}), "spec.part.resources.extras"),
    (spec(count=-1), "spec.count"),
    (spec(count=1001), "spec.count"),
    (spec(ttl_s=9), "spec.ttl_s"),
    (spec(ttl_s=-1), "spec.ttl_s"),
    (spec(ttl_s=31_536_001), "spec.ttl_s"),
    (spec(regions=["r"] * 65), "spec.regions"),
    (spec(centers=["a b"]), "spec.centers"),
    (spec(node_labels={f"k{number}": "" for number in range(65)}), "spec.node_labels"),
    (spec(node_labels={"k": "v" * 257}), "spec.node_labels[k]"),
    (spec(node_labels={"k": "\u202e"}), "spec.node_labels[k]"),
    (spec(node_labels={"": "v"}), "spec.node_labels"),
    (spec(contact=types_pb2.ContactTerm(policy=STOP)), "spec.contact.after_s"),
    (spec(contact=types_pb2.ContactTerm(policy=STOP, after_s=-5)), "spec.contact.after_s"),
    (spec(contact=types_pb2.ContactTerm(after_s=5)), "spec.contact.after_s"),
    (spec(contact=types_pb2.ContactTerm(policy=99)), "spec.contact.policy"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("message", "field"), BAD_SPECS)
def test_a_bad_request_is_refused_by_the_name_of_its_field(
    message: types_pb2.AllocationSpec, field: str
) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        read_spec("spec", message)
    assert refused.value.field == field


def test_what_is_reserved_says_so() -> None:
    term = types_pb2.ContactTerm(policy=types_pb2.CONTACT_POLICY_REPLACE_AFTER, after_s=5)
    with pytest.raises(UnimplementedOptionError):
        read_spec("spec", spec(contact=term))


def test_defaults_are_filled_in_and_sets_are_sorted_without_repeats() -> None:
    message = spec(regions=["b", "a", "b"], node_labels={"z": "1", "a": "2"})
    got = read_spec("spec", message)
    assert (got.parts, got.ttl_s, got.contact) == (1, 3600, ContactPolicy.KEEP)
    assert got.shape.regions == ("a", "b")
    assert got.shape.node_labels == (("a", "2"), ("z", "1"))


def test_zero_extras_are_nothing() -> None:
    assert read_spec("spec", extras({"slot": 0})).shape.part.extras == ()


def test_the_largest_amount_is_still_one() -> None:
    assert read_spec("spec", cpu(MAX_AMOUNT)).shape.part.cpu_milli == MAX_AMOUNT


def test_a_spec_comes_back_from_the_wire_as_it_was() -> None:
    want = make_spec(
        gpus=2,
        cpu=3,
        memory=4,
        disk=5,
        extras={"slot": 1},
        count=7,
        models=["A100", "H800"],
        device_memory=80,
        regions=["r"],
        centers=["c"],
        labels={"a": "b"},
        ttl_s=60,
        stop_after_s=9,
    )
    assert SpecReader().read("spec", spec_message(want)) == want


def test_a_bad_spec_is_refused_each_time_it_comes() -> None:
    reader = SpecReader()
    for _ in range(2):
        with pytest.raises(InvalidArgumentError):
            reader.read("spec", cpu(-1))


@pytest.mark.parametrize("name", TRICKS)
@pytest.mark.parametrize(
    "read",
    [
        lambda name: from_wire.read_id("id", name),
        lambda name: from_wire.read_tenant("tenant", name),
        lambda name: tokens.read_token(name, bytes(8)),
        lambda name: limits.names("names", [name]),
    ],
)
def test_names_with_tricks_are_refused(read: Callable[[str], object], name: str) -> None:
    with pytest.raises(InvalidArgumentError):
        read(name)


@pytest.mark.parametrize("value", ["a b", "\u00e9", "a\n", "x" * 129, "\x7f"])
def test_request_ids_are_printable_and_short(value: str) -> None:
    with pytest.raises(InvalidArgumentError):
        from_wire.read_request_id(value)


def test_empty_ids_are_none_and_an_empty_tenant_is_default() -> None:
    assert from_wire.read_request_id("") == ""
    assert from_wire.read_tenant("tenant", "") == "default"
    with pytest.raises(InvalidArgumentError, match="must be given"):
        from_wire.read_id("id", "")


@pytest.mark.parametrize("value", ["\u202e", "a\0", "a\x1b[31m", "x" * 1025])
def test_texts_are_bounded_and_printable(value: str) -> None:
    with pytest.raises(InvalidArgumentError):
        limits.text("description", value)


# -- agents ------------------------------------------------------------------------------------


def open_request(**changes: object) -> agent_pb2.OpenSessionRequest:
    fields: dict[str, object] = {
        "agent": "a1",
        "journal_id": "j",
        "session": 1,
        "center": "c1",
        "region": "r1",
        "role": "core",
        "protocol_version": 1,
    }
    return agent_pb2.OpenSessionRequest(**fields | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"agent": ""}, "agent"),
        ({"journal_id": "a b"}, "journal_id"),
        ({"session": 0}, "session"),
        ({"session": 2**64 - 1}, "session"),
        ({"center": ""}, "center"),
        ({"region": "\u202e"}, "region"),
        ({"role": "king"}, "role"),
        ({"agent_version": "x" * 65}, "agent_version"),
        ({"backend": "\n"}, "backend"),
        ({"seen": types_pb2.StoreMark(identity="a b")}, "seen.identity"),
        ({"seen": types_pb2.StoreMark(identity="s", epoch=2**63)}, "seen.epoch"),
        ({"seen": types_pb2.StoreMark(identity="s", revision=2**63)}, "seen.revision"),
    ],
)
def test_a_bad_open_is_refused_by_field(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        from_agents.read_open(open_request(**changes))
    assert refused.value.field == field


def node(**changes: object) -> agent_pb2.NodeReport:
    return agent_pb2.NodeReport(**{"node": "n1"} | changes)  # type: ignore[arg-type]


def device(**changes: object) -> types_pb2.Device:
    return types_pb2.Device(**{"id": "g0", "model": "H800"} | changes)  # type: ignore[arg-type]


def record(**changes: object) -> types_pb2.LeaseRecord:
    fields: dict[str, object] = {
        "lease_id": "x.0.0",
        "allocation_id": "x",
        "count": 1,
        "node": "n1",
        "spec": spec(),
        "mark": types_pb2.StoreMark(identity="s", epoch=1, revision=1),
    }
    return types_pb2.LeaseRecord(**fields | changes)  # type: ignore[arg-type]


def lease(**changes: object) -> agent_pb2.HeldLease:
    fields = {"lease_id": "x.0.0", "state": types_pb2.LEASE_STATE_STARTED}
    return agent_pb2.HeldLease(**fields | changes)  # type: ignore[arg-type]


def held(**changes: object) -> dict[str, object]:
    return {"leases": [lease(record=record(**changes))]}


GPU = types_pb2.DeviceShare(device_id="g0", milli=500)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"agent": ""}, "agent"),
        ({"part": 1}, "part"),
        ({"parts": 1001}, "parts"),
        ({"applied_revision": 2**63}, "applied_revision"),
        ({"nodes": [node()], "nodes_unchanged": True}, "nodes_unchanged"),
        ({"nodes": [node(node="")]}, "nodes[0].node"),
        ({"nodes": [node(age_ms=-1)]}, "nodes[0].age_ms"),
        ({"nodes": [node(total=types_pb2.Resources(cpu_milli=-1))]}, "nodes[0].total.cpu_milli"),
        ({"nodes": [node(labels={"k": "\0"})]}, "nodes[0].labels[k]"),
        ({"nodes": [node(devices=[device(), device()])]}, "nodes[0].devices"),
        ({"nodes": [node(devices=[device(id=f"g{i}") for i in range(65)])]}, "nodes[0].devices"),
        ({"nodes": [node(devices=[device(id="")])]}, "nodes[0].devices.id"),
        ({"nodes": [node(devices=[device(model="\u202e")])]}, "nodes[0].devices.model"),
        (
            {"nodes": [node(devices=[device(foreign_milli=1001)])]},
            "nodes[0].devices.foreign_milli",
        ),
        (
            {"nodes": [node(devices=[device(foreign_milli=-1)])]},
            "nodes[0].devices.foreign_milli",
        ),
        ({"leases": [lease(lease_id="")]}, "leases[0].lease_id"),
        ({"leases": [lease(lease_id="x" * 129)]}, "leases[0].lease_id"),
        ({"leases": [lease(state=types_pb2.LEASE_STATE_GONE)]}, "leases[0].state"),
        ({"leases": [lease(state=77)]}, "leases[0].state"),
        (
            {"leases": [lease(state=types_pb2.LEASE_STATE_REFUSED, reason="no!")]},
            "leases[0].reason",
        ),
        (held(lease_id="y.0.0"), "leases[0].record.lease_id"),
        (held(allocation_id="y"), "leases[0].record.lease_id"),
        (held(index=1, count=1), "leases[0].record.index"),
        (held(count=2), "leases[0].record.count"),
        (held(devices=[GPU, GPU]), "leases[0].record.devices"),
        (
            held(devices=[types_pb2.DeviceShare(device_id="g0", milli=1001)]),
            "leases[0].record.devices[0].milli",
        ),
        (held(spec=cpu(-1)), "leases[0].record.spec.part.resources.cpu_milli"),
        (held(tenant="a b"), "leases[0].record.tenant"),
        (held(request_id="a b"), "leases[0].record.request_id"),
    ],
)
def test_a_bad_report_is_refused_by_field(changes: dict[str, object], field: str) -> None:
    fields: dict[str, object] = {"agent": "a1", "session": 1, "sequence": 1}
    request = agent_pb2.SyncRequest(**fields | changes)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError) as refused:
        read_whole(request)
    assert refused.value.field == field


def test_a_good_report_passes_whole() -> None:
    request = agent_pb2.SyncRequest(
        agent="a1",
        session=3,
        sequence=4,
        applied_revision=5,
        nodes=[node(devices=[device()], age_ms=9)],
        leases=[lease(record=record(devices=[GPU]))],
    )
    report = read_whole(request, make_agent(center="c7"))
    assert (report.session, report.sequence, report.applied_revision) == (3, 4, 5)
    assert (report.nodes[0].center, report.oldest_ms) == ("c7", 9)
    assert report.held[0].record is not None
    assert report.held[0].record.amounts == (("d/g0", 500),)
