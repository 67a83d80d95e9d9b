"""What real daemons serve to Prometheus is what has happened to them."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from computepool.v1 import allocation_pb2, types_pb2
from computepool_agents.telemetry.metrics import METRICS as OF_AGENT
from computepool_broker import __version__
from computepool_broker.telemetry.metrics import METRICS as OF_BROKER
from support.caller import Caller, reason_of, spec
from support.deploy_files import OF_PROMETHEUS, TARGET_LABELS, of_board, of_rules
from support.local_pool import DEVICES, LocalPool
from support.processes import READY_S, Daemon, eventually
from support.scraped import Scraped, get, scrape

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.timeout(150)

CREATE = "/computepool.v1.AllocationService/CreateAllocation"


class Watched:
    """A pool whose daemons serve their figures."""

    def __init__(self, pool: LocalPool, misbehave: tuple[str, ...] = ()) -> None:
        self._files = {
            name: pool.folder / f"{name}.metrics" for name in ("broker", "region", "server")
        }
        self.daemon = pool.broker(**self._flags("broker"))
        self.region = pool.region(misbehave=misbehave, **self._flags("region"))
        self.server = pool.server(**self._flags("server"))

    def _flags(self, name: str) -> dict[str, str]:
        return {
            "metrics_listen": "127.0.0.1:0",
            "metrics_ready_file": str(self._files[name]),
        }

    async def start(self) -> None:
        """Start all, and wait until all are ready."""
        for daemon in (self.daemon, self.region, self.server):
            daemon.start()
            await daemon.ready()

    def address(self, name: str) -> str:
        """Where a daemon serves its figures."""
        return self._files[name].read_text().strip()

    async def broker(self) -> Scraped:
        """The broker's figures."""
        return await scrape(self.address("broker"))

    async def until(self, so: Callable[[Scraped], bool], what: str, of: str = "broker") -> Scraped:
        """Wait until a daemon's figures say something."""

        async def said() -> Scraped | None:
            page = await scrape(self.address(of))
            return page if so(page) else None

        found = await eventually(said, what, READY_S, every_s=0.3)
        assert found is not None
        return found


async def refused(caller: Caller, what: types_pb2.AllocationSpec) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await caller.create(what)
    return reason_of(failed.value)


async def load(caller: Caller) -> dict[str, int]:
    """Grants, refusals, ends, errors; gives how many of each there were."""
    short = (await caller.create(spec(1, ttl_s=10))).allocation
    made = [await caller.active(spec(2)) for _ in range(6)]
    made += [await caller.active(spec(1, centers=["core-a"])) for _ in range(3)]
    for allocation in made[:4]:
        await caller.release(allocation.id)
    assert await refused(caller, spec(9)) == "NO_ROOM"
    for _ in range(2):
        assert await refused(caller, spec(1, count=DEVICES, centers=["core-a"])) == "NO_ROOM"
    with pytest.raises(grpc.aio.AioRpcError):
        await caller.get("nobody")
    many = allocation_pb2.BatchReleaseAllocationsRequest(ids=["nobody", "neither"])
    assert len((await caller.allocations.BatchReleaseAllocations(many)).failures) == 2
    await caller.becomes(short.id, allocation_pb2.ALLOCATION_STATE_ENDED, within_s=60)
    return {"granted": len(made) + 1, "released": 4, "expired": 1, "refused": 3, "missing": 3}


