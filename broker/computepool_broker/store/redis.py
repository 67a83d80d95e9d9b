"""The store on a Redis or Valkey primary: one broker, every batch one short script.

The tables in memory are a replica that plans and checks at once; Redis decides. Each commit
sends what was staged as one call of redis_commit.lua, which checks everything anew from Redis'
own data and writes all of it or nothing. Since nobody else writes, it never finds anything
wrong: if it does, the replica cannot be trusted, the store is broken and the broker starts anew.

    stage ──> check and fold in the replica, note ──┐
    stage ──> check and fold in the replica, note ──┴─ commit ──> one EVALSHA ──> AOF ──> outcome

The fence: opening writes a random instance into the meta hash, and the script refuses batches of
any other instance. So a broker that was paused and taken over writes nothing when it wakes up,
and a batch that was still under way when its broker gave up is either in the database when the
next broker loads it, or refused.

Files beside this one: redis_keys.py (every key), redis_batch.py (what the script is sent),
redis_commit.lua and redis_take_over.lua, redis_connection.py (finding the primary), redis_checks.py
(what it must be like), redis_client.py (what is asked of it), redis_loading.py (reading it all
back).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING

from computepool_broker.errors import OutcomeUnknownError, StoreRefusedError
from computepool_broker.ledger.ledger import Ledger
from computepool_broker.ledger.transaction import Committed, Outcome, Transaction
from computepool_broker.store import redis_checks, redis_keys
from computepool_broker.store.loading import fill
from computepool_broker.store.redis_address import Address, RedisOptions
from computepool_broker.store.redis_batch import Batch, Recorder
from computepool_broker.store.redis_client import RedisClient
from computepool_broker.store.redis_connection import Connector, opening
from computepool_broker.store.redis_loading import Kept, parse

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from computepool_broker.ledger.state import LedgerState
    from computepool_broker.store.redis_client import RawTables

WHATEVER_WAS_WRITTEN = ("*", "*")


class RedisStore:
    """See the module. One event loop; the last broker to open a database has it."""

    def __init__(self, url: str, options: RedisOptions | None = None) -> None:
        """Nothing is connected before `open`.

        Args:
            url: As redis_address.py lists them.
            options: What else is asked of the server; by default nothing.

        Raises:
            ValueError: It is no such URL, or a PEM file cannot be used.
        """
        self._address = Address.parse(url)
        self._connector = Connector(self._address, options or RedisOptions())
        self._instance = secrets.token_hex(8)
        self._client: RedisClient | None = None
        self._durable = False
        self._batch = Batch()
        self._serial = 0
        self._revision = 0
        self._last: asyncio.Future[None] | None = None
        self._broken: BaseException | None = None

    @property
    def state(self) -> LedgerState:
        """The tables."""
        return self._ledger.state

    @property
    def durable(self) -> bool:
        """Whether the server syncs its log before it answers (appendfsync always).

        With everysec a server that is killed, or whose machine fails, can take the commits of the
        last two seconds along: while an fsync is under way it answers before it writes.
        """
        return self._durable

    @property
    def always_durable(self) -> bool:
        """See `durable`: it is a matter of the server's setting, not of the commit."""
        return self._durable

    async def open(self, state: LedgerState) -> None:
        """See Store.open. Takes the database over from a broker that still has it."""
        connection, facts = await self._connector.connect(first=True)
        self._durable = facts.appendfsync == "always"
        self._client = client = RedisClient(connection)
        try:
            with opening(self._address):
                await self._open(client, state)
        except BaseException:
            await client.close()
            self._client = None
            raise

    def stage(self, tx: Transaction) -> Outcome:
        """See Store.stage."""
        if self._broken is not None:
            raise OutcomeUnknownError("the store has failed; retry with the same request_id")
        self._recorder.before(tx)
        outcome = self._ledger.apply(tx)
        if isinstance(outcome, Committed):
            self._recorder.after(self._batch, tx, outcome.revision)
        return outcome

    def commit(self) -> Awaitable[None]:
        """See Store.commit."""
        if self._broken is None and not self._batch.notes:
            if self._last is not None and not self._last.done():
                return asyncio.shield(self._last)
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done
        batch, self._batch = self._batch, Batch()
        self._last = asyncio.ensure_future(self._write_after(self._last, batch, *self._mark()))
        # Whoever waited may have gone; the failure is kept in _broken.
        self._last.add_done_callback(lambda last: last.cancelled() or last.exception())
        return asyncio.shield(self._last)

    async def close(self) -> None:
        """See Store.close."""
        if self._last is not None:
            with contextlib.suppress(OutcomeUnknownError):
                await self._last
        if self._client is not None:
            self._recorder.stop()
            await self._client.close()
            self._client = None

    # -- writing ---------------------------------------------------------------------------

    def _mark(self) -> tuple[int, int]:
        """Where Redis is before the batch that is about to be sent."""
        before = self._serial, self._revision
        self._serial, self._revision = self._serial + 1, self.state.revision
        return before

    async def _write_after(
        self, earlier: asyncio.Future[None] | None, batch: Batch, serial: int, revision: int
    ) -> None:
        argument = batch.argument(self._instance, self.state.identity, serial, revision)
        if earlier is not None:
            await asyncio.wait((earlier,))
        if self._broken is not None or self._client is None:
            raise OutcomeUnknownError("the store has failed; retry with the same request_id")
        try:
            reply = await self._client.commit(batch.keys(), argument)
            replicas = self._connector.replicas
            if reply == "OK" and replicas and not await self._client.replicated(replicas):
                reply = f"{replicas} replicas did not confirm it in time"
        except BaseException as error:
            # Never sent again: the first may have come through.
            self._broken = error
            if not isinstance(error, Exception):
                raise
            raise OutcomeUnknownError(
                f"{self._address} failed in a commit ({error!r}); retry with the same request_id"
            ) from error
        if reply != "OK":
            self._broken = RuntimeError(reply)
            raise OutcomeUnknownError(
                f"{self._address} did not take a commit ({reply}): too few replicas follow it, "
                "another broker has taken the database over, or it was changed by hand; retry "
                "with the same request_id"
            )

    # -- opening ---------------------------------------------------------------------------

    async def _open(self, client: RedisClient, state: LedgerState) -> None:
        kept = await self._load(client)
        self._recorder = Recorder(state)
        fill(state, kept.tables)
        self._ledger = Ledger(state)
        self._revision = state.revision
        # Agents come back as silent ones: their nodes' blockers must say so in Redis too.
        self._batch = self._recorder.loaded(kept.blockers)
        try:
            await self.commit()
        except OutcomeUnknownError as error:
            raise ConnectionError(str(error)) from error

    async def _load(self, client: RedisClient) -> Kept:
        """Read first and fence then, so that what cannot be read is left as it was."""
        identity = secrets.token_hex(8)
        raw = await client.read()
        redis_checks.check_keys(str(self._address), raw.meta, raw.foreign)
        problem: StoreRefusedError | None = None
        kept: Kept | None = None
        try:
            kept = self._parse(raw, identity)
        except StoreRefusedError as error:
            problem = error
        seen = (raw.meta.get("instance", ""), raw.meta.get("serial", ""))
        if problem is not None:
            meta = await client.meta()
            if (meta.get("instance", ""), meta.get("serial", "")) == seen:
                raise problem
        elif kept is not None and await self._take_over(client, seen, identity):
            return kept
        # Another broker wrote while we read, so that we may have seen halves of its commits.
        await self._take_over(client, WHATEVER_WAS_WRITTEN, identity)
        return self._parse(await client.read(), identity)

    def _parse(self, raw: RawTables, identity: str) -> Kept:
        try:
            return parse(raw, identity)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise StoreRefusedError(
                f"{self._address} is damaged ({error!r}). Restore a backup, or use another "
                "database number: leases come back from the agents' journals."
            ) from error

    async def _take_over(self, client: RedisClient, seen: tuple[str, str], identity: str) -> bool:
        return await client.take_over((self._instance, *seen, str(redis_keys.SCHEMA), identity))
