"""One value for all that is alike in the records of many nodes and leases. Pure.

Whoever reads records reads the same words, totals, labels and kinds of devices again and again;
kept once a record they would take most of the memory of a large pool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool_broker.model.memo import Shared
from computepool_broker.model.records import Devices, NodeRecord

if TYPE_CHECKING:
    from collections.abc import Iterable

    from computepool_broker.model.amounts import Resources
    from computepool_broker.model.records import Device


class Alike:
    """Equal values as one object; bounded, so that some may come twice."""

    def __init__(self) -> None:
        self.word: Shared[str] = Shared()
        self.resources: Shared[Resources] = Shared()
        self.labels: Shared[tuple[tuple[str, str], ...]] = Shared()
        self.pair: Shared[tuple[str, int]] = Shared()
        # Each column by itself: True and 1 are equal too.
        self._models: Shared[tuple[str, ...]] = Shared()
        self._memories: Shared[tuple[int, ...]] = Shared()
        self._healthy: Shared[tuple[bool, ...]] = Shared()
        self._foreign: Shared[tuple[int, ...]] = Shared()

    def devices(self, rows: Iterable[Device]) -> Devices:
        """Devices whose columns, but for their keys, are those of others."""
        devices = Devices.of(rows)
        if devices:
            devices.models = self._models(devices.models)
            devices.memories_mib = self._memories(devices.memories_mib)
            devices.healthy = self._healthy(devices.healthy)
            devices.foreign_milli = self._foreign(devices.foreign_milli)
        return devices


def sharing(old: NodeRecord, new: NodeRecord) -> NodeRecord:
    """Equal to `new`, made of the values of `old` where they are equal: `old` itself if all are."""
    if new == old:
        return old
    devices = new.devices.sharing(old.devices)
    return NodeRecord._make(
        before if before == now else now
        for before, now in zip(old, new._replace(devices=devices), strict=True)
    )
