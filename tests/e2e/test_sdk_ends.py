"""However a program ends, its blocks give back what they hold; a child of it does not."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from computepool.v1 import allocation_pb2
from support.caller import ACTIVE, ENDED

if TYPE_CHECKING:
    from pathlib import Path

    from support.caller import Caller
    from support.local_pool import LocalPool

RELEASED = allocation_pb2.END_REASON_RELEASED

HEAD = """
import os, signal, sys, threading
from computepool_client import Pool
pool = Pool(sys.argv[1])
def told(lease):
    print(lease.id, flush=True)
"""
BLOCK = (
    HEAD
    + """
with pool.allocate(gpus=1, ttl="10m") as lease:
    told(lease)
    {body}
"""
)
WAIT = "threading.Event().wait()"
TERM = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5)); print('ready', flush=True); " + WAIT
FORKED = """
pid = os.fork()
    if pid == 0:
        try:
            lease.check()
        except Exception as error:
            print(type(error).__name__, flush=True)
        sys.exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    print(pool.get(lease.id).state, flush=True)
""".strip()


async def run(pool: LocalPool, folder: Path, text: str) -> asyncio.subprocess.Process:
    script = folder / "program.py"
    script.write_text(text)
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        pool.target,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    said = await asyncio.wait_for(process.stdout.readline(), 30)
    if not said:
        _, errors = await process.communicate()
        pytest.fail(f"the program ended early:\n{errors.decode()}")
    return said.decode().strip()


async def end(process: asyncio.subprocess.Process) -> int:
    await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode is not None
    return process.returncode


@pytest.fixture(autouse=True)
async def running(pool: LocalPool) -> None:
    broker, region = pool.broker(), pool.region("core-a")
    broker.start()
    await broker.ready()
    region.start()
    await region.ready()


@pytest.mark.parametrize(
    ("body", "code"),
    [("pass", 0), ("1 / 0", 1), ("sys.exit(3)", 3), ("raise KeyboardInterrupt", 130)],
)
async def test_a_block_that_ends_gives_back(
    pool: LocalPool, caller: Caller, tmp_path: Path, body: str, code: int
) -> None:
    process = await run(pool, tmp_path, BLOCK.format(body=body))
    id_ = await line(process)
    assert await end(process) in (code, -signal.SIGINT if code == 130 else code)
    gone = await caller.becomes(id_, ENDED)
    assert gone.end_reason == RELEASED


@pytest.mark.parametrize(
    ("body", "number", "codes"),
    [
        (f"print('ready', flush=True); {WAIT}", signal.SIGINT, (130, -signal.SIGINT)),
        (TERM, signal.SIGTERM, (5,)),
    ],
)
async def test_a_signal_that_unwinds_the_program_gives_back(
    pool: LocalPool,
    caller: Caller,
    tmp_path: Path,
    body: str,
    number: signal.Signals,
    codes: tuple[int, ...],
) -> None:
    process = await run(pool, tmp_path, BLOCK.format(body=body))
    id_ = await line(process)
    assert await line(process) == "ready"
    process.send_signal(number)
    assert await end(process) in codes
    assert (await caller.becomes(id_, ENDED)).end_reason == RELEASED


async def test_what_is_kept_alive_is_given_back_when_the_interpreter_ends(
    pool: LocalPool, caller: Caller, tmp_path: Path
) -> None:
    kept = HEAD + 'told(pool.allocate(gpus=1, ttl="10m").keep_alive())\n'
    plain = HEAD + 'told(pool.allocate(gpus=1, ttl="10m"))\n'
    process = await run(pool, tmp_path, kept)
    id_ = await line(process)
    assert await end(process) == 0
    assert (await caller.becomes(id_, ENDED)).end_reason == RELEASED
    process = await run(pool, tmp_path, plain)
    id_ = await line(process)
    assert await end(process) == 0
    assert (await caller.get(id_)).state == ACTIVE, "it was never promised to end with the program"


async def test_a_child_that_was_forked_in_a_block_ends_and_the_block_lives(
    pool: LocalPool, caller: Caller, tmp_path: Path
) -> None:
    process = await run(pool, tmp_path, BLOCK.format(body=FORKED))
    id_ = await line(process)
    assert [await line(process) for _ in range(3)] == ["ClosedError", "7", "ACTIVE"]
    assert await end(process) == 0
    assert (await caller.becomes(id_, ENDED)).end_reason == RELEASED
