"""Contact terms: which leases stop because the broker has been silent for too long.

May import model and the generated protos. Pure: `now` is an argument.

The clock counts suspend (CLOCK_BOOTTIME) and belongs to one boot of the machine. After a
reboot nothing says how long the silence was, and whatever ran is gone: `stop_after` counts as
over at once. `keep` goes on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from computepool.v1 import types_pb2 as types
from computepool_agents.model import ADMITTED, STARTED, Contact, Held

if TYPE_CHECKING:
    from collections.abc import Iterable


def stops_at_s(lease: Held, last: Contact | None, boot_id: str) -> float:
    """Give the moment after which a lease must stop, should the broker stay silent.

    Args:
        lease: The lease.
        last: When the last answered Sync was sent; None when there never was one.
        boot_id: The boot that is running now.

    Returns:
        Seconds on the boot's clock; infinity for never, minus infinity for at once.
    """
    term = lease.record.spec.contact
    if lease.state not in {ADMITTED, STARTED}:
        return math.inf
    if term.policy != types.CONTACT_POLICY_STOP_AFTER:
        return math.inf
    if last is None or last.boot_id != boot_id:
        return -math.inf
    return last.at_s + term.after_s


def expired(held: Iterable[Held], last: Contact | None, now: Contact) -> list[Held]:
    """List the leases whose contact term is over."""
    return [lease for lease in held if now.at_s > stops_at_s(lease, last, now.boot_id)]


def next_stop_s(held: Iterable[Held], last: Contact | None, boot_id: str) -> float:
    """Give the earliest moment at which a lease will have to stop; infinity for never."""
    return min((stops_at_s(lease, last, boot_id) for lease in held), default=math.inf)
