"""Levels of acknowledgement: which one a call has, what the writer is asked for, what is told."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from computepool_broker.config import ConfigError, build
from computepool_broker.errors import (
    AckLevelUnavailableError,
    NotAcknowledgedError,
    OutcomeUnknownError,
    StoreRefusedError,
)
from computepool_broker.ledger.reconcile import HeldState
from computepool_broker.model.records import AllocationState, EndReason
from computepool_broker.services.grants import Create, Granted
from computepool_broker.services.levels import Level, Levels
from support.broker_kit import BrokerKit, running_broker
from support.builders import make_held, make_node, make_spec
from support.memory_store import MemoryStore
from support.processes import eventually
from support.writer_levels import asked_of_the_writer

if TYPE_CHECKING:
    from computepool_broker.model.records import Allocation

COMMITTED, DURABLE, CONFIRMED = Level
SETTINGS = ("auto", "committed", "durable", "confirmed")
LONG_S = 60.0
SHORT_S = 0.02
"""For agents of these tests, which report when they are told to."""


class Promise:
    """What a store says of itself."""

    def __init__(self, *, durable: bool, always: bool) -> None:
        self.durable = durable
        self.always_durable = always


NEVER = Promise(durable=False, always=False)
"""As a Redis that syncs its log each second and has no WAITAOF."""
ASKED = Promise(durable=True, always=False)
"""As one that has it."""
ALWAYS = Promise(durable=True, always=True)


def call(request_id: str = "r", **spec: Any) -> Create:
    return Create("default", request_id, make_spec(**(spec or {"gpus": 1})))


async def waited_for(kit: BrokerKit, count: int = 1) -> list[str]:
    """Wait until so many allocations are waited for; their ids."""

    async def so() -> bool:
        return len(kit.pool.waiters) == count

    await eventually(so, "they are waited for", every_s=0)
    return list(kit.pool.waiters)


async def admit(kit: BrokerKit, *ids: str) -> None:
    """The agent says that it has admitted all parts of these."""
    parts = [p.lease_id(key) for key in ids for p in kit.pool.state.allocations[key].parts]
    await kit.report(held=[make_held(lease, HeldState.ADMITTED) for lease in parts])


# -- which level a call has ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "store", "want"),
    [
        ("auto", NEVER, COMMITTED),
        ("auto", ASKED, DURABLE),
        ("auto", ALWAYS, DURABLE),
        ("committed", NEVER, COMMITTED),
        ("committed", ALWAYS, COMMITTED),
        ("durable", ASKED, DURABLE),
        ("confirmed", ALWAYS, CONFIRMED),
    ],
)
def test_a_call_that_names_no_level_has_the_broker_s(
    setting: str, store: Promise, want: Level
) -> None:
    levels = Levels(setting, store)
    levels.check()
    assert levels.of_create(None, waits=True) is want
    assert levels.of_create(None, waits=False) is min(want, DURABLE)
    assert levels.of_release(None) is min(want, DURABLE)


@pytest.mark.parametrize("setting", ["durable", "confirmed"])
def test_a_broker_told_to_promise_what_its_store_cannot_give_is_refused(setting: str) -> None:
    with pytest.raises(StoreRefusedError, match=rf"ack_level {setting}: .* appendfsync always"):
        Levels(setting, NEVER).check()


@pytest.mark.parametrize("level", [DURABLE, CONFIRMED])
def test_a_call_for_what_the_store_cannot_give_is_refused(level: Level) -> None:
    with pytest.raises(AckLevelUnavailableError, match=f"{level.name} is not to be had"):
        Levels("auto", NEVER).of_create(level, waits=True)


def test_a_store_that_could_and_can_no_longer_refuses_what_it_was_set_to() -> None:
    store = Promise(durable=True, always=False)
    levels = Levels("durable", store)
    levels.check()
    store.durable = False  # another server was promoted
    with pytest.raises(AckLevelUnavailableError):
        levels.of_create(None, waits=True)
    with pytest.raises(AckLevelUnavailableError):
        levels.of_release(None)
    assert levels.of_create(COMMITTED, waits=True) is COMMITTED


@pytest.mark.parametrize("word", ["", "DURABLE", "quorum"])
def test_the_setting_has_four_words(word: str) -> None:
    for known in SETTINGS:
        assert build({"ack_level": known}).ack_level == known
    with pytest.raises(ConfigError, match="ack_level: must be auto, committed, durable or"):
        build({"ack_level": word})


# -- what the answer names -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "store", "active", "reserved"),
    [
        (COMMITTED, NEVER, COMMITTED, COMMITTED),
        (COMMITTED, ASKED, COMMITTED, COMMITTED),
        (COMMITTED, ALWAYS, DURABLE, DURABLE),
        (DURABLE, ASKED, DURABLE, DURABLE),
        (DURABLE, ALWAYS, DURABLE, DURABLE),
        (CONFIRMED, ASKED, CONFIRMED, DURABLE),
        (CONFIRMED, ALWAYS, CONFIRMED, DURABLE),
    ],
)
async def test_the_answer_names_what_holds_and_confirmed_only_where_it_was_asked_for(
    asked: Level, store: Promise, active: Level, reserved: Level
) -> None:
    async with running_broker(make_node()) as kit:
        made = await kit.create(make_spec(gpus=1))
        levels = Levels("auto", store)
        assert levels.told(asked, made) is reserved
        assert levels.told(asked, replace(made, state=AllocationState.ACTIVE)) is active


# -- what the writer is asked for ------------------------------------------------------------


@pytest.mark.parametrize("level", [COMMITTED, DURABLE])
@pytest.mark.parametrize("wait_s", [0.0, LONG_S])
async def test_a_level_of_the_store_is_asked_of_the_grant_itself(
    level: Level, wait_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_broker(make_node(gpus=8)) as kit:
        seen = asked_of_the_writer(kit, monkeypatch)
        one = asyncio.create_task(kit.allocations.create(call("a"), wait_s, level))
        each = asyncio.create_task(kit.bulk.create_each([call("b"), call("c")], wait_s, level))
        together = asyncio.create_task(kit.bulk.create_all([call("d")], wait_s, level))
        if wait_s:
            await admit(kit, *await waited_for(kit, 4))
        await asyncio.gather(one, each, together)
        assert seen[:3] == [level] * 3
        assert set(seen[3:]) <= {COMMITTED}


async def test_confirmed_asks_for_the_disk_once_when_the_agents_have_said_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running_broker(make_node(gpus=8)) as kit:
        seen = asked_of_the_writer(kit, monkeypatch)
        making = asyncio.create_task(kit.allocations.create(call(), LONG_S, CONFIRMED))
        ids = await waited_for(kit)
        assert seen == [COMMITTED]
        await admit(kit, *ids)
        made = await making
        assert made.allocation.state is AllocationState.ACTIVE
        assert seen[-1] is DURABLE
        assert seen.count(DURABLE) == 1
        again = await kit.allocations.create(call(), LONG_S, CONFIRMED)
        assert again.duplicate
        assert seen[-2:] == [COMMITTED, DURABLE]


async def test_a_release_is_at_its_level(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_broker(make_node(gpus=8)) as kit:
        ids = [(await kit.create(make_spec(gpus=1))).id for _ in range(3)]
        seen = asked_of_the_writer(kit, monkeypatch)
        await kit.allocations.release(ids[0], "", "", COMMITTED)
        await kit.allocations.release(ids[1], "", "", DURABLE)
        await kit.bulk.release([ids[2]], "", DURABLE)
        assert seen == [COMMITTED, DURABLE, DURABLE]


# -- what is not confirmed -------------------------------------------------------------------


async def test_what_is_not_confirmed_in_time_is_unknown_and_the_same_call_confirms_it() -> None:
    async with running_broker(make_node(gpus=8)) as kit:
        with pytest.raises(NotAcknowledgedError, match="not confirmed by its agents") as error:
            await kit.allocations.create(call(), SHORT_S, CONFIRMED)
        (key,) = kit.pool.state.allocations
        assert error.value.metadata == {"ack_level": "CONFIRMED", "allocation_id": key}
        assert error.value.retry_after_ms
        assert "same request_id" in str(error.value)
        assert not kit.pool.waiters
        again = asyncio.create_task(kit.allocations.create(call(), LONG_S, CONFIRMED))
        await admit(kit, *await waited_for(kit))
        made = await again
        assert (made.allocation.id, made.duplicate) == (key, True)
        assert made.allocation.state is AllocationState.ACTIVE


async def test_without_a_request_id_nobody_is_told_to_repeat_it() -> None:
    async with running_broker(make_node(gpus=8)) as kit:
        with pytest.raises(NotAcknowledgedError, match="; release it") as error:
            await kit.allocations.create(call(""), 0.0, CONFIRMED)
        assert "retry" not in str(error.value)


async def test_what_has_ended_before_it_was_confirmed_is_told_as_it_is() -> None:
    async with running_broker(make_node(gpus=8)) as kit:
        making = asyncio.create_task(kit.allocations.create(call(), LONG_S, CONFIRMED))
        (key,) = await waited_for(kit)
        await kit.tick(times=3)  # past the time for admission
        made = await making
        assert made.allocation.end_reason is EndReason.FAILED
        assert kit.levels.told(CONFIRMED, made.allocation) is DURABLE
        again = await kit.allocations.create(call(), LONG_S, CONFIRMED)
        assert (again.allocation.id, again.duplicate) == (key, True)


async def test_of_a_batch_of_its_own_each_is_confirmed_or_not() -> None:
    async with running_broker(make_node(gpus=4), make_node("n2", agent="a2", center="c2")) as kit:
        calls = [call("here", gpus=1, centers=["c1"]), call("there", gpus=1, centers=["c2"])]
        refused = call("nowhere", gpus=64)
        making = asyncio.create_task(
            kit.bulk.create_each([calls[0], refused, calls[1]], 0.3, CONFIRMED)
        )
        ids = await waited_for(kit, 2)
        allocations = [kit.pool.state.allocations[key] for key in ids]
        here = [a.id for a in allocations if a.request_id == "here"]
        await admit(kit, *here)
        first, second, third = await making
        assert isinstance(first, Granted)
        assert first.allocation.state is AllocationState.ACTIVE
        assert getattr(second, "reason", "") == "NO_ROOM"
        assert isinstance(third, NotAcknowledgedError)
        assert third.metadata["allocation_id"] in ids
        assert not kit.pool.waiters


async def test_of_a_batch_that_is_one_all_are_confirmed_or_the_first_that_is_not_is_named() -> None:
    async with running_broker(make_node(gpus=4), make_node("n2", agent="a2", center="c2")) as kit:
        calls = [call("here", gpus=1, centers=["c1"]), call("there", gpus=1, centers=["c2"])]
        making = asyncio.create_task(kit.bulk.create_all(calls, 0.3, CONFIRMED))
        ids = await waited_for(kit, 2)
        there = {kit.pool.state.allocations[key].request_id: key for key in ids}
        await admit(kit, there["here"])
        with pytest.raises(NotAcknowledgedError) as error:
            await making
        assert error.value.metadata["index"] == "1"
        assert error.value.metadata["allocation_id"] == there["there"]
        assert not kit.pool.waiters


async def test_when_the_store_fails_while_it_is_confirmed_nothing_is_claimed() -> None:
    store = MemoryStore()
    async with running_broker(make_node(gpus=8), store=store) as kit:
        making = asyncio.create_task(kit.allocations.create(call(), LONG_S, CONFIRMED))
        ids = await waited_for(kit)
        store.fail = True
        with pytest.raises(OutcomeUnknownError):
            await admit(kit, *ids)
        kit.waits.hang_up()  # as the broker does that stops
        with pytest.raises(NotAcknowledgedError, match="could not be looked at") as error:
            await making
        assert error.value.metadata["ack_level"] == "CONFIRMED"
        assert not kit.pool.waiters


async def test_what_an_earlier_run_of_the_job_had_expected_is_not_waited_for() -> None:
    async with running_broker(make_node(gpus=8)) as kit:
        made = await kit.create(make_spec(gpus=1))
        waiting: dict[str, asyncio.Future[Allocation]] = {}
        kit.waits.expect(replace(made, id="never-was"), waiting)
        kit.waits.expect(made, waiting)
        grants = [Granted(made, duplicate=False)]
        reaching = asyncio.create_task(kit.waits.reached(grants, waiting, LONG_S, COMMITTED))
        await admit(kit, made.id)
        (reached,) = await asyncio.wait_for(reaching, LONG_S / 2)
        assert reached.allocation.state is AllocationState.ACTIVE
        assert list(kit.pool.waiters) == []
