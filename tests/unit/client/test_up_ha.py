"""The parts of `computepool up-ha` that decide: who is meant, what is lost, what is said."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING

import pytest

from computepool_client import errors
from computepool_client.cli.main import main
from computepool_client.cli.up_ha import layout, script, servers
from computepool_client.cli.up_ha.book import Book, Held
from computepool_client.cli.up_ha.line import Line, heading, short
from computepool_client.cli.up_ha.menu import Menu
from computepool_client.cli.up_ha.script import Deed, Timed

if TYPE_CHECKING:
    from pathlib import Path

STATES = {"redis-1": "up", "broker-1": "up", "agent-server": "up"}


def held(id_: str, acked_s: float = 0.0, request_id: str = "") -> Held:
    return Held(id_, request_id or f"r-{id_}", acked_s, acked_s + 600, frozenset({"core-a"}))


# -- flags and keys ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("primary", ("primary", None)),
        ("broker@10", ("broker", 10.0)),
        ("broker-2@1m30s", ("broker-2", 90.0)),
        ("agent-simulated@0.5", ("agent-simulated", 0.5)),
    ],
)
def test_whom_and_when_are_taken_apart(text: str, meant: tuple[str, float | None]) -> None:
    assert script.whom_and_when(text) == meant


@pytest.mark.parametrize("text", ["", "nobody", "broker-", "primary-1", "broker@", "redis@soon"])
def test_what_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        script.whom_and_when(text)


def test_what_has_no_time_of_its_own_is_done_when_it_is_said() -> None:
    given: dict[str, list[tuple[str, float | None]]] = {
        "kill": [("primary", None), ("broker", 30.0)],
        "restart": [("primary", 20.0)],
    }
    assert script.schedule(given, 10.0) == [
        Timed(10.0, Deed("kill", "primary")),
        Timed(20.0, Deed("restart", "primary")),
        Timed(30.0, Deed("kill", "broker")),
    ]


@pytest.mark.parametrize(
    "given",
    [
        "--kill nobody",
        "--stop broker@soon",
        "--sentinels 0 --replicas 1",
        "--replicas 0",
        "--brokers 0",
        "--for x",
    ],
)
def test_wrong_usage_starts_nothing(tmp_path: Path, given: str) -> None:
    assert main(["up-ha", "--state-dir", str(tmp_path / "pool"), *given.split()]) == 2
    assert not (tmp_path / "pool").exists()


def typed(menu: Menu, keys: str) -> list[Deed]:
    return [deed for key in keys if (deed := menu.key(key)) is not None]


def test_two_keys_say_what_and_whom() -> None:
    menu = Menu(["broker-1", "broker-2"], sentinels=True)
    assert typed(menu, "k2spcaxhu") == [
        Deed("kill", "broker-2"),
        Deed("stop", "primary"),
        Deed("continue", "agent-server"),
        Deed("cut"),
        Deed("heal"),
        Deed("mend", "all"),
    ]


def test_the_prompt_says_whom_one_can_choose_and_another_key_chooses_nobody() -> None:
    menu = Menu(["broker-1"], sentinels=False)
    before = menu.prompt
    menu.key("k")
    assert "1 broker-1" in menu.prompt
    assert "sentinel" not in menu.prompt
    assert menu.key("s") is None
    assert menu.prompt == before


@pytest.mark.parametrize(("keys", "deeds"), [("Fy", [Deed("flushall")]), ("Fn", []), ("F ", [])])
def test_a_store_is_emptied_only_when_somebody_is_sure(keys: str, deeds: list[Deed]) -> None:
    menu = Menu(["broker-1"], sentinels=True)
    assert typed(menu, keys) == deeds


# -- layout ------------------------------------------------------------------------------------


def planned(tmp_path: Path, shape: layout.Shape | None = None) -> layout.Layout:
    return layout.plan(shape or layout.Shape(), tmp_path, "/bin/server", itertools.count(20_000))


def test_everybody_is_reached_through_a_door_but_by_clients(tmp_path: Path) -> None:
    found = planned(tmp_path)
    spec = {each.name: each for each in found.specs}
    assert list(spec) == [
        *("redis-1", "redis-2", "redis-3", "sentinel-1", "sentinel-2", "sentinel-3"),
        *("broker-1", "broker-2", "agent-server", "agent-simulated"),
    ]
    store = spec["broker-1"].arguments[spec["broker-1"].arguments.index("--store") + 1]
    doors = ",".join(f"127.0.0.1:{spec[f'sentinel-{n}'].door}" for n in (1, 2, 3))
    assert store == f"redis+sentinel://{doors}/pool"
    brokers = spec["agent-server"].arguments[spec["agent-server"].arguments.index("--broker") + 1]
    assert brokers == f"127.0.0.1:{spec['broker-1'].door},127.0.0.1:{spec['broker-2'].door}"
    assert found.endpoints == [f"127.0.0.1:{spec[name].port}" for name in ("broker-1", "broker-2")]
    replica = (tmp_path / "redis-2" / "redis.conf").read_text()
    assert f"replicaof 127.0.0.1 {spec['redis-1'].door}\n" in replica
    assert f"replica-announce-port {spec['redis-2'].door}\n" in replica
    assert "min-replicas-to-write 1\n" in replica
    sentinel = (tmp_path / "sentinel-3" / "sentinel.conf").read_text()
    assert f"monitor pool 127.0.0.1 {spec['redis-1'].door} 2\n" in sentinel


def test_without_sentinels_one_redis_stands_alone(tmp_path: Path) -> None:
    found = planned(tmp_path, layout.Shape(brokers=1, replicas=0, sentinels=0))
    assert [each.name for each in found.specs][:2] == ["redis-1", "broker-1"]
    arguments = " ".join(found.of_kind("broker")[0].arguments)
    assert f"--store redis://127.0.0.1:{found.specs[0].door}/0 " in arguments
    assert "--redis-replicas" not in arguments
    assert "min-replicas-to-write 0\n" in (tmp_path / "redis-1" / "redis.conf").read_text()


def test_the_server_on_the_path_is_taken_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "valkey-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert servers.find() == str(program)


def test_a_missing_server_is_told_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(servers, "_of_package", lambda: None)
    with pytest.raises(errors.PoolError, match="apt-get install redis-server"):
        servers.find()
    assert main(["up-ha", "--state-dir", str(tmp_path / "pool")]) == 1


# -- book --------------------------------------------------------------------------------------


def test_what_is_leaving_is_held_no_more() -> None:
    book = Book()
    book.acknowledged(held("a", 1.0))
    book.acknowledged(held("b", 2.0))
    assert book.held_before(2.0) == ["a"]
    book.leaving("a")
    assert book.held_before(9.0) == ["b"]
    book.given_back("a", 5.0)
    assert book.came_back(["a", "b"], 6.0) == ["a"]
    assert book.came_back(["a", "b"], 4.0) == []


def test_what_a_release_did_not_find_is_held_still() -> None:
    book = Book()
    book.acknowledged(held("a", 1.0))
    found = book.leaving("a")
    assert found is not None
    book.stayed(found)
    assert book.held_before(2.0) == ["a"]
    assert book.leaving("b") is None


def test_one_request_id_with_two_answers_is_noticed() -> None:
    book = Book()
    book.acknowledged(held("a", request_id="r"))
    book.acknowledged(held("a", request_id="r"))
    assert not book.twice
    book.acknowledged(held("b", request_id="r"))
    assert book.twice == {"r"}


def test_a_second_is_counted_once() -> None:
    book = Book()
    for n in range(100):
        book.answered(1.0, 1.0 + n / 1000)
    book.failed("UNREACHABLE")
    second = book.take_second()
    assert (second.ok, dict(second.errors)) == (100, {"UNREACHABLE": 1})
    assert second.p99_ms() == pytest.approx(99)
    assert (book.take_second().ok, book.take_second().p99_ms()) == (0, None)
    assert book.ok_total == 100


def test_the_longest_time_without_an_answer_is_told_when_it_is_over() -> None:
    book = Book()
    for at in (1.0, 1.5, 4.5, 4.75):
        book.answered(at, at)
    assert book.take_gap_s() == 3.0
    assert book.take_gap_s() == 0.0
    assert book.longest_gap_s == 3.0
    assert book.silent_s(6.0) == 1.25


# -- line --------------------------------------------------------------------------------------

LINE = Line(
    time="12:00:01", seconds=2.0, ok=190, errors={}, live=60, held=50, lost=0, pending=0,
    double=0, p99_ms=12.3, chores="broker-1", primary="redis-1", epoch=3, judged_age_s=0.4,
    states=STATES,
)  # fmt: skip


def test_a_line_fits_under_its_heading() -> None:
    above, (below,) = heading(STATES, 120), LINE.text(120)
    assert len(above) == len(below)
    assert below.split() == [
        *("12:00:01", "95", "0", "50", "0", "0", "0", "12", "broker-1", "redis-1", "3"),
        *("up", "up", "up"),
    ]
    assert above.split()[-3:] == ["r1", "b1", "srv"]


def test_a_narrow_line_leaves_columns_out_and_names_only_those_that_are_not_up() -> None:
    above, (below,) = heading(STATES, 80), LINE.text(80)
    assert "epoch" not in above
    assert below.split() == [*("12:00:01", "95", "0", "0", "0", "0", "12", "redis-1", "all", "up")]
    states = STATES | {"redis-1": "killed", "broker-1": "stopped"}
    assert dataclasses.replace(LINE, states=states).text(80)[0].endswith("  r1 kill, b1 stop")


@pytest.mark.parametrize("columns", [60, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    states = {f"broker-{n}": "stopped" for n in range(1, 6)}
    line = dataclasses.replace(LINE, states=states, errors={"UNREACHABLE": 3, "OVERLOADED": 1})
    assert all(len(text) <= columns for text in line.text(columns))
    assert "UNREACHABLE 3" in "".join(line.text(columns))


def test_errors_and_an_old_verdict_stand_behind_or_below() -> None:
    line = dataclasses.replace(
        LINE, errors={"UNREACHABLE": 3, "OVERLOADED": 1}, judged_age_s=4.0, p99_ms=None
    )
    noted = "OVERLOADED 1, UNREACHABLE 3, judged 4 s ago"
    assert line.text(160)[0].endswith(f"  {noted}")
    assert line.text(100)[-1].strip() == noted
    assert dataclasses.replace(LINE, judged_age_s=None).text(160)[0].endswith("judged never")


def test_a_document_has_every_figure() -> None:
    found = dataclasses.replace(LINE, errors={"UNREACHABLE": 3}).document()
    assert found["ok_per_s"] == 95.0
    assert found["errors_per_s"] == 1.5
    assert found["errors"] == {"UNREACHABLE": 3}
    assert found["processes"] == STATES


def test_names_are_short() -> None:
    names = ("broker-2", "redis-1", "sentinel-3", "agent-server", "agent-simulated")
    assert [short(name) for name in names] == ["b2", "r1", "s3", "srv", "sim"]
