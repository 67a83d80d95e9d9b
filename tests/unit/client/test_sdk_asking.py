"""What a program asks for, in its own words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from computepool.v1 import types_pb2
from computepool_client import asking, errors, from_wire, reading, to_wire
from computepool_client.values import Resources, Spec


@pytest.mark.parametrize(
    ("wanted", "want"),
    [
        ({"gpus": 4, "model": "A100"}, Spec(gpus=4, models=("A100",))),
        ({"gpus": 1, "model": ["A100", "H800"]}, Spec(gpus=1, models=("A100", "H800"))),
        ({"gpu_share": 0.25}, Spec(gpu_milli=250)),
        ({"gpu_share": 0.001}, Spec(gpu_milli=1)),
        ({"cpu": 0.5}, Spec(resources=Resources(cpu_milli=500))),
        ({"cpu": "2.25"}, Spec(resources=Resources(cpu_milli=2250))),
        ({"memory": "64GiB"}, Spec(resources=Resources(memory_mib=65536))),
        ({"disk": "1TiB", "extras": {"seats": 2}},
         Spec(resources=Resources(disk_mib=1048576, extras={"seats": 2}))),
        ({"min_gpu_memory": "40GiB"}, Spec(min_gpu_memory_mib=40960)),
        ({"cpu": 1, "count": 3, "region": "hebei", "center": ("a", "b")},
         Spec(resources=Resources(cpu_milli=1000), count=3, regions=("hebei",),
              centers=("a", "b"))),
        ({"gpus": 8, "count": 4, "spread": "centers", "max_skew": 2},
         Spec(gpus=8, count=4, spread="centers", max_skew=2)),
        ({"pflops": 1.5, "precision": "bf16", "mixed": True},
         Spec(power_gflops=1_500_000, precision="bf16", mixed=True)),
        ({"gpus": 1, "ttl": "10m"}, Spec(gpus=1, ttl_s=600)),
        ({"gpus": 1, "ttl": 30}, Spec(gpus=1, ttl_s=30)),
        ({"gpus": 1, "ttl": timedelta(hours=1)}, Spec(gpus=1)),
        ({"gpus": 1, "contact": "stop-after:5m"}, Spec(gpus=1, stop_after_s=300)),
        ({"gpus": 1, "contact": "keep"}, Spec(gpus=1)),
        ({"gpus": 1, "node_labels": {"rack": "7"}}, Spec(gpus=1, node_labels={"rack": "7"})),
    ],
)  # fmt: skip
def test_words_become_a_spec_that_the_wire_carries_unchanged(
    wanted: dict[str, Any], want: Spec
) -> None:
    found = asking.place(wanted)
    assert found == want
    sent = types_pb2.AllocationSpec.FromString(to_wire.spec(found).SerializeToString())
    assert from_wire.spec(sent) == want


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ({"gpus": "4"}, "gpus"),
        ({"gpus": True}, "gpus"),
        ({"gpus": 2.0}, "gpus"),
        ({"gpus": 10**30}, "gpus"),
        ({"gpu_share": 0}, "gpu_share"),
        ({"gpu_share": 1}, "gpu_share"),
        ({"gpu_share": 0.0001}, "gpu_share"),
        ({"gpu_share": float("nan")}, "gpu_share"),
        ({"cpu": float("inf")}, "cpu"),
        ({"cpu": -1}, "cpu"),
        ({"cpu": 1e300}, "cpu"),
        ({"cpu": "four"}, "cpu"),
        ({"memory": 64}, "memory"),
        ({"memory": "64"}, "memory"),
        ({"disk": "1e9GiB"}, "disk"),
        ({"extras": {"seats": 1.5}}, "extras"),
        ({"extras": ["seats"]}, "extras"),
        ({"count": 10**12}, "count"),
        ({"model": 5}, "model"),
        ({"model": [5]}, "model"),
        ({"region": "\ud800"}, "region"),
        ({"node_labels": {"rack": 7}}, "node_labels"),
        ({"spread": "racks"}, "spread"),
        ({"pflops": 0}, "pflops"),
        ({"pflops": float("nan")}, "pflops"),
        ({"mixed": 1}, "mixed"),
        ({"ttl": "10"}, "ttl"),
        ({"ttl": 0}, "ttl"),
        ({"ttl": -5}, "ttl"),
        ({"ttl": 0.5}, "ttl"),
        ({"ttl": timedelta(days=4000)}, "ttl"),
        ({"ttl": None}, "ttl"),
        ({"contact": "never"}, "contact"),
        ({"contact": 5}, "contact"),
        ({"tenant": 5}, "tenant"),
        ({"labels": {"a": None}}, "labels"),
        ({"description": b"x"}, "description"),
        ({"request_id": 7}, "request_id"),
        ({"spec": {"gpus": 1}}, "spec"),
        ({"spec": Spec(gpus=1), "gpus": 1}, "spec"),
    ],
)
def test_what_cannot_be_meant_names_its_keyword(wanted: dict[str, Any], names: str) -> None:
    with pytest.raises(errors.InvalidRequestError) as caught:
        asking.order(wanted)
    assert caught.value.fields[0].field == names
    assert caught.value.reason == "INVALID_FIELD"


def test_an_unknown_keyword_is_told_with_the_one_that_was_meant() -> None:
    with pytest.raises(TypeError, match="'gpu'; did you mean 'gpus'"):
        asking.order({"gpu": 1})
    with pytest.raises(TypeError, match="'modle'"):
        asking.place({"modle": "A100"})
    with pytest.raises(TypeError, match="said of all requests together"):
        asking.orders([{"gpus": 1, "timeout": 5}])


def test_one_of_many_that_is_malformed_is_named() -> None:
    with pytest.raises(errors.InvalidRequestError) as caught:
        asking.orders([{"gpus": 1}, {"cpu": "x"}])
    assert caught.value.fields[0].field == "requests[1].cpu"


def test_a_request_id_is_made_where_none_is_given() -> None:
    made, again = asking.order({"gpus": 1}), asking.order({"gpus": 1})
    assert made.own_id
    assert made.request_id
    assert made.request_id != again.request_id
    given = asking.order({"gpus": 1, "request_id": "mine"})
    assert (given.request_id, given.own_id) == ("mine", False)


@pytest.mark.parametrize(
    ("waiting", "names"),
    [({"wait": "soon"}, "wait"), ({"timeout": "x"}, "timeout"), ({"on_lost": 5}, "on_lost"),
     ({"wait_for_room": float("inf")}, "wait_for_room")],
)  # fmt: skip
def test_how_to_wait_is_checked(waiting: dict[str, Any], names: str) -> None:
    with pytest.raises(errors.InvalidRequestError) as caught:
        asking.patience(waiting)
    assert caught.value.fields[0].field == names


def test_what_to_explain_is_one_thing() -> None:
    refused = errors.NoRoomError("full", "NO_ROOM")
    with pytest.raises(TypeError, match="does not know"):
        asking.subject(refused, {})
    refused.asked(Spec(gpus=9))
    assert asking.subject(refused, {}) == Spec(gpus=9)
    assert asking.subject("a-1", {}) == "a-1"
    assert asking.subject(None, {"gpus": 2}) == Spec(gpus=2)
    with pytest.raises(TypeError, match="one of them"):
        asking.subject("a-1", {"gpus": 1})
    with pytest.raises(TypeError, match="one of them"):
        asking.subject(None, {})


def test_lengths_of_time_are_read_in_three_ways() -> None:
    assert reading.seconds("1m30s", "timeout") == 90
    assert reading.seconds(timedelta(milliseconds=200), "timeout") == 0.2
    assert reading.seconds(-4, "timeout") == -4
