"""The connection to Redis: every call with a deadline, none repeated on its own.

The one module that imports `redis`. What goes wrong while a store is opened becomes a
StoreRefusedError (somebody has to change something) or a ConnectionError (try again later).
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import unquote, urlsplit

from redis import exceptions as errors
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from computepool_broker.errors import StoreRefusedError
from computepool_broker.store import redis_keys as keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence

DEADLINE_S = 5.0
"""Seconds for one call; a commit that takes longer has an unknown outcome."""
FIELDS_PER_CALL = 2000
"""Fields read in one go while loading, so that other clients of the server are served between."""
NODES_PER_CALL = 500
SETTINGS = ("maxmemory-policy", "appendonly", "appendfsync")


class Address(NamedTuple):
    """Where a Redis is."""

    host: str
    port: int
    database: int
    username: str | None
    password: str | None

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read redis://[user:password@]host[:port][/database].

        Raises:
            ValueError: It is no such URL. The text does not show the password.
        """
        parts = urlsplit(url)
        where = "redis://HOST:PORT/DATABASE"
        if parts.scheme != "redis" or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"store: must be {where}, without options")
        database = parts.path.strip("/") or "0"
        if not database.isdecimal():
            raise ValueError(f"store: the database in {where} must be a number, not {database!r}")
        try:
            port = parts.port or 6379
        except ValueError:
            raise ValueError(f"store: the port in {where} is no port") from None
        return cls(
            parts.hostname,
            port,
            int(database),
            unquote(parts.username) if parts.username else None,
            unquote(parts.password) if parts.password else None,
        )

    def __str__(self) -> str:
        return f"redis://{self.host}:{self.port}/{self.database}"


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

    def __init__(self, address: Address) -> None:
        self.address = address
        self._redis = Redis(
            host=address.host,
            port=address.port,
            db=address.database,
            username=address.username,
            password=address.password,
            protocol=3,
            decode_responses=True,
            single_connection_client=True,
            client_name="computepool-broker",
            socket_timeout=DEADLINE_S,
            socket_connect_timeout=DEADLINE_S,
            # A repeated commit would be a second one, if the first had come through.
            retry=Retry(NoBackoff(), 0),
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
        folder = Path(__file__).parent
        self._commit = _Script(self._redis, (folder / "redis_commit.lua").read_text())
        self._take_over = _Script(self._redis, (folder / "redis_take_over.lua").read_text())

    async def commit(self, key_names: Sequence[str], argument: str) -> str:
        """Run the commit script; returns 'OK' or why nothing was changed.

        Raises:
            redis.exceptions.RedisError, OSError, TimeoutError: The outcome is unknown.
        """
        return str(await self._commit.run(key_names, (argument,)))

    async def take_over(self, arguments: Sequence[str]) -> bool:
        """Run the script of the fence."""
        return bool(await self._take_over.run((keys.META,), arguments))

    async def server(self) -> tuple[dict[str, Any], dict[str, str]]:
        """What the server says of itself (INFO) and its settings."""
        info = await _timely(self._redis.info())
        settings: dict[str, str] = {}
        for name in SETTINGS:
            settings |= await _timely(self._redis.config_get(name))
        return info, settings

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
        with contextlib.suppress(errors.RedisError, OSError):
            await self._redis.aclose()


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


@contextlib.contextmanager
def opening(address: Address) -> Iterator[None]:
    """Say in our words what goes wrong while a store is being opened.

    Raises:
        StoreRefusedError: A setting, the password or the rights have to be changed.
        ConnectionError: The server cannot be reached now.
    """
    try:
        yield
    except errors.AuthenticationError as error:
        raise StoreRefusedError(
            f"{address} refuses the login ({error}): set user and password in the store's URL, "
            "redis://USER:PASSWORD@HOST:PORT/DATABASE"
        ) from error
    except errors.NoPermissionError as error:
        raise StoreRefusedError(
            f"{address} does not permit what the store needs ({error}): give the user "
            "~{computepool}* +@read +@write +@scripting +@connection +info +config|get"
        ) from error
    except errors.BusyLoadingError as error:
        raise ConnectionError(f"{address} is still loading its data; start again then") from error
    except (errors.ConnectionError, errors.TimeoutError, OSError) as error:
        raise ConnectionError(f"{address} cannot be reached: {error}") from error
    except UnicodeDecodeError as error:
        raise StoreRefusedError(
            f"{address} holds under {keys.PREFIX} what is no text ({error}): none of ours. Use "
            "another database number, or delete it"
        ) from error
    except errors.RedisError as error:
        raise StoreRefusedError(
            f"{address} cannot hold the store: {error}. Use another database number, or delete the "
            f"keys under {keys.PREFIX} that are none of ours"
        ) from error
