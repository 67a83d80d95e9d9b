"""The resource view as columns: one row a node, one row a device. Pure.

Folded from the ledger: `update` is called with every node book that changed and rewrites its
row. Nothing is kept here that could not be computed anew from the books; the audit does so.

Rows of nodes that left are used again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from computepool_broker.model.amounts import (
    CPU,
    DISK,
    EXTRA_PREFIX,
    MEMORY,
)
from computepool_broker.model.book import only_foreign_differs
from computepool_broker.placement.change_log import ChangeLog
from computepool_broker.placement.devices import NOTHING_FREE, DeviceTable, free_devices

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from computepool_broker.model.book import NodeBook
    from computepool_broker.model.records import Devices, NodeRecord
    from computepool_broker.placement.devices import FreeDevices

SPARE_NAMES = 1_024
"""Interned label sets and centers that no node has any more, at most, above one for each node."""

FREE_ROWS = 8_192
"""Rows whose free devices are kept; worked out anew a row takes 2 us."""

DeviceClass = tuple[str, int]
"""Model and memory in MiB: what a request can tell devices apart by."""
DeviceKinds = tuple[tuple[str, ...], tuple[int, ...]]
"""Models and memories of a node's devices."""


def _grown(array: NDArray[np.generic], columns: int) -> NDArray[np.generic]:
    out = np.zeros((*array.shape[:-1], columns), dtype=array.dtype)
    out[..., : array.shape[-1]] = array
    return out


