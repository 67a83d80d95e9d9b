"""One row a device, for sums over the pool. Pure.

A node's devices lie together in a span. A node whose number of devices changed gets a new span
at the end; the table is packed when more than half of it is garbage.
"""

from __future__ import annotations

from array import array
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
        # Of each node's row: where its span begins and how long it is. Not objects: there are as
        # many as nodes.
        self._start = array("q")
        self._count = array("q")
        self.node = np.full(64, -1, dtype=np.int32)
        self.kind = np.zeros(64, dtype=np.int16)
        self.total = np.zeros(64, dtype=np.int16)
        self.foreign = np.zeros(64, dtype=np.int16)
        self.granted = np.zeros(64, dtype=np.int32)

    def place(self, row: int, record: NodeRecord, kinds: Sequence[int]) -> None:
        """Write the devices of a node as reported."""
        while row >= len(self._count):
            self._start.append(0)
            self._count.append(0)
        if self._count[row] != len(kinds):
            self.drop(row)
            self._start[row] = self._append(len(kinds))
            self._count[row] = len(kinds)
        if not kinds:
            return
        start = self._start[row]
        end = start + len(kinds)
        self.node[start:end] = row
        self.kind[start:end] = kinds
        if record.gone:
            self.total[start:end] = self.foreign[start:end] = 0
        else:
            self.total[start:end] = [WHOLE_DEVICE * healthy for healthy in record.devices.healthy]
            self.foreign[start:end] = record.devices.foreign_milli

    def set_granted(self, row: int, granted: Sequence[int]) -> None:
        """Write what is granted of a node's devices, in their order."""
        start = self._start[row]
        self.granted[start : start + self._count[row]] = granted

    def drop(self, row: int) -> None:
        """Forget the devices of a node."""
        start, count = self._start[row], self._count[row]
        if not count:
            return
        self._count[row] = 0
        end = start + count
        self.node[start:end] = -1
        for name in ("total", "foreign", "granted"):
            getattr(self, name)[start:end] = 0
        self.garbage += count
        if self.garbage > max(1024, self.size // 2):
            self._pack()

    def _append(self, count: int) -> int:
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
        return start

    def _pack(self) -> None:
        rows = [row for row, count in enumerate(self._count) if count]
        rows.sort(key=self._start.__getitem__)
        spans = [(self._start[row], self._start[row] + self._count[row]) for row in rows]
        keep = np.concatenate([np.arange(*span) for span in spans] or [np.arange(0)])
        for name in self.FIELDS:
            column = getattr(self, name)
            column[: len(keep)] = column[keep]
        self.node[len(keep) :] = -1
        at = 0
        for row in rows:
            self._start[row] = at
            at += self._count[row]
        self.size, self.garbage = at, 0
