"""What the log says of leases.

May import model and answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from computepool_agents.answers import Plan
    from computepool_agents.model import Held


def named(lease: Held) -> dict[str, str]:
    """What every line about a lease says of it."""
    record = lease.record
    return {
        "lease": lease.lease_id,
        "allocation": record.allocation_id,
        "tenant": record.tenant,
        "request_id": record.request_id,
    }


def log_plan(log: FilteringBoundLogger, plan: Plan) -> None:
    """Say what an answer did."""
    for lease in plan.refused:
        log.warning("lease refused", **named(lease), reason=lease.reason, message=lease.message)
    for lease in plan.teardowns:
        log.info("lease revoked", **named(lease), reason=lease.reason)
    for lease_id in plan.change.drops:
        log.info("stopped lease forgotten", lease=lease_id)
    for lease in plan.change.puts:
        log.debug("lease", **named(lease), state=lease.state)
