"""The arbiter says yes to what fits and names what does not."""

from __future__ import annotations

import pytest

from computepool.v1 import types_pb2
from computepool_agents.admission import Load, device_milli, judge, overfull
from computepool_agents.model import RELEASING, STOPPED, Amounts
from fakes.agent_builders import make_held, make_node, make_record


def reason(record: types_pb2.LeaseRecord, *held: object, epoch: int = 1, **node: object) -> str:
    nodes = {"n1": make_node("n1", **node)}  # type: ignore[arg-type]
    refusal = judge(record, nodes, Load.of(held), epoch)  # type: ignore[arg-type]
    return refusal.reason if refusal else ""


def test_what_fits_is_admitted() -> None:
    assert reason(make_record(cpu=8, memory=64, devices={"n1-d0": 1000, "n1-d1": 1})) == ""


@pytest.mark.parametrize(
    ("record", "want"),
    [
        (make_record(node="n9"), "NODE_UNKNOWN"),
        (make_record(devices={"n1-d9": 1000}), "DEVICE_UNKNOWN"),
        (make_record(devices={"n1-d3": 1000}), "DEVICE_UNHEALTHY"),
        (make_record(devices={"n1-d2": 1}), "DOES_NOT_FIT"),
        (make_record(cpu=9), "DOES_NOT_FIT"),
        (make_record(memory=65), "DOES_NOT_FIT"),
        (make_record(epoch=1), ""),
        (make_record(lease="../../etc/x"), "MALFORMED"),
        (make_record(lease=""), "MALFORMED"),
        (make_record(cpu=-1), "MALFORMED"),
        (make_record(devices={"n1-d0": 1001}), "MALFORMED"),
        (make_record(devices={"n1-d0": 0}), "MALFORMED"),
        (make_record(stop_after_s=0), "CONTACT_UNSUPPORTED"),
        (make_record(stop_after_s=1), ""),
    ],
)
def test_each_reason(record: types_pb2.LeaseRecord, want: str) -> None:
    assert reason(record, sick_devices=(3,), foreign_devices=(2,)) == want


def test_replace_after_is_not_supported() -> None:
    record = make_record(stop_after_s=5)
    record.spec.contact.policy = types_pb2.CONTACT_POLICY_REPLACE_AFTER
    assert reason(record) == "CONTACT_UNSUPPORTED"


def test_older_epoch_is_refused() -> None:
    assert reason(make_record(epoch=2), epoch=3) == "STALE_EPOCH"
    assert reason(make_record(epoch=3), epoch=3) == ""


def test_unschedulable_node() -> None:
    assert reason(make_record(), unschedulable=True) == "UNSCHEDULABLE"


@pytest.mark.parametrize("state", [RELEASING, STOPPED])
def test_a_lease_counts_until_it_is_forgotten(state: types_pb2.LeaseState) -> None:
    held = make_held("b.0.0", state, cpu=5, devices={"n1-d0": 600})
    assert reason(make_record(cpu=4), held) == "DOES_NOT_FIT"
    assert reason(make_record(devices={"n1-d0": 500}), held) == "DOES_NOT_FIT"
    assert reason(make_record(cpu=3, devices={"n1-d0": 400}), held) == ""


def test_reserved_and_foreign_are_not_ours_to_give() -> None:
    reserved, foreign = Amounts(cpu_milli=2000), Amounts(cpu_milli=3000)
    assert reason(make_record(cpu=3), reserved=reserved, foreign=foreign) == ""
    assert reason(make_record(cpu=4), reserved=reserved, foreign=foreign) == "DOES_NOT_FIT"


def test_nothing_of_an_overfull_resource_still_fits() -> None:
    assert reason(make_record(cpu=0), foreign=Amounts(cpu_milli=9000)) == ""


def test_extras_are_counted_by_name() -> None:
    record = make_record()
    record.resources.extras["slot"] = 1
    assert reason(record) == "DOES_NOT_FIT"


def test_one_device_named_twice_counts_twice() -> None:
    record = make_record(devices={"n1-d0": 600})
    record.devices.add(device_id="n1-d0", milli=600)
    assert reason(record) == "DOES_NOT_FIT"


def test_refusal_says_how_much_is_missing() -> None:
    refusal = judge(make_record(cpu=9), {"n1": make_node()}, Load.of(()), 1)
    assert refusal is not None
    assert refusal.message == "node 'n1' lacks 1000 of cpu_milli"


def test_overfull_names_what_was_given_out_twice() -> None:
    held = [
        make_held("a.0.0", cpu=5, devices={"n1-d0": 700}),
        make_held("b.0.0", cpu=5, devices={"n1-d0": 700}),
    ]
    assert overfull(make_node(), held) == {"cpu_milli": 2000, "devices.n1-d0": 400}
    assert device_milli(held) == {"n1-d0": 1400}
