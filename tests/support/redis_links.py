"""Connections of a broker to a Redis, for tests that look at them alone."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from computepool_broker.errors import StoreRefusedError
from computepool_broker.store.redis_address import Address, RedisOptions
from computepool_broker.store.redis_connection import Connector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis

    from computepool_broker.store.redis_connection import ServerFacts


def connector(url: str, **options: Any) -> Connector:
    """As a broker with this --store makes it."""
    return Connector(Address.parse(url), RedisOptions(**options))


@asynccontextmanager
async def connected(
    to: Connector, *, first: bool = True
) -> AsyncIterator[tuple[Redis, ServerFacts]]:
    """A connection for the length of a block."""
    client, facts = await to.connect(first=first)
    try:
        yield client, facts
    finally:
        await client.aclose()


async def refusal(to: Connector, *, first: bool = True) -> str:
    """Why it says that somebody has to change something."""
    with pytest.raises(StoreRefusedError) as refused:
        await to.connect(first=first)
    return str(refused.value)


async def failure(to: Connector, *, first: bool = True) -> str:
    """Why it says that it may be tried again."""
    with pytest.raises(ConnectionError) as failed:
        await to.connect(first=first)
    return str(failed.value)
