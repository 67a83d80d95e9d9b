"""Many server agents for a bench: 10,000 sessions with a node each, in one process.

Run as a program: `python -m bench.sync_agents --broker HOST:PORT --agents 10000`. Each agent opens
its session, reports whole, keeps its doorbell open and then reports when the broker says so, by
differences; in every other report its node's load has changed. One JSON line on standard input
asks for the counters on standard output.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from typing import TYPE_CHECKING, Any

import grpc

from bench import fleet_nodes
from bench.fleet import standard_input
from computepool.v1 import agent_pb2
from computepool.v1.agent_pb2_grpc import AgentServiceStub

if TYPE_CHECKING:
    from computepool.v1.agent_pb2_grpc import AgentServiceAsyncStub

AGENTS_A_CHANNEL = 500
OPENING = 32
CALL_LIMIT_S = 60.0


class ServerAgent:
    """One server: its node, its session, its loop."""

    def __init__(self, number: int, stub: AgentServiceAsyncStub, rng: random.Random) -> None:
        self.name = f"server-{number:05d}"
        self._stub = stub
        self._rng = rng
        self._region, self._role = fleet_nodes.ROLES[number % len(fleet_nodes.ROLES)]
        self._center = f"{self._region}-{number % 30:02d}"
        self._node = fleet_nodes.make_node(f"{self.name}-node-00000", "H100-SXM", rng)
        self._sequence = 0
        self._applied = 0
        self._whole = True

    async def open(self) -> float:
        """Begin the session and report whole; gives the time to the next report, in seconds."""
        request = agent_pb2.OpenSessionRequest(
            agent=self.name,
            journal_id=f"journal-{self.name}",
            session=1,
            agent_version="bench",
            protocol_version=1,
            center=self._center,
            region=self._region,
            role=self._role,
            boot_id="bench",
            backend="bench",
        )
        await self._stub.OpenSession(request, timeout=CALL_LIMIT_S)
        return await self.sync()

    async def sync(self) -> float:
        """Report once; gives the time to the next report, in seconds."""
        base, self._sequence = self._sequence, self._sequence + 1
        request = agent_pb2.SyncRequest(
            agent=self.name,
            session=1,
            sequence=self._sequence,
            applied_revision=self._applied,
        )
        changed = self._sequence % 2 == 0
        if changed:
            fleet_nodes.change_host_load(self._node, self._rng)
        if not self._whole:
            request.delta, request.base_sequence = True, base
        if self._whole or changed:
            request.nodes.append(self._node)
        answer = await self._stub.Sync(request, timeout=CALL_LIMIT_S)
        self._whole = answer.want_full
        self._applied = answer.mark.revision
        return answer.next_sync_ms / 1000

    async def listen(self) -> None:
        """Keep the doorbell open."""
        async for _ in self._stub.WatchCommands(
            agent_pb2.WatchCommandsRequest(agent=self.name, session=1)
        ):
            pass


class Fleet:
    """All of them, and what they have counted."""

    def __init__(self, broker: str, agents: int) -> None:
        options = (("grpc.use_local_subchannel_pool", 1),)
        stubs = [
            AgentServiceStub(grpc.aio.insecure_channel(broker, options))
            for _ in range(-(-agents // AGENTS_A_CHANNEL))
        ]
        rng = random.Random(1)
        self._rng = rng
        self.agents = [
            ServerAgent(number, stubs[number // AGENTS_A_CHANNEL], rng) for number in range(agents)
        ]
        self.syncs = 0
        self.longest_s = 0.0
        self.interval_s = 0.0

    async def open(self, tasks: asyncio.TaskGroup) -> None:
        """Open all sessions, a few at a time, then let each report by itself."""
        turn = asyncio.Semaphore(OPENING)

        async def begin(agent: ServerAgent) -> None:
            async with turn:
                due_s = await agent.open()
            tasks.create_task(agent.listen())
            tasks.create_task(self._run(agent, due_s))

        await asyncio.gather(*(begin(agent) for agent in self.agents))

    async def _run(self, agent: ServerAgent, due_s: float) -> None:
        await asyncio.sleep(self._rng.random() * due_s)
        while True:
            began = time.perf_counter()
            self.interval_s = await agent.sync()
            self.longest_s = max(self.longest_s, time.perf_counter() - began)
            self.syncs += 1
            await asyncio.sleep(self.interval_s)

    def counters(self) -> dict[str, Any]:
        """Reports since the start, and the longest since the last look, in milliseconds."""
        longest_s, self.longest_s = self.longest_s, 0.0
        return {
            "agents": len(self.agents),
            "syncs": self.syncs,
            "longest_ms": 1000 * longest_s,
            "interval_s": self.interval_s,
            "cpu_s": time.process_time(),
        }


async def serve(broker: str, agents: int) -> None:
    """Run until standard input ends."""
    fleet = Fleet(broker, agents)
    async with asyncio.TaskGroup() as tasks:
        await fleet.open(tasks)
        print(json.dumps(fleet.counters()), flush=True)
        commands = await standard_input()
        while await commands.readline():
            print(json.dumps(fleet.counters()), flush=True)
        sys.exit(0)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", required=True, help="host:port")
    parser.add_argument("--agents", type=int, default=10_000)
    args = parser.parse_args()
    asyncio.run(serve(args.broker, args.agents))


if __name__ == "__main__":
    main()
