"""Finding the primary by real sentinels, and by some that are wrong, silent, or none."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from computepool_broker.store.redis_sentinel import Named, newest
from fakes.scripted_sentinel import scripted_sentinel
from support.processes import free_port
from support.redis_ha import SERVICE, RedisHA
from support.redis_links import connected, connector, failure, refusal
from support.redis_server import running_redis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.redis_server import RedisServer

QUICK_S = 0.9
"""Less than a sentinel's deadline: nobody was waited for."""


@pytest.fixture(scope="module")
def ha(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisHA]:
    with RedisHA(tmp_path_factory.mktemp("ha"), replicas=1) as pool:
        yield pool


@pytest.fixture(scope="module")
def old_and_new(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[RedisServer, RedisServer]]:
    """Two primaries, as after a failover that the first does not know of yet."""
    folder = tmp_path_factory.mktemp("two")
    with running_redis(folder / "old") as old, running_redis(folder / "new") as new:
        yield old, new


def url_of(*addresses: str) -> str:
    return f"redis+sentinel://{','.join(addresses)}/{SERVICE}"


def asks(ha: RedisHA) -> list[str]:
    return [f"127.0.0.1:{sentinel.announced}" for sentinel in ha.sentinels]


async def test_the_primary_is_found_with_what_it_needs_for_a_failover(ha: RedisHA) -> None:
    to = connector(ha.url(3))
    async with connected(to) as (client, facts):
        assert to.replicas == 1
        assert (facts.host, facts.port) == ("127.0.0.1", ha.primary().port)
        assert (facts.replicas, facts.min_replicas_to_write) == (1, 1)
        assert await client.set("{computepool}:x", "1")
        assert await client.wait(1, 5000) == 1
        assert not await to.moved(facts)
    with ha.primary().client(3) as plain:
        assert plain.get("{computepool}:x") == b"1"


async def test_sentinels_that_are_dead_or_silent_are_not_waited_for(ha: RedisHA) -> None:
    dead = f"127.0.0.1:{free_port()}"
    async with scripted_sentinel(1) as silent:
        silent.answers.clear()
        begun = time.monotonic()
        async with connected(connector(url_of(dead, silent.address, *asks(ha)))) as (_, facts):
            assert time.monotonic() - begun < QUICK_S
            assert facts.port == ha.primary().port


async def test_one_that_answers_is_enough_though_most_are_dead(ha: RedisHA) -> None:
    dead = [f"127.0.0.1:{free_port()}" for _ in range(3)]
    async with connected(connector(url_of(*dead, asks(ha)[0]))) as (_, facts):
        assert facts.port == ha.primary().port


async def test_where_all_are_dead_or_silent_each_is_named(ha: RedisHA) -> None:
    dead = f"127.0.0.1:{free_port()}"
    async with scripted_sentinel(1) as silent:
        silent.answers.clear()
        for first in (True, False):
            text = await failure(connector(url_of(dead, silent.address)), first=first)
            assert f"sentinel {dead} cannot be reached" in text
            assert f"sentinel {silent.address} cannot be reached: no answer within 1 s" in text


async def test_a_name_that_sentinels_do_not_know_is_told_with_those_that_they_do(
    ha: RedisHA,
) -> None:
    to = connector(url_of(*asks(ha)).replace(SERVICE, "pol"))
    assert "knows no 'pol', only 'pool'" in await refusal(to)
    assert "knows no 'pol', only 'pool'" in await failure(to, first=False)


async def test_a_server_is_no_sentinel_and_a_sentinel_is_no_server(ha: RedisHA) -> None:
    text = await refusal(connector(url_of(f"127.0.0.1:{ha.primary().port}")))
    assert "is no sentinel" in text
    assert "write redis:// for a primary" in text
    text = await refusal(connector(f"redis://{asks(ha)[0]}"))
    assert "is a sentinel: write redis+sentinel://" in text


async def test_a_primary_that_would_not_stop_without_replicas_is_refused_unless_it_is_said(
    old_and_new: tuple[RedisServer, RedisServer],
) -> None:
    _, new = old_and_new
    async with scripted_sentinel(new.port) as sentinel:
        text = await refusal(connector(url_of(sentinel.address)))
        assert f"127.0.0.1:{new.port} (of redis+sentinel://{sentinel.address}/pool/0)" in text
        assert "set min-replicas-to-write 1" in text
        async with connected(connector(url_of(sentinel.address), replicas=0)) as (_, facts):
            assert facts.port == new.port


# -- sentinels that are wrong ------------------------------------------------------------------


async def test_one_that_names_a_replica_is_not_believed(ha: RedisHA) -> None:
    (replica,) = ha.replicas()
    async with scripted_sentinel(replica.port, config_epoch=99) as liar:
        for first in (True, False):
            text = await failure(connector(url_of(liar.address)), first=first)
            assert f"127.0.0.1:{replica.port}" in text
            assert "is a replica now (role slave): a failover is under way" in text


