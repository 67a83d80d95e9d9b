"""Finds the server that is the primary now, connects to it and looks at it.

What goes wrong becomes a StoreRefusedError (somebody has to change something) or a
ConnectionError (try again later).

A connection that was lost stays lost (redis_dial.py says why). A caller that meets a
ConnectionError comes back to the Connector and looks at what it finds.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from redis import exceptions as errors

from computepool_broker.errors import StoreRefusedError
from computepool_broker.store import redis_checks, redis_keys
from computepool_broker.store.redis_address import (
    Address,
    RedisOptions,
    replicas_expected,
    shown,
)
from computepool_broker.store.redis_checks import ServerFacts
from computepool_broker.store.redis_dial import Line, dial, hang_up
from computepool_broker.store.redis_sentinel import Sentinels, UnknownNameError
from computepool_broker.store.redis_tls import check_files, hint_of_hanging_up, tls_problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from redis.asyncio import Redis

    from computepool_broker.store.redis_sentinel import Asked

__all__ = ["Connector", "ServerFacts", "opening"]

GREETING_DEADLINE_S = 1.5
"""Seconds until a server that sentinels name must have said what it is: when it does not, they may
name another by then."""
SETTINGS = (
    "maxmemory-policy",
    "appendonly",
    "appendfsync",
    "min-replicas-to-write",
    "min-replicas-max-lag",
)


class Advice(NamedTuple):
    """What to do about a login or about rights that do not suffice."""

    login: str
    rights: str


OF_SERVER = Advice(
    "set user and password in the store's URL, redis://USER:PASSWORD@HOST:PORT/DATABASE",
    "~{computepool}* +@read +@write +@scripting +@connection +info +config|get",
)
OF_SENTINEL = Advice(
    "set COMPUTEPOOL_REDIS_SENTINEL_PASSWORD (and ..._USERNAME); user and password in the store's "
    "URL are those of the primary",
    "+hello +auth +sentinel|get-master-addr-by-name +sentinel|master +sentinel|masters",
)


class _NoPrimaryError(ConnectionError):
    """A replica answers; said in our words."""


class Connector:
    """Finds the primary and connects to it. One event loop; keeps no connection itself."""

    def __init__(self, address: Address, options: RedisOptions) -> None:
        """Nothing is connected yet.

        Raises:
            ValueError: A PEM file cannot be used; names the setting.
        """
        if address.tls:
            check_files(options)
        self.address = address
        self.replicas = replicas_expected(address, options)
        self._options = options
        self._sentinels = Sentinels(str(address), address.hosts, address.service, self._sentinel)

    async def connect(self, *, first: bool) -> tuple[Redis, ServerFacts]:
        """Connect to the present primary and look whether it can hold the ledger.

        Args:
            first: At the start of a broker, a replica without sentinels and a name that sentinels
                do not know are mistakes, and refused; later they are moments of a change by hand,
                and worth another try.

        Returns:
            One connection, which belongs to the caller, and what the server says of itself.

        Raises:
            StoreRefusedError: A setting, the login or the rights have to be changed.
            ConnectionError: There is no primary to be reached now.
        """
        if not self.address.service:
            return await self._open(*self.address.hosts[0], self._options.deadline_s, first=first)
        try:
            named = await self._sentinels.primary()
        except UnknownNameError as error:
            raise (StoreRefusedError if first else ConnectionError)(str(error)) from error
        failed: list[str] = []
        deadline_s = min(GREETING_DEADLINE_S, self._options.deadline_s)
        for host, port in named:
            try:
                return await self._open(host, port, deadline_s, first=False)
            except ConnectionError as error:
                failed.append(str(error))
        raise ConnectionError(f"{self.address}: the primary that is named: {'; '.join(failed)}")

    async def another(self, facts: ServerFacts) -> Redis:
        """A second connection to the same process, for calls that block.

        A call on it may block for less than the options' deadline_s, or it is given up.

        Raises:
            StoreRefusedError: Login, rights or certificates have changed.
            ConnectionError: It cannot be reached, or another process answers there now.
        """
        where = self._shown(facts.host, facts.port)
        async with self._handshake(where, OF_SERVER, self._options.deadline_s):
            return await self._dial(facts.host, facts.port, self._line(facts.run_id))

    async def moved(self, facts: ServerFacts) -> bool:
        """Whether sentinels name another server by now; False also where nobody knows.

        For a call that hangs: its server may be cut off and replaced long before the call's
        deadline.
        """
        if not self.address.service:
            return False
        try:
            return (facts.host, facts.port) not in await self._sentinels.primary()
        except (ConnectionError, StoreRefusedError, UnknownNameError):
            return False

    async def _open(
        self, host: str, port: int, deadline_s: float, *, first: bool
    ) -> tuple[Redis, ServerFacts]:
        where = self._shown(host, port)
        async with self._handshake(where, OF_SERVER, deadline_s):
            line = self._line()
            client = await self._dial(host, port, line)
            try:
                facts = await self._facts(client, where, host, port, first=first)
            except BaseException:
                await hang_up(client)
                raise
            line.run_id = facts.run_id
            return client, facts

    async def _facts(
        self, client: Redis, where: str, host: str, port: int, *, first: bool
    ) -> ServerFacts:
        info: dict[str, Any] = await client.info()
        if int(info.get("loading", 0)):
            raise errors.BusyLoadingError("loading")
        if info.get("role") != "master" and not first:
            raise _NoPrimaryError(
                f"{where} is a replica now (role {info.get('role')}): a failover is under way"
            )
        # A sentinel has none, and is refused for what it is.
        is_sentinel = info.get("redis_mode") == "sentinel"
        settings = {} if is_sentinel else await _settings(client, where)
        redis_checks.check_server(where, info, settings, self.replicas)
        return redis_checks.read_facts(
            host, port, info, settings, has_waitaof=await _has_waitaof(client)
        )

    @contextlib.asynccontextmanager
    async def _handshake(
        self, where: str, advice: Advice, deadline_s: float
    ) -> AsyncIterator[None]:
        with opening(where, advice):
            try:
                async with asyncio.timeout(deadline_s):
                    yield
            except TimeoutError as error:
                hint = "; does it speak TLS there?" if self.address.tls else ""
                raise TimeoutError(f"no answer within {deadline_s:g} s{hint}") from error

    @contextlib.asynccontextmanager
    async def _sentinel(self, host: str, port: int, deadline_s: float) -> AsyncIterator[Redis]:
        """A sentinel, for the length of a block that must end within `deadline_s`."""
        async with self._handshake(f"sentinel {shown(host, port)}", OF_SENTINEL, deadline_s):
            client = await self._dial(host, port, self._line(), to_sentinel=True)
            try:
                yield client
            finally:
                await hang_up(client)

    def _line(self, run_id: str = "") -> Line:
        return Line(run_id, hint_of_hanging_up(self._options, tls=self.address.tls))

    async def _dial(self, host: str, port: int, line: Line, *, to_sentinel: bool = False) -> Redis:
        return await dial(host, port, self.address, self._options, line, to_sentinel=to_sentinel)

    def _shown(self, host: str, port: int) -> str:
        """As in the address, with the server that is meant."""
        if not self.address.service:
            return str(self.address)
        return f"{shown(host, port)} (of {self.address})"


async def _settings(client: Redis, where: str) -> dict[str, str]:
    settings: dict[str, str] = {}
    for name in SETTINGS:
        try:
            settings |= cast("dict[str, str]", await client.config_get(name))
        except errors.NoPermissionError:
            raise
        except errors.ResponseError as error:
            raise StoreRefusedError(
                f"{where} does not show its settings ({error}): the store must see that it loses "
                "nothing; allow CONFIG GET"
            ) from error
    return settings


async def _has_waitaof(client: Redis) -> bool:
    """Whether it can be asked to wait for its log: tried, since it may be renamed or forbidden."""
    try:
        await cast("Asked", client).execute_command("WAITAOF", 0, 0, 1)
    except errors.NoPermissionError:
        raise
    except errors.ResponseError:
        return False
    return True


@contextlib.contextmanager
def opening(where: object, advice: Advice = OF_SERVER) -> Iterator[None]:
    """Say in our words what goes wrong while a store is being opened.

    Args:
        where: The server, as the messages name it.
        advice: What to do about a login or rights.

    Raises:
        StoreRefusedError: A setting, the password or the rights have to be changed.
        ConnectionError: The server cannot be reached now.
    """
    try:
        yield
    except errors.AuthenticationError as error:
        raise StoreRefusedError(f"{where} refuses the login ({error}): {advice.login}") from error
    except errors.NoPermissionError as error:
        raise StoreRefusedError(
            f"{where} does not permit what the store needs ({error}): give the user {advice.rights}"
        ) from error
    except errors.BusyLoadingError as error:
        raise ConnectionError(f"{where} is still loading its data; start again then") from error
    except _NoPrimaryError:
        raise
    except (errors.ConnectionError, errors.TimeoutError, OSError) as error:
        if (problem := tls_problem(error)) is not None:
            raise StoreRefusedError(f"{where} {problem}") from error
        raise ConnectionError(f"{where} cannot be reached: {error}") from error
    except UnicodeDecodeError as error:
        raise StoreRefusedError(
            f"{where} holds under {redis_keys.PREFIX} what is no text ({error}): none of ours. Use "
            "another database number, or delete it"
        ) from error
    except errors.RedisError as error:
        if str(error).startswith("NOREPLICAS"):
            raise ConnectionError(f"{where} waits for its replicas: {error}") from error
        raise StoreRefusedError(_what_it_cannot(where, error)) from error


def _what_it_cannot(where: object, error: errors.RedisError) -> str:
    if "HELLO" in str(error):
        return f"{where} is older than Redis 6 ({error}): the store needs 6.2 or newer, or Valkey"
    if "'SENTINEL'" in str(error).upper().replace("`", "'"):
        return f"{where} is no sentinel ({error}): name sentinels, or write redis:// for a primary"
    return (
        f"{where} cannot hold the store: {error}. Use another database number, or delete the "
        f"keys under {redis_keys.PREFIX} that are none of ours"
    )
