"""One suite over all stores: `place` is a folder in one run, a database of a Redis in another."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from support.redis_server import DATABASES, running_redis
from support.store_places import EmbeddedPlace, RedisPlace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.redis_server import RedisServer
    from support.store_places import StorePlace

_databases = itertools.count()


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server for all tests that leave it as it is."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_place(shared_redis: RedisServer) -> RedisPlace:
    """An empty database."""
    place = RedisPlace(shared_redis, next(_databases) % DATABASES)
    with shared_redis.client(place.database) as client:
        client.flushdb()
    return place


@pytest.fixture
def embedded_place(tmp_path: Path) -> EmbeddedPlace:
    """An empty folder."""
    return EmbeddedPlace(tmp_path / "broker")


@pytest.fixture(params=["embedded", "redis"])
def place(request: pytest.FixtureRequest) -> StorePlace:
    """An empty place of each kind."""
    found: StorePlace = request.getfixturevalue(f"{request.param}_place")
    return found


@pytest.fixture(params=["everysec", "always"])
def own_redis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A server that the test may kill, with each way of syncing its log."""
    with running_redis(tmp_path / "redis", request.param) as server:
        yield server
