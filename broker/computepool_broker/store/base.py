"""The contract of a store. tests/contract runs one suite over every implementation.

A store owns the tables. `stage` checks a transaction and shows its effects in `state` at once,
so that the next one can be planned on them; `commit` makes everything staged since the last
commit as durable as the store promises. Between the two nothing of it may be shown to anybody
outside: whoever answers waits for the commit.

    stage, stage, commit ───────────────── durable ──> outcomes
              stage, stage, commit ────────────────────── durable ──> outcomes

Commits end in the order in which they were begun. When one fails the store is broken: its
memory may show what never became durable. It says OutcomeUnknownError to that commit and to all
after it, until it is closed and opened anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from computepool_broker.ledger.state import LedgerState
    from computepool_broker.ledger.transaction import Outcome, Transaction


class Store(Protocol):
    """Keeps the ledger."""

    @property
    def state(self) -> LedgerState:
        """The tables, staged effects included. For reading only."""

    @property
    def durable(self) -> bool:
        """Whether a commit can be made to survive a crash of the store's machine.

        Known once it is open.
        """

    @property
    def always_durable(self) -> bool:
        """Whether every commit survives that, asked for or not; known once it is open."""

    async def open(self, state: LedgerState) -> None:
        """Load everything into `state` (empty, with its listeners set) and follow it from now on.

        Raises:
            StoreRefusedError: Damaged, foreign, newer, locked by another broker, or configured
                so that it could lose data. Nothing was changed.
            ConnectionError: Its server cannot be reached now.
        """

    def stage(self, tx: Transaction) -> Outcome:
        """Check and apply in memory. The outcome is final once the next commit has ended."""

    def commit(self) -> Awaitable[None]:
        """Make everything staged so far durable.

        Raises:
            OutcomeUnknownError: On awaiting: it may or may not have become durable.
        """

    async def close(self) -> None:
        """Finish what was begun and let go of everything."""
