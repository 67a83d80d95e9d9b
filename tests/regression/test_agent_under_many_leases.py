"""An agent fell silent while it judged many leases: each was weighed against all before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool_agents.answers import Arbiter
from computepool_agents.book import Book
from computepool_agents.model import Amounts
from fakes.agent_builders import admit, make_answer, make_node, make_record

if TYPE_CHECKING:
    import pytest

    from computepool.v1 import types_pb2


def test_a_thousand_leases_of_one_node_are_admitted_at_the_cost_of_a_thousand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = 0
    whole = Amounts.of

    def counted(resources: types_pb2.Resources) -> Amounts:
        nonlocal looks
        looks += 1
        return whole(resources)

    monkeypatch.setattr(Amounts, "of", counted)
    records = [make_record(f"a{at}.0.0", cpu=1, memory=1) for at in range(1_000)]
    arbiter = Arbiter(Book(), {}, {"n1": make_node(cpu=1_000, memory=1_000)}, lambda _: None)
    plan = arbiter.plan(make_answer(*(admit(record) for record in records)))
    assert len(plan.change.puts) == len(records)
    assert looks <= 4 * len(records)
