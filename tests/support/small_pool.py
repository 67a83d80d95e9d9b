"""Four nodes of two agents, and what they may report and be asked for, for random commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from computepool_broker.model.amounts import MAX_AMOUNT
from computepool_broker.model.records import Devices
from support.builders import make_node, make_resources

if TYPE_CHECKING:
    from computepool_broker.model.amounts import Amounts
    from computepool_broker.model.records import NodeRecord

NODES = ("n1", "n2", "n3", "n4")
AGENT_OF = {"n1": "a1", "n2": "a1", "n3": "a2", "n4": "a2"}
CENTER_OF = {"n1": "c1", "n2": "c1", "n3": "c2", "n4": "c1"}
WANTED: tuple[Amounts, ...] = (
    (("cpu_milli", 1000),),
    (("cpu_milli", 2500), ("memory_mib", 512)),
    (("d/0", 1000),),
    (("d/0", 400), ("cpu_milli", 10)),
    (("d/1", 1000), ("x/seats", 1)),
    (("x/seats", 3),),
    (("d/7", 1),),
    (("disk_mib", MAX_AMOUNT),),
)
"""Amounts that fit, that do not when others are there, and that never do; devices by place."""


def on(node: str, what: Amounts) -> Amounts:
    """Amounts whose devices are those of a node."""
    return tuple((key.replace("d/", f"d/{node}-d"), amount) for key, amount in what)


def shown_node(name: str, kind: str) -> NodeRecord:
    """A node as its agent might report it."""
    kinds: dict[str, dict[str, Any]] = {
        "usual": {},
        "smaller": {"cpu": 2, "gpus": 1, "extras": {}},
        "busy": {"foreign": make_resources(cpu=3, memory=1)},
        "overfull": {"foreign": make_resources(cpu=9, seats=4)},
        "reserved": {"reserved": make_resources(cpu=1, seats=1), "labels": {"rack": "7"}},
        "off": {"unschedulable": True},
        "gone": {"gone": True},
    }
    common: dict[str, Any] = {"cpu": 4, "memory": 4, "disk": 4, "gpus": 2, "extras": {"seats": 3}}
    record = make_node(
        name, agent=AGENT_OF[name], center=CENTER_OF[name], **(common | kinds.get(kind, {}))
    )
    if kind == "sick":
        sick = Devices.of(device._replace(healthy=False) for device in record.devices)
        return record._replace(devices=sick)
    if kind == "shared":
        shared = Devices.of(device._replace(foreign_milli=300) for device in record.devices)
        return record._replace(devices=shared)
    return record


KINDS = (
    "usual", "usual", "smaller", "busy", "overfull", "reserved", "off", "gone", "sick", "shared",
)  # fmt: skip
