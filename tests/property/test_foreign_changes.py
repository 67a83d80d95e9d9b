"""What others use changes with every report; the view follows by the short way, and stays right."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from computepool_broker.ledger.invariants import check_row
from computepool_broker.ledger.ledger import Ledger
from computepool_broker.ledger.transaction import Committed, NodeAmounts, PutNode, Transaction
from computepool_broker.model.amounts import Resources
from computepool_broker.model.book import capacity_of, only_foreign_differs
from computepool_broker.model.records import Devices
from support.builders import make_columns, make_node, whole

NODE = make_node("n1", cpu=8, memory=8, disk=8, gpus=2, extras={"seats": 3})
AMOUNT = st.integers(0, 9_000)
FOREIGN = st.builds(
    Resources, AMOUNT, AMOUNT, AMOUNT, st.sampled_from([(), (("seats", 1),), (("rooms", 2),)])
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("foreign"), FOREIGN),
        st.tuples(st.just("device"), st.integers(0, 1000)),
        st.tuples(st.just("gone"), st.booleans()),
        st.tuples(st.just("off"), st.booleans()),
        st.tuples(st.just("grant"), st.integers(0, 1)),
        st.tuples(st.just("look"), st.none()),
    ),
    max_size=12,
)


@given(STEPS)
def test_the_view_is_right_after_every_change_of_what_others_use(
    steps: list[tuple[str, Any]],
) -> None:
    columns, state = make_columns(NODE)
    ledger = Ledger(state)
    for kind, value in steps:
        record = state.nodes["n1"].record
        if kind == "foreign":
            record = record._replace(foreign=value)
        elif kind == "device":
            first, *rest = record.devices
            record = record._replace(
                devices=Devices.of((first._replace(foreign_milli=value), *rest))
            )
        elif kind == "gone":
            record = record._replace(gone=value)
        elif kind == "off":
            record = record._replace(unschedulable=value)
        elif kind == "grant":
            amounts = (("cpu_milli", 500), *whole("n1", int(str(value))))
            ledger.apply(Transaction(1, reserve=(NodeAmounts("n1", amounts),)))
            continue
        else:
            columns.settle()
            continue
        done = ledger.apply(Transaction(1, nodes=(PutNode("n1", record),)))
        assert isinstance(done, Committed)
        book = state.nodes["n1"]
        assert book.capacity == capacity_of(record)
    book = state.nodes["n1"]
    assert list(check_row(columns, book)) == []
    want = (0, 0, 0) if book.record.gone else book.record.foreign[:3]
    assert tuple(columns.foreign[:, book.row].tolist()) == want
    assert columns.free_devices(book.row).milli == int(columns.free_milli[book.row])


def test_a_record_that_was_read_before_differs_only_in_what_others_use() -> None:
    assert only_foreign_differs(NODE, NODE._replace(foreign=Resources(1)))
    for other in (
        NODE._replace(devices=Devices.of([NODE.devices[0]])),
        NODE._replace(gone=True),
        NODE._replace(unschedulable=True),
        NODE._replace(center="c9"),
        NODE._replace(total=Resources(1)),
        NODE._replace(labels=(("a", "b"),)),
    ):
        assert not only_foreign_differs(NODE, other)
