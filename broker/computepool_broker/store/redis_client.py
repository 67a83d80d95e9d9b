"""What the store asks of Redis: every call with a deadline, none repeated on its own.

Two connections: one for commits, one that waits for news. How a connection comes about, and what
the server must be like, is the affair of redis_connection.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from redis import exceptions as errors

from computepool_broker.errors import OutcomeUnknownError, StoreUnavailableError
from computepool_broker.store import redis_keys as keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence

    from redis.asyncio import Redis

    from computepool_broker.store.redis_connection import Connector, ServerFacts

DEADLINE_S = 5.0
"""Seconds for one call; a commit that takes longer has an unknown outcome."""
FIELDS_PER_CALL = 2000
"""Fields read in one go while loading, so that other clients of the server are served between."""
NODES_PER_CALL = 500
ENTRIES_PER_CALL = 200
DISK_MS = 2000
"""Within it the disk, and replicas, must have a commit."""
REFUSALS = ("OOM", "MISCONF", "NOREPLICAS", "READONLY", "LOADING", "MASTERDOWN", "UNBLOCKED")
"""Error replies of a server that has done nothing."""

Entry = tuple[str, dict[str, str]]
"""Of the stream: its id and its fields."""


class Reply(NamedTuple):
    """What became of one batch at the server.

    Attributes:
        behind: Why it was not looked at; empty when it was.
        place: Its id in the stream; empty when nothing was accepted.
        base: The store's revision before it.
        revision: The store's revision after it.
        rejected: By place from 1, the words of each rejection.
        others: What came since the caller's place, and before it.
        serial: The caller's, from now on.
        durable: Whether the disks asked for have it.
    """

    behind: str
    place: str = ""
    base: int = 0
    revision: int = 0
    rejected: dict[int, list[str]] = {}
    others: Sequence[Entry] = ()
    serial: int = 0
    durable: bool = True


class Entered(NamedTuple):
    """What a broker finds on entering; `doubt` says why a new term has begun, if one has."""

    identity: str
    epoch: int
    term: str
    serial: int
    doubt: str


class RawTables(NamedTuple):
    """The hashes as Redis holds them; see store/redis_keys.py."""

    meta: dict[str, str]
    allocations: dict[str, str]
    request_ids: dict[str, str]
    agents: dict[str, str]
    centers: dict[str, str]
    renewals: dict[str, str]
    nodes: dict[str, dict[str, str]]


class RedisClient:
    """The connections to one server, for as long as they hold."""

    def __init__(self, redis: Redis, listening: Redis, facts: ServerFacts) -> None:
        self.facts = facts
        self._redis = redis
        self._listening = listening
        folder = Path(__file__).parent
        self._commit = _Script(self._redis, (folder / "redis_commit.lua").read_text())
        self._enter = _Script(self._redis, (folder / "redis_enter.lua").read_text())
        self._beat = _Script(self._redis, (folder / "redis_beat.lua").read_text())

    @classmethod
    async def connect(cls, connector: Connector, *, first: bool) -> RedisClient:
        """Both connections to the present primary.

        Raises:
            StoreRefusedError: Somebody has to change something.
            ConnectionError: Try again later.
        """
        redis, facts = await connector.connect(first=first)
        try:
            return cls(redis, await connector.another(facts), facts)
        except BaseException:
            await redis.aclose()
            raise

    # -- writing ---------------------------------------------------------------------------

    async def enter(self, *arguments: str) -> Entered:
        """Run redis_enter.lua."""
        found = await self._enter.run((keys.META, keys.STREAM, keys.SERIALS), arguments)
        identity, epoch, term, serial, doubt = found
        return Entered(identity, int(epoch), term, int(serial), doubt)

    async def commit(self, names: Sequence[str], head: str, batch: str, disks: int) -> Reply:
        """Run redis_commit.lua, and wait for disks.

        Args:
            names: The script's KEYS.
            head: Its first argument.
            batch: Its second.
            disks: How many replicas must have it on disk besides the server itself; -1 when
                the server's memory is enough.

        Raises:
            OutcomeUnknownError: It may or may not have happened.
            StoreUnavailableError: It has not.
        """
        try:
            found = await self._commit.run(names, (head, batch))
        except errors.ResponseError as error:
            if str(error).startswith(REFUSALS) or isinstance(error, errors.OutOfMemoryError):
                raise StoreUnavailableError(
                    f"the store's server takes no writes now: {error}", retry_after_ms=500
                ) from error
            raise OutcomeUnknownError(f"the store's server failed: {error}") from error
        except (errors.RedisError, OSError, TimeoutError) as error:
            raise OutcomeUnknownError(
                f"no answer from the store's server ({error!r}); retry with the same request_id"
            ) from error
        if found[0] != "OK":
            return Reply(str(found[1]))
        _, place, base, revision, rejected, others, serial = found
        words = [text.split(" ") for text in rejected]
        return Reply(
            "",
            place,
            int(base),
            int(revision),
            {int(row[0]): row[1:] for row in words},
            [_entry(row) for row in others],
            int(serial),
            durable=disks < 0 or await self._on_disks(disks),
        )

    async def _on_disks(self, replicas: int) -> bool:
        """Whether all that this connection has written is on disk, here and on replicas."""
        try:
            if self.facts.has_waitaof:
                own, others = await timely(
                    self._redis.execute_command("WAITAOF", 1, replicas, DISK_MS)
                )
                return int(own) >= 1 and int(others) >= replicas
            if not replicas:
                return True  # appendfsync always: the answer came after the fsync
            return int(await timely(self._redis.execute_command("WAIT", replicas, DISK_MS))) >= replicas
        except (errors.RedisError, OSError, TimeoutError):
            return False

    # -- hearing ---------------------------------------------------------------------------

    async def news(self, place: str, block_ms: int) -> list[Entry]:
        """Entries after a place, at most ENTRIES_PER_CALL; waits up to `block_ms` for the first.

        Raises:
            redis.exceptions.RedisError, OSError, TimeoutError: The connection is of no use.
        """
        async with asyncio.timeout(DEADLINE_S + block_ms / 1000):
            found = await self._listening.xread(
                {keys.STREAM: place}, count=ENTRIES_PER_CALL, block=block_ms
            )
        rows = found.get(keys.STREAM, []) if isinstance(found, dict) else []
        return [(row[0], row[1]) for page in rows for row in page]

    async def history(self, place: str) -> list[Entry]:
        """Entries after a place, at most ENTRIES_PER_CALL, without waiting."""
        call = self._redis.xrange(keys.STREAM, min=f"({place}", count=ENTRIES_PER_CALL)
        return [(row[0], row[1]) for row in await timely(call)]

    async def knows(self, place: str) -> bool:
        """Whether the stream still has an entry."""
        return bool(await timely(self._redis.xrange(keys.STREAM, min=place, max=place)))

    async def newest(self) -> str:
        """Id of the newest entry of the stream."""
        found = await timely(self._redis.xrevrange(keys.STREAM, count=1))
        return str(found[0][0]) if found else "0-0"

    async def beat(self, *arguments: str) -> list[str]:
        """Run redis_beat.lua, on the connection for commits: the other one waits for news."""
        return list(await self._beat.run((keys.BROKERS, keys.CHORES, keys.SERIALS), arguments))

    # -- reading everything ----------------------------------------------------------------

    async def meta(self) -> dict[str, str]:
        """The meta hash; empty when there is no store."""
        call = self._redis.hgetall(keys.META)
        found: dict[str, str] = await timely(cast("Awaitable[dict[str, str]]", call))
        return found

    async def foreign(self) -> list[str]:
        """Keys under our prefix that are not ours."""
        names = {name async for piece in self._names() for name in piece}
        return sorted(
            name for name in names - keys.OURS if not name.startswith(keys.NODE_PREFIX)
        )

    async def read(self) -> RawTables:
        """Everything under our prefix, in pieces."""
        names = [name async for piece in self._names() for name in piece]
        nodes = sorted({name for name in names if name.startswith(keys.NODE_PREFIX)})
        return RawTables(
            meta=await self.meta(),
            allocations=await self._hash(keys.ALLOCATIONS),
            request_ids=await self._hash(keys.REQUEST_IDS),
            agents=await self._hash(keys.AGENTS),
            centers=await self._hash(keys.CENTERS),
            renewals=await self._hash(keys.RENEWALS),
            nodes=await self._nodes(nodes),
        )

    async def _names(self) -> AsyncIterator[list[str]]:
        cursor = -1
        while cursor != 0:
            cursor, piece = await timely(
                self._redis.scan(max(cursor, 0), match=keys.PATTERN, count=FIELDS_PER_CALL)
            )
            yield piece

    async def _hash(self, key: str) -> dict[str, str]:
        out: dict[str, str] = {}
        cursor = -1
        while cursor != 0:
            call = self._redis.hscan(key, max(cursor, 0), count=FIELDS_PER_CALL)
            cursor, piece = await timely(call)
            out |= piece
        return out

    async def _nodes(self, names: list[str]) -> dict[str, dict[str, str]]:
        out: dict[str, dict[str, str]] = {}
        for start in range(0, len(names), NODES_PER_CALL):
            chosen = names[start : start + NODES_PER_CALL]
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in chosen:
                    pipe.hgetall(name)
                rows = await timely(pipe.execute())
            out.update(zip(chosen, rows, strict=True))
        # One that left meanwhile is empty.
        return {name.removeprefix(keys.NODE_PREFIX): row for name, row in out.items() if row}

    async def close(self) -> None:
        """Hang up."""
        for redis in (self._redis, self._listening):
            with contextlib.suppress(errors.RedisError, OSError, TimeoutError):
                await timely(redis.aclose())


def _entry(row: Sequence[Any]) -> Entry:
    place, fields = row
    if isinstance(fields, dict):
        return place, fields
    return place, dict(zip(fields[::2], fields[1::2], strict=True))


class _Script:
    """A script that is sent once and then named by its digest."""

    def __init__(self, redis: Redis, text: str) -> None:
        self._redis = redis
        self._text = text
        self._digest = ""

    async def run(self, key_names: Sequence[str], arguments: Sequence[str]) -> Any:
        if not self._digest:
            self._digest = await timely(self._redis.script_load(self._text))
        try:
            return await self._call(key_names, arguments)
        except errors.NoScriptError:
            # The server lost its scripts (a restart, SCRIPT FLUSH): nothing was run.
            self._digest = await timely(self._redis.script_load(self._text))
            return await self._call(key_names, arguments)

    async def _call(self, key_names: Sequence[str], arguments: Sequence[str]) -> Any:
        call = self._redis.evalsha(self._digest, len(key_names), *key_names, *arguments)
        return await timely(call)


async def timely(call: Awaitable[Any]) -> Any:
    """A call's answer.

    Raises:
        TimeoutError: It took longer than DEADLINE_S.
    """
    async with asyncio.timeout(DEADLINE_S):
        return await call
