"""A grant is on the disk before anybody hears of it: seen from outside, by system calls.

kill -9 cannot show this, since the kernel keeps what a killed process has written. strace shows
the order in which the broker's threads entered and left their calls.
"""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

import pytest

from computepool.v1 import allocation_pb2
from support.caller import spec
from support.processes import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from support.caller import Caller
    from support.local_pool import LocalPool

TRACED = "fdatasync,fsync,pwrite64,write,writev,sendmsg,sendto"
_UNFINISHED = re.compile(r"^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>.*= (-?\d+)")
_WHOLE = re.compile(r"^(\d+) +(\w+)\((.*)= (-?\d+)")


def strace() -> str:
    """Path of strace; a machine of CI must have it."""
    found = shutil.which("strace")
    if found is None:
        missing = "strace is not installed: that fsync comes before the answer is NOT SHOWN"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


def events(trace: str) -> list[tuple[str, str, str]]:
    """("begin" or "end", call, arguments) in the order of the trace."""
    out = []
    begun: dict[str, tuple[str, str]] = {}
    for line in trace.splitlines():
        if match := _UNFINISHED.match(line):
            thread, call, arguments = match.groups()
            begun[thread] = (call, arguments)
            out.append(("begin", call, arguments))
        elif match := _RESUMED.match(line):
            thread, call, result = match.groups()
            before, arguments = begun.pop(thread)
            assert before == call
            assert int(result) >= 0 or call in {"sendmsg", "write"}, line
            out.append(("end", call, arguments))
        elif match := _WHOLE.match(line):
            _, call, arguments, _ = match.groups()
            out += [("begin", call, arguments), ("end", call, arguments)]
    return out


def first(found: list[int], what: str) -> int:
    assert found, f"the trace shows no {what}"
    return found[0]


def check_order(trace: str, allocation_id: str) -> None:
    """The record is written to the write-ahead log, then synced, then the answer is sent."""
    seen = events(trace)

    def places(when: str, calls: str, *parts: str) -> list[int]:
        return [
            place
            for place, (phase, call, arguments) in enumerate(seen)
            if phase == when and call in calls.split() and all(p in arguments for p in parts)
        ]

    answers = places("begin", "sendmsg sendto write writev", "<TCP", allocation_id)
    answered = first(answers, "answer with the allocation's id")
    writes = places("end", "pwrite64 write", "-wal>", allocation_id)
    written = first(writes, "write of the allocation to the write-ahead log")
    syncs = [p for p in places("end", "fdatasync fsync", "-wal>") if p > written]
    synced = first(syncs, "fdatasync of the write-ahead log after the write")
    assert written < synced < answered
    begun = [p for p in places("begin", "fdatasync fsync", "-wal>") if written < p < synced]
    assert begun, "the sync that ended before the answer had begun before the write"


@pytest.mark.timeout(90)
async def test_grant_is_synced_to_the_disk_before_the_answer_is_sent(
    pool: LocalPool, caller: Caller, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    broker, region = pool.broker(), pool.region()
    # -D: the broker stays our child, under its own pid; strace ends with it.
    options = ["-D", "-f", "-yy", "-s", "65535", "-e", f"trace={TRACED}", "-e", "signal=none"]
    broker.command = [strace(), *options, "-o", str(trace), *broker.command]
    broker.start()
    await broker.ready()
    region.start()
    await region.ready()
    answer = await caller.create(spec(1), "synced", allocation_pb2.WAIT_FOR_RESERVED)
    assert answer.ack_level == allocation_pb2.ACK_LEVEL_DURABLE
    assert await region.stop() == 0
    assert await broker.stop() == 0

    async def complete() -> bool:
        # strace pads process ids that are shorter than five digits.
        ends = rf"^{broker.pid} +\+\+\+ exited with 0 \+\+\+"
        return re.search(ends, trace.read_text(errors="replace"), re.MULTILINE) is not None

    await eventually(complete, "strace has written the whole trace")
    check_order(trace.read_text(errors="replace"), answer.allocation.id)


def test_order_check_notices_an_answer_that_comes_before_the_sync() -> None:
    write = '7 pwrite64(5</x/ledger.sqlite3-wal>, "..id-1..", 9, 0) = 9'
    sync = [
        "7 fdatasync(5</x/ledger.sqlite3-wal> <unfinished ...>",
        "7 <... fdatasync resumed>) = 0",
    ]
    answer = '8 sendmsg(9<TCP:[a->b]>, {"..id-1.."}, 0) = 9'
    check_order("\n".join([write, *sync, answer]), "id-1")
    for wrong in (
        [write, answer, *sync],
        [*sync, write, answer],
        [write, sync[0], answer, sync[1]],
    ):
        with pytest.raises(AssertionError):
            check_order("\n".join(wrong), "id-1")
