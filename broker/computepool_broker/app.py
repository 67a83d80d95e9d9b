"""The composition root: the only place that builds and wires objects."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import secrets
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from computepool_broker import __version__
from computepool_broker.config import Config, ConfigError, split_address
from computepool_broker.rpc.agent import AgentServicer
from computepool_broker.rpc.allocation import AllocationServicer
from computepool_broker.rpc.answers import Answers
from computepool_broker.rpc.bulk import BulkCalls
from computepool_broker.rpc.explain import ExplainCalls
from computepool_broker.rpc.from_wire import SpecReader
from computepool_broker.rpc.interceptor import CallInterceptor
from computepool_broker.rpc.inventory import InventoryServicer
from computepool_broker.rpc.lists import Lists
from computepool_broker.rpc.server import BrokerServer
from computepool_broker.rpc.stream import stream_parts
from computepool_broker.rpc.to_wire import SpecWriter
from computepool_broker.rpc.watches import WatchCalls
from computepool_broker.services.agents import AgentService
from computepool_broker.services.allocations import AllocationService
from computepool_broker.services.audit import Auditor
from computepool_broker.services.bulk import BulkService
from computepool_broker.services.chores import Chores
from computepool_broker.services.committer import Committer
from computepool_broker.services.explanations import Explanations
from computepool_broker.services.grants import Grants
from computepool_broker.services.ids import AllocationIds
from computepool_broker.services.inventory import InventoryService
from computepool_broker.services.levels import Levels
from computepool_broker.services.life_log import LifeLog
from computepool_broker.services.lists import ListService
from computepool_broker.services.pool import Pool
from computepool_broker.services.waits import Waits
from computepool_broker.services.watch_tokens import LIFE_BYTES
from computepool_broker.store.embedded import EmbeddedStore

if TYPE_CHECKING:
    from computepool_broker.store.base import Store
    from computepool_broker.telemetry.endpoint import Endpoint
    from computepool_broker.telemetry.figures import Snapshot

log = structlog.get_logger()


def monotonic_ms() -> int:
    """A clock that never goes back, in milliseconds."""
    return time.monotonic_ns() // 1_000_000


def wall_ms() -> int:
    """The time of day, in milliseconds since 1970; for people only."""
    return time.time_ns() // 1_000_000


REDIS_SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel")


def make_store(config: Config) -> Store:
    """The store that the settings name.

    Raises:
        ConfigError: No such kind of store, or no such address.
    """
    kind, _, rest = config.store.partition(":")
    if kind == "embedded" and rest:
        return EmbeddedStore(Path(rest).expanduser())
    if kind in REDIS_SCHEMES:
        # Optional weight.
        from computepool_broker.store.redis import RedisStore  # noqa: PLC0415 - see above
        from computepool_broker.store.redis_address import RedisOptions  # noqa: PLC0415 - see above

        options = RedisOptions(
            config.redis_replicas,
            config.redis_ca,
            config.redis_cert,
            config.redis_key,
            config.redis_sentinel_username,
            config.redis_sentinel_password,
        )
        try:
            return RedisStore(config.store, options)
        except ValueError as error:
            raise ConfigError(str(error)) from None
    raise ConfigError(f"store: {kind!r} is neither embedded:FOLDER nor redis://HOST:PORT/DB")


class Broker:
    """One broker process."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stop = asyncio.Event()
        self._failed = False
        self.pool = pool = Pool(config, monotonic_ms(), wall_ms)
        self._store = make_store(config)
        pool.committer = Committer(
            self._store, pool.on_durable, self._store_failed, config.gather_ms / 1000
        )
        reader, writer = SpecReader(), SpecWriter()
        auditor = Auditor(pool)
        self._agents = agents = AgentService(pool, random.SystemRandom().random)
        # Names need to be unlike each other, not hard to guess.
        ids = AllocationIds(random.Random(secrets.randbits(64)).getrandbits)  # noqa: S311 - see above
        explanations = Explanations(pool)
        self._waits = waits = Waits(pool)
        grants = Grants(pool, ids, explanations)
        self._levels = levels = Levels(config.ack_level, self._store)
        answers = Answers(pool, writer, levels)
        inventory = InventoryService(pool)
        lists = Lists(pool, ListService(pool), inventory, answers)
        self._watches = watches = WatchCalls(
            pool,
            answers,
            inventory,
            secrets.token_bytes(LIFE_BYTES),
            time.monotonic,
            random.SystemRandom().random,
        )
        self._chores = Chores(pool, auditor, monotonic_ms)
        pool.followers.append(LifeLog(whole=config.log_level == "debug"))
        self._metrics = make_metrics(pool, config)
        self._server = BrokerServer(
            CallInterceptor(pool.tally, log_calls=config.log_level == "debug"),
            AgentServicer(agents, pool, reader, writer),
            AllocationServicer(
                AllocationService(pool, grants, waits),
                ExplainCalls(explanations, pool, reader, answers),
                BulkCalls(BulkService(pool, grants, waits), reader, answers),
                stream_parts(pool, grants, waits, reader, answers),
                lists,
                watches,
            ),
            InventoryServicer(inventory, agents, auditor, pool, lists, watches),
        )

    async def run(self) -> int:
        """Serve until told to stop; returns the exit code.

        Raises:
            StoreRefusedError: The store cannot be used, or not at the `ack_level` that is set.
            ConnectionError: The store's server cannot be reached.
            OSError: The address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._stop.set)
        await self._store.open(self.pool.state)
        try:
            self._levels.check()
            self.pool.opened()
            gc.freeze()  # what was loaded lives long: no collection looks at it again
            self.pool.committer.start()
            await self._serve()
        finally:
            await self.pool.committer.stop()
            await self._store.close()
        committer = self.pool.committer
        log.info("stopped", failed=self._failed, batches=committer.batches, jobs=committer.jobs)
        return 1 if self._failed else 0

    async def _serve(self) -> None:
        host, port = split_address(self._config.listen)
        metrics = await self._serve_metrics()
        bound = await self._server.start(host, port)
        chores = asyncio.create_task(self._chores.run(), name="chores")
        health = asyncio.create_task(self._follow_health(), name="health")
        state = self.pool.state
        log.info(
            "serving",
            address=f"{host}:{bound}",
            version=__version__,
            store=self._config.store.partition("@")[2] or self._config.store,
            identity=state.identity,
            epoch=state.epoch,
            revision=state.revision,
            allocations=state.live,
            agents_expected=len(self.pool.expected_agents),
            ack_level=self._levels.default.name.lower(),
            metrics=metrics or None,
        )
        if self._config.ready_file:
            write_atomically(Path(self._config.ready_file), f"{host}:{bound}\n")
        stop = asyncio.create_task(self._stop.wait())
        try:
            # Chores never end by themselves: if they do, that is a bug worth dying of.
            await asyncio.wait((stop, chores), return_when=asyncio.FIRST_COMPLETED)
            if chores.done():
                self._failed = True
                log.error("chores_died", exc_info=chores.exception())
        finally:
            for task in (stop, chores, health):
                task.cancel()
            self.pool.closing.set()
            self._agents.hang_up()
            self._watches.hang_up()
            self._waits.hang_up()
            await self._server.stop(0 if self._failed else self._config.stop_grace_s)
            if self._metrics is not None:
                await self._metrics.stop()

    async def _serve_metrics(self) -> str:
        """Serve figures where that was asked for; gives the address."""
        if self._metrics is None:
            return ""
        host, port = split_address(self._config.metrics_listen)
        address = f"{host}:{await self._metrics.start(host, port)}"
        if self._config.metrics_ready_file:
            write_atomically(Path(self._config.metrics_ready_file), f"{address}\n")
        return address

    async def _follow_health(self) -> None:
        while self.pool.warming_up:
            self._server.set_serving(serving=False)
            await asyncio.sleep(self._config.tick_ms / 1000)
        self._server.set_serving(serving=True)

    def _store_failed(self, error: BaseException) -> None:
        """Memory may show what never became durable: end, and start anew from the disk."""
        if not self._failed:
            self._failed = True
            log.error("store_failed", error=str(error))
        self._stop.set()


def make_metrics(pool: Pool, config: Config) -> Endpoint[Snapshot] | None:
    """What serves the broker's figures; None when that was not asked for."""
    if not config.metrics_listen:
        return None
    # Optional weight: the client library takes a while to import.
    from computepool_broker.telemetry.endpoint import Endpoint  # noqa: PLC0415 - see above
    from computepool_broker.telemetry.families import About  # noqa: PLC0415 - see above
    from computepool_broker.telemetry.figures import Figures  # noqa: PLC0415 - see above
    from computepool_broker.telemetry.render import Renderer  # noqa: PLC0415 - see above

    about = About(__version__, config.store.partition(":")[0])
    return Endpoint(Figures(pool).take, Renderer(about).page)


def write_atomically(path: Path, text: str) -> None:
    """Write a small file so that nobody sees half of it."""
    tmp = path.with_name(f".{path.name}.{os.getpid()}")
    tmp.write_text(text)
    tmp.replace(path)
