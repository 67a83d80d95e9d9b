"""Agents for a bench: many nodes behind a few sessions, in one process of its own.

Run as a program: `python -m bench.fleet --broker HOST:PORT --nodes 10000
--agents 10`. It speaks the agents' protocol as it stands: sessions, snapshot
reports, the doorbell. One JSON line on standard input chooses what the agents
do; each is answered by one line of counters on standard output.

- `eager`: report and admit as soon as they are rung.
- `quiet`: sessions and doorbells stay open, nothing is reported.
- `live`: eager, and each second the foreign load of 1,000 nodes changes.

With `--rejoin` an agent whose broker has gone opens another session as soon as it answers again;
without, that ends the fleet.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import time
import uuid
from typing import Any

import grpc

from bench import fleet_nodes
from computepool.v1 import agent_pb2, types_pb2
from computepool.v1.agent_pb2_grpc import AgentServiceStub

CHANGES_A_SECOND = 1000
CALL_LIMIT_S = 60.0
REJOIN_EVERY_S = 0.2
BROKER_GONE = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.FAILED_PRECONDITION,
)
"""What a call ends with when the broker has ended, or began anew and knows no session."""
CHANNEL_OPTIONS = (
    # Channels of one process share connections unless told otherwise.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)


class FleetAgent:
    """One agent: its session, its center, and a loop that reports.

    Reports go out one after the other: on a ring, when something was done that
    the broker should hear, and when the broker's interval is over.
    """

    def __init__(self, broker: str, center: fleet_nodes.Center) -> None:
        self.center = center
        self.syncs = 0
        self.ready = asyncio.Event()
        self.wake = asyncio.Event()
        self.quiet = False
        self.nodes_changed = True
        self._want_full = False
        self._mark = types_pb2.StoreMark()
        self._sequence = 0
        self._next_s = 0.0
        self._gap_s = 0.0
        self._session = 0
        self._journal_id = str(uuid.uuid4())
        self._stub = AgentServiceStub(grpc.aio.insecure_channel(broker, CHANNEL_OPTIONS))

    async def run(self, *, rejoin: bool) -> None:
        """Report until cancelled, or until the broker has gone without `rejoin`."""
        while True:
            try:
                await self._live()
            except grpc.aio.AioRpcError as error:
                if not rejoin or error.code() not in BROKER_GONE:
                    raise
                self.ready.clear()
                await asyncio.sleep(REJOIN_EVERY_S)

    async def _live(self) -> None:
        """Open a session, then report until a call fails."""
        self._session += 1
        answer = await self._stub.OpenSession(self._hello(), timeout=CALL_LIMIT_S)
        self._next_s = answer.next_sync_ms / 1000
        self.nodes_changed, self._want_full = True, bool(self.center.held)
        bell = asyncio.create_task(self._listen())
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.wake.wait(), self._next_s)
                if self.quiet:
                    await self._until_loud()
                self.wake.clear()
                await self._sync()
                await asyncio.sleep(self._gap_s)
        finally:
            bell.cancel()

    def _hello(self) -> agent_pb2.OpenSessionRequest:
        return agent_pb2.OpenSessionRequest(
            agent=self.center.name,
            journal_id=self._journal_id,
            session=self._session,
            agent_version="bench",
            protocol_version=1,
            center=self.center.name,
            region=self.center.region,
            role=self.center.role,
            boot_id="bench",
            backend="bench",
            seen=self._mark,
            held_leases=len(self.center.held),
        )

    async def _until_loud(self) -> None:
        while self.quiet:
            self.wake.clear()
            await self.wake.wait()

    async def _listen(self) -> None:
        request = agent_pb2.WatchCommandsRequest(agent=self.center.name, session=self._session)
        try:
            async for _ in self._stub.WatchCommands(request):
                self.wake.set()
        except grpc.aio.AioRpcError:
            # The report that follows meets the same end, and says what to do about it.
            self.wake.set()

    async def _sync(self) -> None:
        self._sequence += 1
        base = agent_pb2.SyncRequest(
            agent=self.center.name,
            session=self._session,
            sequence=self._sequence,
            applied_revision=self._mark.revision,
        )
        nodes = self.nodes_changed or self._want_full
        parts = fleet_nodes.report(self.center, base, nodes=nodes, records=self._want_full)
        self.nodes_changed = False
        answer = agent_pb2.SyncResponse()
        for part in parts:
            answer = await self._stub.Sync(part, timeout=CALL_LIMIT_S)
        self.syncs += 1
        self._take(answer)
        self.ready.set()

    def _take(self, answer: agent_pb2.SyncResponse) -> None:
        self._want_full = answer.want_full
        self._next_s, self._gap_s = answer.next_sync_ms / 1000, answer.least_gap_ms / 1000
        if answer.commands and answer.mark.revision <= self._mark.revision:
            return
        for command in answer.commands:
            fleet_nodes.apply(self.center, command)
        if answer.mark.revision > self._mark.revision:
            self._mark = answer.mark
        if answer.commands or answer.want_full:
            self.wake.set()


class Fleet:
    """All agents, and what they have been told to do."""

    def __init__(self, broker: str, agents: int, nodes: int, seed: int) -> None:
        self._rng = random.Random(seed)
        each = nodes // agents
        self.agents = [
            FleetAgent(broker, fleet_nodes.make_center(index, each, self._rng))
            for index in range(agents)
        ]
        self._live = False

    def choose(self, mode: str) -> None:
        """Switch all agents to `eager`, `quiet` or `live`."""
        self._live = mode == "live"
        for agent in self.agents:
            agent.quiet = mode == "quiet"
            agent.wake.set()

    async def change_foreign_load(self) -> None:
        """While live: each second, change 1,000 nodes, one agent's after the other's."""
        turn = 0
        while True:
            await asyncio.sleep(1)
            changed = 0
            while self._live and changed < CHANGES_A_SECOND:
                agent = self.agents[turn % len(self.agents)]
                turn += 1
                for node in agent.center.nodes:
                    fleet_nodes.change_foreign(agent.center, node, self._rng)
                changed += len(agent.center.nodes)
                agent.nodes_changed = True
                agent.wake.set()

    def counters(self) -> dict[str, Any]:
        """What the agents have done so far."""
        return {
            "agents": len(self.agents),
            "nodes": sum(len(agent.center.nodes) for agent in self.agents),
            "held": sum(len(agent.center.held) for agent in self.agents),
            "ready": sum(agent.ready.is_set() for agent in self.agents),
            "syncs": sum(agent.syncs for agent in self.agents),
            "cpu_s": time.process_time(),
        }


async def serve(broker: str, agents: int, nodes: int, seed: int, *, rejoin: bool) -> None:
    """Run the fleet until standard input ends; a loop that fails ends the process."""
    fleet = Fleet(broker, agents, nodes, seed)
    async with asyncio.TaskGroup() as tasks:
        loops = [tasks.create_task(agent.run(rejoin=rejoin)) for agent in fleet.agents]
        loops.append(tasks.create_task(fleet.change_foreign_load()))
        for agent in fleet.agents:
            await agent.ready.wait()
        print(json.dumps(fleet.counters()), flush=True)
        commands = await standard_input()
        while line := await commands.readline():
            fleet.choose(json.loads(line)["mode"])
            print(json.dumps(fleet.counters()), flush=True)
        for loop in loops:
            loop.cancel()


async def standard_input() -> asyncio.StreamReader:
    """Standard input as a stream that can be waited for without a thread."""
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    return reader


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", required=True, help="host:port")
    parser.add_argument("--nodes", type=int, default=10_000, help="over all agents")
    parser.add_argument("--agents", type=int, default=10, help="one center each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rejoin", action="store_true", help="outlive the broker")
    args = parser.parse_args()
    asyncio.run(serve(args.broker, args.agents, args.nodes, args.seed, rejoin=args.rejoin))


if __name__ == "__main__":
    main()
