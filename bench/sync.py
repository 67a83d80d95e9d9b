"""`sync`: what reports of agents cost the broker.

Three figures: idle reports beside the empty call, by an agent with 1,000 nodes that holds
leases; whole reports of 1,000 nodes; and 10,000 server agents at the interval that the broker
names.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc

from bench import fleet_nodes
from bench.disk import need_disk
from bench.echo import EchoCounter, echo_target
from bench.h2load import Target, run_h2load
from bench.output import Output, Row, remark
from bench.pool import CALL_LIMIT_S, PATIENCE, Pool, broker, fill_request, read_answer
from bench.process import LOAD_CORE, BenchError, cpu_s, pinned, running
from bench.rounds import Plan, alternate, described, median
from computepool.v1 import agent_pb2
from computepool.v1.agent_pb2_grpc import AgentServiceStub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SYNC = "/computepool.v1.AgentService/Sync"
NODES, LEASES, SERVERS = 1_000, 2_000, 10_000
IDLE = Plan(in_flight=64, seconds=1.6)
FULL_REPORTS = 100
MEASURED_S = 40.0
FIGURES_AGE_S = 1.1  # the broker makes its figures anew at most once a second
IDLE_TARGET, FULL_TARGET_MS, SERVERS_TARGET = 0.7, 20.0, 0.4


class OneAgent:
    """An agent with many nodes that does at once what it is told."""

    def __init__(self, address: str) -> None:
        self._stub = AgentServiceStub(grpc.insecure_channel(address))
        self._rng = random.Random(3)
        self.center = fleet_nodes.make_center(0, NODES, self._rng)
        self._applied = 0
        self._sequence = 0

    def open(self) -> None:
        """Begin the session and report whole."""
        center = self.center
        request = agent_pb2.OpenSessionRequest(
            agent=center.name,
            journal_id="bench",
            session=1,
            protocol_version=1,
            center=center.name,
            region=center.region,
            role=center.role,
        )
        opened = self._stub.OpenSession(request, timeout=CALL_LIMIT_S)
        if "delta" not in opened.features:
            raise BenchError("this broker takes no differences")
        self.send(self.whole())

    def whole(self, *, changed: bool = False) -> agent_pb2.SyncRequest:
        """The next report, with all nodes; each with another load when `changed`."""
        self._sequence += 1
        if changed:
            for node in self.center.nodes:
                fleet_nodes.change_host_load(node, self._rng)
        base = agent_pb2.SyncRequest(
            agent=self.center.name,
            session=1,
            sequence=self._sequence,
            applied_revision=self._applied,
        )
        (part,) = fleet_nodes.report(self.center, base, nodes=True, records=self._sequence == 1)
        return part

    def idle(self) -> agent_pb2.SyncRequest:
        """A difference to the last report that says that nothing has changed."""
        self._sequence += 1
        return agent_pb2.SyncRequest(
            agent=self.center.name,
            session=1,
            sequence=self._sequence,
            applied_revision=self._applied,
            delta=True,
            base_sequence=self._sequence - 1,
        )

    def send(self, request: agent_pb2.SyncRequest) -> agent_pb2.SyncResponse:
        """Deliver a report and do what the answer says."""
        answer = self._stub.Sync(request, timeout=CALL_LIMIT_S)
        if answer.want_full:
            raise BenchError(f"report {request.sequence} was not taken")
        for command in answer.commands:
            fleet_nodes.apply(self.center, command)
        self._applied = max(self._applied, answer.mark.revision)
        return answer


@contextmanager
def counted_broker(folder: Path) -> Iterator[tuple[str, int, str]]:
    """A broker that counts for us; yields address, pid and where its figures are."""
    ready = folder / "metrics.ready"
    ready.unlink(missing_ok=True)
    flags = ("--metrics-listen", "127.0.0.1:0", "--metrics-ready-file", str(ready))
    with broker(folder, *PATIENCE, *flags) as (address, pid):
        yield address, pid, f"http://{ready.read_text(encoding='utf-8').strip()}/metrics"


def reports(url: str, kind: str) -> int:
    """Reports of a kind that the broker has taken so far."""
    time.sleep(FIGURES_AGE_S)
    with urllib.request.urlopen(url, timeout=CALL_LIMIT_S) as page:  # noqa: S310 - our own broker
        text = page.read().decode()
    found = re.search(rf'^computepool_reports_total{{kind="{kind}"}} (\S+)$', text, re.MULTILINE)
    return int(float(found[1])) if found else 0


def run(out: Output, folder: Path) -> None:
    """All three."""
    kind = need_disk(folder)
    with counted_broker(folder) as (address, pid, figures):
        agent = OneAgent(address)
        agent.open()
        hold_leases(agent, Pool(address, pid))
        idle(out, folder, agent, Target("ours", address, SYNC, b"", pid), figures, kind)
        whole(out, folder, agent, Target("whole", address, SYNC, b"", pid), figures)
    servers(out, folder)


def hold_leases(agent: OneAgent, pool: Pool) -> None:
    """Grant, and let the agent start all of it."""
    for _ in range(LEASES // 8):
        pool.create(fill_request(1, 8))
    for _ in range(20):
        answer = agent.send(agent.whole())
        if not answer.commands and len(agent.center.held) == LEASES:
            return
    raise BenchError(f"the agent holds {len(agent.center.held)} of {LEASES} leases")


def idle(out: Output, folder: Path, agent: OneAgent, ours: Target, figures: str, kind: str) -> None:
    """Idle reports, 64 in flight, in turns with the empty call; the same one again and again."""
    body = agent.idle()
    response = agent.send(body).SerializeToString()
    target = Target(ours.name, ours.address, ours.method, body.SerializeToString(), ours.pid)
    seen = reports(figures, "delta")
    with echo_target(folder, target.body, len(response)) as echo:
        counter = EchoCounter(echo.address)

        def check(loaded: Target, requests: int) -> None:
            nonlocal seen
            if loaded is echo:
                counter.check(requests)
                return
            now = reports(figures, "delta")
            if now - seen != requests:
                raise BenchError(f"{now - seen} of {requests} reports were taken")
            seen = now

        rounds = alternate(echo, target, folder, IDLE, check)
    params = described(rounds, IDLE) | {
        "nodes": NODES,
        "leases": LEASES,
        "request_bytes": len(target.body),
        "response_bytes": len(response),
        "file_system": kind,
        "target": f"ratio >= {IDLE_TARGET}",
    }
    mine, theirs = (median(rounds, "rate", name) for name in ("ours", "echo"))
    out.emit(Row("sync", "idle_rate", mine, "reports/s", theirs, mine / theirs, params))
    mine, theirs = (median(rounds, "server_cpu_us", name) for name in ("ours", "echo"))
    out.emit(Row("sync", "idle_server_cpu", mine, "us/report", theirs, mine / theirs))


def whole(out: Output, folder: Path, agent: OneAgent, ours: Target, figures: str) -> None:
    """Whole reports of 1,000 nodes: as before each time, and with every node's load changed."""
    body = agent.whole()
    agent.send(body)
    text = body.SerializeToString()
    target = Target(ours.name, ours.address, ours.method, text, ours.pid)
    seen = reports(figures, "full")
    load = run_h2load(target, folder, requests=FULL_REPORTS, in_flight=1)
    if reports(figures, "full") - seen != FULL_REPORTS:
        raise BenchError("not all whole reports were taken")
    params = {"nodes": NODES, "leases": LEASES, "devices": NODES * 8, "request_bytes": len(text)}
    for name, cost_ms in (
        ("whole_server_cpu", load.server_cpu_us / 1000),
        ("whole_changed_server_cpu", changed_ms(agent, ours.pid)),
    ):
        ratio = cost_ms / FULL_TARGET_MS
        out.emit(Row("sync", name, cost_ms, "ms/report", FULL_TARGET_MS, ratio, params))


