"""What the live screen knows and says, without a screen: rates, ages, order, words."""

from __future__ import annotations

from typing import Any

from rich.cells import cell_len

from computepool.v1 import inventory_pb2, types_pb2
from computepool_client.cli.top import centers, frame, inside, pieces
from computepool_client.cli.top.board import Board, Detail
from computepool_client.cli.top.centers import SortBy
from computepool_client.cli.top.frame import Look
from computepool_client.cli.top.rates import Rate, sparkline
from fakes.pool_messages import make_allocation, make_center, make_model, make_view

WIDE = Look("broker:7600", 160, 45)


def make_board(*found: inventory_pb2.CenterView, now_s: float = 100.0, **totals: Any) -> Board:
    board = Board(interval_s=1.0, patience_s=6.0)
    board.viewed(make_view(*found, **totals), now_s)
    return board


def words(lines: tuple[pieces.Line, ...]) -> str:
    return "\n".join(pieces.plain(line) for line in lines)


def cells(table: pieces.Table, heading: str) -> list[str]:
    column = next(i for i, each in enumerate(table.headings) if each.rstrip(" ▾▴") == heading)
    return [row[column].text for row in table.rows]


# -- rates -------------------------------------------------------------------------------------


def test_a_rate_needs_two_totals() -> None:
    rate = Rate(1.0)
    rate.note(7, 0.0)
    assert rate.per_second() is None
    assert rate.series() == ()


def test_a_rate_is_over_the_last_five_seconds() -> None:
    rate = Rate(1.0)
    for at_s, total in ((0, 0), (10, 100), (12, 110), (15, 125)):
        rate.note(total, at_s)
    assert rate.per_second() == 5.0


def test_totals_that_come_late_are_spread_over_the_time_that_they_grew_in() -> None:
    rate = Rate(1.0)
    rate.note(0, 0.0)
    rate.note(40, 4.0)
    assert rate.series() == (10.0, 10.0, 10.0, 10.0)


def test_a_broker_started_anew_gives_no_rate_below_nothing() -> None:
    rate = Rate(1.0)
    rate.note(1000, 0.0)
    rate.note(2000, 1.0)
    rate.note(3, 2.0)
    assert rate.per_second() is None
    rate.note(5, 3.0)
    assert rate.per_second() == 2.0


def test_two_totals_of_one_moment_are_one() -> None:
    rate = Rate(1.0)
    rate.note(1, 5.0)
    rate.note(2, 5.0)
    assert rate.per_second() is None
    rate.note(4, 6.0)
    assert rate.per_second() == 2.0


def test_a_sparkline_is_as_high_as_its_highest() -> None:
    assert sparkline((0.0, 1.0, 2.0), 5) == "▁▅█  "
    assert sparkline((0.0, 0.0), 2) == "▁▁"
    assert sparkline((1.0, 2.0, 4.0), 2) == "▅█"


# -- the board ---------------------------------------------------------------------------------


def test_changes_of_the_view_replace_centers_and_leave_the_others() -> None:
    board = make_board(make_center("a", make_model()), make_center("b", make_model()))
    board.viewed(make_view(make_center("b", make_model(granted=3))), 101.0, whole=False)
    assert set(board.centers) == {"a", "b"}
    assert board.centers["b"].sums.granted == 3000
    board.viewed(make_view(), 102.0, whole=False, gone=["a"])
    assert set(board.centers) == {"b"}
    board.viewed(make_view(make_center("c")), 103.0)
    assert set(board.centers) == {"c"}


def test_ages_grow_between_answers() -> None:
    center = make_center("a", make_model(), age_ms=4000)
    center.in_flight_age_ms = 1500
    row = make_board(center, now_s=100.0).centers["a"]
    assert (row.age_at(102.5), row.in_flight_age_at(102.5)) == (6500, 4000)


def test_what_never_was_has_no_age_that_grows() -> None:
    row = make_board(make_center("a", age_ms=-1)).centers["a"]
    assert (row.age_at(500.0), row.in_flight_age_at(500.0)) == (-1, 0)


def test_silence_begins_after_patience_or_at_once_with_a_failure() -> None:
    board = make_board(make_center("a"), now_s=100.0)
    assert board.silent_for_s(105.0) is None
    assert board.silent_for_s(107.0) == 7.0
    board.failed("no broker answers", 102.0)
    assert board.silent_for_s(103.0) == 3.0
    board.listed([], 104.0)
    assert board.silent_for_s(105.0) is None


def test_before_the_first_answer_silence_counts_from_the_first_failure() -> None:
    board = Board(1.0, 6.0)
    assert board.silent_for_s(50.0) is None
    board.failed("no broker answers", 50.0)
    board.failed("no broker answers", 51.0)
    assert board.silent_for_s(53.0) == 3.0