class Columns:
    """All nodes as arrays. Amounts in the units of model/amounts.py.

    Attributes:
        size: Rows in use are below it.
        rank_of_row: The same as `rank`, for looking at single rows once that is settled.
        changes: Which rows have changed lately.
        layout: Raised when rows, ranks or interned tables changed, so that whatever was
            compiled against them is out of date.
    """

    def __init__(self, capacity: int = 64) -> None:
        self.size = 0
        self.layout = 0
        self.books: list[NodeBook | None] = []
        self.records: list[NodeRecord | None] = []
        self.device_keys: list[tuple[str, ...]] = []
        self.device_classes: list[tuple[int, ...]] = []
        self.row_class_ids: list[tuple[int, ...]] = []
        self.centers: dict[str, int] = {}
        self.center_regions: list[str] = []
        self.label_sets: dict[tuple[tuple[str, str], ...], int] = {}
        self.classes: dict[DeviceClass, int] = {}
        self.devices = DeviceTable()
        self.live = np.zeros(capacity, dtype=np.bool_)
        # Live, and still in its agent's reports.
        self.there = np.zeros(capacity, dtype=np.bool_)
        self.ok = np.zeros(capacity, dtype=np.bool_)
        self.center = np.zeros(capacity, dtype=np.int32)
        self.labels = np.zeros(capacity, dtype=np.int32)
        # total, reserved, foreign per fixed resource; free moves with every grant.
        self.total = np.zeros((3, capacity), dtype=np.int64)
        self.reserved = np.zeros((3, capacity), dtype=np.int64)
        self.foreign = np.zeros((3, capacity), dtype=np.int64)
        self.free = np.zeros((3, capacity), dtype=np.int64)
        self.free_cpu, self.free_memory, self.free_disk = self.free
        self.free_milli = np.zeros(capacity, dtype=np.int32)
        # Devices of a class that a node has, free or not.
        self.class_count = np.zeros((4, capacity), dtype=np.int16)
        self.free_whole = np.zeros((4, capacity), dtype=np.int16)
        self.best_share = np.zeros((4, capacity), dtype=np.int16)
        self.extras: dict[str, NDArray[np.int64]] = {}
        # Of an extra: total - reserved, as `total - reserved` is of the fixed three.
        self.extras_empty: dict[str, NDArray[np.int64]] = {}
        self._rank = np.zeros(capacity, dtype=np.int64)
        self.rank_of_row: list[int] = []
        self._rank_stale = True
        self._free_devices: dict[int, FreeDevices] = {}
        # Of the models and memories of a node's devices: their classes, and each of them once.
        self._kinds: dict[DeviceKinds, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        self._spare: list[int] = []
        # Rows whose amounts have changed, and whether those of devices are among them.
        self._unsettled: dict[int, bool] = {}
        self.changes = ChangeLog()

    # -- following the ledger --------------------------------------------------------------

    def update(self, book: NodeBook) -> None:
        """Note that a node changed; its row follows when somebody looks (see `settle`).

        What a grant changes is rewritten once for many; what a report changes (record, interned
        tables), and whether the node takes grants, at once: caches are compiled against it.
        """
        row, only_ok = book.row, book.only_blockers and book.row >= 0
        if row < 0:
            row = self._take_row(book)
        was = self.records[row]
        if was is not book.record and was is not None and only_foreign_differs(was, book.record):
            # Most of what reports change: the devices are as they were, free or not.
            self.records[row] = book.record
            self._write_foreign(row, book.record)
            self._unsettled.setdefault(row, False)
        elif was is book.record and only_ok and row not in self._unsettled:
            self.ok[row] = not book.blockers
        else:
            if was is not book.record:
                self._write_record(row, book)
                if max(len(self.label_sets), len(self.centers)) > 2 * self.size + SPARE_NAMES:
                    self.intern_anew()
            self._unsettled[row] = True
            self._free_devices.pop(row, None)
        self.changes.note(row)

    def free_devices(self, row: int) -> FreeDevices:
        """What is free of a row's devices now; worked out once for all shapes that ask."""
        free = self._free_devices.get(row)
        if free is None:
            free, book = NOTHING_FREE, self.books[row]
            if book is not None and self.device_keys[row]:
                free = free_devices(
                    self.device_keys[row], self.device_classes[row], book.capacity, book.used
                )
            if len(self._free_devices) >= FREE_ROWS:
                self._free_devices.clear()
            self._free_devices[row] = free
        return free

    def settle(self) -> None:
        """Rewrite the amounts of all rows that changed. Before any use of whole columns."""
        for row, devices in self._unsettled.items():
            book = self.books[row]
            if book is not None:
                self._write_amounts(row, book, devices=devices)
        self._unsettled.clear()

    def _write_amounts(self, row: int, book: NodeBook, *, devices: bool) -> None:
        capacity, used = book.capacity, book.used
        self.ok[row] = not book.blockers
        self.free_cpu[row] = capacity.get(CPU, 0) - used.get(CPU, 0)
        self.free_memory[row] = capacity.get(MEMORY, 0) - used.get(MEMORY, 0)
        self.free_disk[row] = capacity.get(DISK, 0) - used.get(DISK, 0)
        if devices and self.device_keys[row]:
            self._write_devices(row, used)
        for name, column in self.extras.items():
            key = EXTRA_PREFIX + name
            column[row] = capacity.get(key, 0) - used.get(key, 0)

    def remove(self, book: NodeBook) -> None:
        """Clear the row of a node that left the pool."""
        row = book.row
        if row < 0:
            return
        book.row = -1
        self._unsettled.pop(row, None)
        self.books[row] = None
        self._free_devices.pop(row, None)
        self.records[row] = None
        self.live[row] = self.ok[row] = self.there[row] = False
        for array in (self.total, self.reserved, self.foreign, self.free):
            array[:, row] = 0
        self.free_milli[row] = 0
        self.class_count[:, row] = 0
        self.free_whole[:, row] = self.best_share[:, row] = 0
        self.devices.drop(row)
        self.device_keys[row] = ()
        self.row_class_ids[row] = ()
        for column in (*self.extras.values(), *self.extras_empty.values()):
            column[row] = 0
        self._spare.append(row)
        self._rank_stale = True
        self.layout += 1

    @property
    def version(self) -> int:
        """Number of changes so far."""
        return self.changes.version

    @property
    def rank(self) -> NDArray[np.int64]:
        """Place of every row in the order of node names: the last tie-break."""
        if self._rank_stale:
            self._rank_stale = False
            named = sorted((b.record.name, b.row) for b in self.books if b is not None)
            self._rank[[row for _, row in named]] = np.arange(len(named))
            self.rank_of_row = self._rank.tolist()
            self.layout += 1
        return self._rank

    # -- rows ------------------------------------------------------------------------------

    def _take_row(self, book: NodeBook) -> int:
        if self._spare:
            row = self._spare.pop()
        else:
            row = self.size
            if row == len(self.live):
                self._grow(2 * row)
            self.size += 1
            self.books.append(None)
            self.records.append(None)
            self.device_keys.append(())
            self.device_classes.append(())
            self.row_class_ids.append(())
        book.row = row
        self.books[row] = book
        self.live[row] = True
        self._rank_stale = True
        self.layout += 1
        return row

    def _grow(self, columns: int) -> None:
        for name, value in list(vars(self).items()):
            if isinstance(value, np.ndarray):
                setattr(self, name, _grown(value, columns))
        self.free_cpu, self.free_memory, self.free_disk = self.free
        for table in (self.extras, self.extras_empty):
            for key, column in table.items():
                table[key] = np.asarray(_grown(column, columns))

    def _write_record(self, row: int, book: NodeBook) -> None:
        record = book.record
        self.records[row] = record
        self._free_devices.pop(row, None)
        self.center[row] = self._center_id(record)
        self.labels[row] = self._intern(self.label_sets, record.labels)
        gone = record.gone
        self.there[row] = not gone
        self.total[:, row] = (0, 0, 0) if gone else record.total[:3]
        self.reserved[:, row] = (0, 0, 0) if gone else record.reserved[:3]
        self._write_foreign(row, record)
        if record.total.extras or self.extras_empty:
            self._write_extras(row, record)
        ids, once = self._class_ids(record.devices)
        if self.row_class_ids[row]:
            self.class_count[:, row] = 0
            self.free_whole[:, row] = self.best_share[:, row] = 0
            self.free_milli[row] = 0
        self.device_keys[row] = record.devices.keys
        self.device_classes[row] = ids
        self.row_class_ids[row] = once
        for class_id in self.row_class_ids[row]:
            self.class_count[class_id, row] = 0 if gone else ids.count(class_id)
        self.devices.place(row, record, ids)

    def _write_foreign(self, row: int, record: NodeRecord) -> None:
        self.foreign[:, row] = (0, 0, 0) if record.gone else record.foreign[:3]

    def _write_extras(self, row: int, record: NodeRecord) -> None:
        for column in self.extras_empty.values():
            column[row] = 0
        for name, amount in record.total.extras:
            if name not in self.extras:
                self.extras[name] = np.zeros(len(self.live), dtype=np.int64)
                self.extras_empty[name] = np.zeros(len(self.live), dtype=np.int64)
                self.layout += 1
            if not record.gone:
                self.extras_empty[name][row] = amount
        for name, amount in record.reserved.extras:
            if name in self.extras_empty and not record.gone:
                self.extras_empty[name][row] -= amount

    def _write_devices(self, row: int, used: dict[str, int]) -> None:
        free = self.free_devices(row)
        for class_id in self.row_class_ids[row]:
            self.free_whole[class_id, row] = len(free.whole.get(class_id, ()))
            self.best_share[class_id, row] = free.share.get(class_id, 0)
        self.free_milli[row] = free.milli
        self.devices.set_granted(row, [used.get(key, 0) for key in self.device_keys[row]])

    # -- interning -------------------------------------------------------------------------

    def intern_anew(self) -> None:
        """Forget centers, labels, kinds of devices and extras that no node has any more."""
        for table in (self.centers, self.center_regions, self.label_sets, self.classes):
            table.clear()
        self._kinds.clear()
        self.extras, self.extras_empty = {}, {}
        self.class_count[:] = 0
        self.free_whole[:] = self.best_share[:] = 0
        for row, book in enumerate(self.books):
            if book is not None:
                self._write_record(row, book)
                self._unsettled[row] = True
            else:
                self.center[row] = self.labels[row] = 0
        self.layout += 1

    def _intern(
        self, table: dict[tuple[tuple[str, str], ...], int], key: tuple[tuple[str, str], ...]
    ) -> int:
        found = table.get(key)
        if found is None:
            found = table[key] = len(table)
            self.layout += 1
        return found

    def _center_id(self, record: NodeRecord) -> int:
        found = self.centers.get(record.center)
        if found is None:
            found = self.centers[record.center] = len(self.centers)
            self.center_regions.append(record.region)
            self.layout += 1
        elif self.center_regions[found] != record.region:
            self.center_regions[found] = record.region
            self.layout += 1
        return found

    def _class_ids(self, devices: Devices) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Ids of the devices' classes, and each of them once; the same values for equal devices."""
        kinds = (devices.models, devices.memories_mib)
        found = self._kinds.get(kinds)
        if found is None:
            ids = tuple([self._class_id(*kind) for kind in zip(*kinds, strict=True)])
            if len(self._kinds) > 2 * self.size + SPARE_NAMES:
                self._kinds.clear()
            found = self._kinds[kinds] = (ids, tuple(dict.fromkeys(ids)))
        return found

    def _class_id(self, model: str, memory_mib: int) -> int:
        found = self.classes.get((model, memory_mib))
        if found is None:
            found = self.classes[model, memory_mib] = len(self.classes)
            self.layout += 1
            if found >= len(self.class_count):
                for name in ("class_count", "free_whole", "best_share"):
                    array = getattr(self, name)
                    setattr(self, name, np.concatenate((array, np.zeros_like(array))))
        return found
