"""Limits of what clients may send: each field at its edge, and one step beyond."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from computepool.v1 import allocation_pb2 as wire
from computepool.v1 import types_pb2 as types
from computepool_broker.errors import InvalidArgumentError, UnimplementedOptionError
from computepool_broker.model.request import ContactPolicy, PartSpec, Shape, Spec
from computepool_broker.rpc import from_wire, limits
from computepool_broker.rpc.from_wire import SpecReader, read_spec

MOST = 2**50


def message(**fields: Any) -> types.AllocationSpec:
    """A spec of one core, with these fields in their JSON form."""
    whole = {"part": {"resources": {"cpuMilli": 1000}}} | fields
    return ParseDict(whole, types.AllocationSpec())


def part(**fields: Any) -> types.AllocationSpec:
    return message(part=fields)


def refused(spec: types.AllocationSpec) -> str:
    """The field that is named."""
    with pytest.raises(InvalidArgumentError) as caught:
        read_spec("spec", spec)
    return caught.value.field


def test_a_short_request_has_its_defaults_filled_in() -> None:
    want = Spec(Shape(PartSpec(cpu_milli=1000)), 1, 3600, ContactPolicy.KEEP, 0)
    assert read_spec("spec", message()) == want


def test_equal_content_is_an_equal_value_whatever_its_order() -> None:
    one = message(
        part={"devices": 1, "models": ["H800", "A100", "H800"]},
        regions=["b", "a"],
        centers=["y", "x", "y"],
        nodeLabels={"k": "v", "a": "b"},
        count=1,
        ttlS=3600,
        contact={"policy": "CONTACT_POLICY_KEEP"},
    )
    other = message(
        part={"devices": 1, "models": ["A100", "H800"], "resources": {"extras": {"slot": 0}}},
        regions=["a", "b"],
        centers=["x", "y"],
        nodeLabels={"a": "b", "k": "v"},
    )
    assert read_spec("spec", one) == read_spec("spec", other)
    assert read_spec("spec", one).shape.part.models == ("A100", "H800")


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (part(), "spec.part"),
        (part(resources={"extras": {"slot": 0}}), "spec.part"),
        (part(resources={"cpuMilli": -1}), "spec.part.resources.cpu_milli"),
        (part(resources={"cpuMilli": MOST + 1}), "spec.part.resources.cpu_milli"),
        (part(resources={"cpuMilli": 2**63 - 1}), "spec.part.resources.cpu_milli"),
        (part(resources={"memoryMib": -(2**63)}), "spec.part.resources.memory_mib"),
        (part(resources={"diskMib": MOST + 1}), "spec.part.resources.disk_mib"),
        (part(resources={"extras": {"slot": -1}}), "spec.part.resources.extras[slot]"),
        (part(resources={"extras": {"slot": MOST + 1}}), "spec.part.resources.extras[slot]"),
        (part(resources={"extras": {"": 1}}), "spec.part.resources.extras"),
        (part(resources={"extras": {"a/b": 1}}), "spec.part.resources.extras"),
        (part(resources={"extras": {f"e{n}": 1 for n in range(33)}}), "spec.part.resources.extras"),
        (part(devices=-1), "spec.part.devices"),
        (part(devices=65), "spec.part.devices"),
        (part(deviceMilli=-1), "spec.part.device_milli"),
        (part(deviceMilli=1000), "spec.part.device_milli"),
        (part(devices=1, deviceMilli=1), "spec.part.device_milli"),
        (part(resources={"cpuMilli": 1}, models=["H800"]), "spec.part.devices"),
        (part(resources={"cpuMilli": 1}, minDeviceMemoryMib=1), "spec.part.devices"),
        (part(devices=1, models=[""]), "spec.part.models"),
        (part(devices=1, models=["x" * 129]), "spec.part.models"),
        (part(devices=1, models=["H800\n"]), "spec.part.models"),
        (part(devices=1, models=["Ｈ800"]), "spec.part.models"),  # noqa: RUF001 - the trick
        (part(devices=1, models=[f"m{n}" for n in range(65)]), "spec.part.models"),
        (part(devices=1, minDeviceMemoryMib=MOST + 1), "spec.part.min_device_memory_mib"),
        (message(count=-1), "spec.count"),
        (message(count=1001), "spec.count"),
        (message(ttlS=9), "spec.ttl_s"),
        (message(ttlS=-10), "spec.ttl_s"),
        (message(ttlS=31_536_001), "spec.ttl_s"),
        (message(regions=["a b"]), "spec.regions"),
        (message(regions=["-a"]), "spec.regions"),
        (message(regions=["a" * 254]), "spec.regions"),
        (message(centers=["с1"]), "spec.centers"),  # noqa: RUF001 - the trick
        (message(centers=[f"c{n}" for n in range(65)]), "spec.centers"),
        (message(nodeLabels={"": "v"}), "spec.node_labels"),
        (message(nodeLabels={"k k": "v"}), "spec.node_labels"),
        (message(nodeLabels={"k": "v" * 257}), "spec.node_labels[k]"),
        (message(nodeLabels={"k": "a\u202eb"}), "spec.node_labels[k]"),
        (message(nodeLabels={"k": "a\x00b"}), "spec.node_labels[k]"),
        (message(nodeLabels={f"k{n}": "v" for n in range(65)}), "spec.node_labels"),
        (message(contact={"policy": 9}), "spec.contact.policy"),
        (message(contact={"policy": 2, "afterS": 0}), "spec.contact.after_s"),
        (message(contact={"policy": 2, "afterS": 31_536_001}), "spec.contact.after_s"),
        (message(contact={"policy": 1, "afterS": 5}), "spec.contact.after_s"),
        (message(contact={"afterS": 5}), "spec.contact.after_s"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_out_of_its_range_is_refused_by_name(
    spec: types.AllocationSpec, field: str
) -> None:
    assert refused(spec) == field


@pytest.mark.parametrize(
    "spec",
    [
        part(resources={"cpuMilli": MOST, "memoryMib": MOST, "diskMib": MOST}),
        part(resources={"extras": {f"e{n}": MOST for n in range(32)}}),
        part(devices=64, models=["x" * 128], minDeviceMemoryMib=MOST),
        part(deviceMilli=999),
        message(count=1000, ttlS=10),
        message(ttlS=31_536_000, contact={"policy": 2, "afterS": 31_536_000}),
        message(regions=["a" * 253], centers=[f"c{n}" for n in range(64)]),
        message(nodeLabels={"k": "北京" * 128}),
        message(nodeLabels={"a/b.c-d_e": ""}),
    ],
)
def test_what_is_at_its_edge_is_taken(spec: types.AllocationSpec) -> None:
    assert read_spec("spec", spec) == read_spec("spec", spec)


def test_an_option_that_is_not_built_is_said_to_be_so() -> None:
    spec = message(contact={"policy": "CONTACT_POLICY_REPLACE_AFTER", "afterS": 60})
    with pytest.raises(UnimplementedOptionError) as caught:
        read_spec("spec", spec)
    assert caught.value.field == "spec.contact.policy"


def test_what_is_shown_of_a_bad_name_is_short_and_plain() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        limits.matched("node", "\u202e" + "x" * 10_000, limits.NAME)
    assert str(caught.value).startswith("node: '\\u202exxx")
    assert len(str(caught.value)) < 200
    assert str(caught.value).isascii()


# -- the rest of a call ----------------------------------------------------------------------


@pytest.mark.parametrize("value", ["x" * 129, "a b", "a\n", "é", "\x7f", "a\u200bb"])
def test_a_request_id_is_short_and_visible(value: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^request_id:"):
        from_wire.read_request_id(value)


def test_a_request_id_may_be_left_out_or_be_anything_that_shows() -> None:
    assert from_wire.read_request_id("") == ""
    assert from_wire.read_request_id("!~" * 64) == "!~" * 64


def test_the_tenant_is_default_when_it_is_not_said() -> None:
    assert from_wire.read_tenant("tenant", "") == "default"
    assert from_wire.read_tenant("tenant", "a.b-c_9") == "a.b-c_9"
    for value in ("a" * 64, ".a", "a/b", "a\n"):
        with pytest.raises(InvalidArgumentError, match=r"^tenant:"):
            from_wire.read_tenant("tenant", value)


def test_a_name_that_must_be_given_is_missed_by_name() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^id: must be given$"):
        from_wire.read_id("id", "")


def test_a_create_waits_for_ten_seconds_unless_it_says_otherwise() -> None:
    assert from_wire.read_wait_s(wire.WAIT_FOR_UNSPECIFIED, 0) == 10.0
    assert from_wire.read_wait_s(wire.WAIT_FOR_ACTIVE, 60_000) == 60.0
    assert from_wire.read_wait_s(wire.WAIT_FOR_RESERVED, 5) == 0.0


@pytest.mark.parametrize(
    ("wait_for", "wait_ms", "field"),
    [(2, 60_001, "wait_ms"), (2, -1, "wait_ms"), (9, 0, "wait_for")],
)
def test_a_create_waits_no_longer_than_a_minute(wait_for: int, wait_ms: int, field: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{field}:"):
        from_wire.read_wait_s(wait_for, wait_ms)


# -- remembered specs ------------------------------------------------------------------------


def test_a_spec_seen_before_is_the_same_value() -> None:
    reader = SpecReader()
    assert reader.read("spec", message(count=2)) is reader.read("spec", message(count=2))


def test_a_refused_spec_is_refused_every_time() -> None:
    reader = SpecReader()
    for _ in range(2):
        with pytest.raises(InvalidArgumentError):
            reader.read("spec", message(count=-1))


def test_specs_are_forgotten_beyond_a_number_and_never_kept_beyond_a_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(from_wire, "KNOWN_SPECS", 3)
    reader = SpecReader()
    for count in range(1, 9):
        reader.read("spec", message(count=count))
    assert len(reader._known) == 3
    long = message(nodeLabels={f"k{n}": "v" * 200 for n in range(32)})
    assert reader.read("spec", long) is not reader.read("spec", long)
