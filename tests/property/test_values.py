"""Amounts, deadlines and the codec: small values whose laws hold for all inputs."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool_broker.control.ttl import Deadlines
from computepool_broker.model import codec
from computepool_broker.model.amounts import Resources, add, shortfall, subtract
from computepool_broker.model.records import (
    AgentRecord,
    Allocation,
    AllocationState,
    Device,
    Devices,
    EndReason,
    NodeRecord,
    Part,
    PartState,
)
from computepool_broker.model.request import ContactPolicy, PartSpec, Shape, Spec, digest_of

KEYS = ("cpu_milli", "memory_mib", "x/slot", "d/gpu-0")
AMOUNT = st.integers(1, 2**50)
AMOUNTS = st.dictionaries(st.sampled_from(KEYS), AMOUNT).map(lambda d: tuple(d.items()))
TABLE = st.dictionaries(st.sampled_from(KEYS), AMOUNT)
TEXT = st.text(max_size=8)
PAIRS = st.dictionaries(TEXT, TEXT, max_size=3).map(lambda d: tuple(sorted(d.items())))
COUNTS = st.dictionaries(TEXT, AMOUNT, max_size=3).map(lambda d: tuple(sorted(d.items())))
TEXTS = st.lists(TEXT, max_size=3).map(tuple)

PART_SPECS = st.builds(
    PartSpec, AMOUNT, AMOUNT, AMOUNT, COUNTS, st.integers(0, 64), st.integers(0, 999), TEXTS, AMOUNT
)
SPECS = st.builds(
    Spec,
    st.builds(Shape, PART_SPECS, TEXTS, TEXTS, PAIRS),
    st.integers(1, 1000),
    st.integers(10, 31_536_000),
    st.sampled_from(ContactPolicy),
    st.integers(0, 31_536_000),
)
PARTS = st.builds(
    Part,
    st.integers(0, 999),
    st.integers(0, 3),
    TEXT,
    TEXT,
    AMOUNTS,
    st.sampled_from(PartState),
    st.integers(0, 2**60),
)
ALLOCATIONS = st.builds(
    Allocation,
    TEXT,
    TEXT,
    TEXT,
    st.binary(max_size=16),
    SPECS,
    st.lists(PARTS, max_size=3).map(tuple),
    st.integers(0, 2**45),
    TEXT,
    PAIRS,
    st.sampled_from(AllocationState),
    st.sampled_from(EndReason),
    TEXT,
    st.integers(0, 3),
    st.booleans(),
    TEXTS,
    st.integers(0, 2**60),
)
RESOURCES = st.builds(Resources, AMOUNT, AMOUNT, AMOUNT, COUNTS)
NODES = st.builds(
    NodeRecord,
    TEXT,
    TEXT,
    TEXT,
    TEXT,
    RESOURCES,
    RESOURCES,
    RESOURCES,
    st.lists(
        st.builds(Device, TEXT, TEXT, AMOUNT, st.booleans(), st.integers(0, 1000)), max_size=3
    ).map(Devices.of),
    PAIRS,
    st.booleans(),
    st.booleans(),
)


@given(TABLE, AMOUNTS)
def test_what_was_added_can_be_taken_away_and_nothing_is_left_of_it(
    table: dict[str, int], amounts: tuple[tuple[str, int], ...]
) -> None:
    used = dict(table)
    add(used, amounts)
    subtract(used, amounts)
    assert used == table


@given(TABLE, AMOUNTS)
def test_taking_away_too_much_changes_nothing(
    table: dict[str, int], amounts: tuple[tuple[str, int], ...]
) -> None:
    used = dict(table)
    if all(used.get(key, 0) >= amount for key, amount in amounts):
        subtract(used, amounts)
        assert all(value > 0 for value in used.values())
    else:
        with pytest.raises(ValueError, match="to be returned"):
            subtract(used, amounts)
        assert used == table


@given(AMOUNTS, TABLE, TABLE)
def test_it_fits_exactly_when_no_sum_exceeds_what_there_is(
    amounts: tuple[tuple[str, int], ...], capacity: dict[str, int], used: dict[str, int]
) -> None:
    lack = shortfall(amounts, capacity, used)
    over = {k: used.get(k, 0) + v - capacity.get(k, 0) for k, v in amounts}
    if lack is None:
        assert all(value <= 0 for value in over.values())
    else:
        assert over[lack.key] == lack.missing > 0


@given(ALLOCATIONS)
def test_an_allocation_comes_back_from_its_text_as_it_was(allocation: Allocation) -> None:
    text = codec.Encoder().allocation(allocation)
    assert codec.Decoder().allocation(text) == allocation
    assert text == json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False)


@given(NODES)
def test_a_node_comes_back_from_its_text_as_it_was(node: NodeRecord) -> None:
    assert codec.decode_node(codec.encode_node(node)) == node


@given(st.builds(AgentRecord, TEXT, TEXT, st.integers(1, 2**60), TEXT, TEXT, TEXT, TEXT, TEXT))
def test_an_agent_comes_back_from_its_text_as_it_was(agent: AgentRecord) -> None:
    assert codec.decode_agent(codec.encode_agent(agent)) == agent


@given(SPECS, TEXT, PAIRS, SPECS, TEXT, PAIRS)
def test_digests_are_equal_exactly_when_the_content_is(
    spec: Spec,
    text: str,
    labels: tuple[tuple[str, str], ...],
    spec2: Spec,
    text2: str,
    labels2: tuple[tuple[str, str], ...],
) -> None:
    same = (spec, text, labels) == (spec2, text2, labels2)
    assert (digest_of(spec, text, labels) == digest_of(spec2, text2, labels2)) == same


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["set", "set", "drop", "due"]),
        st.sampled_from("abcde"),
        st.integers(0, 100),
    ),
    max_size=60,
)


@given(STEPS, st.integers(1, 5))
def test_due_names_every_passed_deadline_and_no_other(
    steps: list[tuple[str, str, int]], most: int
) -> None:
    deadlines, plain = Deadlines(), dict[str, int]()
    for what, key, at_ms in steps:
        if what == "set":
            deadlines.set(key, at_ms)
            plain[key] = at_ms
        elif what == "drop":
            deadlines.drop(key)
            plain.pop(key, None)
        else:
            passed = {k for k, v in plain.items() if v <= at_ms}
            due = deadlines.due(at_ms, most)
            assert len(due) == len(set(due)) == min(most, len(passed))
            assert set(due) <= passed
            assert set(deadlines.due(at_ms, 100)) == passed
    assert len(deadlines) == len(plain)
    for key, at_ms in plain.items():
        assert deadlines.left_ms(key, 10) == max(0, at_ms - 10)
