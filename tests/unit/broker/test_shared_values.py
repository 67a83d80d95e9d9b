"""What is alike in many records is one value: what a large pool's memory rests on."""

from __future__ import annotations

import pytest

from computepool.v1 import agent_pb2 as wire
from computepool_broker.ledger.state import LedgerState
from computepool_broker.model.alike import sharing
from computepool_broker.model.amounts import Resources
from computepool_broker.model.book import NodeBook
from computepool_broker.model.codec import Decoder, Encoder, encode_node
from computepool_broker.model.memo import MOST, Shared
from computepool_broker.model.records import NO_DEVICES, Device, Devices, NodeRecord
from computepool_broker.rpc.from_agents import NodeReader
from computepool_broker.store.loading import Tables, fill
from support.builders import (
    make_agent,
    make_allocation,
    make_devices,
    make_node,
    make_part,
    whole,
)

SICK = Device("b", "A100", 40, healthy=False, foreign_milli=200)
BOTH = (Device("a", "H800", 80, foreign_milli=300), SICK)


def test_devices_say_what_they_were_made_of() -> None:
    devices = Devices.of(BOTH)
    assert tuple(devices) == BOTH
    assert len(devices) == 2
    assert devices[1] == SICK
    assert devices.keys == ("d/a", "d/b")
    assert devices.capacity_milli == [700, 0]
    more = (SICK._replace(id="c"),)
    assert devices + more == Devices.of([*BOTH, *more])
    assert hash(devices) == hash(Devices.of(BOTH))
    assert "Device(id='a'" in repr(devices)


@pytest.mark.parametrize(
    "change",
    [{"id": "c"}, {"model": "X"}, {"memory_mib": 1}, {"healthy": True}, {"foreign_milli": 1}],
)
def test_devices_differ_where_one_of_them_does(change: dict[str, object]) -> None:
    other = SICK._replace(**change)  # type: ignore[arg-type]
    assert Devices.of(BOTH) != Devices.of((BOTH[0], other))
    assert Devices.of(BOTH) != BOTH


def test_there_may_be_no_devices() -> None:
    assert Devices.of(()) is NO_DEVICES
    assert not list(NO_DEVICES)
    assert NO_DEVICES.capacity_milli == []


def test_equal_values_become_the_first_of_them() -> None:
    shared: Shared[tuple[str, int]] = Shared()
    first = shared(("a", 1000))
    assert shared(("a", 1000)) is first
    assert shared(("a", 1001)) is not first


def test_what_is_shared_is_bounded() -> None:
    shared: Shared[int] = Shared()
    for number in range(3 * MOST):
        shared(number)
    assert len(shared._known) <= MOST


def decoded(decoder: Decoder, name: str) -> NodeRecord:
    return decoder.node(encode_node(make_node(name, labels={"rack": "7"})))


def test_nodes_of_one_store_share_what_is_alike() -> None:
    decoder = Decoder()
    one, other = decoded(decoder, "n1"), decoded(decoder, "n2")
    assert one == make_node("n1", labels={"rack": "7"})
    for field in ("center", "region", "agent", "total", "reserved", "labels"):
        assert getattr(one, field) is getattr(other, field)
    for column in ("models", "memories_mib", "healthy", "foreign_milli"):
        assert getattr(one.devices, column) is getattr(other.devices, column)


def test_columns_that_are_equal_by_chance_keep_their_types() -> None:
    """True and 1 are equal, and so are False and 0: each column is shared among its own kind."""
    devices = (
        Device("a", "m", 1, healthy=True, foreign_milli=1),
        Device("b", "m", 0, healthy=False),
    )
    node = Decoder().node(encode_node(make_node(devices=devices)))
    for device in node.devices:
        assert type(device.healthy) is bool
        assert type(device.memory_mib) is type(device.foreign_milli) is int


def test_leases_of_one_store_share_what_is_alike() -> None:
    decoder = Decoder()
    part = make_part(amounts=(("cpu_milli", 12_345), *whole("n1", 0)))
    texts = [Encoder().allocation(make_allocation(key, part)) for key in ("x", "y")]
    one, other = map(decoder.allocation, texts)
    assert one.tenant is other.tenant
    assert one.spec is other.spec
    assert one.parts[0].amounts[0] is other.parts[0].amounts[0]


def test_a_lease_names_devices_by_its_nodes_own_keys() -> None:
    state = LedgerState()
    lease = make_allocation("x", make_part(amounts=(("cpu_milli", 1), ("d/n1-d0", 1000))))
    node = decoded(Decoder(), "n1")
    fill(state, Tables("i", 1, 1, {}, [make_agent()], [], [(node, False, "")], [lease]))
    ((_, _), (key, _)) = state.allocations["x"].parts[0].amounts
    assert key is node.devices.keys[0]
    (used,) = [key for key in state.nodes["n1"].used if key.startswith("d/")]
    assert used is key
    (kept,) = [key for key in state.nodes["n1"].capacity if key == used]
    assert kept is key


def report(devices: int = 2, **fields: object) -> wire.NodeReport:
    message = wire.NodeReport(node="n1", **fields)  # type: ignore[arg-type]
    for number in range(devices):
        message.devices.add(id=f"n1-d{number}", model="H800", memory_mib=80 * 1024)
    return message


def known(record: NodeRecord) -> NodeReader:
    return NodeReader({record.name: NodeBook(record, {})})


RECORD = make_node(devices=make_devices("n1", 2), labels={"rack": "7"})._replace(total=Resources())


def test_a_node_that_is_reported_as_the_ledger_has_it_is_the_ledgers() -> None:
    got = known(RECORD).read(0, report(labels={"rack": "7"}), make_agent())
    assert got is RECORD


def test_of_a_node_that_has_changed_the_rest_is_the_ledgers() -> None:
    message = report(labels={"rack": "7"}, unschedulable=True)
    message.devices[0].foreign_milli = 300
    got = known(RECORD).read(0, message, make_agent())
    assert got.unschedulable
    assert got.devices[0].foreign_milli == 300
    assert got.labels is RECORD.labels
    assert got.devices.keys is RECORD.devices.keys
    assert got.devices.models is RECORD.devices.models


def test_sharing_gives_what_is_new() -> None:
    other = make_node(devices=make_devices("n1", 3), labels={"rack": "8"}, center="c2")
    assert sharing(RECORD, other) == other
    assert sharing(RECORD, RECORD._replace(gone=True)).gone