async def test_of_two_that_disagree_the_one_whose_server_is_a_primary_is_believed(
    ha: RedisHA,
) -> None:
    primary, (replica,) = ha.primary(), ha.replicas()
    async with (
        scripted_sentinel(replica.port) as liar,
        scripted_sentinel(primary.port) as honest,
        connected(connector(url_of(liar.address, honest.address))) as (_, facts),
    ):
        assert facts.port == primary.port


async def test_the_newest_configuration_is_believed_and_the_old_primary_left_alone(
    old_and_new: tuple[RedisServer, RedisServer],
) -> None:
    old, new = old_and_new
    async with (
        scripted_sentinel(old.port, 1) as one,
        scripted_sentinel(old.port, 1) as another,
        scripted_sentinel(new.port, 2) as informed,
    ):
        # All but one are cut off with the old primary, and one of them answers too late.
        another.answers.clear()
        url = url_of(one.address, another.address, informed.address)
        async with connected(connector(url, replicas=0)) as (_, facts):
            assert facts.port == new.port
        # The new primary cannot be reached: the old one is none to write to.
        informed.port = free_port()
        text = await failure(connector(url, replicas=0))
        assert f"127.0.0.1:{informed.port}" in text
        assert f":{old.port}" not in text


@pytest.mark.parametrize(
    ("named", "want"),
    [
        ([Named("a", 1, 5)], [("a", 1)]),
        ([Named("a", 1, 5), Named("b", 1, 6), Named("a", 1, 5)], [("b", 1)]),
        ([Named("a", 1, 5), Named("b", 1, 5), Named("b", 1, 5)], [("b", 1), ("a", 1)]),
        ([Named("a", 1, 5), Named("a", 2, 4)], [("a", 1)]),
    ],
)
def test_of_what_sentinels_name_the_newest_counts_and_then_most(
    named: list[Named], want: list[tuple[str, int]]
) -> None:
    assert newest(named) == want


# -- logins ------------------------------------------------------------------------------------


async def test_the_sentinels_have_a_login_of_their_own(ha: RedisHA) -> None:
    for sentinel in ha.sentinels:
        with sentinel.client() as client:
            client.execute_command(  # type: ignore[no-untyped-call]
                "ACL", "SETUSER", "broker", "reset", "on", ">guess", "-@all", "+hello", "+auth",
                "+sentinel|get-master-addr-by-name", "+sentinel|master", "+sentinel|masters",
            )  # fmt: skip
    login = {"sentinel_username": "broker", "sentinel_password": "guess"}
    async with connected(connector(ha.url(), **login)) as (_, facts):
        assert facts.port == ha.primary().port
    for wrong in ({"sentinel_password": "other"}, {"sentinel_username": "nobody"}):
        text = await refusal(connector(ha.url(), **(login | wrong)))
        assert "set COMPUTEPOOL_REDIS_SENTINEL_PASSWORD" in text
        assert "refuses the login" in text
        assert "other" not in text


async def test_rights_that_a_sentinel_does_not_give_are_named(ha: RedisHA) -> None:
    for sentinel in ha.sentinels:
        with sentinel.client() as client:
            client.execute_command(  # type: ignore[no-untyped-call]
                "ACL", "SETUSER", "less", "reset", "on", ">guess", "+@all", "-sentinel"
            )
    to = connector(ha.url(), sentinel_username="less", sentinel_password="guess")  # noqa: S106
    assert "+sentinel|get-master-addr-by-name" in await refusal(to)


# -- a failover --------------------------------------------------------------------------------


async def test_after_a_failover_the_new_primary_is_found(ha: RedisHA) -> None:
    old, to = ha.primary(), connector(ha.url())
    async with connected(to) as (_, before):
        old.kill()
        new = await asyncio.to_thread(ha.wait_for_failover, old)
        assert await to.moved(before)
    async with connected(to, first=False) as (_, after):
        assert after.port == new.port
        assert after.run_id != before.run_id
        assert not await to.moved(after)
    old.start()
    await asyncio.to_thread(ha.wait_healthy)
    async with connected(to, first=False) as (_, facts):
        assert (facts.port, facts.replicas) == (new.port, 1)


async def test_while_the_primary_is_paused_nobody_waits_long_for_it(ha: RedisHA) -> None:
    old, to = ha.primary(), connector(ha.url())
    old.pause()
    begun = time.monotonic()
    await failure(to, first=False)
    assert time.monotonic() - begun < 4
    await asyncio.to_thread(ha.wait_for_failover, old)
    async with connected(to, first=False) as (_, facts):
        assert facts.port != old.port
    old.resume()
    await asyncio.to_thread(ha.wait_healthy)
