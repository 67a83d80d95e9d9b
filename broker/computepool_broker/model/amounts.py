"""Amounts and the one function that says whether they fit. Pure; imports nothing.

Every resource of a node, a device included, is one integer under one key:

    cpu_milli, memory_mib, disk_mib    the fixed three
    x/<name>                           a named extra
    d/<device id>                      thousandths of a device, 1000 is the whole

A node's `capacity` holds `total - reserved - foreign` under each key, its `used` what this pool
has granted. Planning, committing, and adopting all ask `shortfall`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

CPU = "cpu_milli"
MEMORY = "memory_mib"
DISK = "disk_mib"
EXTRA_PREFIX = "x/"
DEVICE_PREFIX = "d/"
WHOLE_DEVICE = 1000
"""Thousandths in a device."""
MAX_AMOUNT = 2**50
"""No single amount is larger; sums over 8,000 nodes still fit in 63 bits."""
MAX_HELD = 2**53
"""No sum of granted amounts under one key of one node is larger, not even of adopted ones: so
that every store, one that counts in doubles included, counts exactly."""

Amounts = tuple[tuple[str, int], ...]
"""Pairs of resource key and positive amount, each key once."""


class Shortfall(NamedTuple):
    """The first key that does not fit.

    Attributes:
        key: Resource key.
        missing: How much more would have to be free, in the key's unit.
    """

    key: str
    missing: int


def shortfall(
    amounts: Amounts, capacity: Mapping[str, int], used: Mapping[str, int]
) -> Shortfall | None:
    """Say what keeps `amounts` from fitting in `capacity - used`, or None when they fit.

    A key that `capacity` lacks counts as 0: a device that is gone fits nothing.
    """
    for key, amount in amounts:
        over = used.get(key, 0) + amount - capacity.get(key, 0)
        if over > 0:
            return Shortfall(key, over)
    return None


def excess(amounts: Amounts, used: Mapping[str, int]) -> Shortfall | None:
    """Say what of `amounts` would bring `used` above MAX_HELD, or None."""
    for key, amount in amounts:
        over = used.get(key, 0) + amount - MAX_HELD
        if over > 0:
            return Shortfall(key, over)
    return None


def add(used: dict[str, int], amounts: Amounts) -> None:
    """Add `amounts` to `used` in place."""
    for key, amount in amounts:
        used[key] = used.get(key, 0) + amount


def subtract(used: dict[str, int], amounts: Amounts) -> None:
    """Take `amounts` from `used` in place; a key that comes to 0 is dropped.

    Raises:
        ValueError: A key would become negative: it was never added. Nothing is changed.
    """
    for key, amount in amounts:
        if used.get(key, 0) < amount:
            raise ValueError(f"{key}: {amount} to be returned, {used.get(key, 0)} granted")
    for key, amount in amounts:
        left = used[key] - amount
        if left:
            used[key] = left
        else:
            del used[key]


def devices_of(amounts: Amounts) -> list[tuple[str, int]]:
    """The devices in `amounts`: (device id, thousandths)."""
    cut = len(DEVICE_PREFIX)
    return [(key[cut:], amount) for key, amount in amounts if key.startswith(DEVICE_PREFIX)]


class Resources(NamedTuple):
    """Amounts of a node besides its devices. Units are in the names; extras have their own."""

    cpu_milli: int = 0
    memory_mib: int = 0
    disk_mib: int = 0
    extras: tuple[tuple[str, int], ...] = ()

    def amounts(self) -> Amounts:
        """The same as pairs of key and amount, zeros left out."""
        fixed = ((CPU, self.cpu_milli), (MEMORY, self.memory_mib), (DISK, self.disk_mib))
        return tuple(pair for pair in fixed if pair[1]) + tuple(
            (EXTRA_PREFIX + name, amount) for name, amount in self.extras if amount
        )

    @classmethod
    def of(cls, amounts: Mapping[str, int]) -> Resources:
        """The other way round; devices are left out, extras come sorted."""
        cut = len(EXTRA_PREFIX)
        return cls(
            amounts.get(CPU, 0),
            amounts.get(MEMORY, 0),
            amounts.get(DISK, 0),
            tuple(sorted((k[cut:], v) for k, v in amounts.items() if k.startswith(EXTRA_PREFIX))),
        )
