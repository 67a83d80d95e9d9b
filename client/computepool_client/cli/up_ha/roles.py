"""Who is the primary, as the sentinels agree, and what else is asked of the servers."""

import asyncio
from collections import Counter
from collections.abc import Collection
from typing import Any, Final

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from computepool_client import errors
from computepool_client.cli.up_ha.layout import SERVICE

_ANSWER_S: Final = 0.5
_FLUSH_S: Final = 10.0


async def primary_door(sentinels: Collection[int]) -> int:
    """Where most of the sentinels at these ports say that the primary is; 0 when none answers."""
    question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
    answers = await asyncio.gather(*(_ask(port, *question) for port in sentinels))
    doors = Counter(int(answer[1]) for answer in answers if answer)
    return doors.most_common(1)[0][0] if doors else 0


async def answers(port: int) -> bool:
    """Whether a server answers, and has loaded its data."""
    return await _ask(port, "PING") is not None


async def replicas(port: int) -> int:
    """How many replicas a primary has."""
    info = await _ask(port, "INFO", "replication")
    return int(info.get("connected_slaves", 0)) if info else 0


async def agreed(sentinel: int) -> bool:
    """Whether a sentinel knows enough others to fail over."""
    return await _ask(sentinel, "SENTINEL", "CKQUORUM", SERVICE) is not None


async def flush(port: int) -> None:
    """Empties a server.

    Raises:
        PoolError: it does not answer, or refuses.
    """
    client = _client(port, _FLUSH_S)
    try:
        await client.execute_command("FLUSHALL")  # type: ignore[no-untyped-call]
    except (RedisError, OSError) as error:
        raise errors.PoolError(f"FLUSHALL failed: {error}", "FLUSHALL") from error
    finally:
        await client.aclose()


async def _ask(port: int, *command: str) -> Any:
    """The answer; None when there is none in time, or an error."""
    client = _client(port, _ANSWER_S)
    try:
        return await client.execute_command(*command)  # type: ignore[no-untyped-call]
    except (RedisError, OSError):
        return None
    finally:
        await client.aclose()


def _client(port: int, timeout_s: float) -> redis.asyncio.Redis:
    return redis.asyncio.Redis(
        port=port,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        decode_responses=True,
        retry=Retry(NoBackoff(), 0),
    )
