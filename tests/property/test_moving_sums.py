"""What is moving, kept up over random histories, against adding it up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from computepool_broker.ledger.transaction import NodeAmounts, PutAllocation
from computepool_broker.model.records import AllocationState, PartState
from computepool_broker.services import moving
from computepool_broker.services.moving import MovingSums
from computepool_broker.services.view import Moving, moving_in
from support.builders import commit, make_allocation, make_node, make_part, make_state

STATES = {
    PartState.PENDING: AllocationState.RESERVED,
    PartState.ADMITTED: AllocationState.RESERVED,
    PartState.STARTED: AllocationState.ACTIVE,
    PartState.RELEASING: AllocationState.RELEASING,
    PartState.GONE: AllocationState.ENDED,
}
KEYS = ("x", "y", "z")
steps = st.lists(
    st.tuples(
        st.sampled_from(KEYS), st.sampled_from(list(STATES)), st.sampled_from(("n1", "n2")),
        st.integers(1, 3), st.booleans(),
    ),
    max_size=30,
)  # fmt: skip


def shown(found: Moving) -> tuple[object, ...]:
    """Without the zeros that what has left leaves behind."""
    both = [
        {c: {k: n for k, n in amounts.items() if n} for c, amounts in by_center.items()}
        for by_center in (found.in_flight, found.releasing)
    ]
    return (*({c: a for c, a in by.items() if a} for by in both), found.oldest)


@given(steps)
def test_what_is_kept_up_is_what_is_there(
    history: list[tuple[str, PartState, str, int, bool]],
) -> None:
    before, moving.FEW = moving.FEW, 0
    try:
        live_through(history)
    finally:
        moving.FEW = before


def live_through(history: list[tuple[str, PartState, str, int, bool]]) -> None:
    state = make_state(make_node("n1", center="c1"), make_node("n2", agent="a2", center="c2"))
    sums = MovingSums(state)
    for at, (key, part_state, node, cores, look) in enumerate(history):
        old = state.allocations.get(key)
        amounts = (("cpu_milli", cores * 1000), (f"d/{node}-d{cores}", 100))
        part = make_part(node=node, state=part_state, amounts=amounts)
        new = make_allocation(key, part, state=STATES[part_state])
        new.created_ms += at
        held = part_state is not PartState.GONE
        commit(
            state,
            puts=(PutAllocation(key, new, old.revision if old else 0),),
            release=tuple(
                NodeAmounts(p.node, p.amounts)
                for p in (old.parts if old else ())
                if p.state is not PartState.GONE
            ),
            reserve=(NodeAmounts(node, amounts, forced=True),) if held else (),
        )
        if look:
            assert shown(sums.look()) == shown(moving_in(state))
    assert shown(sums.look()) == shown(moving_in(state))
    sums.end()
    assert state.moved is None
    assert shown(sums.look()) == shown(moving_in(state)), "it begins by itself"
