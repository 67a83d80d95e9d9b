"""The processes of `computepool up-ha`: real servers and sentinels, small daemons for brokers."""

from __future__ import annotations

import dataclasses
import signal
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from computepool_client import errors
from computepool_client.cli.up_ha import layout, roles
from computepool_client.cli.up_ha.fleet import Fleet
from computepool_client.cli.up_ha.network import Network
from computepool_client.cli.up_ha.script import Deed
from support.processes import eventually, free_port
from support.redis_server import server_binary

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.timeout(120)

TESTS = Path(__file__).resolve().parents[1]
START_S = 30.0
SMALL = layout.Shape(replicas=0, sentinels=0)


@pytest.fixture(autouse=True)
def fakes_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))


def ports() -> Iterator[int]:
    while True:
        yield free_port()


@asynccontextmanager
async def running(
    folder: Path, shape: layout.Shape | None = None, restart_after_s: float | None = None
) -> AsyncIterator[Fleet]:
    """A fleet without agents; small daemons stand for brokers."""
    for name in ("logs", "run"):
        (folder / name).mkdir()
    plan = layout.plan(shape or layout.Shape(), folder, server_binary(), ports())
    specs = [
        dataclasses.replace(each, module="fakes.small_daemon", arguments=())
        if each.kind == "broker"
        else each
        for each in plan.specs
        if each.kind != "agent"
    ]
    plan = dataclasses.replace(plan, specs=tuple(specs))
    with Network({spec.door: spec.port for spec in specs}) as network:
        fleet = Fleet(plan, network, restart_after_s)
        try:
            await fleet.start(START_S, lambda _: None)
            yield fleet
        finally:
            await fleet.end()


async def another_primary(fleet: Fleet) -> None:
    await eventually(fleet.find_primary, "there is another primary", 30)


async def test_a_killed_primary_is_followed_by_a_replica_and_is_the_one_to_restart(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as fleet:
        assert fleet.primary == "redis-1"
        assert fleet.whom(Deed("kill", "replica")).name == "redis-2"
        assert await fleet.do(Deed("kill", "primary")) == "killed redis-1 (kill -9)"
        assert fleet.states()["redis-1"] == "killed"
        with pytest.raises(errors.WrongStateError, match="redis-1 is killed"):
            await fleet.do(Deed("kill", "redis-1"))
        await another_primary(fleet)
        assert fleet.primary in ("redis-2", "redis-3")
        assert await fleet.do(Deed("restart", "primary")) == "started redis-1 again"
        assert set(fleet.states().values()) == {"up"}
        assert fleet.whom(Deed("kill", "primary")).name == fleet.primary


async def test_a_primary_cut_off_with_a_broker_lives_on_while_the_rest_fail_over(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as fleet:
        old = fleet.members["redis-1"].spec
        assert "redis-1 and broker-1" in await fleet.do(Deed("cut"))
        assert fleet.states()["redis-1"] == fleet.states()["broker-1"] == "cut off"
        await another_primary(fleet)
        assert await roles.answers(old.port)
        assert not await roles.answers(old.door)
        await fleet.do(Deed("heal"))
        assert set(fleet.states().values()) == {"up"}

        async def reached() -> bool:
            return await roles.answers(old.door)

        await eventually(reached, "the old primary is reached again")


async def test_what_ended_by_itself_is_told_once_and_mended(tmp_path: Path) -> None:
    async with running(tmp_path, SMALL) as fleet:
        broker = fleet.members["broker-2"]
        broker.child.signal(signal.SIGUSR1)
        assert broker.child.wait(20)
        told = fleet.look()
        assert len(told) == 1
        assert "broker-2 ended by itself (status 0)" in str(told[0])
        assert fleet.look() == []
        await fleet.do(Deed("stop", "broker"))
        assert fleet.states() == {"redis-1": "up", "broker-1": "stopped", "broker-2": "ended"}
        assert fleet.endpoints_up() == []
        text = await fleet.do(Deed("mend", "all"))
        assert text == "broker-1 goes on; started broker-2 again"
        assert await fleet.do(Deed("mend", "all")) == "everything runs already"


async def test_by_itself_what_is_down_is_due_after_a_while(tmp_path: Path) -> None:
    async with running(tmp_path, SMALL, restart_after_s=0.0) as fleet:
        await fleet.do(Deed("kill", "broker-1"))
        await fleet.do(Deed("stop", "broker-2"))
        await fleet.do(Deed("cut"))
        assert fleet.look() == [
            *(Deed("restart", "broker-1"), Deed("continue", "broker-2"), Deed("heal"))
        ]


async def test_a_process_that_ends_at_its_start_is_an_error_with_its_log(tmp_path: Path) -> None:
    async with running(tmp_path, SMALL) as fleet:
        await fleet.end()
        member = fleet.members["broker-1"]
        failing = (*member.child.arguments, "--fail", "no luck")
        member.child = dataclasses.replace(member.child, arguments=failing)
        with pytest.raises(errors.PoolError, match=r"broker-1 ended at its start(?s:.*)no luck"):
            await fleet.start(START_S, lambda _: None)
