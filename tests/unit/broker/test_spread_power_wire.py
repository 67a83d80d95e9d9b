"""Spread and power on the wire: bounded, normalised, kept by agents, told back."""

from __future__ import annotations

from typing import Any

import pytest

from computepool.v1 import agent_pb2, allocation_pb2, types_pb2
from computepool_broker.errors import InvalidArgumentError
from computepool_broker.model.request import Power, Spread, SpreadOver
from computepool_broker.rpc.from_wire import SpecReader
from computepool_broker.rpc.to_wire import SpecWriter, fill_allocation, fill_record, spec_message
from computepool_broker.services.messages import Mark
from support.agent_wire import read_whole
from support.builders import make_allocation, make_part, make_spec, make_state, whole

NODES = types_pb2.SPREAD_OVER_NODES


def spec(**fields: Any) -> types_pb2.AllocationSpec:
    return types_pb2.AllocationSpec(part=types_pb2.PartSpec(devices=1), **fields)


def power(**fields: Any) -> types_pb2.AllocationSpec:
    return types_pb2.AllocationSpec(power=types_pb2.Power(**fields))


def with_part(message: types_pb2.AllocationSpec, **fields: Any) -> types_pb2.AllocationSpec:
    message.part.MergeFrom(types_pb2.PartSpec(**fields))
    return message


def with_spec(message: types_pb2.AllocationSpec, **fields: Any) -> types_pb2.AllocationSpec:
    message.MergeFrom(types_pb2.AllocationSpec(**fields))
    return message


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (spec(spread=types_pb2.Spread(max_skew=1)), "spec.spread.over"),
        (spec(spread=types_pb2.Spread(over=9)), "spec.spread.over"),  # type: ignore[arg-type]
        (spec(spread=types_pb2.Spread(over=NODES, max_skew=-1)), "spec.spread.max_skew"),
        (spec(spread=types_pb2.Spread(over=NODES, max_skew=1001)), "spec.spread.max_skew"),
        (power(), "spec.power.gflops"),
        (power(gflops=-1), "spec.power.gflops"),
        (power(gflops=10**12 + 1), "spec.power.gflops"),
        (power(gflops=1, precision="fp4"), "spec.power.precision"),
        (power(gflops=1, precision="\u202e" * 999), "spec.power.precision"),
        (with_part(power(gflops=1), devices=1), "spec.part.devices"),
        (with_part(power(gflops=1), device_milli=1), "spec.part.device_milli"),
        (with_spec(power(gflops=1), count=2), "spec.count"),
        (with_spec(power(gflops=1), count=-1), "spec.count"),
        (with_spec(power(gflops=1), spread=types_pb2.Spread(over=NODES)), "spec.spread"),
        (with_part(spec(count=313), devices=64), "spec.count"),
    ],
)
def test_what_does_not_make_sense_is_refused_by_its_field(
    message: types_pb2.AllocationSpec, field: str
) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        SpecReader().read("spec", message)
    assert refused.value.field == field


def test_the_most_devices_of_one_allocation() -> None:
    message = with_part(spec(count=312), devices=64)
    assert SpecReader().read("spec", message).parts == 312


def test_what_was_granted_before_there_was_a_bound_is_still_read() -> None:
    reader = SpecReader()
    message = with_part(spec(count=1000), devices=64)
    assert reader.read_recorded("spec", message).parts == 1000
    with pytest.raises(InvalidArgumentError):
        reader.read("spec", message)


def test_defaults_are_filled_in() -> None:
    got = SpecReader().read("spec", spec(spread=types_pb2.Spread(over=NODES), count=3))
    assert got.spread == Spread(SpreadOver.NODES, 1)
    assert SpecReader().read("spec", spec(spread=types_pb2.Spread())).spread is None
    for count in (0, 1):
        message = with_spec(power(gflops=5), count=count)
        assert SpecReader().read("spec", message).power == Power(5, "fp16")


def test_models_and_memory_go_with_power() -> None:
    message = with_part(power(gflops=5), models=["H800"], min_device_memory_mib=1)
    assert SpecReader().read("spec", message).shape.part.models == ("H800",)


@pytest.mark.parametrize(
    "want",
    [
        make_spec(gpus=1, count=4, spread=Spread(SpreadOver.REGIONS, 3)),
        make_spec(cpu=2, models=["H800"], power=Power(7_000_000, "int8", mixed=True)),
    ],
)
def test_it_comes_back_from_the_wire_as_it_was(want: Any) -> None:
    assert SpecReader().read("spec", spec_message(want)) == want


def test_an_agent_keeps_into_how_many_parts_the_power_was_cut() -> None:
    want = make_spec(power=Power(3 * 989_400))._replace(parts=2)
    allocation = make_allocation(
        "x",
        make_part(0, "n1", amounts=whole("n1", 0, 1)),
        make_part(1, "n2", amounts=whole("n2", 0)),
        spec=want,
    )
    record = types_pb2.LeaseRecord()
    fill_record(record, Mark("s", 1, 1), allocation, allocation.parts[1], SpecWriter())
    assert record.spec.count == 0
    state = types_pb2.LEASE_STATE_ADMITTED
    lease = agent_pb2.HeldLease(lease_id=record.lease_id, state=state, record=record)
    (held,) = read_whole(agent_pb2.SyncRequest(agent="a1", session=1, leases=[lease])).held
    assert held.record is not None
    assert held.record.spec == want


def test_the_power_granted_is_told_from_the_parts() -> None:
    part = make_part(0, "n1", amounts=(("cpu_milli", 3000), *whole("n1", 0, 1, 2)))
    part.model = "H800"
    allocation = make_allocation("x", part, spec=make_spec(cpu=1, power=Power(2_000_000)))
    out = allocation_pb2.Allocation()
    fill_allocation(out, make_state(), allocation, 0, SpecWriter())
    assert out.power_gflops == 3 * 989_400
    part.model = "never heard of"
    out = allocation_pb2.Allocation()
    fill_allocation(out, make_state(), allocation, 0, SpecWriter())
    assert out.power_gflops == 0
