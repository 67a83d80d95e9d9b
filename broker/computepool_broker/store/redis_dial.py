"""One connection to a Redis or a sentinel, never made anew when it was lost.

redis-py would dial again in silence and perhaps reach another process; and WAIT or WAITAOF on a
new connection answer at once for a write of the old one.
"""

from __future__ import annotations

import contextlib
import re
import ssl
import weakref
from typing import TYPE_CHECKING

from redis import exceptions as errors
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from computepool_broker.store.redis_address import Address, RedisOptions

CLIENT_NAME = "computepool-broker"


class Line:
    """Lets each socket be greeted once, and all of them reach one process.

    A pipeline of redis-py takes a second socket of its own; what answers there must be the
    process whose facts were read.
    """

    def __init__(self, run_id: str, hint: str) -> None:
        """Takes up no connection.

        Args:
            run_id: Of the process; empty to take whichever answers.
            hint: What to look at when the other side hangs up instead of greeting.
        """
        self.run_id = run_id
        self._hint = hint
        self._greeted: weakref.WeakSet[AbstractConnection] = weakref.WeakSet()

    async def greet(self, connection: AbstractConnection) -> None:
        """Say hello on a socket that has just been connected."""
        if connection in self._greeted:
            raise errors.ConnectionError("the connection was lost")
        self._greeted.add(connection)
        try:
            await connection.on_connect()
        except errors.ConnectionError as error:
            if type(error) is not errors.ConnectionError:
                raise  # A refused login, a server that loads: they say what they are.
            raise errors.ConnectionError(f"{error} ({self._hint})") from error
        if not self.run_id:
            return
        await connection.send_command("INFO", "server", check_health=False)
        found = re.search(r"^run_id:(\w+)", await connection.read_response(), re.MULTILINE)
        if found is None or found.group(1) != self.run_id:
            raise errors.ConnectionError("another process answers there now")


async def dial(
    host: str,
    port: int,
    address: Address,
    options: RedisOptions,
    line: Line,
    *,
    to_sentinel: bool = False,
) -> Redis:
    """Connect and log in.

    Args:
        host: The server that is meant; `address` may name only its sentinels.
        port: Its port.
        address: Gives database, login and whether to speak TLS.
        options: Give the sentinels' login, the PEM files and the deadline of each call.
        line: What the connection must reach.
        to_sentinel: Use the sentinels' login, and no database.

    Raises:
        redis.exceptions.RedisError, OSError: As redis-py has them.
    """
    login = (address.username, address.password)
    if to_sentinel:
        login = (options.sentinel_username or None, options.sentinel_password or None)
    client = Redis(
        host=host,
        port=port,
        db=0 if to_sentinel else address.database,
        username=login[0],
        password=login[1],
        protocol=3,
        decode_responses=True,
        single_connection_client=True,
        # The second is for pipelines, which take a socket of their own.
        max_connections=2,
        client_name=None if to_sentinel else CLIENT_NAME,
        socket_timeout=options.deadline_s,
        socket_connect_timeout=options.deadline_s,
        # A repeated commit would be a second one, if the first had come through.
        retry=Retry(NoBackoff(), 0),
        redis_connect_func=line.greet,
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
        ssl=address.tls,
        ssl_ca_certs=options.ca or None,
        ssl_certfile=options.cert or None,
        ssl_keyfile=options.key or None,
        ssl_password="",
        ssl_min_version=ssl.TLSVersion.TLSv1_2,
    )
    try:
        return await client.initialize()
    except BaseException:
        await hang_up(client)
        raise


async def hang_up(client: Redis) -> None:
    """Close a connection, whatever state it and the other side are in.

    At once: `aclose` alone would wait for a server that is paused, with TLS until the deadline.
    """
    with contextlib.suppress(errors.RedisError, OSError):
        if client.connection is not None:
            await client.connection.disconnect(nowait=True)
        await client.aclose()
