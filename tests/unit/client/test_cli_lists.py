"""What all lists have in common: filter, order, limit, forms, looking again."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import grpc
import pytest

from computepool.v1 import allocation_pb2, inventory_pb2
from computepool_client.cli.main import main
from fakes.pool_messages import make_allocation, make_center, make_model, make_view
from fakes.scripted_services import Failure, ScriptedServices

Code = grpc.StatusCode
Capture = pytest.CaptureFixture[str]


def center(name: str, *, cordoned: bool = False) -> inventory_pb2.Center:
    view = make_center(name, make_model("A100", 8, foreign=2), cordoned=cordoned)
    view.models[0].devices.schedulable = 4000
    return inventory_pb2.Center(region="tianjin", role="support", view=view)


@pytest.fixture
def lists(services: ScriptedServices) -> ScriptedServices:
    """A broker whose every list has two items."""
    services.script(
        "ListCenters", inventory_pb2.ListCentersResponse(centers=[center("c-1"), center("c-2")])
    )
    nodes = [inventory_pb2.Node(name="n-1"), inventory_pb2.Node(name="n-2")]
    services.script("ListNodes", inventory_pb2.ListNodesResponse(nodes=nodes))
    agents = [inventory_pb2.Agent(name="g-1"), inventory_pb2.Agent(name="g-2")]
    services.script("ListAgents", inventory_pb2.ListAgentsResponse(agents=agents))
    found = [make_allocation(id_="a-1"), make_allocation(id_="a-2")]
    services.script("ListAllocations", allocation_pb2.ListAllocationsResponse(allocations=found))
    return services


COMMANDS = [
    ("centers", "ListCenters", ["c-1", "c-2"]),
    ("nodes", "ListNodes", ["n-1", "n-2"]),
    ("agents", "ListAgents", ["g-1", "g-2"]),
    ("list", "ListAllocations", ["a-1", "a-2"]),
]


@pytest.mark.parametrize(("command", "method", "names"), COMMANDS)
def test_every_list_filters_orders_and_has_four_forms(
    lists: ScriptedServices, capsys: Capture, command: str, method: str, names: list[str]
) -> None:
    for form in ("table", "wide", "json", "name"):
        assert main([command, "--filter", 'x = "y"', "--order-by", "x desc", "-o", form]) == 0
    asked = lists.requests[method]
    assert {(each.filter, each.order_by) for each in asked} == {('x = "y"', "x desc")}
    out = capsys.readouterr().out
    assert out.endswith("\n".join([*names, ""]))
    found = json.loads(out[out.index("{") : out.rindex("}") + 1])
    assert found["more"] is False
    (key,) = set(found) - {"more"}
    assert len(found[key]) == 2


@pytest.mark.parametrize(("command", "method", "names"), COMMANDS)
def test_a_limit_cuts_and_says_so(
    lists: ScriptedServices, capsys: Capture, command: str, method: str, names: list[str]
) -> None:
    assert main([command, "--limit", "1", "-o", "name"]) == 0
    captured = capsys.readouterr()
    assert captured.out.split() == names[:1]
    assert "There are more than 1" in captured.err
    if method != "ListAgents":  # all agents come as one page
        assert lists.requests[method][0].page_size == 2


def test_what_is_open_is_shown_beside_what_is_free(
    lists: ScriptedServices, capsys: Capture
) -> None:
    assert main(["centers"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["c-1", "tianjin", "support", "2/2", "8", "6", "4"] in [row[:7] for row in rows]
    view = make_view(lists_center := center("c-1").view)
    assert lists_center.models[0].devices.free == 6000
    lists.script("GetView", view)
    assert main(["view"]) == 0
    (row,) = [x.split() for x in capsys.readouterr().out.splitlines() if x.split()[:1] == ["c-1"]]
    assert row[1:8] == ["8", "-", "2", "-", "-", "-", "6"]
    assert row[8] == "4"


def test_notes_that_many_centers_have_are_one_line(
    services: ScriptedServices, capsys: Capture
) -> None:
    silent = [make_center(f"c-{i}", make_model(), agents_active=0) for i in range(6)]
    services.script("GetView", make_view(*silent, make_center("c-9", cordoned=True)))
    assert main(["view"]) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("!")]
    assert notes == [
        "! 6 centers (c-0, c-1, c-2, c-3 and 2 more): silent",
        "! c-9: cordoned",
    ]


def test_a_note_is_seen_on_a_narrow_terminal(
    services: ScriptedServices, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    cordoned = center("zhangjiakou-huailai", cordoned=True)
    services.script("ListCenters", inventory_pb2.ListCentersResponse(centers=[cordoned]))
    assert main(["centers"]) == 0
    out = capsys.readouterr().out
    assert "cordoned" in out
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 80


def test_wide_leaves_nothing_out_however_narrow_the_terminal_is(
    lists: ScriptedServices, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["nodes", "-o", "wide"]) == 0
    head = " ".join(capsys.readouterr().out.split("\n")[1].split())
    assert head.startswith("node center state free/all")
    assert head.endswith("region agent labels cordoned for")


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ("nodes -o yaml", "'yaml' is no form of output: write table, wide, json or name"),
        ("nodes --limit -1", "'-1' is no whole number from 0 to 1,000,000"),
        ("nodes --limit x", "'x' is no whole number"),
        ("nodes --interval 1s", "needs --watch"),
        ("nodes --watch --interval 10ms", "at least 200ms"),
        ("view --depth rack", "'rack' is no depth: write region, center or model"),
    ],
)
def test_wrong_usage_is_told_in_words(
    services: ScriptedServices, capsys: Capture, given: str, want: str
) -> None:
    assert main([*given.split(), "--json"]) == 2
    assert not services.requests
    err = capsys.readouterr().err
    assert want in (json.loads(err)["error"]["message"] if err.startswith("{") else err)


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "computepool_client.cli.main", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )


def test_watch_looks_again_and_survives_a_silent_broker(services: ScriptedServices) -> None:
    def page(name: str) -> inventory_pb2.ListAgentsResponse:
        return inventory_pb2.ListAgentsResponse(agents=[inventory_pb2.Agent(name=name)])

    gone = Failure(Code.UNAVAILABLE, "STOPPING", "it stops")
    services.script("ListAgents", page("g-1"), gone, gone, page("g-2"))
    process = started("agents", "--watch", "--interval", "200ms", "-o", "name")
    assert process.stdout is not None
    assert process.stdout.readline() == "g-1\n"
    assert process.stdout.readline() == "g-2\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "it stops; still asking\n")


def test_the_first_look_of_a_watch_may_not_fail(services: ScriptedServices) -> None:
    services.script("ListAgents", Failure(Code.UNAVAILABLE, "STOPPING", "it stops"))
    assert main(["agents", "--watch"]) == 5


def test_watch_on_a_terminal_is_a_picture_no_higher_than_it(services: ScriptedServices) -> None:
    agents = [inventory_pb2.Agent(name=f"agent-{i:03d}") for i in range(100)]
    services.script("ListAgents", inventory_pb2.ListAgentsResponse(agents=agents))
    screen = "".join(_screens("agents", "--watch", until="below the edge"))
    shown = re.findall(r"agent-\d\d\d", screen)
    assert shown[0] == "agent-000"
    assert len(shown) < 24
    assert "Ctrl-C ends" in screen


def _screens(*arguments: str, until: str) -> Iterator[str]:
    """What is written on a terminal of 80 by 24 until a text is seen; then Ctrl-C."""
    ours, theirs = os.openpty()
    os.set_inheritable(theirs, True)
    process = subprocess.Popen(
        [sys.executable, "-m", "computepool_client.cli.main", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "LINES": "24", "COLUMNS": "80"},
    )
    os.close(theirs)
    seen = ""
    try:
        while until not in seen:
            seen += os.read(ours, 65536).decode()
        yield seen
    finally:
        process.send_signal(signal.SIGINT)
        while True:
            try:
                os.read(ours, 65536)
            except OSError:  # how a terminal says that the other side is closed
                break
        os.close(ours)
    assert process.wait(30) == 130


@pytest.mark.parametrize(
    ("given", "want"),
    [
        (["agents"], "No agent has ever reported."),
        (["agents", "--filter", "state = LOST"], "No agents match."),
        (["list"], "No live allocations."),
        (["list", "--filter", "state = ENDED"], "No live allocation matches; --all looks at"),
        (["list", "--all", "--filter", "state = ENDED"], "No allocations match."),
        (["centers", "--filter", 'region = "mars"'], "No centers match."),
        (["nodes", "--center", "mars"], "No nodes at 'mars'; `computepool centers` lists"),
    ],
)
def test_an_empty_list_says_whether_a_filter_emptied_it(
    services: ScriptedServices, capsys: Capture, given: list[str], want: str
) -> None:
    services.script("ListCenters", inventory_pb2.ListCentersResponse())
    services.script("ListAgents", inventory_pb2.ListAgentsResponse())
    services.script("ListNodes", inventory_pb2.ListNodesResponse())
    services.script("ListAllocations", allocation_pb2.ListAllocationsResponse())
    assert main(given) == 0
    assert capsys.readouterr().out.startswith(want)


def test_a_filter_that_nothing_matches_releases_nothing_and_says_so(
    services: ScriptedServices, capsys: Capture
) -> None:
    services.script("ListAllocations", allocation_pb2.ListAllocationsResponse())
    assert main(["release", "--filter", "id = a", "--yes"]) == 0
    assert capsys.readouterr().out == "No live allocation matches: nothing was released.\n"
    assert not services.requests["BatchReleaseAllocations"]
