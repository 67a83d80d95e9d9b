"""Sessions, reports and the lives of allocations, on a broker without wire."""

from __future__ import annotations

from itertools import pairwise

import pytest

from computepool_broker.errors import (
    AgentNameTakenError,
    EpochImplausibleError,
    EtagMismatchError,
    LeaseEndedError,
    NodeOwnedError,
    NoRoomError,
    NotFoundError,
    ProtocolUnsupportedError,
    ReportOutOfOrderError,
    RequestIdReusedError,
    SessionStaleError,
)
from computepool_broker.ledger.reconcile import Action, HeldState
from computepool_broker.ledger.transaction import Blocker
from computepool_broker.model.records import AllocationState, EndReason
from computepool_broker.services.messages import Mark, Open
from support.broker_kit import activate, running_broker
from support.builders import (
    make_agent,
    make_config,
    make_held,
    make_held_record,
    make_node,
    make_spec,
)
from support.memory_store import MemoryDisk, MemoryStore

RESERVED, ACTIVE = AllocationState.RESERVED, AllocationState.ACTIVE


# -- sessions ----------------------------------------------------------------------------------


async def test_a_lower_session_is_refused_and_an_equal_one_is_a_retry() -> None:
    async with running_broker() as kit:
        await kit.open(make_agent(session=5))
        await kit.open(make_agent(session=5))
        with pytest.raises(SessionStaleError):
            await kit.open(make_agent(session=4))


async def test_another_journal_under_a_live_agents_name_is_refused_until_it_is_silent() -> None:
    async with running_broker(make_node()) as kit:
        other = make_agent()._replace(journal_id="another")
        with pytest.raises(AgentNameTakenError):
            await kit.open(other)
        await kit.tick(times=2)
        assert await kit.open(other) == 1


async def test_another_protocol_and_an_epoch_too_far_ahead_are_refused() -> None:
    async with running_broker() as kit:
        with pytest.raises(ProtocolUnsupportedError):
            await kit.agents.open_session(Open(make_agent(), 2, Mark("", 0, 0), 0))
        with pytest.raises(EpochImplausibleError):
            await kit.open(seen=Mark("other", 5_000, 1))
        assert kit.pool.state.epoch == 1


@pytest.mark.parametrize(
    ("seen", "want"),
    [
        (Mark("", 0, 0), 1),
        (Mark("store-1", 1, 0), 1),
        (Mark("store-1", 1, 7), 2),  # this store was put back to an older copy
        (Mark("store-0", 1, 3), 2),  # another store
        (Mark("store-1", 6, 0), 7),
        (Mark("store-0", 6, 0), 7),
    ],
)
async def test_what_an_agent_has_seen_raises_the_epoch_durably(seen: Mark, want: int) -> None:
    store = MemoryStore()
    async with running_broker(store=store) as kit:
        await kit.open(seen=seen)
        assert kit.pool.state.epoch == store.disk.epoch == want


async def test_only_the_present_session_reports() -> None:
    async with running_broker(make_node()) as kit:
        with pytest.raises(SessionStaleError):
            await kit.report([], session=2)
        await kit.agents.close_session("a1", 1)
        with pytest.raises(SessionStaleError):
            await kit.report([])
        assert kit.pool.state.nodes["n1"].blockers & Blocker.AGENT_NOT_ACTIVE


async def test_a_session_opened_with_a_former_process_is_over() -> None:
    disk = MemoryDisk()
    async with running_broker(make_node(), store=MemoryStore(disk)):
        pass
    async with running_broker(store=MemoryStore(disk)) as kit:
        with pytest.raises(SessionStaleError):
            await kit.report([make_node()])


async def test_a_first_report_that_does_not_say_everything_is_asked_for_again() -> None:
    async with running_broker() as kit:
        await kit.open()
        assert (await kit.report(None)).want_full
        assert (await kit.report([make_node()], [make_held()])).want_full
        assert kit.pool.state.nodes == {}
        assert not (await kit.report([make_node()], [make_held_record()])).want_full


async def test_a_node_belongs_to_one_agent() -> None:
    async with running_broker(make_node()) as kit:
        await kit.open(make_agent("a2"))
        with pytest.raises(NodeOwnedError):
            await kit.report([make_node("n1", agent="a2")], agent="a2")


async def test_a_report_that_a_later_one_overtook_is_refused() -> None:
    async with running_broker(make_node()) as kit:
        await kit.report(None)
        kit._sequences["a1"] = 0
        with pytest.raises(ReportOutOfOrderError):
            await kit.report([make_node(cpu=1)])


# -- allocations -------------------------------------------------------------------------------


async def test_the_same_request_twice_is_one_grant_and_other_content_is_refused() -> None:
    async with running_broker(make_node()) as kit:
        first = await kit.create(make_spec(gpus=1), "r")
        again = await kit.create(make_spec(gpus=1), "r")
        assert first.id == again.id
        with pytest.raises(RequestIdReusedError):
            await kit.create(make_spec(gpus=2), "r")
        assert kit.pool.state.live == 1


