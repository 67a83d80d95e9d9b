"""Amounts, what a node can give, and the sentences that shortfall says."""

from __future__ import annotations

import pytest

from computepool_broker.ledger.transaction import Blocker
from computepool_broker.model.amounts import (
    MAX_HELD,
    Resources,
    Shortfall,
    add,
    devices_of,
    excess,
    shortfall,
    subtract,
)
from computepool_broker.model.book import capacity_of
from computepool_broker.model.records import Device
from support.builders import GIB, make_devices, make_node, make_resources


def test_an_exact_fit_fits() -> None:
    assert shortfall((("cpu_milli", 3),), {"cpu_milli": 5}, {"cpu_milli": 2}) is None


def test_one_too_many_is_named_with_what_is_missing() -> None:
    amounts = (("cpu_milli", 1), ("memory_mib", 4))
    lack = shortfall(amounts, {"cpu_milli": 1, "memory_mib": 5}, {"memory_mib": 2})
    assert lack == Shortfall("memory_mib", 1)


def test_a_device_that_is_not_there_fits_nothing() -> None:
    assert shortfall((("d/x", 1),), {}, {}) == Shortfall("d/x", 1)


def test_a_node_that_owes_capacity_lacks_that_too() -> None:
    assert shortfall((("cpu_milli", 1),), {"cpu_milli": -5}, {}) == Shortfall("cpu_milli", 6)


def test_adopted_amounts_may_exceed_the_capacity_but_not_what_every_store_can_count() -> None:
    assert excess((("cpu_milli", MAX_HELD),), {}) is None
    assert excess((("cpu_milli", MAX_HELD),), {"cpu_milli": 3}) == Shortfall("cpu_milli", 3)


def test_returning_the_last_of_a_key_forgets_the_key() -> None:
    used = {"cpu_milli": 5}
    subtract(used, (("cpu_milli", 5),))
    assert used == {}


def test_returning_what_was_never_granted_changes_nothing() -> None:
    used = {"cpu_milli": 5, "memory_mib": 1}
    with pytest.raises(ValueError, match="memory_mib: 2 to be returned, 1 granted"):
        subtract(used, (("cpu_milli", 5), ("memory_mib", 2)))
    assert used == {"cpu_milli": 5, "memory_mib": 1}


def test_amounts_add_up_by_key() -> None:
    used = {"cpu_milli": 1}
    add(used, (("cpu_milli", 2), ("d/x", 400)))
    assert used == {"cpu_milli": 3, "d/x": 400}


def test_only_devices_are_named_as_devices() -> None:
    assert devices_of((("cpu_milli", 1), ("d/x/y", 400), ("x/d", 2))) == [("x/y", 400)]


def test_resources_and_amounts_are_two_forms_of_the_same() -> None:
    resources = Resources(1, 0, 3, (("a", 4), ("b", 5)))
    want = (("cpu_milli", 1), ("disk_mib", 3), ("x/a", 4), ("x/b", 5))
    assert resources.amounts() == want
    assert Resources.of(dict(want)) == resources
    assert Resources.of({"d/gpu": 1000}) == Resources()


# -- what a node can give ------------------------------------------------------------------


def test_capacity_is_what_is_neither_reserved_nor_used_by_others() -> None:
    node = make_node(
        gpus=0,
        cpu=8,
        memory=16,
        disk=32,
        extras={"slot": 9},
        reserved=make_resources(1, 2, 4, slot=2),
        foreign=make_resources(3, 4, 8, slot=3),
    )
    want = {"cpu_milli": 4000, "memory_mib": 10 * GIB, "disk_mib": 20 * GIB, "x/slot": 4}
    assert capacity_of(node) == want


def test_more_use_by_others_than_there_is_makes_a_negative_capacity() -> None:
    node = make_node(gpus=0, cpu=2, foreign=make_resources(cpu=3, licence=1))
    assert capacity_of(node)["cpu_milli"] == -1000
    assert capacity_of(node)["x/licence"] == -1


def test_a_device_gives_what_others_leave_and_a_sick_one_nothing() -> None:
    devices = (
        Device("a", "H800", 80),
        Device("b", "H800", 80, foreign_milli=300),
        Device("c", "H800", 80, healthy=False, foreign_milli=300),
    )
    capacity = capacity_of(make_node(devices=devices))
    assert [capacity[f"d/{name}"] for name in "abc"] == [1000, 700, 0]


def test_a_node_that_is_gone_gives_nothing() -> None:
    assert capacity_of(make_node(gone=True, devices=make_devices("n1", 2))) == {}


def test_blockers_are_named_in_the_order_of_their_bits() -> None:
    assert Blocker.names(Blocker.SUSPECT | Blocker.CORDONED) == ["CORDONED", "SUSPECT"]
    assert Blocker.names(0) == []
