"""The link to the store's server: found, entered, loaded, followed, lost and found again.

    (start) ──open──> UP ──lose──> DOWN ──mend──> UP
                       │                   same term, place known: what was missed is folded
                       │                   place forgotten: the tables are read anew
                       │                   new term: the same, and everybody is told
                       └─close─> (end)

While it is down the store takes nothing, and says so at once. One task follows the stream while
it is up, and mends the link while it is down.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from typing import TYPE_CHECKING, Protocol

import structlog
from redis import exceptions as errors

from computepool_broker.errors import StoreRefusedError
from computepool_broker.store import redis_checks, redis_loading
from computepool_broker.store import redis_keys as keys
from computepool_broker.store.loading import fill
from computepool_broker.store.redis_client import RedisClient
from computepool_broker.store.resync import resync

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from computepool_broker.errors import StoreUnavailableError
    from computepool_broker.ledger.state import LedgerState
    from computepool_broker.model.records import Allocation
    from computepool_broker.store.loading import Tables
    from computepool_broker.store.redis_client import Entered, Entry, RawTables
    from computepool_broker.store.redis_connection import Connector

BLOCK_MS = 1_000
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
REFUSED_PAUSE_S = 5.0
"""Where somebody has to change something first."""
ANOTHER_SERVER = ("READONLY", "NOREPLICAS", "MASTERDOWN")
"""Refusals of a server that is not, or may not be, the primary any more."""
MOST_READS = 5
"""Of all tables, until one was not overtaken by the stream's trimming."""

log = structlog.get_logger()
Trouble = (errors.RedisError, OSError, TimeoutError)


class Follower(Protocol):
    """The store that is kept in line."""

    def take(self, entries: Sequence[Entry]) -> None:
        """Fold what others did."""

    def new_life(self, lost: Sequence[Allocation]) -> None:
        """The tables were brought in line with another life of the store."""

    def caught_up(self) -> None:
        """The tables were read anew, in the same life."""

    async def settled(self) -> bool:
        """Wait for the commit that is under way; whether there was one."""


