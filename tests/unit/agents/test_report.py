"""Reports in parts: whole, bounded, and equal to what they were made of."""

from __future__ import annotations

import pytest

from computepool_agents.model import REFUSED, STARTED
from computepool_agents.report import Heading, Reporter, ReportTooLargeError
from fakes.agent_builders import make_held, make_node

HEADING = Heading("agent-1", 3, 7, 99)


def test_parts_stay_under_the_limit_and_lose_nothing() -> None:
    nodes = [make_node(f"n{i}", devices=8) for i in range(200)]
    held = [make_held(f"a{i}.0.0", STARTED) for i in range(50)]
    parts = Reporter(part_bytes=10_000).parts(HEADING, held, nodes, with_records=True)
    assert len(parts) > 3
    # The heading is beside the entries; a part is a hundredth of what the wire allows.
    assert max(part.ByteSize() for part in parts) <= 10_100
    assert [(p.part, p.parts) for p in parts] == [(i, len(parts)) for i in range(len(parts))]
    assert {(p.agent, p.session, p.sequence, p.applied_revision) for p in parts} == {
        ("agent-1", 3, 7, 99)
    }
    assert [n.node for part in parts for n in part.nodes] == [n.name for n in nodes]
    assert [h.lease_id for part in parts for h in part.leases] == [h.lease_id for h in held]


def test_entry_larger_than_a_part_has_one_to_itself() -> None:
    nodes = [make_node(f"n{i}", devices=8) for i in range(3)]
    assert len(Reporter(part_bytes=10).parts(HEADING, [], nodes, with_records=True)) == 3


def test_too_many_parts_are_refused() -> None:
    nodes = [make_node(f"n{i}") for i in range(1001)]
    with pytest.raises(ReportTooLargeError, match="1001 parts"):
        Reporter(part_bytes=10).parts(HEADING, [], nodes, with_records=False)


def test_empty_report_is_one_part() -> None:
    (part,) = Reporter().parts(HEADING, [], (), with_records=True)
    assert (part.parts, part.nodes_unchanged) == (1, False)


def test_no_nodes_means_unchanged() -> None:
    (part,) = Reporter().parts(HEADING, [], None, with_records=False)
    assert part.nodes_unchanged


def test_records_go_along_where_asked_for_and_were_kept() -> None:
    held = [make_held("a.0.0"), make_held("b.0.0", REFUSED, "DOES_NOT_FIT", "no")]
    (part,) = Reporter().parts(HEADING, held, None, with_records=True)
    assert [lease.HasField("record") for lease in part.leases] == [True, False]
    assert part.leases[1].reason == "DOES_NOT_FIT"
    (part,) = Reporter().parts(HEADING, held, None, with_records=False)
    assert not part.leases[0].HasField("record")


def test_changed_node_of_the_same_name_is_made_anew() -> None:
    reporter = Reporter()
    reporter.parts(HEADING, [], [make_node(cpu=8), make_node("n2")], with_records=False)
    (part,) = reporter.parts(HEADING, [], [make_node(cpu=4)], with_records=False)
    assert [n.total.cpu_milli for n in part.nodes] == [4000]
