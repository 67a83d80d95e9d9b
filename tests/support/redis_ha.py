"""A Redis pool for tests: a primary, replicas and sentinels, each a real process in its own folder.

All calls block; from an event loop use `asyncio.to_thread`. Whatever waits looks at the real
state again and again, up to a deadline. Ended and paused by pid, as `RedisServer` does.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

import redis

from support.redis_node import Node, Sentinel, sentinel_command
from support.redis_server import server_binary
from support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.redis_server import RedisServer

SERVICE = "pool"
"""The name under which the sentinels know the primary."""
HEALTHY_S = 30.0
_POLL_S = 0.02


def until(probe: Callable[[], str], within_s: float) -> None:
    """Wait until `probe` has nothing to complain about; after the deadline fail with it."""
    deadline = time.monotonic() + within_s
    while complaint := _asked(probe):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {complaint}"
        time.sleep(_POLL_S)


def _asked(probe: Callable[[], str]) -> str:
    try:
        return probe()
    except redis.RedisError as error:
        return f"{type(error).__name__}: {error}"


class RedisHA:
    """A healthy pool for the length of a `with` statement.

    Args:
        folder: Each process gets a folder of its own in it.
        appendfsync: Of every server.
        replicas: Besides the primary; with one, nobody can write while either server is down.
        sentinels: An odd number; more than half must agree.
        down_after_ms: Silence after which a sentinel takes a server for down.
        failover_timeout_ms: A failover that failed is tried again after twice that.
        proxied: A TcpProxy stands before each process, and is the address that it announces.
        binary: Another server program, which then plays the sentinels too.
        settings: More settings of the servers, "_" for "-".

    Attributes:
        nodes: The servers; which of them is the primary changes.
        sentinels: They have no role; any two of three decide.
        proxies: With `proxied`, what stands before each node and each sentinel, nodes first.
    """

    def __init__(
        self,
        folder: Path,
        appendfsync: str = "everysec",
        *,
        replicas: int = 2,
        sentinels: int = 3,
        down_after_ms: int = 800,
        failover_timeout_ms: int = 1_500,
        proxied: bool = False,
        binary: str = "",
        **settings: str,
    ) -> None:
        program = binary or server_binary()
        # One replica less and a failover leaves nobody to write to; what lags by more than two
        # seconds does not count.
        settings = {"min_replicas_to_write": "1", "min_replicas_max_lag": "2"} | settings
        self.nodes = [
            Node(folder / f"redis-{n}", appendfsync, program, **settings)
            for n in range(replicas + 1)
        ]
        quorum = sentinels // 2 + 1
        self.sentinels = [
            Sentinel(
                folder / f"sentinel-{n}",
                sentinel_command(binary),
                f"sentinel down-after-milliseconds {SERVICE} {down_after_ms}",
                f"sentinel failover-timeout {SERVICE} {failover_timeout_ms}",
                monitor=f"sentinel monitor {SERVICE} 127.0.0.1 {{port}} {quorum}",
            )
            for n in range(sentinels)
        ]
        self._proxied = proxied
        self.proxies: list[TcpProxy] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack:
            first = self.nodes[0]
            for node in self.nodes:
                node.follow(None if node is first else first.announced)
                self._begin(node)
            for sentinel in self.sentinels:
                sentinel.watch(first.announced)
                self._begin(sentinel)
            self.wait_healthy()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _begin(self, one: Node | Sentinel) -> None:
        one.choose_port()
        self._stack.callback(one.stop)
        if self._proxied:
            proxy = self._stack.enter_context(TcpProxy(f"127.0.0.1:{one.port}"))
            self.proxies.append(proxy)
            one.announced = int(proxy.address.rpartition(":")[2])
        one.start()

    @property
    def processes(self) -> list[Node | Sentinel]:
        """All of them, servers first."""
        return [*self.nodes, *self.sentinels]

    def proxy(self, one: Node | Sentinel) -> TcpProxy:
        """What stands before this process; everybody reaches it only so."""
        return self.proxies[self.processes.index(one)]

    def url(self, database: int = 0) -> str:
        """As a broker takes it."""
        hosts = ",".join(f"127.0.0.1:{sentinel.announced}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}" + (f"/{database}" if database else "")

    # -- who is what ------------------------------------------------------------------------

    def primary(self) -> Node:
        """The primary on which all sentinels that answer agree, most of all that there are.

        Raises:
            AssertionError: they do not agree, or too few answer.
        """
        named = [port for port in map(_named_by, self.sentinels) if port]
        assert len(named) > len(self.sentinels) // 2, f"only {len(named)} sentinels answer"
        assert len(set(named)) == 1, f"the sentinels do not agree: {named}"
        return next(node for node in self.nodes if node.announced == named[0])

    def replicas(self) -> list[Node]:
        """All servers but the primary, whether they run or not."""
        primary = self.primary()
        return [node for node in self.nodes if node is not primary]

    # -- waiting ----------------------------------------------------------------------------

    def wait_healthy(self, within_s: float = HEALTHY_S) -> None:
        """Wait until one primary takes writes and all that run follow it, known to all sentinels.

        Servers and sentinels that do not run are left out. Wait for nothing with one paused.
        """
        until(self._what_is_wrong, within_s)

    def wait_until_replicated(self, within_s: float = HEALTHY_S) -> None:
        """Wait until all that the primary has written by now is at every replica that runs."""
        primary = self.primary()
        with primary.client() as client:
            written = int(client.info("replication")["master_repl_offset"])
        others = [node for node in self.nodes if node is not primary and node.running]

        def behind() -> str:
            return ", ".join(filter(None, (_behind(node, written) for node in others)))

        until(behind, within_s)

    def wait_for_failover(self, away_from: Node, within_s: float = HEALTHY_S) -> Node:
        """Wait until the sentinels agree on another primary, and it says so itself; gives it."""

        def not_yet() -> str:
            try:
                new = self.primary()
            except AssertionError as error:
                return str(error)
            if new is away_from:
                return f"the sentinels still name {new.port}"
            with new.client() as client:
                role = client.info("replication")["role"]
            return "" if role == "master" else f"{new.port} says that it is a {role}"

        until(not_yet, within_s)
        return self.primary()

    def _what_is_wrong(self) -> str:
        try:
            primary = self.primary()
        except AssertionError as error:
            return str(error)
        with primary.client() as client:
            facts = client.info("replication")
        replicas = [node for node in self.nodes if node is not primary and node.running]
        if facts["role"] != "master" or int(facts["connected_slaves"]) < len(replicas):
            return f"{primary.port} is {facts['role']} with {facts['connected_slaves']} replicas"
        for node in replicas:
            if complaint := _behind(node, 0, primary.announced):
                return complaint
        for sentinel in self.sentinels:
            if sentinel.running and (complaint := self._unaware(sentinel, len(replicas))):
                return complaint
        return ""

    def _unaware(self, sentinel: Sentinel, replicas: int) -> str:
        with sentinel.client() as client:
            facts: Any = client.sentinel_master(SERVICE)
        others, known = int(facts["num-other-sentinels"]), int(facts["num-slaves"])
        if others < len(self.sentinels) - 1 or known < replicas or facts["is_odown"]:
            return f"sentinel {sentinel.port} knows {others} sentinels and {known} replicas"
        return ""


def _named_by(sentinel: Sentinel) -> int:
    """The port that a sentinel names; 0 when it does not answer."""
    if not sentinel.running or sentinel.paused:
        return 0
    with sentinel.client() as client:
        try:
            found: Any = client.sentinel_get_master_addr_by_name(SERVICE)
        except redis.RedisError:
            return 0
    return int(found[1]) if found else 0


def _behind(node: RedisServer, written: int, of: int = 0) -> str:
    """Why a replica does not have all up to an offset, or is none of the primary on that port."""
    with node.client() as client:
        facts = client.info("replication")
    if facts["role"] != "slave" or facts["master_link_status"] != "up":
        return f"{node.port} is {facts['role']}, link {facts.get('master_link_status', 'none')}"
    if of and int(facts["master_port"]) != of:
        return f"{node.port} follows {facts['master_port']}, not {of}"
    have = int(facts["slave_repl_offset"])
    return "" if have >= written else f"{node.port} has {have} of {written}"