async def test_the_figures_are_what_has_happened(pool: LocalPool, caller: Caller) -> None:
    watched = Watched(pool)
    await watched.start()
    before = await watched.broker()
    assert before.value("computepool_grants_total") == 0
    want = await load(caller)
    page = await watched.until(
        lambda p: (
            p.total("computepool_rpc_calls_total", method=CREATE)
            == want["granted"] + want["refused"]
            and p.value("computepool_allocations", state="ENDED")
            == want["released"] + want["expired"]
            and p.total("computepool_devices", kind="in_flight") == 0
        ),
        "all calls are counted and the teardown is over",
    )
    assert page.value("computepool_grants_total") == want["granted"]
    assert page.value("computepool_ends_total", reason="RELEASED") == want["released"]
    assert page.value("computepool_ends_total", reason="EXPIRED") == want["expired"]
    assert page.total("computepool_ends_total") == want["released"] + want["expired"]
    assert page.total("computepool_refusals_total") == want["refused"]
    assert page.value("computepool_errors_total", reason="NO_ROOM") == want["refused"]
    assert page.value("computepool_errors_total", reason="NOT_FOUND") == want["missing"]
    code = {"method": CREATE, "code": "RESOURCE_EXHAUSTED"}
    assert page.value("computepool_rpc_calls_total", **code) == want["refused"]
    assert page.value("computepool_rpc_seconds_count", method=CREATE) == (
        want["granted"] + want["refused"]
    )
    assert page.value("computepool_admit_seconds_count") == want["granted"]
    assert page.value("computepool_plan_seconds_count") == want["granted"] + want["refused"]

    live = [a for a in await caller.all(ended=False) if a.state in (1, 2)]
    assert page.value("computepool_allocations", state="ACTIVE") == len(live)
    held = sum(len(lease.devices) for a in live for lease in a.leases)
    assert page.total("computepool_devices", kind="granted") == held
    assert page.value("computepool_devices", region="core", center="core-a", kind="total") > 0
    assert page.total("computepool_devices", kind="total") >= DEVICES
    assert page.value("computepool_agents", state="ACTIVE") == 4
    assert page.value("computepool_sessions_opened_total") == 4
    doorbells = {"method": "/computepool.v1.AgentService/WatchCommands", "type": "stream"}
    assert page.value("computepool_rpc_open", **doorbells) == 4
    assert page.value("computepool_warming_up") == 0
    assert page.value("computepool_build_info", version=__version__, store="embedded") == 1

    region = await watched.until(
        lambda p: p.total("computepool_agent_leases") == held_leases(live),
        "leases settle",
        "region",
    )
    assert region.value("computepool_agent_leases", state="STARTED") == held_leases(live)
    assert region.value("computepool_agent_agents") == 3
    assert region.value("computepool_agent_in_session") == 3
    assert region.value("computepool_agent_sessions_opened_total") == 3
    assert region.value("computepool_agent_nodes") == 12
    assert region.value("computepool_agent_doorbell_rings_total") > 0
    assert region.value("computepool_agent_answer_age_seconds") < 30
    assert region.value("computepool_agent_journal_commit_seconds_count") > 0
    server = await scrape(watched.address("server"))
    assert server.value("computepool_agent_reports_total", kind="full") >= 1
    assert server.value("computepool_agent_nodes") == 1
    page = await watched.until(lambda p: p.value("computepool_audits_total") > 0, "an audit")
    names_are_served(page, region)


def held_leases(live: list[allocation_pb2.Allocation]) -> int:
    return sum(
        not lease.center.startswith("server") for allocation in live for lease in allocation.leases
    )


def names_are_served(broker: Scraped, agents: Scraped) -> None:
    """The lists of metrics, the board and the alerts name what is served, and all of it."""
    for page, metrics in ((broker, OF_BROKER), (agents, OF_AGENT)):
        ours = {name for name in page.families if name.startswith("computepool_")}
        assert ours == {m.name if m.kind != "info" else m.shown for m in metrics}
        for metric in metrics:
            series = metric.shown + ("_bucket" if metric.kind == "histogram" else "")
            has = page.labels_of(series) - {"le"}
            assert has in (set(metric.labels), set()), series
    served = broker.names | agents.names | OF_PROMETHEUS
    for query in (*of_board(), *of_rules()):
        for name, matched in query.metrics.items():
            assert name in served, f"{name} in {query.where}"
            has = broker.labels_of(name) | agents.labels_of(name)
            assert not has or matched <= has | TARGET_LABELS, query.text


async def test_what_agents_refuse_is_counted_on_both_sides(pool: LocalPool, caller: Caller) -> None:
    watched = Watched(pool, misbehave=("refuse:center=core-a",))
    await watched.start()
    made = (await caller.create(spec(1, centers=["core-a"]))).allocation
    await caller.becomes(made.id, allocation_pb2.ALLOCATION_STATE_ENDED)
    name = "computepool_lease_refusals_total"
    page = await watched.until(lambda p: p.value(name, reason="INJECTED") > 0, "it is refused")
    count = page.value(name, reason="INJECTED")
    assert page.total(name) == count
    assert page.value("computepool_ends_total", reason="FAILED") == 1
    agents = await scrape(watched.address("region"))
    assert agents.value("computepool_agent_lease_refusals_total", reason="INJECTED") == count


