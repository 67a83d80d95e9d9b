"""How many kinds of things the pool may hold. Does no I/O.

The view has a column for every kind of device and every named extra, over all nodes. Agents
report what they like, so kinds are counted before they come in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool_broker.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from computepool_broker.model.records import NodeRecord
    from computepool_broker.placement.columns import Columns, DeviceClass

MAX_DEVICE_CLASSES = 512
"""Pairs of model and memory in the pool: 2.5 KB a node at the most."""
MAX_EXTRAS = 256
"""Names of extras in the pool: 2 KB a node at the most."""


class Kinds:
    """Kinds of the nodes of one report, counted slice by slice before any of them comes in."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._classes: set[DeviceClass] = set()
        self._extras: set[str] = set()

    def add(self, records: Iterable[NodeRecord]) -> None:
        """Count these too.

        Raises:
            InvalidArgumentError: With them the pool would have too many pairs of model and
                memory, or names of extras.
        """
        for record in records:
            devices = record.devices
            self._classes.update(zip(devices.models, devices.memories_mib, strict=True))
            self._extras.update(name for name, _ in record.total.extras)
        try:
            self._check()
        except InvalidArgumentError:
            # Those that no node has any more do not count; to forget them looks at every node.
            self._columns.intern_anew()
            self._check()

    def _check(self) -> None:
        columns = self._columns
        if len(self._classes | columns.classes.keys()) > MAX_DEVICE_CLASSES:
            raise InvalidArgumentError(
                "nodes.devices",
                f"the pool would have more than {MAX_DEVICE_CLASSES} kinds of devices",
            )
        if len(self._extras | columns.extras.keys()) > MAX_EXTRAS:
            raise InvalidArgumentError(
                "nodes.total.extras", f"the pool would have more than {MAX_EXTRAS} named extras"
            )
