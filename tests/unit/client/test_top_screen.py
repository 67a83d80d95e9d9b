"""The live screen itself, driven by keys, over a real server with scripted answers."""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from textual.widgets import DataTable, Static

from computepool.v1 import allocation_pb2, inventory_pb2
from computepool_client.cli.main import main
from computepool_client.cli.top.app import TopApp
from computepool_client.cli.top.screens import CenterScreen, HelpScreen
from computepool_client.client import PoolClient
from fakes.pool_messages import make_allocation, make_center, make_model, make_view
from fakes.scripted_services import Failure, ScriptedServices
from support.processes import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from textual.pilot import Pilot

Code = grpc.StatusCode


def make_pool(services: ScriptedServices) -> None:
    """Three centers, of which the second has a node and an allocation."""
    services.script(
        "GetView",
        make_view(
            make_center("tj-1", make_model(devices=8, granted=1)),
            make_center("tj-2", make_model(devices=8, granted=7)),
            make_center("zjk-1", make_model(devices=80, granted=8), cordoned=True),
            allocations=5,
        ),
    )
    agent = inventory_pb2.Agent(name="slow-one", state=inventory_pb2.AGENT_STATE_ACTIVE)
    services.script("ListAgents", inventory_pb2.ListAgentsResponse(agents=[agent]))
    node = inventory_pb2.Node(name="tj-2-n0", center="tj-2", schedulable=True)
    services.script("ListNodes", inventory_pb2.ListNodesResponse(nodes=[node]))
    mine = make_allocation(id_="a-7")
    mine.leases[0].center = "tj-2"
    other = make_allocation(id_="a-8")
    services.script(
        "ListAllocations", allocation_pb2.ListAllocationsResponse(allocations=[mine, other])
    )


@asynccontextmanager
async def shown(
    endpoint: str, size: tuple[int, int] = (140, 45), interval_s: float = 0.2
) -> AsyncIterator[Pilot[None]]:
    app = TopApp(endpoint, lambda: PoolClient(endpoint, timeout_s=5.0), interval_s)
    async with app.run_test(size=size) as pilot:
        yield pilot


def said(pilot: Pilot[None], where: str) -> str:
    return str(pilot.app.screen.query_one(where, Static).content)


def names(pilot: Pilot[None], where: str = "#centers") -> list[str]:
    table = pilot.app.screen.query_one(where, DataTable)
    return [str(table.get_row_at(i)[0]) for i in range(table.row_count)]


async def until(pilot: Pilot[None], probe: Callable[[], Any], what: str) -> None:
    async def probed() -> Any:
        await pilot.pause()
        return probe()

    await eventually(probed, what)


async def test_it_shows_the_pool_of_a_broker_that_streams_no_view(
    services: ScriptedServices,
) -> None:
    make_pool(services)
    async with shown(services.endpoint) as pilot:
        await until(pilot, lambda: len(names(pilot)) == 3, "centers")
        await until(pilot, lambda: "slow-one" in said(pilot, "#slowest"), "agents")
        assert "5 allocations live" in said(pilot, "#head")
        assert "polled" in said(pilot, "#head")
        assert "tianjin" in said(pilot, "#regions")
        assert names(pilot) == ["tj-2", "tj-1", "zjk-1"]


async def test_s_sorts_by_the_next_column_and_r_turns_it_round(
    services: ScriptedServices,
) -> None:
    make_pool(services)
    async with shown(services.endpoint) as pilot:
        await until(pilot, lambda: len(names(pilot)) == 3, "centers")
        await pilot.press("s")
        assert "by free" in said(pilot, "#title")
        assert names(pilot)[0] == "zjk-1"
        await pilot.press("r")
        assert "reversed" in said(pilot, "#title")
        assert names(pilot)[-1] == "zjk-1"


async def test_the_filter_is_live_kept_by_enter_and_cleared_by_escape(
    services: ScriptedServices,
) -> None:
    make_pool(services)
    async with shown(services.endpoint) as pilot:
        await until(pilot, lambda: len(names(pilot)) == 3, "centers")
        await pilot.press("slash", *"cord")
        await until(pilot, lambda: names(pilot) == ["zjk-1"], "filtered")
        await pilot.press("enter")
        assert "1 of 3 centers" in said(pilot, "#title")
        await pilot.press("s")  # keys are commands again
        assert "by free" in said(pilot, "#title")
        await pilot.press("escape")
        await until(pilot, lambda: len(names(pilot)) == 3, "all again")


async def test_enter_opens_a_center_and_escape_comes_back(services: ScriptedServices) -> None:
    make_pool(services)
    async with shown(services.endpoint) as pilot:
        await until(pilot, lambda: len(names(pilot)) == 3, "centers")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, CenterScreen), "open")
        await until(pilot, lambda: names(pilot, "#nodes-grid") == ["tj-2-n0"], "nodes")
        assert "tj-2" in said(pilot, "#center-head")
        assert services.requests["ListNodes"][0].center == "tj-2"
        await pilot.press("l")
        assert names(pilot, "#leases-grid") == ["a-7"]
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, CenterScreen), "back")
        assert len(names(pilot)) == 3


