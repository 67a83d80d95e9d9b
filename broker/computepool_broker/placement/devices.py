"""One row a device, for sums over the pool. Pure.

A node's devices lie together in a span. A node whose number of devices changed gets a new span
at the end; the table is packed when more than half of it is garbage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from computepool_broker.model.amounts import WHOLE_DEVICE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from computepool_broker.model.records import NodeRecord


class FreeDevices(NamedTuple):
    """What is free of one node's devices, by the id of their class.

    Attributes:
        milli: Free thousandths of all of them together.
        whole: Places of the devices that are wholly free, in their order.
        share: The most that is free of one device.
    """

    milli: int
    whole: dict[int, list[int]]
    share: dict[int, int]


NOTHING_FREE = FreeDevices(0, {}, {})


def free_devices(
    keys: Sequence[str],
    classes: Sequence[int],
    capacity: Mapping[str, int],
    used: Mapping[str, int],
) -> FreeDevices:
    """What is free of the devices with these keys and classes."""
    milli = 0
    whole: dict[int, list[int]] = {}
    share: dict[int, int] = {}
    for at, key in enumerate(keys):
        left = capacity.get(key, 0)
        if key in used:
            left -= used[key]
        if left <= 0:
            continue
        milli += left
        class_id = classes[at]
        if left == WHOLE_DEVICE:
            if class_id in whole:
                whole[class_id].append(at)
            else:
                whole[class_id] = [at]
        if left > share.get(class_id, 0):
            share[class_id] = left
    return FreeDevices(milli, whole, share)


class DeviceTable:
    """Columns over devices, all in thousandths of a device.

    Attributes:
        node: Row of the device's node, -1 for garbage.
        kind: Id of its class.
        total: 1000, or 0 when unhealthy or gone.
        foreign: Used by others.
        granted: Used by us.
    """

    FIELDS = ("node", "kind", "total", "foreign", "granted")

    def __init__(self) -> None:
        self.size = 0
        self.garbage = 0
        self.spans: dict[int, tuple[int, int]] = {}
        self.node = np.full(64, -1, dtype=np.int32)
        self.kind = np.zeros(64, dtype=np.int16)
        self.total = np.zeros(64, dtype=np.int16)
        self.foreign = np.zeros(64, dtype=np.int16)
        self.granted = np.zeros(64, dtype=np.int32)

    def place(self, row: int, record: NodeRecord, kinds: Sequence[int]) -> None:
        """Write the devices of a node as reported."""
        start, end = self.spans.get(row, (0, 0))
        if end - start != len(kinds):
            self.drop(row)
            start, end = self._append(len(kinds))
            self.spans[row] = (start, end)
        if not kinds:
            return
        self.node[start:end] = row
        self.kind[start:end] = kinds
        self.total[start:end] = [
            WHOLE_DEVICE if d.healthy and not record.gone else 0 for d in record.devices
        ]
        self.foreign[start:end] = [0 if record.gone else d.foreign_milli for d in record.devices]

    def set_granted(self, row: int, granted: Sequence[int]) -> None:
        """Write what is granted of a node's devices, in their order."""
        start, end = self.spans[row]
        self.granted[start:end] = granted

    def drop(self, row: int) -> None:
        """Forget the devices of a node."""
        start, end = self.spans.pop(row, (0, 0))
        if start == end:
            return
        self.node[start:end] = -1
        for name in ("total", "foreign", "granted"):
            getattr(self, name)[start:end] = 0
        self.garbage += end - start
        if self.garbage > max(1024, self.size // 2):
            self._pack()

    def _append(self, count: int) -> tuple[int, int]:
        start = self.size
        need = start + count
        if need > len(self.node):
            room = max(need, 2 * len(self.node))
            for name in self.FIELDS:
                old = getattr(self, name)
                new = np.full(room, -1 if name == "node" else 0, dtype=old.dtype)
                new[:start] = old[:start]
                setattr(self, name, new)
        self.size = need
        return start, need

    def _pack(self) -> None:
        order = sorted(self.spans.items(), key=lambda item: item[1])
        keep = np.concatenate([np.arange(*span) for _, span in order] or [np.arange(0)])
        for name in self.FIELDS:
            array = getattr(self, name)
            array[: len(keep)] = array[keep]
        self.node[len(keep) :] = -1
        at = 0
        for row, (start, end) in order:
            self.spans[row] = (at, at + end - start)
            at += end - start
        self.size, self.garbage = at, 0
