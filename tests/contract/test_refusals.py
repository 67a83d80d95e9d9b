"""A store that cannot be used is refused with a word on what to do, and left as it was."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from computepool_broker.errors import OutcomeUnknownError, StoreRefusedError
from computepool_broker.ledger.state import LedgerState
from computepool_broker.store import redis_keys
from support.ledger_scene import accept, fill_pool, grant, grant_until_it_fails, join
from support.state_text import lasting
from support.store_places import opened

if TYPE_CHECKING:
    from computepool_broker.store.base import Store
    from support.store_places import EmbeddedPlace, RedisPlace, StorePlace

OTHER_NODE = '[1,"n9","c1","r1","a1",[1,1,1,[]],[0,0,0,[]],[0,0,0,[]],[],[],false,false]'
SPOILT: dict[str, tuple[str, str, str]] = {
    "an allocation that is no JSON": ("allocations", "reserved", "{"),
    "an allocation of a later version": ("allocations", "reserved", '[2,"reserved"]'),
    "an allocation cut short": ("allocations", "reserved", '[1,"reserved","default"]'),
    "a node that is an object": ("nodes", "n1", "{}"),
    "a node under another's name": ("nodes", "n1", OTHER_NODE),
    "an agent with too many fields": ("agents", "a1", json.dumps([1, *"abcdefghijkl"])),
    "an agent that is empty": ("agents", "a1", "[]"),
}


async def refused(place: StorePlace) -> str:
    """The refusal of a place; what is there stays as it was."""
    before = place.content()
    store = place.store()
    with pytest.raises(StoreRefusedError) as refusal:
        await store.open(LedgerState())
    await store.close()
    assert place.content() == before
    return str(refusal.value)


async def filled(place: StorePlace) -> dict[str, Any]:
    async with opened(place) as store:
        fill_pool(store)
        await store.commit()
        return lasting(store.state)


@pytest.mark.parametrize("case", SPOILT)
async def test_a_damaged_record_is_refused(place: StorePlace, case: str) -> None:
    await filled(place)
    place.overwrite(*SPOILT[case])
    text = await refused(place)
    assert "is damaged" in text
    assert "backup" in text


@pytest.mark.parametrize("name", ["identity", "epoch", "revision", "epochs"])
async def test_a_store_without_one_of_its_marks_is_refused(place: StorePlace, name: str) -> None:
    await filled(place)
    place.drop_meta(name)
    assert name in await refused(place)


async def test_data_of_a_newer_version_is_refused(place: StorePlace) -> None:
    await filled(place)
    place.make_newer()
    text = await refused(place)
    assert "newer computepool (schema 99, this one knows 1)" in text


async def test_a_refused_store_can_be_opened_when_it_is_repaired(place: StorePlace) -> None:
    want = await filled(place)
    agent = '[1,"a1","journal-a1",1,"c1","r1","core","1","simulated"]'
    place.overwrite("agents", "a1", "[]")
    store = place.store()
    with pytest.raises(StoreRefusedError):
        await store.open(LedgerState())
    place.overwrite("agents", "a1", agent)
    # The refused one was not closed: it must not keep anything locked.
    async with opened(place) as again:
        assert lasting(again.state) == want
    await store.close()


# -- a folder --------------------------------------------------------------------------------


async def test_a_folder_in_use_is_refused_with_the_process_that_has_it(
    embedded_place: EmbeddedPlace,
) -> None:
    async with opened(embedded_place) as store:
        join(store)
        await store.commit()
        assert f"in use by process {os.getpid()}" in await refused(embedded_place)
        accept(store, grant(store.state, "x"))
        await store.commit()


async def test_a_file_that_is_no_database_is_refused(embedded_place: EmbeddedPlace) -> None:
    embedded_place.folder.mkdir()
    embedded_place.file.write_bytes(b"dear diary, " * 1000)
    assert "is damaged or no store of ours" in await refused(embedded_place)


async def test_a_file_with_a_damaged_page_is_refused(embedded_place: EmbeddedPlace) -> None:
    await filled(embedded_place)
    content = bytearray(embedded_place.file.read_bytes())
    content[5000:7000] = b"\xff" * 2000
    embedded_place.file.write_bytes(content)
    assert "is damaged or no store of ours" in await refused(embedded_place)


async def test_a_file_cut_short_is_refused(embedded_place: EmbeddedPlace) -> None:
    await filled(embedded_place)
    content = embedded_place.file.read_bytes()
    embedded_place.file.write_bytes(content[: len(content) // 2])
    assert "is damaged or no store of ours" in await refused(embedded_place)


async def test_a_database_of_another_program_is_refused(embedded_place: EmbeddedPlace) -> None:
    embedded_place.folder.mkdir()
    with closing(sqlite3.connect(embedded_place.file)) as db:
        db.execute("CREATE TABLE diary (entry TEXT)")
    assert "of another program" in await refused(embedded_place)


async def test_the_live_connection_syncs_every_commit(embedded_place: EmbeddedPlace) -> None:
    async with opened(embedded_place) as store:
        assert pragma(store, "journal_mode") == "wal"
        assert pragma(store, "synchronous") == 2
        assert store.durable
    async with opened(embedded_place) as store:
        assert pragma(store, "journal_mode") == "wal"
        assert pragma(store, "synchronous") == 2


def pragma(store: Store, name: str) -> object:
    return store._db.execute(f"PRAGMA {name}").fetchone()[0]  # type: ignore[attr-defined]


# -- a Redis ---------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["{computepool}", "{computepool}:queue", "{computepool}nodes"])
async def test_keys_of_others_under_our_prefix_are_refused(
    redis_place: RedisPlace, key: str
) -> None:
    with redis_place.server.client(redis_place.database) as client:
        client.set(key, "theirs")
    text = await refused(redis_place)
    assert key in text
    assert "another database number" in text


@pytest.mark.parametrize("key", [redis_keys.META, redis_keys.AGENTS, redis_keys.node_key("n1")])
async def test_keys_of_another_type_are_refused(redis_place: RedisPlace, key: str) -> None:
    with redis_place.server.client(redis_place.database) as client:
        client.rpush(key, "theirs")
    assert "another database number" in await refused(redis_place)


async def test_keys_that_are_no_text_are_refused(redis_place: RedisPlace) -> None:
    with redis_place.server.client(redis_place.database) as client:
        client.set(b"{computepool}\xff\xfe", b"theirs")
    assert "no text" in await refused(redis_place)


async def test_keys_of_others_beside_our_prefix_are_left_alone(redis_place: RedisPlace) -> None:
    with redis_place.server.client(redis_place.database) as client:
        client.set("computepool:meta", "theirs")
        await filled(redis_place)
        assert client.get("computepool:meta") == b"theirs"


@pytest.mark.parametrize(
    ("key", "field", "value", "named"),
    [
        (redis_keys.node_key("n1"), "u:cpu_milli", "1", "u:"),
        (redis_keys.node_key("n1"), "u:d/n1-d7", "1000", "u:"),
        (redis_keys.node_key("n4"), "c:x/licenses", "9", "c:"),
        (redis_keys.node_key("n4"), "blockers", "", "invalid literal"),
        (redis_keys.node_key("n9"), "blockers", "0", "n9"),
        (redis_keys.REQUEST_IDS, '["default","r1"]', "gang", "r1"),
        (redis_keys.REQUEST_IDS, '["default","r9"]', "gang", "r9"),
        (redis_keys.ALLOCATIONS, "copy", "9 []", "copy"),
        (redis_keys.CENTERS, "c1", "[1]", "c1"),
        (redis_keys.META, "revision", "many", "many"),
        (redis_keys.META, "epochs", "[]", "items"),
    ],
)
async def test_values_that_contradict_the_records_are_refused(
    redis_place: RedisPlace, key: str, field: str, value: str, named: str
) -> None:
    await filled(redis_place)
    with redis_place.server.client(redis_place.database) as client:
        client.hset(key, field, value)
    text = await refused(redis_place)
    assert "is damaged" in text
    assert named in text


async def test_records_whose_meta_is_gone_are_refused(redis_place: RedisPlace) -> None:
    await filled(redis_place)
    with redis_place.server.client(redis_place.database) as client:
        client.delete(redis_keys.META)
    assert "is gone" in await refused(redis_place)


async def test_a_second_broker_takes_the_database_over_and_fences_the_first(
    redis_place: RedisPlace,
) -> None:
    async with opened(redis_place) as first:
        join(first)
        await first.commit()
        accept(first, grant(first.state, "late", request_id="r"))
        async with opened(redis_place) as second:
            join(second)
            accept(second, grant(second.state, "x", request_id="r"))
            await second.commit()
            want = lasting(second.state)
            with pytest.raises(OutcomeUnknownError, match="another broker has taken"):
                await first.commit()
            with pytest.raises(OutcomeUnknownError):
                first.stage(grant(first.state, "later"))
            accept(second, grant(second.state, "y"))
            await second.commit()
            want = lasting(second.state)
    async with opened(redis_place) as store:
        assert lasting(store.state) == want


async def test_a_broker_that_keeps_writing_does_not_keep_another_from_taking_over(
    redis_place: RedisPlace,
) -> None:
    async with opened(redis_place) as first:
        join(first)
        await first.commit()
        second = redis_place.store()
        opening = asyncio.ensure_future(second.open(LedgerState()))
        written = await grant_until_it_fails(first, "first", [])
        await opening
        assert set(second.state.allocations) == written
        join(second)
        accept(second, grant(second.state, "y"))
        await second.commit()
        await second.close()
