"""What the doctor concludes from what the broker and this machine say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from computepool.v1 import allocation_pb2, inventory_pb2
from computepool_client.cli.doctor import judge, machine, redis
from computepool_client.cli.doctor.findings import Finding, Verdict, named
from computepool_client.cli.doctor.seen import Seen
from fakes.pool_messages import make_allocation, make_center, make_model, make_view

if TYPE_CHECKING:
    from pathlib import Path

OK, WARN, FAIL = Verdict.OK, Verdict.WARN, Verdict.FAIL


def make_agent(name: str = "a1", **others: Any) -> inventory_pb2.Agent:
    others.setdefault("state", inventory_pb2.AGENT_STATE_ACTIVE)
    others.setdefault("last_sync_age_ms", 4000)
    return inventory_pb2.Agent(name=name, **others)


def make_seen(*found: inventory_pb2.CenterView, **totals: Any) -> Seen:
    view = make_view(*(found or (make_center("tj-1", make_model()),)), **totals)
    return Seen(view=view, agents=[make_agent()], health="SERVING")


def judged(seen: Seen) -> dict[str, Finding]:
    return {each.check: each for each in judge.judge(seen)}


# -- the pool ----------------------------------------------------------------------------------


def test_a_pool_in_order_is_ok_in_everything_and_needs_nothing_done() -> None:
    found = judged(make_seen(audit_findings=0))
    assert {each.verdict for each in found.values()} == {OK}
    assert {each.todo for each in found.values()} == {""}


def test_whatever_is_not_ok_says_what_to_do() -> None:
    center = make_center("c", make_model(overcommit=1, gflops_each=0), cordoned=True)
    center.in_flight_age_ms = 90_000
    center.models[0].devices.schedulable = 0
    seen = make_seen(center, mass_silence=True)
    seen.agents = [make_agent(state=inventory_pb2.AGENT_STATE_LOST, refusals=3)]
    seen.health = "NOT_SERVING"
    seen.allocations = [make_allocation()]
    seen.allocations[0].flags.append("request_id bound to another allocation")
    found = judged(seen)
    bad = {name for name, each in found.items() if each.verdict is not OK}
    assert bad == set(found) - {"audit", "reports", "admission"}
    assert all(found[name].todo for name in bad)


def test_a_broker_that_warms_up_is_waited_for() -> None:
    seen = make_seen()
    assert seen.view is not None
    seen.view.state = inventory_pb2.POOL_STATE_WARMING_UP
    seen.health = "NOT_SERVING"
    assert judged(seen)["health"].verdict is WARN


def test_a_pool_without_agents_fails() -> None:
    seen = make_seen()
    seen.agents = []
    assert judged(seen)["agents"].verdict is FAIL


def test_who_is_silent_is_named_with_since_when_longest_first() -> None:
    seen = make_seen()
    gone = inventory_pb2.AGENT_STATE_DISCONNECTED
    seen.agents += [
        make_agent("b", state=gone, last_sync_age_ms=40_000),
        make_agent("c", state=inventory_pb2.AGENT_STATE_LOST, last_sync_age_ms=7_200_000),
        make_agent("d", state=gone, last_sync_age_ms=-1),
        make_agent("e", state=inventory_pb2.AGENT_STATE_CLOSED),
    ]
    found = judged(seen)["silent-agents"]
    assert found.verdict is WARN
    want = "3 agents silent: d (since the broker's start), c (for 2h), b (for 40s)"
    assert found.what == want


@pytest.mark.parametrize(
    ("kind", "want"),
    [
        (inventory_pb2.FINDING_KIND_BOOKS, FAIL),
        (inventory_pb2.FINDING_KIND_VIEW, FAIL),
        (inventory_pb2.FINDING_KIND_PHANTOM, WARN),
        (inventory_pb2.FINDING_KIND_OVERCOMMIT, WARN),
    ],
)
def test_findings_of_the_audit_that_are_bugs_fail(
    kind: inventory_pb2.FindingKind, want: Verdict
) -> None:
    seen = make_seen(audit_findings=1)
    finding = inventory_pb2.Finding(kind=kind)
    seen.audit = inventory_pb2.AuditPoolResponse(findings=[finding], findings_omitted=4)
    found = judged(seen)["audit"]
    assert found.verdict is want
    assert "5 audit findings" in found.what


def test_a_report_is_late_after_three_intervals() -> None:
    seen = make_seen()
    seen.agents = [make_agent("a", last_sync_age_ms=30_000)]
    assert judged(seen)["reports"].verdict is OK
    seen.agents = [make_agent("a", last_sync_age_ms=31_000)]
    found = judged(seen)["reports"]
    assert (found.verdict, "a (31s)" in found.what) == (WARN, True)


def test_the_interval_of_many_agents_shows_in_their_ages() -> None:
    assert judge.report_interval_ms([35_000]) == 10_000
    assert judge.report_interval_ms([1_000] * 20) == 10_000
    assert judge.report_interval_ms([i * 1_000 for i in range(61)]) == 60_000


def test_a_reservation_is_old_by_the_brokers_own_durations() -> None:
    def verdict(remaining_ms: int, state: allocation_pb2.AllocationState) -> Verdict:
        seen = make_seen()
        seen.allocations = [make_allocation(state=state)]
        seen.allocations[0].spec.ttl_s = 600
        seen.allocations[0].remaining_ttl_ms = remaining_ms
        return judged(seen)["admission"].verdict

    reserved = allocation_pb2.ALLOCATION_STATE_RESERVED
    assert verdict(595_000, reserved) is OK
    assert verdict(560_000, reserved) is WARN
    assert verdict(560_000, allocation_pb2.ALLOCATION_STATE_ACTIVE) is OK


def test_free_but_closed_capacity_is_counted() -> None:
    center = make_center("tj-1", make_model(devices=8))
    center.models[0].devices.schedulable = 5000
    found = judged(make_seen(center, make_center("tj-2", make_model(devices=2))))["open"]
    assert found.verdict is WARN
    assert found.what == "3 of 10 free devices cannot be granted, in tj-1"


def test_names_are_counted_when_they_are_many() -> None:
    assert named(["a", "b", "c"]) == "a, b, c"
    assert named(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


# -- this machine ------------------------------------------------------------------------------


def test_python_must_be_new_enough() -> None:
    assert machine.interpreter((3, 11, 2), ">=3.11").verdict is OK
    assert machine.interpreter((3, 9, 18), ">=3.11").verdict is FAIL


def test_packages_must_be_there_and_new_enough() -> None:
    required = ["rich>=14.0", "redis[hiredis]>=8.0", "nothing"]
    assert machine.packages({"rich": "14.0", "redis": "8.1.0"}, required).verdict is OK
    found = machine.packages({"rich": "9.13"}, required)
    assert found.verdict is FAIL
    assert "rich is 9.13, 14.0 is needed" in found.what
    assert "redis is missing" in found.what


def test_variables_must_hold_what_they_may_and_be_spelt_right() -> None:
    def found(**environ: str) -> list[tuple[Verdict, str]]:
        return [(each.verdict, each.what) for each in machine.variables(environ)]

    assert found(COMPUTEPOOL_ENDPOINT="broker:7600")[0][0] is OK
    assert found(COMPUTEPOOL_BROKER="x", PATH="/bin")[0][0] is OK
    [(verdict, what)] = found(COMPUTEPOOL_TIMEOUT="soon")
    assert (verdict, "COMPUTEPOOL_TIMEOUT" in what) == (FAIL, True)
    [(verdict, what)] = found(COMPUTEPOOL_ENDPONT="broker:7600")
    assert (verdict, "COMPUTEPOOL_ENDPOINT" in what) == (WARN, True)


@pytest.mark.parametrize(
    ("environ", "host", "want"),
    [
        ({}, "broker.example", OK),
        ({"http_proxy": "http://p:3128"}, "broker.example", WARN),
        ({"grpc_proxy": "p:3128"}, "broker.example", WARN),
        ({"HTTP_PROXY": "http://p:3128"}, "broker.example", OK),
        ({"http_proxy": "http://p:3128"}, "127.0.0.1", OK),
        ({"http_proxy": "http://p:3128", "no_proxy": "a, .example"}, "broker.example", OK),
        ({"http_proxy": "http://p:3128", "no_proxy": "ample"}, "broker.example", WARN),
    ],
)
def test_proxies_that_grpc_would_heed(environ: dict[str, str], host: str, want: Verdict) -> None:
    assert machine.proxies(environ, host).verdict is want


def test_open_files_must_suffice_for_the_agents_of_a_broker_here() -> None:
    assert machine.open_files(1024, 0).verdict is OK
    assert machine.open_files(256, 0).verdict is WARN
    found = machine.open_files(4096, 10_000)
    assert (found.verdict, "10,256" in found.what) == (WARN, True)


@pytest.mark.parametrize(
    ("kind", "took_ms", "want"),
    [("ext4", 2.0, OK), ("ext4", 400.0, WARN), ("tmpfs", 0.1, WARN), ("nfs4", 1.0, WARN)],
)
def test_a_disk_must_keep_what_is_synced(kind: str, took_ms: float, want: Verdict) -> None:
    assert machine.disk(kind, took_ms).verdict is want


def test_a_state_folder_is_looked_at_and_left_as_it_was(tmp_path: Path) -> None:
    found = list(machine.state_dir(tmp_path / "not" / "yet"))
    assert found[0].verdict is OK
    assert "will be made" in found[0].what
    assert [each.check for each in found] == ["state-dir", "disk"]
    assert list(tmp_path.iterdir()) == []
    file = tmp_path / "file"
    file.touch()
    assert [each.verdict for each in machine.state_dir(file)] == [FAIL]


REDIS = {"redis_version": "7.2.1", "role": "master", "cluster_enabled": 0}
SETTINGS = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}


@pytest.mark.parametrize(
    ("info", "settings", "want"),
    [
        ({}, {}, [OK, OK, OK]),
        ({"redis_version": "5.0.14"}, {}, [FAIL, OK, OK]),
        ({"role": "slave"}, {}, [FAIL, OK, OK]),
        ({"cluster_enabled": 1}, {}, [FAIL, OK, OK]),
        ({}, {"maxmemory-policy": "allkeys-lru"}, [OK, FAIL, OK]),
        ({}, {"appendonly": "no"}, [OK, OK, FAIL]),
        ({}, {"appendfsync": "everysec"}, [OK, OK, WARN]),
    ],
)
def test_what_a_redis_must_be_like(
    info: dict[str, Any], settings: dict[str, str], want: list[Verdict]
) -> None:
    found = redis.judge("r:6379", REDIS | info, SETTINGS | settings)
    assert [each.verdict for each in found] == want


def test_a_password_of_a_redis_is_not_printed() -> None:
    found = list(redis.redis_store("redis://me:secret@127.0.0.1:1/0", 1.0))
    assert found[0].verdict is FAIL
    assert "secret" not in found[0].what
