"""Whether this store is still the one that agents know (semantics, rule 17).

A store cannot see that it was replaced, or put back to an older copy. Agents can: they remember
the highest mark that they have seen. OpenSession carries it, and is compared here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from computepool_broker.errors import EpochImplausibleError
from computepool_broker.ledger.transaction import EpochStart, Transaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from computepool_broker.ledger.state import LedgerState
    from computepool_broker.ledger.transaction import Outcome
    from computepool_broker.services.messages import Open

    Stage = Callable[[Transaction], Outcome]

MAX_EPOCH_JUMP = 1_000
"""An agent that claims an epoch further ahead than this is refused, not believed."""

MOST_JOURNALS = 100_000

log = structlog.get_logger()


class Continuity:
    """Compares agents' marks with the store's, for one life of the broker."""

    def __init__(self, state: LedgerState) -> None:
        self._state = state
        # Journals, of forgotten agents too, that have spoken to this process.
        self._spoken: set[str] = set()

    def doubt(self, stage: Stage, call: Open) -> None:
        """Raise the epoch when the agent has seen what this store does not know.

        Raises:
            EpochImplausibleError: Its epoch is too far ahead to be believed.
        """
        state, seen, name = self._state, call.seen, call.record.name
        if seen.epoch > state.epoch + MAX_EPOCH_JUMP:
            raise EpochImplausibleError(
                "seen.epoch", f"{seen.epoch} is too far ahead of this store's {state.epoch}"
            )
        spoken = call.record.journal_id in self._spoken
        if len(self._spoken) >= MOST_JOURNALS:
            self._spoken.clear()  # at worst an epoch is raised without need
        self._spoken.add(call.record.journal_id)
        if not seen.identity:
            return
        # An agent that has not spoken to this process cannot have seen what it has committed:
        # that the revision has passed the agent's meanwhile proves nothing.
        known_through = state.revision if spoken else state.opened_revision
        went_back = (
            seen.identity == state.identity
            and seen.epoch == state.epoch
            and seen.revision > known_through
        )
        foreign = seen.identity != state.identity and seen.epoch >= state.epoch
        if went_back or foreign or seen.epoch > state.epoch:
            epoch = max(seen.epoch, state.epoch) + 1
            stage(Transaction(state.epoch, new_epoch=EpochStart(epoch, state.opened_revision)))
            log.warning(
                "epoch_raised",
                epoch=epoch,
                agent=name,
                seen_identity=seen.identity,
                seen_epoch=seen.epoch,
                seen_revision=seen.revision,
            )
