"""The service clock, pacing, names of allocations, putting reports together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from computepool_broker.control.clock import ServiceClock
from computepool_broker.control.ttl import Deadlines
from computepool_broker.errors import InvalidArgumentError, ReportOutOfOrderError
from computepool_broker.services import reports as reports_module
from computepool_broker.services.ids import AllocationIds
from computepool_broker.services.messages import Report
from computepool_broker.services.pacing import BUSY_REPORTS_PER_S, Pacer, next_sync_ms
from computepool_broker.services.reports import Reports
from support.builders import make_held, make_node

if TYPE_CHECKING:
    from computepool_broker.model.records import NodeRecord


def test_the_service_clock_follows_a_broker_that_runs() -> None:
    clock = ServiceClock(250, 1_000)
    assert [clock.tick(1_250), clock.tick(1_600)] == [250, 350]
    assert clock.now_ms == 600


def test_the_service_clock_skips_the_time_that_a_broker_did_not_run() -> None:
    clock = ServiceClock(250, 0)
    assert clock.tick(3_600_000) == 500
    assert clock.tick(3_600_250) == 250


def test_the_service_clock_never_goes_back() -> None:
    clock = ServiceClock(250, 1_000)
    assert clock.tick(400) == 0
    assert clock.tick(500) == 100


def test_deadlines_stay_few_however_often_they_are_set_and_dropped() -> None:
    deadlines = Deadlines()
    for number in range(20_000):
        deadlines.set(f"k{number}", number)
        deadlines.drop(f"k{number}")
    assert len(deadlines) == 0
    assert len(deadlines._heap) <= 1_100


@pytest.mark.parametrize(
    ("agents", "jitter", "want"),
    [(1, 0.0, 9_000), (1, 1.0, 11_000), (4_000, 0.5, 10_000), (40_000, 0.5, 100_000)],
)
def test_all_agents_together_stay_under_a_rate(agents: int, jitter: float, want: int) -> None:
    assert next_sync_ms(10.0, agents, jitter) == want


def test_agents_with_many_leases_leave_longer_gaps() -> None:
    gap_ms = Pacer().gap_ms
    assert gap_ms(100_000, 10) > gap_ms(1_000, 10) > gap_ms(0, 10) > 0
    assert gap_ms(1_000, 100) > gap_ms(1_000, 10)
    assert gap_ms(10**9, 10**6) <= 60_000


def reports_come(pacer: Pacer, per_s: int, since_ms: int, seconds: int) -> int:
    for at in range(per_s * seconds):
        pacer.count(since_ms + at * 1000 // per_s)
    return since_ms + seconds * 1000


def test_the_gap_widens_with_the_rate_of_reports_and_narrows_again() -> None:
    pacer = Pacer()
    quiet = pacer.gap_ms()
    now = reports_come(pacer, 100, 0, 3)
    assert pacer.gap_ms() == quiet
    now = reports_come(pacer, 4 * BUSY_REPORTS_PER_S, now, 1)
    widened = pacer.gap_ms()
    assert widened >= 4 * quiet
    now = reports_come(pacer, 4 * BUSY_REPORTS_PER_S, now, 5)
    assert widened < pacer.gap_ms() <= 2_000
    reports_come(pacer, 50, now, 10)
    assert pacer.gap_ms() == quiet


def test_names_are_unique_and_in_order_also_when_the_wall_clock_goes_back() -> None:
    ids = AllocationIds(lambda _: 5)
    names = [ids.next(ms) for ms in (1_000, 1_000, 500, 1_001)]
    assert names == sorted(set(names))
    assert {len(name) for name in names} == {16}


def part(
    number: int,
    of: int,
    *nodes: NodeRecord,
    sequence: int = 1,
    session: int = 1,
    leases: tuple[str, ...] = (),
    unchanged: bool = False,
) -> Report:
    held = [make_held(lease) for lease in leases]
    return Report(
        "a1",
        session,
        sequence,
        number,
        of,
        0,
        held,
        list(nodes),
        unchanged,
        number,
        delta=False,
        base_sequence=0,
        nodes_gone=[],
        leases_gone=[],
    )


def test_a_report_counts_when_its_last_part_has_come() -> None:
    reports = Reports()
    assert reports.take(part(0, 3, make_node("n1"))) is None
    assert reports.take(part(1, 3, leases=("x.0.0",))) is None
    whole = reports.take(part(2, 3, make_node("n2")))
    assert whole is not None
    assert [n.name for n in whole.nodes] == ["n1", "n2"]
    assert [h.lease_id for h in whole.held] == ["x.0.0"]
    assert whole.oldest_ms == 2


@pytest.mark.parametrize(
    "out_of_turn",
    [part(1, 3), part(2, 3, sequence=2), part(2, 3, session=2), part(2, 4)],
)
def test_a_part_out_of_turn_drops_what_has_come(out_of_turn: Report) -> None:
    reports = Reports()
    reports.take(part(0, 3))
    reports.take(part(1, 3))
    with pytest.raises(ReportOutOfOrderError):
        reports.take(out_of_turn)
    with pytest.raises(ReportOutOfOrderError):
        reports.take(part(2, 3))


def test_a_first_part_begins_anew() -> None:
    reports = Reports()
    reports.take(part(0, 2, make_node("n1")))
    reports.take(part(0, 2, make_node("n2")))
    whole = reports.take(part(1, 2))
    assert whole is not None
    assert [n.name for n in whole.nodes] == ["n2"]


def test_nodes_are_unchanged_only_if_every_part_says_so() -> None:
    reports = Reports()
    reports.take(part(0, 2, unchanged=True))
    whole = reports.take(part(1, 2, make_node("n1")))
    assert whole is not None
    assert not whole.nodes_unchanged


def test_the_same_node_or_lease_twice_is_named() -> None:
    with pytest.raises(InvalidArgumentError, match="n1"):
        Reports().take(part(0, 1, make_node("n1"), make_node("n1")))
    with pytest.raises(InvalidArgumentError, match=r"x\.0\.0"):
        Reports().take(part(0, 1, leases=("x.0.0", "x.0.0")))


def test_parts_that_grow_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports_module, "MAX_NODES", 2)
    monkeypatch.setattr(reports_module, "MAX_LEASES", 2)
    reports = Reports()
    reports.take(part(0, 9, make_node("n1"), make_node("n2")))
    with pytest.raises(InvalidArgumentError, match="nodes"):
        reports.take(part(1, 9, make_node("n3")))
    with pytest.raises(InvalidArgumentError, match="leases"):
        reports.take(part(0, 9, leases=("a", "b", "c")))