# -- rows --------------------------------------------------------------------------------------


def test_centers_are_sorted_by_any_column_and_ties_go_by_name() -> None:
    board = make_board(
        make_center("b", make_model(devices=8, granted=4)),
        make_center("a", make_model(devices=8, granted=4)),
        make_center("c", make_model(devices=80, granted=8)),
    )
    rows = list(board.centers.values())

    def names(by: SortBy, *, backwards: bool = False) -> str:
        found = centers.ordered(rows, by, 100.0, backwards=backwards)
        return "".join(row.center for row in found)

    assert names(SortBy.USE) == "abc"
    assert names(SortBy.USE, backwards=True) == "cab"
    assert names(SortBy.FREE) == "cab"
    assert names(SortBy.NAME, backwards=True) == "cba"
    assert names(SortBy.POWER) == "cab"


def test_who_never_reported_is_the_oldest() -> None:
    board = make_board(make_center("a", age_ms=9000), make_center("b", age_ms=-1))
    rows = centers.ordered(board.centers.values(), SortBy.AGE, 100.0)
    assert [row.center for row in rows] == ["b", "a"]


def test_every_word_of_a_filter_must_be_there_in_any_case() -> None:
    board = make_board(make_center("Tj-1"), make_center("tj-2", cordoned=True))
    rows = list(board.centers.values())

    def found(needle: str) -> list[str]:
        return [row.center for row in centers.matching(rows, needle)]

    assert found("") == ["Tj-1", "tj-2"]
    assert found("tj CORDONED") == ["tj-2"]
    assert found("tianjin support") == ["Tj-1", "tj-2"]
    assert found("[") == []


def test_the_state_of_a_center_in_a_word() -> None:
    def state(overcommit: int = 0, **others: int) -> str:
        center = make_center("a", make_model(overcommit=overcommit))
        for name, value in others.items():
            setattr(center, name, value)
        return make_board(center).centers["a"].state

    assert state() == "open"
    assert state(cordoned=True) == "cordoned"
    assert state(agents=3, agents_active=1) == "part silent"
    assert state(agents_active=0) == "silent"
    assert state(nodes_schedulable=1) == "1 closed"
    assert state(nodes_schedulable=0) == "closed"
    assert state(overcommit=1000) == "overfull"


def test_a_region_without_devices_counts_cores_and_the_whole_leaves_them_out() -> None:
    board = make_board(make_center("home", cores=4))
    board.viewed(make_view(make_center("tj", make_model()), region="x"), 100.0, whole=False)
    *regions, whole = centers.by_region(board.centers.values())
    assert [(row.region, row.cores, row.sums.total) for row in regions] == [
        ("tianjin", True, 4000),
        ("x", False, 8000),
    ]
    assert (whole.cores, whole.sums.total, whole.centers) == (False, 8000, 2)


# -- words -------------------------------------------------------------------------------------


def test_the_head_sums_up_the_pool() -> None:
    model = make_model(devices=1000, foreign=800, granted=150, in_flight=2)
    center = make_center("tj-1", model)
    center.in_flight_age_ms = 1200
    board = make_board(center, allocations=12, audit_findings=0)
    said = words(frame.frame(board, WIDE, 103.0).head)
    for want in (
        "broker:7600",
        "READY",
        "1,000 devices, 312 P, 95.0 % used, 50 free",
        "12 allocations live",
        "2 in flight, oldest 4s",
        "audit clean",
    ):
        assert want in said


def test_what_is_wrong_with_the_pool_has_a_line_of_its_own() -> None:
    board = make_board(make_center("a"), mass_silence=True, audit_findings=3)
    assert board.totals is not None
    assert "WARMING" not in words(frame.frame(board, WIDE, 100.0).head)
    view = make_view(make_center("a"), mass_silence=True, audit_findings=3)
    view.state = inventory_pb2.POOL_STATE_WARMING_UP
    board.viewed(view, 101.0)
    said = words(frame.frame(board, WIDE, 101.0).head)
    for want in ("WARMING UP: not all", "MASS SILENCE", "AUDIT: 3 findings"):
        assert want in said


def test_without_an_answer_all_figures_are_grey_and_say_how_old_they_are() -> None:
    board = make_board(make_center("a", make_model(granted=2)), now_s=100.0)
    fresh = frame.frame(board, WIDE, 101.0)
    assert not fresh.stale
    assert any(cell.style is not pieces.Style.DIM for cell in fresh.table.rows[0])
    board.failed("no broker answers at broker:7600", 105.0)
    stale = frame.frame(board, WIDE, 112.0)
    assert stale.stale
    assert "no answer for 12 s  no broker answers at broker:7600" in words(stale.head)
    grey = [cell for row in stale.table.rows for cell in row]
    grey += [piece for line in stale.regions for piece in line]
    assert {cell.style for cell in grey} == {pieces.Style.DIM}
    assert cells(stale.table, "age") == ["16s"]


