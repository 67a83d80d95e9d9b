"""A center whose only agent was forgotten."""

from __future__ import annotations

from computepool_broker.ledger.transaction import PutAgent, PutNode, Transaction
from computepool_broker.placement.columns import Columns
from computepool_broker.placement.explain import explain
from support.builders import apply, make_node, make_spec, make_state


def test_a_center_without_nodes_is_not_in_a_refusal() -> None:
    columns = Columns()
    tables = make_state(
        make_node("n1", center="c1"), make_node("n2", center="c2", agent="a2"), columns=columns
    )
    apply(tables, Transaction(tables.epoch, nodes=(PutNode("n2", None),)))
    apply(tables, Transaction(tables.epoch, agents=(PutAgent("a2", None),)))
    refusal = explain(columns, make_spec(gpus=9), 0, lambda _: 0)
    assert [c.center for c in refusal.centers] == ["c1"]
