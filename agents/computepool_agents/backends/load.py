"""What others do in a simulated center: who uses how much of which node, changing with time.

May import model and scenario. Pure: the random generator is an argument; equal seeds and equal
leases give equal centers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from computepool_agents.admission import device_milli
from computepool_agents.model import WHOLE_DEVICE_MILLI, Amounts, Device, Node, total_of

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

    from computepool_agents.model import Held
    from computepool_agents.scenario import CenterPlan, NodeGroup

RESERVED_SHARE = 50  # one part in 50 of a node is held back for its system
_SPREAD = 0.5  # use of a node without devices lies within this share of the mean


def idle_nodes(plan: CenterPlan) -> list[Node]:
    """Make the nodes of a center with nobody on them, in the order of their names."""
    groups = [group for group in plan.groups for _ in range(group.count)]
    width = max(4, len(str(len(groups))))
    return [
        _idle_node(f"{plan.name}-n{number:0{width}}", group, plan)
        for number, group in enumerate(groups, start=1)
    ]


def _idle_node(name: str, group: NodeGroup, plan: CenterPlan) -> Node:
    total = Amounts(group.cpu_milli, group.memory_mib, group.disk_mib)
    return Node(
        name=name,
        total=total,
        reserved=Amounts(
            total.cpu_milli // RESERVED_SHARE,
            total.memory_mib // RESERVED_SHARE,
            total.disk_mib // RESERVED_SHARE,
        ),
        devices=tuple(
            Device(f"{name}-d{place}", group.model, group.device_memory_mib)
            for place in range(group.devices)
        ),
        labels=plan.labels | group.labels,
    )


def with_load(node: Node, held: Iterable[Held], foreign_share: float, rng: random.Random) -> Node:
    """Give a node new foreign use around a mean, never where our leases are.

    Args:
        node: The node; its present foreign use does not matter.
        held: Our leases on it.
        foreign_share: Mean share of devices (of cpu where there are none), 0 to 1.
        rng: Where chance comes from.
    """
    leases = tuple(held)
    ours = device_milli(leases)
    devices = tuple(
        replace(device, foreign_milli=_device_use(device, ours, foreign_share, rng))
        for device in node.devices
    )
    share = _busy_share(devices, foreign_share, rng)
    room = node.total.minus(node.reserved)
    left = room.minus(total_of(Amounts.of(h.record.resources) for h in leases)).at_least_zero()
    foreign = Amounts(
        min(int(room.cpu_milli * share), left.cpu_milli),
        min(int(room.memory_mib * share), left.memory_mib),
        min(int(room.disk_mib * share), left.disk_mib),
    )
    return replace(node, devices=devices, foreign=foreign)


def _device_use(
    device: Device, ours: dict[str, int], foreign_share: float, rng: random.Random
) -> int:
    # Drawn for every device, so that a lease on one does not change the fate of others.
    taken = rng.random() < foreign_share
    return WHOLE_DEVICE_MILLI if taken and not ours.get(device.id) else 0


def _busy_share(devices: Sequence[Device], foreign_share: float, rng: random.Random) -> float:
    """Use of cpu, memory and disk goes with the devices used, or spreads around the mean."""
    if devices:
        return sum(d.foreign_milli for d in devices) / (WHOLE_DEVICE_MILLI * len(devices))
    spread = _SPREAD * min(foreign_share, 1.0 - foreign_share)
    return foreign_share + rng.uniform(-spread, spread)


def with_half_the_devices(node: Node) -> Node:
    """Give a node that has lost half of its devices, rounded up."""
    return replace(node, devices=node.devices[: len(node.devices) // 2])