async def test_p_asks_for_another_precision(services: ScriptedServices) -> None:
    make_pool(services)
    async with shown(services.endpoint) as pilot:
        await until(pilot, lambda: len(names(pilot)) == 3, "centers")
        await pilot.press("p")
        asked = services.requests["GetView"]
        await until(pilot, lambda: asked[-1].precision == "bf16", "bf16 after fp16")


async def test_space_holds_the_screen_still(services: ScriptedServices) -> None:
    make_pool(services)
    async with shown(services.endpoint) as pilot:
        await until(pilot, lambda: len(names(pilot)) == 3, "centers")
        await pilot.press("space")
        assert "PAUSED" in said(pilot, "#head")
        services.script("GetView", make_view(make_center("new", make_model())))
        app = pilot.app
        assert isinstance(app, TopApp)
        await until(pilot, lambda: "new" in app.board.centers, "heard")
        assert len(names(pilot)) == 3
        await pilot.press("space")
        await until(pilot, lambda: names(pilot) == ["new"], "goes on")


async def test_help_opens_and_closes(services: ScriptedServices) -> None:
    make_pool(services)
    async with shown(services.endpoint, (80, 24)) as pilot:
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(pilot.app.screen, HelpScreen), "help")
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, HelpScreen), "back")


async def test_a_broker_that_is_away_is_told_and_it_goes_on_by_itself(
    services: ScriptedServices,
) -> None:
    make_pool(services)
    async with shown(services.endpoint) as pilot:
        await until(pilot, lambda: len(names(pilot)) == 3, "centers")
        gone = Failure(Code.UNAVAILABLE, "STOPPING", "the broker is stopping")
        services.script("GetView", gone)
        services.script("ListAgents", gone)
        await until(pilot, lambda: "the broker is stopping" in said(pilot, "#head"), "told")
        assert "no answer for" in said(pilot, "#head")
        assert len(names(pilot)) == 3
        make_pool(services)
        await until(pilot, lambda: "READY" in said(pilot, "#head"), "goes on")


async def test_no_broker_at_all_is_told_and_q_leaves() -> None:
    async with shown("127.0.0.1:1") as pilot:
        await until(
            pilot, lambda: "no broker answers at 127.0.0.1:1" in said(pilot, "#head"), "told"
        )
        await pilot.press("q")
        await until(pilot, lambda: not pilot.app.is_running, "left")


async def test_a_streamed_view_is_followed_and_taken_up_after_a_break(
    services: ScriptedServices,
) -> None:
    make_pool(services)
    changed = threading.Event()

    def stream(
        request: inventory_pb2.WatchViewRequest,
    ) -> Iterator[inventory_pb2.WatchViewResponse]:
        if not request.resume_token:
            view = make_view(make_center("a", make_model()), make_center("b", make_model()))
            yield inventory_pb2.WatchViewResponse(view=view, whole=True, resume_token="t1")  # noqa: S106 - no password
            assert changed.wait(20)
            return
        view = make_view(make_center("c", make_model()))
        yield inventory_pb2.WatchViewResponse(view=view, centers_gone=["a"], resume_token="t2")  # noqa: S106 - no password
        changed.clear()
        changed.wait(20)

    services.script("WatchView", stream)
    async with shown(services.endpoint) as pilot:
        await until(pilot, lambda: sorted(names(pilot)) == ["a", "b"], "whole")
        assert "polled" not in said(pilot, "#head")
        changed.set()
        await until(pilot, lambda: sorted(names(pilot)) == ["b", "c"], "what changed")
        tokens = [each.resume_token for each in services.requests["WatchView"]]
        assert tokens[:2] == ["", "t1"]
        assert services.requests["WatchView"][0].least_interval_ms == 200
        changed.set()


async def test_names_from_outside_cannot_steer_the_terminal(services: ScriptedServices) -> None:
    make_pool(services)
    services.script("GetView", make_view(make_center("evil\x1b[2J", make_model())))
    async with shown(services.endpoint) as pilot:
        await until(pilot, lambda: names(pilot) == ["evil\N{REPLACEMENT CHARACTER}[2J"], "clean")


@pytest.mark.parametrize(
    ("arguments", "want"),
    [
        (["top"], "needs a terminal"),
        (["top", "--json"], "view --watch --json"),
        (["top", "--interval", "10ms"], "200ms to 60s"),
        (["top", "--precision", "fp7"], "fp7"),
    ],
)
def test_what_cannot_be_drawn_is_wrong_usage(
    arguments: list[str], want: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert want in " ".join(capsys.readouterr().err.replace("│", " ").split())
