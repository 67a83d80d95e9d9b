"""Tells the log what has happened to allocations, once it is durable.

Ends that the tenant did not ask for are told to every operator; the rest of an allocation's life
only at debug level, since there can be thousands a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from computepool_broker.model.records import EndReason

if TYPE_CHECKING:
    from computepool_broker.ledger.touched import Touched
    from computepool_broker.model.records import Allocation

GRAVE = frozenset({EndReason.FAILED, EndReason.LOST})

log = structlog.get_logger()


def named(allocation: Allocation) -> dict[str, str]:
    """What every line about an allocation says of it."""
    return {
        "allocation": allocation.id,
        "tenant": allocation.tenant,
        "request_id": allocation.request_id,
    }


class LifeLog:
    """Follows what becomes durable."""

    def __init__(self, *, whole: bool) -> None:
        """Begin.

        Args:
            whole: Tell grants, activations and releases too; they are debug lines.
        """
        self._whole = whole

    def __call__(self, touched: Touched) -> None:
        """Tell what has become durable."""
        if self._whole:
            for made in touched.granted:
                log.debug("allocation_granted", **named(made), parts=len(made.parts))
            for active in touched.activated:
                log.debug("allocation_active", **named(active))
        for ended in touched.ended:
            self._tell_end(ended)

    def _tell_end(self, ended: Allocation) -> None:
        reason = ended.end_reason
        if reason is EndReason.RELEASED and not self._whole:
            return
        if reason is EndReason.RELEASED:
            tell = log.debug
        else:
            tell = log.warning if reason in GRAVE else log.info
        tell("allocation_ended", **named(ended), reason=reason.name, message=ended.end_message)
