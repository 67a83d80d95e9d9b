"""Plain values: they pickle, print, and show in a notebook; importing them loads little."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import pytest

import computepool_client
from computepool.v1 import allocation_pb2, inventory_pb2, types_pb2
from computepool_client import (
    AllocationState,
    EndReason,
    LeaseLostError,
    NoRoomError,
    Resources,
    Spec,
    from_wire,
    inventory_from_wire,
)
from computepool_client.watching import AllocationsWatch, ViewWatch
from fakes.pool_messages import (
    make_allocation,
    make_center,
    make_lease,
    make_model,
    make_refusal,
    make_view,
)


def test_importing_the_package_and_its_pools_loads_neither_grpc_nor_protobuf() -> None:
    code = (
        "import sys; from computepool_client import Pool, AsyncPool, NoRoomError;"
        "print([m for m in sys.modules if m.split('.')[0] in"
        " ('grpc', 'google', 'computepool', 'rich', 'typer', 'asyncio')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_every_name_of_the_package_is_there_and_no_other() -> None:
    for name in computepool_client.__all__:
        assert getattr(computepool_client, name).__name__ == name
    assert set(computepool_client.__all__) <= set(dir(computepool_client))
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = computepool_client.Nonsense  # type: ignore[attr-defined]


def test_an_allocation_is_where_its_parts_are() -> None:
    found = from_wire.allocation(make_allocation(make_lease(0, "n1"), make_lease(1, "n1")))
    assert (found.node, found.center, found.region, found.model) == (
        "n1",
        "tj-1",
        "tianjin",
        "A100",
    )
    assert [device.id for device in found.devices] == ["GPU-a", "GPU-a"]
    assert found.state is AllocationState.ACTIVE
    assert found.state == "ACTIVE"
    assert found.live


def test_a_gang_on_several_nodes_has_nodes_and_no_node() -> None:
    found = from_wire.allocation(make_allocation(make_lease(0, "n1"), make_lease(1, "n2")))
    assert found.nodes == ("n1", "n2")
    with pytest.raises(ValueError, match="several nodes: n1, n2"):
        _ = found.node


def test_a_state_of_a_later_broker_is_unspecified() -> None:
    message = make_allocation()
    message.state = 77  # type: ignore[assignment]
    message.end_reason = 78  # type: ignore[assignment]
    found = from_wire.allocation(message)
    assert found.state is AllocationState.UNSPECIFIED
    assert found.end_reason is EndReason.UNSPECIFIED
    assert not found.live


@pytest.mark.parametrize("copied", [lambda v: pickle.loads(pickle.dumps(v)), copy.deepcopy])  # noqa: S301 - of this test
def test_values_and_errors_pickle(copied: object) -> None:
    assert callable(copied)
    message = make_allocation()
    message.spec.node_labels["rack"] = "7"
    message.create_time.FromSeconds(1_700_000_000)
    for value in (
        from_wire.allocation(message),
        from_wire.refusal(make_refusal()),
        inventory_from_wire.view(make_view(make_center("tj-1", make_model()))),
        Spec(gpus=2, resources=Resources(extras={"seats": 1})),
    ):
        assert copied(value) == value
        assert hash(copied(value)) == hash(value)
    refused = NoRoomError("full", "NO_ROOM", {}, 2.0, wire_refusal=make_refusal())
    refused.asked(Spec(gpus=9), lambda _spec: pytest.fail("asked the pool"))
    again = copied(refused)
    assert (str(again), again.retry_after_s, again.spec) == ("full", 2.0, Spec(gpus=9))
    assert again.refusal == refused.refusal
    with pytest.raises(TypeError, match=r"pool\.explain\(error\)"):
        again.explain()
    lost = copied(LeaseLostError("gone", "TTL_OVER", allocation_id="a-1"))
    assert (lost.reason, lost.allocation_id) == ("TTL_OVER", "a-1")


def test_a_notebook_gets_tables_with_everything_escaped() -> None:
    message = make_allocation(make_lease(devices=("<script>",), milli=250))
    html = from_wire.allocation(message)._repr_html_()
    assert "&lt;script&gt; (250/1000)" in html
    assert "<script>" not in html
    evil = make_refusal("<b>")
    evil.nearest.add(summary="with <2> devices", center="tj-1")
    shown = from_wire.refusal(evil)._repr_html_()
    assert "&lt;b&gt;" in shown
    assert "with &lt;2&gt; devices (in tj-1)" in shown
    view = inventory_from_wire.view(
        make_view(make_center("<i>", make_model(devices=8, granted=3)), make_center("empty"))
    )
    assert (
        "<td>&lt;i&gt;</td><td>2/2</td><td>A100</td><td>8</td><td>0</td><td>3</td><td>5</td>"
        in (view._repr_html_())
    )


def test_a_view_is_printed_with_a_line_for_each_center() -> None:
    view = inventory_from_wire.view(
        make_view(make_center("c-1", make_model(devices=8, granted=3)), make_center("empty"))
    )
    shown = str(view).splitlines()
    assert shown[0] == f"{view.state}: 2 centers, {view.allocations} allocations live"
    assert shown[1:] == [
        f"  c-1 ({view.centers[0].region}): 5 of 8 devices free",
        f"  empty ({view.centers[1].region}): 0 of 0 devices free",
    ]


def test_a_refusal_reads_like_a_sentence_and_a_list() -> None:
    message = make_refusal(beyond_pool=True, centers_omitted=3)
    message.nearest.add(summary="with 6 devices instead of 8", center="tj-1")
    assert str(from_wire.refusal(message)).splitlines() == [
        "no center has 16 free A100 on one node",
        "  tj-1 (tianjin): DEVICES, 2 devices missing",
        "  and 3 more centers",
        "Even the empty pool could not hold it: waiting does not help.",
        "It would fit:",
        "  with 6 devices instead of 8 (in tj-1)",
    ]


def test_an_explanation_carries_its_parts() -> None:
    message = allocation_pb2.ExplainAllocationResponse(summary="here", view_revision=7)
    message.parts.add(index=2, rank=1, candidates=5, summary="best fit", state=3)
    message.parts[0].others.add(node="n2", center="c", region="r", score=9)
    message.filters.add(reason="MODEL", nodes=4)
    found = from_wire.explanation(message)
    assert (found.refusal, found.allocation) == (None, None)
    assert found.parts[0].others[0].node == "n2"
    assert found.filters[0].nodes == 4
    assert str(found) == "here\n  part 2: best fit"


def test_a_watched_view_is_kept_whole() -> None:
    watch = ViewWatch("", 1.0)
    whole = make_view(make_center("tj-1", make_model()), make_center("tj-2"))
    first = inventory_pb2.WatchViewResponse(view=whole, whole=True, resume_token="t1")  # noqa: S106 - a place in a stream
    view = watch.read(first)
    assert view is not None
    assert [c.name for c in view.centers] == ["tj-1", "tj-2"]
    changed = make_view(make_center("tj-1", make_model(granted=5)), allocations=9)
    second = inventory_pb2.WatchViewResponse(view=changed, resume_token="t2")  # noqa: S106 - see above
    view = watch.read(second)
    assert view is not None
    assert view.allocations == 9
    assert view.center("tj-1").models[0].devices.granted == 5000
    assert view.center("tj-1").devices_free == 3
    assert view.center("tj-2").nodes == 2
    with pytest.raises(KeyError, match="tj-9"):
        view.center("tj-9")
    gone = inventory_pb2.WatchViewResponse(centers_gone=["tj-1"], resume_token="t3")  # noqa: S106 - see above
    view = watch.read(gone)
    assert view is not None
    assert [c.name for c in view.centers] == ["tj-2"]
    view = watch.read(inventory_pb2.WatchViewResponse(whole=True, resume_token="t4"))  # noqa: S106 - see above
    assert view is not None
    assert view.regions == ()


def test_a_view_that_comes_in_several_messages_is_shown_when_it_is_all_there() -> None:
    watch = ViewWatch("", 1.0)
    begin = inventory_pb2.WatchViewResponse(view=make_view(make_center("tj-1")), whole=True)
    assert watch.read(begin) is None
    end = inventory_pb2.WatchViewResponse(view=make_view(make_center("tj-2")), resume_token="t1")  # noqa: S106 - a place in a stream
    view = watch.read(end)
    assert view is not None
    assert [center.name for center in view.centers] == ["tj-1", "tj-2"]


def test_a_watch_goes_on_after_its_last_message_and_says_when_it_cannot() -> None:
    watch = AllocationsWatch("state = ACTIVE", "", changes_only=True)
    request = watch.request()
    assert isinstance(request, allocation_pb2.WatchAllocationsRequest)
    assert request.changes_only
    told = allocation_pb2.WatchAllocationsResponse(resume_token="t1", synced=True, revision=4)  # noqa: S106 - a place in a stream
    told.events.add(
        kind=allocation_pb2.ALLOCATION_EVENT_KIND_EXISTING, allocation=make_allocation()
    )
    told.events.add(kind=allocation_pb2.ALLOCATION_EVENT_KIND_GONE, allocation=make_allocation())
    changes = watch.read(told)
    assert (changes.synced, changes.restarted, changes.events[0].existing) == (True, False, True)
    assert [each.gone for each in changes.events] == [False, True]
    request = watch.request()
    assert isinstance(request, allocation_pb2.WatchAllocationsRequest)
    assert (request.resume_token, request.changes_only) == ("t1", False)
    expired = computepool_client.WrongStateError("too late", "RESUME_TOKEN_EXPIRED")
    assert watch.mended(expired)
    assert not watch.mended(expired), "without a token it cannot be too late again"
    assert watch.read(told).restarted
    assert not watch.read(told).restarted
    assert not watch.mended(computepool_client.NotFoundError("none", "NOT_FOUND"))


def test_shares_of_devices_and_amounts_come_through() -> None:
    lease = make_lease(devices=("GPU-a",), milli=250)
    lease.resources.extras["seats"] = 2
    part = from_wire.part(lease)
    assert part.devices[0].milli == 250
    assert part.resources == Resources(cpu_milli=4000, extras={"seats": 2})
    node = inventory_from_wire.node(
        inventory_pb2.Node(
            name="n1",
            total=types_pb2.Resources(cpu_milli=8000),
            devices=[
                inventory_pb2.NodeDevice(
                    device=types_pb2.Device(
                        id="GPU-a", health=types_pb2.DEVICE_HEALTH_UNHEALTHY, foreign_milli=100
                    ),
                    granted_milli=250,
                    gone=True,
                )
            ],
            blockers=["CORDONED"],
        )
    )
    assert node.total.cpu_milli == 8000
    assert not node.devices[0].healthy
    assert (node.devices[0].granted_milli, node.devices[0].gone) == (250, True)
    assert node.blockers == ("CORDONED",)
