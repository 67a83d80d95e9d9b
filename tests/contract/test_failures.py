"""When a write fails nobody may believe anything: until the store is opened anew."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from computepool_broker.errors import OutcomeUnknownError
from computepool_broker.ledger.invariants import check_invariants
from computepool_broker.ledger.state import LedgerState
from computepool_broker.store import redis_client
from support.ledger_scene import accept, grant, grant_until_it_fails, join
from support.state_text import lasting
from support.store_places import RedisPlace, opened

if TYPE_CHECKING:
    from computepool_broker.store.base import Store
    from support.redis_server import RedisServer
    from support.store_places import EmbeddedPlace, StorePlace

ROUNDS = 3
DEADLINE_S = 0.3


async def check_broken(store: Store) -> None:
    """Neither reads (a commit of nothing) nor writes are confirmed any more."""
    with pytest.raises(OutcomeUnknownError):
        await store.commit()
    with pytest.raises(OutcomeUnknownError):
        store.stage(grant(store.state, "after"))
    with pytest.raises(OutcomeUnknownError):
        await store.commit()


async def check_reopens(place: StorePlace, want: dict[str, object]) -> None:
    async with opened(place) as store:
        assert lasting(store.state) == want
        assert check_invariants(store.state) == []
        join(store)
        accept(store, grant(store.state, "again"))
        await store.commit()


async def test_a_full_disk_breaks_the_store_until_it_is_opened_anew(
    embedded_place: EmbeddedPlace,
) -> None:
    async with opened(embedded_place) as store:
        join(store)
        await store.commit()
        want = lasting(store.state)
        fill_disk(store)
        accept(store, grant(store.state, "lost", request_id="r"))
        under_way = store.commit()
        accept(store, grant(store.state, "planned on it"))
        behind = store.commit()
        reads = store.commit()
        for commit in (under_way, behind, reads):
            with pytest.raises(OutcomeUnknownError):
                await commit
        await check_broken(store)
    await check_reopens(embedded_place, want)


def fill_disk(store: Store) -> None:
    """Forbid SQLite another page, and give it a record that needs some."""
    db = store._db  # type: ignore[attr-defined]
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count={pages}")
    nodes = (f"padding-{at}" for at in range(64))
    join(store, "a9", *nodes)


async def test_a_killed_server_breaks_the_store_until_it_is_opened_anew(
    own_redis: RedisServer,
) -> None:
    place = RedisPlace(own_redis)
    async with opened(place) as store:
        join(store)
        await store.commit()
        want = lasting(store.state)
        own_redis.wait_until_logged()
        own_redis.pause()
        accept(store, grant(store.state, "lost", request_id="r"))
        under_way = store.commit()
        accept(store, grant(store.state, "planned on it"))
        behind = store.commit()
        reads = store.commit()
        _, pending = await asyncio.wait((asyncio.ensure_future(under_way),), timeout=0.1)
        assert pending, "confirmed by a server that is paused"
        own_redis.kill()
        for commit in (*pending, behind, reads):
            with pytest.raises(OutcomeUnknownError):
                await commit
        await check_broken(store)
    own_redis.start()
    await check_reopens(place, want)


async def test_a_kill_loses_nothing_confirmed_or_only_the_last_of_it(
    own_redis: RedisServer,
) -> None:
    """With appendfsync everysec the server may answer before it writes its log (while an fsync
    is under way it puts the write off), so that its end can take the last commits along: never
    one from the middle. A store that calls itself durable loses none."""
    place, chance = RedisPlace(own_redis), random.Random(7)
    kept: set[str] = set()
    for life in range(ROUNDS):
        staged: list[str] = []
        async with opened(place) as store:
            durable = store.durable
            join(store)
            await store.commit()
            asyncio.get_running_loop().call_later(chance.uniform(0.02, 0.2), own_redis.kill)
            confirmed = await grant_until_it_fails(store, str(life), staged)
        assert confirmed
        own_redis.start()
        async with opened(place) as store:
            assert check_invariants(store.state) == []
            found = set(store.state.allocations)
            new = found - kept
            assert kept <= found
            assert new == set(staged[: len(new)])
            assert not durable or confirmed <= found
            kept = found


async def test_a_batch_that_comes_through_late_is_there_once_or_never(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = RedisPlace(own_redis)
    async with opened(place) as store:
        join(store)
        await store.commit()
        before = lasting(store.state)
        own_redis.pause()
        accept(store, grant(store.state, "late", request_id="r"))
        with monkeypatch.context() as patch:
            patch.setattr(redis_client, "DEADLINE_S", DEADLINE_S)
            with pytest.raises(OutcomeUnknownError, match="Timeout"):
                await store.commit()
        after = lasting(store.state)
        await check_broken(store)
    own_redis.resume()
    async with opened(place) as store:
        first = lasting(store.state)
        assert first in (before, after)
    async with opened(place) as store:
        assert lasting(store.state) == first


async def test_a_server_that_forgot_its_scripts_is_sent_them_again(own_redis: RedisServer) -> None:
    place = RedisPlace(own_redis)
    async with opened(place) as store:
        join(store)
        await store.commit()
        with own_redis.client() as client:
            client.script_flush()
        accept(store, grant(store.state, "x"))
        await store.commit()
        want = lasting(store.state)
    async with opened(place) as store:
        assert lasting(store.state) == want


@pytest.mark.parametrize(
    ("field", "value"), [("identity", "0" * 16), ("revision", "1"), ("serial", "0")]
)
async def test_a_server_whose_data_went_back_breaks_the_store(
    redis_place: RedisPlace, field: str, value: str
) -> None:
    async with opened(redis_place) as store:
        join(store)
        await store.commit()
        with redis_place.server.client(redis_place.database) as client:
            client.hset("{computepool}:meta", field, value)
        kept = redis_place.content()
        accept(store, grant(store.state, "x"))
        with pytest.raises(OutcomeUnknownError, match=f"STALE {field}"):
            await store.commit()
        assert redis_place.content() == kept
        await check_broken(store)


async def test_the_script_itself_refuses_what_does_not_fit(redis_place: RedisPlace) -> None:
    """Amounts changed behind the broker's back: its replica says yes, Redis says no."""
    async with opened(redis_place) as store:
        join(store)
        await store.commit()
        with redis_place.server.client(redis_place.database) as client:
            client.hset("{computepool}:node:n1", "u:cpu_milli", "63500")
        kept = redis_place.content()
        accept(store, grant(store.state, "fits", ("n1", (("disk_mib", 1),))))
        accept(store, grant(store.state, "does not"))
        with pytest.raises(OutcomeUnknownError, match=r"NO_FIT .*n1 cpu_milli 500 .transaction 2"):
            await store.commit()
        assert redis_place.content() == kept


async def test_a_server_that_is_not_there_is_no_refusal(own_redis: RedisServer) -> None:
    own_redis.stop()
    store = RedisPlace(own_redis).store()
    with pytest.raises(ConnectionError, match=f"127.0.0.1:{own_redis.port}"):
        await store.open(LedgerState())
    await store.close()
