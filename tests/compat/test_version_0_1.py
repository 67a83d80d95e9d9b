"""Programs and stores of version 0.1 beside a broker of this one.

The bytes were recorded with a broker of 0.1; what it answered then is what a broker must answer
now, as far as a program of 0.1 can see.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import grpc.aio

from compat.conversation import (
    CALL_S,
    FOLDER,
    VOLATILE,
    Contract,
    Speaker,
    load,
    shown,
    unknown_enums,
)

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from support.local_pool import LocalPool

RECORDED = FOLDER / "recorded_0_1"
AUDIT = "computepool.v1.InventoryService/AuditPool"
OPEN, SYNC = (f"computepool.v1.AgentService/{name}" for name in ("OpenSession", "Sync"))
NEVER_TIMES = {"report_interval_s": "10", "disconnected_after_s": "60", "lost_after_s": "300"}
"""As by default: nobody is declared silent between two steps."""
SAME_STORE = VOLATILE - {
    "id", "leaseId", "allocationId", "etag", "createTime", "revision", "digest", "message",
    "description",
}  # fmt: skip
"""In a store that was kept, names and revisions are those that were recorded."""


async def start_broker(pool: LocalPool) -> None:
    broker = pool.broker(**NEVER_TIMES)
    broker.start()
    await broker.ready()


def test_every_call_of_0_1_was_recorded() -> None:
    recorded = {step.call for step in load(RECORDED, "conversation")}
    assert recorded == Contract(RECORDED).calls


async def test_a_program_of_0_1_is_answered_as_before(pool: LocalPool) -> None:
    await start_broker(pool)
    contract = Contract(RECORDED)
    async with grpc.aio.insecure_channel(pool.target) as channel:
        speaker = Speaker(contract, channel)
        for at, step in enumerate(load(RECORDED, "conversation")):
            got = await speaker.say(step)
            where = f"step {at}, {step.call}"
            assert got.error == step.error, where
            if got.answer is not None:
                want = contract.answer(step.call, bytes.fromhex(step.answer))
                assert shown(got.answer) == shown(want), where
                assert list(unknown_enums(got.answer)) == [], where


async def test_a_store_of_0_1_is_opened_with_all_its_leases(pool: LocalPool) -> None:
    pool.store.mkdir()
    shutil.copy(RECORDED / "ledger.sqlite3", pool.store)
    await start_broker(pool)
    contract, steps = Contract(RECORDED), load(RECORDED, "kept")
    async with grpc.aio.insecure_channel(pool.target) as channel:
        speaker = Speaker(contract, channel)

        async def said(number: int) -> Message:
            answer = (await speaker.say(steps[number])).answer
            assert answer is not None
            return answer

        def recorded(number: int) -> Any:
            return contract.answer(steps[number].call, bytes.fromhex(steps[number].answer))

        await _agent_comes_back(contract, channel, recorded)
        for number in (14, 15):
            assert shown(await said(number), SAME_STORE) == shown(recorded(number), SAME_STORE)
        for number in (2, 5):
            again: Any = await said(number)
            assert again.duplicate
            assert again.allocation.id == recorded(number).allocation.id
        ask: Any = channel.unary_unary(f"/{AUDIT}")
        audit: Any = contract.answer(AUDIT, await ask(b"", timeout=CALL_S))
        assert not audit.findings
        assert audit.nodes == 2


async def _agent_comes_back(contract: Contract, channel: grpc.aio.Channel, recorded: Any) -> None:
    """The agent of 0.1 opens its next session and reports what it holds, with its records."""
    steps = load(RECORDED, "kept")
    opening: Any = contract.request(OPEN)
    opening.ParseFromString(bytes.fromhex(steps[0].request))
    opening.session = 2
    opening.seen.CopyFrom(recorded(9).mark)
    report: Any = contract.request(SYNC)
    report.ParseFromString(bytes.fromhex(steps[1].request))
    report.session = 2
    admitted = [c.record for c in recorded(7).commands if c.HasField("record")]
    for record in admitted:
        held = report.leases.add(lease_id=record.lease_id, state=3)
        held.record.CopyFrom(record)
    assert len(admitted) == 4
    opening.held_leases = len(admitted)
    answer: Any = None
    for call, request in ((OPEN, opening), (SYNC, report)):
        send: Any = channel.unary_unary(f"/{call}")
        answer = contract.answer(call, await send(request.SerializeToString(), timeout=CALL_S))
    mine = {(c.lease_id, c.action) for c in answer.commands}
    reserved = recorded(10).allocation.leases[0].id
    releasing = recorded(11).allocation.leases[0].id
    assert (reserved, 1) in mine  # ADMIT: it waits for its agent, as before
    assert mine <= {(reserved, 1), (releasing, 3)}  # and nothing that runs is touched
