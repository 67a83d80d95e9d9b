"""How many kinds of things the pool may hold. Does no I/O.

The view has a column for every kind of device and every named extra, over all nodes. Agents
report what they like, so kinds are counted before they come in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool_broker.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from computepool_broker.model.records import NodeRecord
    from computepool_broker.placement.columns import Columns

MAX_DEVICE_CLASSES = 512
"""Pairs of model and memory in the pool: 2.5 KB a node at the most."""
MAX_EXTRAS = 256
"""Names of extras in the pool: 2 KB a node at the most."""


def check_variety(columns: Columns, records: Sequence[NodeRecord]) -> None:
    """Refuse nodes that would bring too many kinds into the pool.

    Raises:
        InvalidArgumentError: Too many pairs of model and memory, or names of extras.
    """
    try:
        _check(columns, records)
    except InvalidArgumentError:
        # Those that no node has any more do not count; to forget them looks at every node.
        columns.intern_anew()
        _check(columns, records)


def _check(columns: Columns, records: Sequence[NodeRecord]) -> None:
    classes = {(d.model, d.memory_mib) for record in records for d in record.devices}
    if len(classes | columns.classes.keys()) > MAX_DEVICE_CLASSES:
        raise InvalidArgumentError(
            "nodes.devices", f"the pool would have more than {MAX_DEVICE_CLASSES} kinds of devices"
        )
    extras = {name for record in records for name, _ in record.total.extras}
    if len(extras | columns.extras.keys()) > MAX_EXTRAS:
        raise InvalidArgumentError(
            "nodes.total.extras", f"the pool would have more than {MAX_EXTRAS} named extras"
        )
