"""The pool of Redis servers that other tests build on: it fails over, and it comes back whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from support.processes import eventually
from support.redis_ha import RedisHA

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=[False, True], ids=["direct", "proxied"])
def ha(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[RedisHA]:
    """A primary, two replicas, three sentinels."""
    with RedisHA(tmp_path, proxied=request.param) as ha:
        yield ha


def test_a_killed_primary_is_replaced_and_comes_back_as_a_replica(ha: RedisHA) -> None:
    old = ha.primary()
    with old.client() as client:
        client.set("k", "v")
    ha.wait_until_replicated()
    old.kill()
    new = ha.wait_for_failover(old)
    with new.client() as client:
        assert client.get("k") == b"v"
    old.start()
    ha.wait_healthy()
    assert old in ha.replicas()
    with old.client() as client, pytest.raises(redis.ReadOnlyError):
        client.set("k", "w")


async def test_a_primary_that_is_cut_off_takes_no_writes_soon(tmp_path: Path) -> None:
    with RedisHA(tmp_path, proxied=True) as ha:
        old = ha.primary()
        ha.proxy(old).blackhole()
        assert ha.wait_for_failover(old) is not old
        with old.client() as client:  # as one on its side of the cut, who reaches it directly

            async def refuses() -> bool:
                try:
                    client.set("k", "v")
                except redis.ResponseError as error:
                    return "NOREPLICAS" in str(error)
                return False

            await eventually(refuses, "the cut off primary refuses writes")
        ha.proxy(old).heal()
        ha.wait_healthy()
        assert old in ha.replicas()


def test_sentinels_that_are_killed_and_paused_are_done_without(ha: RedisHA) -> None:
    ha.sentinels[0].kill()
    old = ha.primary()
    old.kill()
    new = ha.wait_for_failover(old)
    ha.sentinels[0].start()
    old.start()
    ha.wait_healthy()
    assert ha.primary() is new
    ha.sentinels[1].pause()
    assert ha.primary() is new
    ha.sentinels[1].resume()
    ha.sentinels[2].restart()
    ha.wait_healthy()
