"""A whole pool of real processes with a proxy between any two, for faults to strike.

Clients and agents reach each broker through two proxies, one for each of the kinds, and brokers
reach Redis through proxies too. What ends by itself is started again, as a service manager
would, unless a fault holds it down.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import support
from support.history import History, Reader
from support.history_check import Checker
from support.local_pool import CENTERS, SMALL, LocalPool
from support.processes import Daemon, free_port
from support.redis_ha import RedisHA
from support.redis_server import RedisServer
from support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from support.redis_node import Node

AGENT = Path(next(iter(support.__path__))) / "recorded_agent.py"
RETENTION_S = 300
_KEEPER_S = 0.1
_CRASH_LOOP_S = 0.3


@dataclass(frozen=True)
class Shape:
    """How large the pool is.

    Attributes:
        brokers: All over one Redis.
        ha: A primary, two replicas and three sentinels instead of one server.
        agents: Processes; the three centers are dealt out to them.
    """

    brokers: int = 1
    ha: bool = False
    agents: int = 2


class Broker:
    """A broker, and what stands between it and the others.

    Attributes:
        for_agents: What agents reach it by.
        for_clients: What clients reach it by.
        to_redis: What it reaches a single Redis by; None with several.
    """

    def __init__(
        self,
        daemon: Daemon,
        for_agents: TcpProxy,
        for_clients: TcpProxy,
        to_redis: TcpProxy | None,
    ) -> None:
        self.daemon = daemon
        self.for_agents = for_agents
        self.for_clients = for_clients
        self.to_redis = to_redis

    def pids(self) -> set[int]:
        """Its process, for faults of a proxy that others use too."""
        return {self.daemon.pid}


class World:
    """Everything; use it in an `async with` statement.

    Attributes:
        history: Of the clients and the faults.
        brokers: See Broker.
        agents: Processes.
        redis: The only server, or None.
        ha: The servers and sentinels, or None.
        down: What a fault holds down: nobody starts it.
        restarts: How often something was started again because it had ended by itself.
    """

    def __init__(self, folder: Path, shape: Shape) -> None:
        self.shape = shape
        self.pool = LocalPool(folder)
        self._lives = folder / "history"
        self._lives.mkdir()
        self.history = History(self._lives / "clients.history")
        self.checker = Checker()
        self._reader = Reader(self._lives)
        self.brokers: list[Broker] = []
        self.agents: list[Daemon] = []
        self.redis: RedisServer | None = None
        self.ha: RedisHA | None = None
        self.down: set[Daemon] = set()
        self.restarts: list[str] = []
        self._stack = ExitStack()
        self._keeper: asyncio.Task[None] | None = None

    @property
    def folder(self) -> Path:
        """Where all logs and the history are."""
        return self.pool.folder

    @property
    def targets(self) -> list[str]:
        """What clients reach the brokers by."""
        return [broker.for_clients.address for broker in self.brokers]

    async def __aenter__(self) -> Self:
        with self._stack:
            self._stack.callback(self.history.close)
            self._stack.callback(self.pool.kill_all)
            await asyncio.to_thread(self._start_redis)
            for number in range(self.shape.brokers):
                self.brokers.append(self._broker(number))
            for broker in self.brokers:
                broker.daemon.start()
            for broker in self.brokers:
                await broker.daemon.ready()
            for number in range(self.shape.agents):
                theirs = CENTERS[number :: self.shape.agents]
                self.agents.append(self.agent(f"agent-{number}", *theirs))
                self.agents[-1].start()
            for daemon in self.agents:
                await daemon.ready()
            self._keeper = asyncio.create_task(self._keep())
            self._stack = self._stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._keeper is not None
        self._keeper.cancel()
        await asyncio.gather(self._keeper, return_exceptions=True)
        await asyncio.to_thread(self._stack.close)

    # -- parts ------------------------------------------------------------------------------

    def _start_redis(self) -> None:
        if self.shape.ha:
            self.ha = self._stack.enter_context(
                RedisHA(self.folder, "always", replicas=2, proxied=True)
            )
            return
        self.redis = RedisServer(self.folder / "redis", "always")
        self._stack.callback(self.redis.stop)
        self.redis.start()

    def _broker(self, number: int) -> Broker:
        listen = f"127.0.0.1:{free_port()}"
        for_agents = self._stack.enter_context(TcpProxy(listen))
        for_clients = self._stack.enter_context(TcpProxy(listen))
        to_redis = None
        if self.ha is not None:
            store = self.ha.url()
        else:
            assert self.redis is not None
            to_redis = self._stack.enter_context(TcpProxy(f"127.0.0.1:{self.redis.port}"))
            store = f"redis://{to_redis.address}/0"
        daemon = self.pool.broker(
            f"broker-{number}", listen=listen, store=store, retention_s=str(RETENTION_S)
        )
        return Broker(daemon, for_agents, for_clients, to_redis)

    def agent(self, name: str, *centers: str, scenario: Path = SMALL) -> Daemon:
        """An agent that writes a history; it knows all brokers."""
        brokers = ",".join(broker.for_agents.address for broker in self.brokers)
        daemon = self.pool.region(*centers, name=name, broker=brokers, scenario=str(scenario))
        history = self._lives / f"{name}.history"
        daemon.command[0:1] = [sys.executable, str(AGENT), str(history)]
        return daemon

    def primary(self) -> RedisServer:
        """The server that takes writes now, as far as is known."""
        if self.redis is not None:
            return self.redis
        assert self.ha is not None
        return self.ha.primary()

    def nodes(self) -> list[Node]:
        """All servers of a pool of them."""
        return self.ha.nodes if self.ha is not None else []

    # -- keeping it up ----------------------------------------------------------------------

    async def _keep(self) -> None:
        started_s: dict[Daemon, float] = {}
        while True:
            await asyncio.sleep(_KEEPER_S)
            for daemon in [*self.agents, *(broker.daemon for broker in self.brokers)]:
                soon = time.monotonic() < started_s.get(daemon, 0.0) + _CRASH_LOOP_S
                if daemon.running or daemon in self.down or soon:
                    continue
                self.restarts.append(f"{daemon.name} ({daemon.code})")
                daemon.start()
                started_s[daemon] = time.monotonic()

    def read(self) -> list[str]:
        """Hold what was written since the last time against the promises; gives what is wrong."""
        known = len(self.checker.wrong)
        self.checker.feed(self._reader.new())
        return self.checker.wrong[known:]
