"""What the store asks of Redis: every call with a deadline, none repeated on its own.

How the connection comes about, and what the server must be like, is the affair of
redis_connection.py.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from redis import exceptions as errors

from computepool_broker.store import redis_keys as keys
from computepool_broker.store.redis_dial import hang_up

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence

    from redis.asyncio import Redis

DEADLINE_S = 5.0
"""Seconds for one call; a commit that takes longer has an unknown outcome."""
FIELDS_PER_CALL = 2000
"""Fields read in one go while loading, so that other clients of the server are served between."""
NODES_PER_CALL = 500
REPLICAS_MS = 2_000
"""Within it replicas must have a commit."""


class RawTables(NamedTuple):
    """The hashes as Redis holds them; see store/redis_keys.py."""

    meta: dict[str, str]
    allocations: dict[str, str]
    request_ids: dict[str, str]
    agents: dict[str, str]
    centers: dict[str, str]
    nodes: dict[str, dict[str, str]]
    foreign: list[str]
    """Keys under our prefix that are not ours."""


class RedisClient:
    """One connection."""

    def __init__(self, redis: Redis) -> None:
        """Take over a connection that redis_connection.py has made."""
        self._redis = redis
        folder = Path(__file__).parent
        self._commit = _Script(self._redis, (folder / "redis_commit.lua").read_text())
        self._take_over = _Script(self._redis, (folder / "redis_take_over.lua").read_text())

    async def commit(self, key_names: Sequence[str], argument: str) -> str:
        """Run the commit script; returns 'OK' or why nothing was changed.

        Raises:
            redis.exceptions.RedisError, OSError, TimeoutError: The outcome is unknown.
        """
        return str(await self._commit.run(key_names, (argument,)))

    async def replicated(self, replicas: int) -> bool:
        """Whether so many replicas have all that was written here, within REPLICAS_MS.

        Raises:
            redis.exceptions.RedisError, OSError, TimeoutError: It cannot be known.
        """
        return int(await _timely(self._redis.wait(replicas, REPLICAS_MS))) >= replicas

    async def take_over(self, arguments: Sequence[str]) -> bool:
        """Run the script of the fence."""
        return bool(await self._take_over.run((keys.META,), arguments))

    async def meta(self) -> dict[str, str]:
        """The meta hash; empty when there is no store."""
        call = self._redis.hgetall(keys.META)
        found: dict[str, str] = await _timely(cast("Awaitable[dict[str, str]]", call))
        return found

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
            nodes=await self._nodes(nodes),
            foreign=sorted(set(names) - set(nodes) - set(keys.FIXED)),
        )

    async def _names(self) -> AsyncIterator[list[str]]:
        cursor = -1
        while cursor != 0:
            cursor, piece = await _timely(
                self._redis.scan(max(cursor, 0), match=keys.PATTERN, count=FIELDS_PER_CALL)
            )
            yield piece

    async def _hash(self, key: str) -> dict[str, str]:
        out: dict[str, str] = {}
        cursor = -1
        while cursor != 0:
            call = self._redis.hscan(key, max(cursor, 0), count=FIELDS_PER_CALL)
            cursor, piece = await _timely(call)
            out |= piece
        return out

    async def _nodes(self, names: list[str]) -> dict[str, dict[str, str]]:
        out: dict[str, dict[str, str]] = {}
        for start in range(0, len(names), NODES_PER_CALL):
            chosen = names[start : start + NODES_PER_CALL]
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in chosen:
                    pipe.hgetall(name)
                rows = await _timely(pipe.execute())
            out.update(zip(chosen, rows, strict=True))
        return {name.removeprefix(keys.NODE_PREFIX): row for name, row in out.items()}

    async def close(self) -> None:
        """Hang up."""
        await hang_up(self._redis)


class _Script:
    """A script that is sent once and then named by its digest."""

    def __init__(self, redis: Redis, text: str) -> None:
        self._redis = redis
        self._text = text
        self._digest = ""

    async def run(self, key_names: Sequence[str], arguments: Sequence[str]) -> Any:
        if not self._digest:
            self._digest = await _timely(self._redis.script_load(self._text))
        try:
            return await self._call(key_names, arguments)
        except errors.NoScriptError:
            # The server lost its scripts (a restart, SCRIPT FLUSH): nothing was run.
            self._digest = await _timely(self._redis.script_load(self._text))
            return await self._call(key_names, arguments)

    async def _call(self, key_names: Sequence[str], arguments: Sequence[str]) -> Any:
        call = self._redis.evalsha(self._digest, len(key_names), *key_names, *arguments)
        return await _timely(call)


async def _timely(call: Awaitable[Any]) -> Any:
    async with asyncio.timeout(DEADLINE_S):
        return await call