def changed_ms(agent: OneAgent, pid: int) -> float:
    """The broker's processor time for a whole report in which all nodes have changed."""
    spent_s = 0.0
    for _ in range(FULL_REPORTS):
        body = agent.whole(changed=True)
        before_s = cpu_s(pid)
        agent.send(body)
        spent_s += cpu_s(pid) - before_s
    return 1000 * spent_s / FULL_REPORTS


def servers(out: Output, folder: Path) -> None:
    """10,000 server agents with a node each, at the interval that the broker names."""
    with counted_broker(folder) as (address, pid, _):
        command = [sys.executable, "-m", "bench.sync_agents", "--broker", address]
        command += ["--agents", str(SERVERS)]
        with running(
            pinned(LOAD_CORE, command),
            folder / "servers.log",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as fleet:
            began = time.monotonic()
            read_answer(fleet)
            remark(f"{SERVERS} sessions open after {time.monotonic() - began:.0f} s")
            time.sleep(MEASURED_S)  # until each has reported once and they are spread out
            first, cpu, start = ask(fleet), cpu_s(pid), time.monotonic()
            time.sleep(MEASURED_S)
            last, cpu = ask(fleet), cpu_s(pid) - cpu
            took_s = time.monotonic() - start
    rate = (last["syncs"] - first["syncs"]) / took_s
    params = {
        "agents": SERVERS,
        "reports_per_s": rate,
        "interval_s": last["interval_s"],
        "longest_ms": last["longest_ms"],
        "agents_cpu": (last["cpu_s"] - first["cpu_s"]) / took_s,
        "doorbells": SERVERS,
    }
    share = cpu / took_s
    out.emit(
        Row("sync", "servers_cpu", share, "cores", SERVERS_TARGET, share / SERVERS_TARGET, params)
    )


def ask(fleet: subprocess.Popen[str]) -> dict[str, float]:
    """The fleet's counters."""
    if fleet.stdin is None:
        raise BenchError("the fleet takes no questions")
    fleet.stdin.write(json.dumps({}) + "\n")
    return read_answer(fleet)