async def test_agents_tell_of_a_broker_that_is_gone_and_the_log_of_who_they_are(
    pool: LocalPool, caller: Caller
) -> None:
    watched = Watched(pool)
    await watched.start()
    watched.daemon.kill()
    page = await watched.until(
        lambda p: p.total("computepool_agent_report_failures_total") > 0, "reports fail", "region"
    )
    assert page.value("computepool_agent_report_failures_total", reason="UNAVAILABLE") > 0
    await watched.until(
        lambda p: p.value("computepool_agent_answer_age_seconds") > 1, "it grows", "region"
    )
    watched.daemon.start()
    await watched.daemon.ready()
    page = await watched.until(
        lambda p: (
            p.value("computepool_agent_in_session") == 3
            and p.value("computepool_agent_sessions_opened_total") >= 6
        ),
        "sessions are open again",
        "region",
    )
    assert (await watched.broker()).value("computepool_grants_total") == 0


async def test_ends_are_logged_with_who_and_why(pool: LocalPool, caller: Caller) -> None:
    broker, region = pool.broker(), pool.region()
    for daemon in (broker, region):
        daemon.start()
        await daemon.ready()
    made = (await caller.create(spec(1, ttl_s=10), "job-17")).allocation
    await caller.becomes(made.id, allocation_pb2.ALLOCATION_STATE_ENDED, within_s=60)
    released = await caller.active(spec(1))
    await caller.release(released.id)
    ends = [each for each in lines(broker) if each["event"] == "allocation_ended"]
    assert [(e["allocation"], e["request_id"], e["tenant"], e["reason"]) for e in ends] == [
        (made.id, "job-17", "default", "EXPIRED")
    ]
    revoked = [each for each in lines(region) if each["event"] == "lease revoked"]
    assert ("job-17", made.id) in {(e["request_id"], e["allocation"]) for e in revoked}


async def test_at_debug_level_lives_and_calls_are_told_whole(
    pool: LocalPool, caller: Caller
) -> None:
    broker, region = pool.broker(log_level="debug"), pool.region()
    for daemon in (broker, region):
        daemon.start()
        await daemon.ready()
    request = allocation_pb2.CreateAllocationRequest(spec=spec(1), request_id="job-18")
    answer = await caller.allocations.CreateAllocation(
        request, timeout=15, metadata=(("x-request-id", "trace-1"),)
    )
    key = answer.allocation.id
    await caller.release(key)
    steps = [e for e in lines(broker) if e.get("allocation") == key]
    assert [e["event"] for e in steps][:3] == [
        "allocation_granted",
        "allocation_active",
        "allocation_ended",
    ]
    assert {e["request_id"] for e in steps} == {"job-18"}
    call = [e for e in lines(broker) if e.get("x_request_id") == "trace-1"]
    assert [(e["event"], e["method"], e["code"]) for e in call] == [("call", CREATE, "OK")]


def lines(daemon: Daemon) -> list[dict[str, Any]]:
    """All lines of a log."""
    return [json.loads(line) for line in daemon.log.splitlines() if line.startswith("{")]


async def test_without_the_flag_nothing_listens(pool: LocalPool, caller: Caller) -> None:
    broker = pool.broker()
    broker.start()
    await broker.ready()
    serving = next(each for each in lines(broker) if each["event"] == "serving")
    assert serving["metrics"] is None


async def test_up_serves_its_brokers_figures_also_after_a_restart(pool: LocalPool) -> None:
    up = pool.up()
    up.start()

    async def said(kind: str) -> dict[str, Any]:
        async def found() -> dict[str, Any] | None:
            assert up.running, up.tail()
            return next((e for e in reversed(lines(up)) if e["event"] == kind), None)

        event = await eventually(found, f"up says {kind}", 2 * READY_S)
        assert event is not None
        return event

    url = (await said("ready"))["metrics"]
    assert url.startswith("http://127.0.0.1:")
    assert url.endswith("/metrics")
    address = url.removeprefix("http://").removesuffix("/metrics")
    assert (await scrape(address)).value("computepool_agents", state="ACTIVE") == 4
    started = [e for e in lines(up) if e["event"] == "child_started" and e["child"] == "broker"]
    os.kill(started[0]["pid"], signal.SIGKILL)

    async def back() -> bool:
        try:
            head, _ = await get(address)
        except OSError:
            return False
        return head.startswith("HTTP/1.1 200 ")

    await said("child_ended")
    await eventually(back, "the figures are where they were", READY_S)
    up.signal(signal.SIGINT)
    assert await up.ended(40) == 0