async def test_a_request_id_is_remembered_after_the_end_and_forgotten_after_retention() -> None:
    config = make_config(retention_s=30)
    async with running_broker(make_node(), config=config) as kit:
        first = await kit.create(make_spec(gpus=1), "r")
        await kit.allocations.release(first.id, "", "")
        await kit.report(None)
        assert (await kit.create(make_spec(gpus=1), "r")).state is AllocationState.ENDED
        await kit.tick(times=2)
        await kit.report(None)
        assert (await kit.create(make_spec(gpus=1), "r")).id != first.id


async def test_a_renewed_allocation_lives_on_and_another_expires() -> None:
    async with running_broker(make_node()) as kit:
        renewed = await activate(kit, gpus=1, ttl_s=50)
        left = (await kit.create(make_spec(gpus=1, ttl_s=50))).id
        await kit.tick(times=2)
        await kit.allocations.renew(renewed, "", 0)
        await kit.tick()
        states = kit.pool.state.allocations
        assert states[renewed].state is ACTIVE
        assert states[left].end_reason is not EndReason.NONE
        with pytest.raises(LeaseEndedError, match=r"FAILED|EXPIRED"):
            await kit.allocations.renew(left, "", 0)


async def test_a_stale_etag_changes_nothing_and_release_is_idempotent() -> None:
    async with running_broker(make_node()) as kit:
        made = await kit.create(make_spec(gpus=1))
        with pytest.raises(EtagMismatchError):
            await kit.allocations.release(made.id, "stale", "")
        first = await kit.allocations.release(made.id, made.etag, "")
        assert (await kit.allocations.release(made.id, made.etag, "")).etag == first.etag
        with pytest.raises(NotFoundError):
            await kit.allocations.release("nobody", "", "")


async def test_what_no_agent_admits_in_time_has_failed() -> None:
    async with running_broker(make_node(), config=make_config(admit_timeout_s=30)) as kit:
        made = await kit.create(make_spec(gpus=1))
        await kit.tick(times=2)
        ended = kit.pool.state.allocations[made.id]
        assert ended.end_reason is EndReason.FAILED
        assert "n1" in ended.end_message


async def test_released_devices_come_back_when_the_agent_no_longer_names_the_lease() -> None:
    async with running_broker(make_node(gpus=1)) as kit:
        key = await activate(kit, gpus=1)
        await kit.allocations.release(key, "", "")
        answer = await kit.report(held=[make_held(f"{key}.0.0", HeldState.STARTED)])
        assert [c.action for c in answer.commands] == [Action.REVOKE]
        with pytest.raises(NoRoomError):
            await kit.create(make_spec(gpus=1))
        await kit.report(held=[])
        assert kit.pool.state.allocations[key].state is AllocationState.ENDED
        assert (await kit.create(make_spec(gpus=1))).state is RESERVED


async def test_a_refused_part_goes_elsewhere_and_fails_after_three_moves() -> None:
    nodes = [make_node(f"n{i}", gpus=1) for i in range(6)]
    async with running_broker(*nodes) as kit:
        made = await kit.create(make_spec(gpus=1))
        seen = []
        for move in range(4):
            part = kit.pool.state.allocations[made.id].parts[0]
            seen.append(part.node)
            held = make_held(f"{made.id}.0.{move}", HeldState.REFUSED, "DOES_NOT_FIT")
            await kit.report(held=[held])
        assert all(one != other for one, other in pairwise(seen))
        assert len(set(seen)) >= 3, "a node that has just refused is asked last"
        ended = kit.pool.state.allocations[made.id]
        assert (ended.state, ended.end_reason) == (AllocationState.ENDED, EndReason.FAILED)
        assert kit.pool.life("a1").refusals == 4
        assert all(book.used == {} for book in kit.pool.state.nodes.values())


async def test_a_suspect_node_gets_nothing_until_a_newer_report() -> None:
    async with running_broker(make_node(gpus=2)) as kit:
        made = await kit.create(make_spec(gpus=1))
        await kit.report(held=[make_held(f"{made.id}.0.0", HeldState.REFUSED)])
        assert kit.pool.state.nodes["n1"].blockers == Blocker.SUSPECT
        with pytest.raises(NoRoomError):
            await kit.create(make_spec(gpus=1))
        await kit.report(None)
        assert kit.pool.state.nodes["n1"].blockers == 0


@pytest.mark.parametrize(
    ("reason", "want"), [("CONTACT_LOST", EndReason.LOST), ("START_FAILED", EndReason.FAILED)]
)
async def test_what_its_agent_stopped_has_ended(reason: str, want: EndReason) -> None:
    async with running_broker(make_node()) as kit:
        key = await activate(kit, gpus=1)
        answer = await kit.report(held=[make_held(f"{key}.0.0", HeldState.STOPPED, reason)])
        assert kit.pool.state.allocations[key].end_reason is want
        assert [c.action for c in answer.commands] == [Action.REVOKE]