def test_before_any_answer_it_says_what_it_waits_for() -> None:
    said = words(frame.frame(Board(1.0, 6.0), WIDE, 5.0).head)
    assert "waiting for the broker" in said


def test_a_pool_without_agents_says_so() -> None:
    assert "no agent has reported yet" in words(frame.frame(make_board(), WIDE, 100.0).head)


def test_columns_give_way_where_there_is_no_room_but_not_what_it_is_sorted_by() -> None:
    board = make_board(make_center("zhangjiakou-03", make_model(granted=1)))

    def headings(width: int, sort: SortBy = SortBy.USE) -> list[str]:
        shown = frame.frame(board, Look("e", width, 24, sort), 100.0)
        return [each.rstrip(" ▾▴") for each in shown.table.headings]

    narrow = headings(80)
    assert {"center", "use %", "free", "in flight", "oldest", "agents", "age"} <= set(narrow)
    assert "overcommit" not in narrow
    assert "overcommit" in headings(200)
    assert "P" not in headings(70)
    assert "P" in headings(70, SortBy.POWER)


def test_no_line_is_wider_than_the_screen() -> None:
    board = make_board(
        make_center("tj-1", make_model(devices=100_000, foreign=50_000, granted=12_345)),
        allocations=123_456,
        audit_findings=12,
        mass_silence=True,
        region="a-region-with-a-long-name",
    )
    board.listed([make_agent(f"agent-of-some-length-{i}", i) for i in range(9)], 100.0)
    for width in (80, 100, 140):
        for height in (24, 45):
            shown = frame.frame(board, Look("broker.example:7600", width, height), 100.0)
            lines = (*shown.head, *shown.regions, shown.title, *shown.slowest)
            assert max(cell_len(pieces.plain(line)) for line in lines) <= width


def make_agent(name: str, age_ms: int) -> inventory_pb2.Agent:
    return inventory_pb2.Agent(
        name=name,
        center="tj-1",
        state=inventory_pb2.AGENT_STATE_ACTIVE,
        last_sync_age_ms=age_ms,
    )


def test_the_slowest_agents_come_first_and_who_never_reported_before_them() -> None:
    board = make_board(make_center("tj-1"))
    board.listed([make_agent("a", 1000), make_agent("b", 9000), make_agent("c", -1)], 100.0)
    line = words(frame.frame(board, Look("e", 120, 24), 101.0).slowest)
    assert line == "slowest  c never  b 10s  a 2s"
    tall = frame.frame(board, WIDE, 101.0).slowest
    assert [pieces.plain(each).split()[0] for each in tall] == ["slowest", "c", "b", "a"]


# -- inside a center ---------------------------------------------------------------------------


def make_detail() -> Detail:
    gone = inventory_pb2.NodeDevice(
        device=types_pb2.Device(id="GPU-x", model="A100"), granted_milli=500, gone=True
    )
    node = inventory_pb2.Node(
        name="n0",
        center="tj-1",
        total=types_pb2.Resources(cpu_milli=8000, memory_mib=2048),
        granted=types_pb2.Resources(cpu_milli=9000),
        blockers=["GONE"],
        devices=[gone],
        leases=2,
    )
    return Detail("tj-1", [node], more_nodes=True, allocations=[make_allocation()])


def test_a_center_shows_its_nodes_devices_and_leases() -> None:
    detail = make_detail()
    nodes = inside.nodes(detail.nodes, 160)
    assert cells(nodes, "state") == ["GONE"]
    assert cells(nodes, "cores free") == ["0"]
    devices = inside.devices(detail.nodes, 160)
    assert cells(devices, "granted") == ["50.0 %"]
    assert cells(devices, "state") == ["gone"]
    leases = inside.leases(detail, 160)
    assert cells(leases, "allocation") == ["a-1"]
    assert cells(leases, "devices") == ["1 A100"]


def test_a_center_says_what_is_left_out_and_what_it_is_cordoned_for() -> None:
    center = make_center("tj-1", make_model(), cordoned=True)
    center.cordon_message = "new cooling"
    board = make_board(center)
    said = words(inside.head(board, "tj-1", "e:1", 101.0, 300))
    assert "cordoned: new cooling" in said
    assert "tianjin (support)" in said
    assert inside.remarks(make_detail()).startswith("shown: the first 1 nodes")
    assert inside.remarks(Detail("tj-1")) == ""


def test_a_center_that_left_the_view_is_told() -> None:
    said = words(inside.head(make_board(), "tj-9", "e:1", 101.0, 80))
    assert "no such center" in said