class RedisLink:
    """See the module.

    Attributes:
        client: The connections; None while the link is down.
        term: Of the store, as this broker has entered it.
        serial: Of the last batch of this broker.
        place: Of the last entry of the stream that the tables have in them.
        why: Why the link is down.
        changes: How often the link came up.
        heard_s: When something was last heard of the server, on the monotonic clock.
    """

    def __init__(self, connector: Connector, instance: str, follower: Follower) -> None:
        self._connector = connector
        self._instance = instance
        self._follower = follower
        self._task: asyncio.Task[None] | None = None
        self._state: LedgerState | None = None
        self._lost = asyncio.Event()
        self.client: RedisClient | None = None
        self.gives_durable = self.always_durable = False
        self.term = ""
        self.serial = 0
        self.place = "0-0"
        self.why = "it was never there"
        self.changes = 0
        self.heard_s = 0.0

    # -- the life of the link --------------------------------------------------------------

    async def open(self, state: LedgerState) -> None:
        """Find the server, enter, load, follow.

        Raises:
            StoreRefusedError, ConnectionError: As Store.open.
        """
        self._state = state
        client = await RedisClient.connect(self._connector, first=True)
        try:
            await self._check(client)
            entered = await self._enter(client, known=False)
            raw, quiet = await self._read(client)
            with self._damage():
                fill(state, await asyncio.to_thread(redis_loading.parse, raw))
                if quiet:
                    redis_loading.check(state, raw)
            del raw
            await self._catch_up(client)
        except Trouble as error:
            await client.close()
            raise ConnectionError(f"the store's server fails: {error}") from error
        except BaseException:
            await client.close()
            raise
        self._up(client, entered)
        self._task = asyncio.create_task(self._run(), name="store-link")

    async def close(self) -> None:
        """Hang up."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        client, self.client = self.client, None
        self.why = "the broker is stopping"
        if client is not None:
            await client.close()

    def lose(self, client: RedisClient, why: str) -> None:
        """The connection is of no use any more, or what was known of the store is not so."""
        if self.client is not client:
            return
        self.client, self.why = None, why
        log.warning("store_lost", why=why)
        self._lost.set()

    def server_refuses(self, client: RedisClient, error: StoreUnavailableError) -> None:
        """The server takes no writes: look for another one where that may help."""
        if any(word in str(error) for word in ANOTHER_SERVER):
            self.lose(client, str(error))

    def moved_to(self, place: str) -> None:
        """The tables have everything up to this entry in them."""
        self.heard_s = time.monotonic()
        if place:
            self.place = place

    def _up(self, client: RedisClient, entered: Entered) -> None:
        self.term, self.serial = entered.term, entered.serial
        self.gives_durable = gives_durable(client.facts)
        self.always_durable = client.facts.appendfsync == "always"
        self.changes += 1
        self.heard_s = time.monotonic()
        self._lost.clear()
        self.client = client
        facts = client.facts
        log.info(
            "store_up", server=f"{facts.host}:{facts.port}", term=entered.term, epoch=entered.epoch
        )

    async def _run(self) -> None:
        old: RedisClient | None = None
        while True:
            client = self.client
            if client is None:
                if old is not None:
                    await old.close()
                await self._mend()
                continue
            old = client
            listening = asyncio.ensure_future(self._listen(client))
            lost = asyncio.ensure_future(self._lost.wait())
            try:
                await asyncio.wait((listening, lost), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (listening, lost):
                    task.cancel()
                await asyncio.gather(listening, lost, return_exceptions=True)

    async def _listen(self, client: RedisClient) -> None:
        """Fold what others do while this broker has nothing to commit."""
        while self.client is client:
            try:
                entries = await client.news(self.place, BLOCK_MS)
            except Trouble as error:
                self.lose(client, repr(error))
                return
            if await self._follower.settled():
                continue  # the commit has brought the news along
            fresh = [entry for entry in entries if _after(entry[0], self.place)]
            if any("term" in fields for _, fields in fresh):
                self.lose(client, "a new term has begun")
                return
            self._follower.take(fresh)
            self.moved_to(fresh[-1][0] if fresh else "")

    # -- mending ---------------------------------------------------------------------------

    async def _mend(self) -> None:
        pause_s = FIRST_PAUSE_S
        while self.client is None:
            try:
                await self._mend_once()
            except StoreRefusedError as error:
                log.error("store_refused", error=str(error))
                self.why, pause_s = str(error), REFUSED_PAUSE_S
            except (*Trouble, ConnectionError) as error:
                self.why = str(error) or repr(error)
            if self.client is None:
                # Full jitter, so that many brokers do not come at once.
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _mend_once(self) -> None:
        client = await RedisClient.connect(self._connector, first=False)
        try:
            entered = await self._enter(client, known=True)
            state = self._tables
            same = entered.identity == state.identity and entered.term == self.term
            if same and await client.knows(self.place):
                await self._catch_up(client)
            else:
                await self._reload(client, new_life=not same)
        except BaseException:
            await client.close()
            raise
        self._up(client, entered)

    async def _reload(self, client: RedisClient, *, new_life: bool) -> None:
        raw, _ = await self._read(client)
        with self._damage():
            tables: Tables = await asyncio.to_thread(redis_loading.parse, raw)
            lost = resync(self._tables, tables)
        if new_life or lost:
            log.warning("store_has_another_life", allocations_lost=len(lost), epoch=tables.epoch)
            self._follower.new_life(lost)
        else:
            self._follower.caught_up()
        await self._catch_up(client)

    async def _catch_up(self, client: RedisClient) -> None:
        while entries := await client.history(self.place):
            self._follower.take(entries)
            self.moved_to(entries[-1][0])

    # -- entering and reading --------------------------------------------------------------

    @property
    def _tables(self) -> LedgerState:
        if self._state is None:
            raise AssertionError("not open")
        return self._state

    async def _check(self, client: RedisClient) -> None:
        """Refuse what another program, or a newer version, has written; nothing was changed."""
        redis_checks.check_keys(
            client.facts.where, await client.meta(), await client.foreign()
        )

    async def _enter(self, client: RedisClient, *, known: bool) -> Entered:
        state = self._tables
        mine = (
            (state.identity, str(state.epoch), str(state.revision), self.place)
            if known
            else ("", "", "", "")
        )
        entered = await client.enter(
            str(keys.SCHEMA), client.facts.run_id, self._instance, secrets.token_hex(8), *mine
        )
        if entered.doubt:
            log.warning("epoch_raised", epoch=entered.epoch, why=entered.doubt)
        return entered

    async def _read(self, client: RedisClient) -> tuple[RawTables, bool]:
        """All tables as of `place`; and whether nothing was written meanwhile."""
        for _ in range(MOST_READS):
            first = place = await client.newest()
            raw = await client.read()
            with self._damage():
                while entries := await client.history(place):
                    if any("term" in fields for _, fields in entries):
                        raise ConnectionError("a new term has begun")
                    for _, fields in entries:
                        redis_loading.replay(raw, fields)
                    place = entries[-1][0]
            if await client.knows(first):
                self.place = place
                return raw, place == first
        raise ConnectionError("the stream is trimmed faster than the tables can be read")

    @contextlib.contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise StoreRefusedError(
                f"the store is damaged ({error!r}). Restore a backup, or use another database "
                "number: leases come back from the agents' journals."
            ) from error


def _after(one: str, other: str) -> bool:
    """Whether an id of the stream comes after another."""
    return _parts(one) > _parts(other)


def _parts(place: str) -> tuple[int, int]:
    ms, _, number = place.partition("-")
    return int(ms), int(number or 0)
