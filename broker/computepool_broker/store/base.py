"""The contract of a store. tests/contract runs one suite over every implementation.

A store owns the tables. `stage` checks a transaction and shows its effects in `state` at once,
so that the next one can be planned on them; `commit` makes everything staged since the last
commit as durable as the store promises. Between the two nothing of it may be shown to anybody
outside: whoever answers waits for the commit.

    stage, stage, commit ───────────────── durable ──> verdict
              stage, stage, commit ────────────────────── durable ──> verdict

Commits end in the order in which they were begun, at most `ahead` are under way at once.

Two kinds. A store of one broker decides in `stage`; when a commit fails it is broken: its memory
may show what never became durable, and it says OutcomeUnknownError to that commit and to all
after it, until it is closed and opened anew. A `shared` store decides at its server, between
several brokers: what was staged is assumed until the verdict says what really happened, and has
brought `state` in line with it. It mends itself: while it is not `up` everything is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from computepool_broker.ledger.state import LedgerState
    from computepool_broker.ledger.touched import Touched
    from computepool_broker.ledger.transaction import Outcome, Rejected, Transaction
    from computepool_broker.model.records import Allocation


class Verdict(NamedTuple):
    """What became of one commit; `state` says so already.

    Attributes:
        low: The revision that the batch was planned on.
        shift: By how much all its revisions above `low` have moved, since others came first.
        news: What others have changed, in the order before this batch.
        own: What the batch has touched, where it had to be folded anew; else what was taken
            when it was staged holds.
        rejected: What was not done, by its place among what was staged.
        durable: Whether the level that was asked for was reached.
    """

    low: int = 0
    shift: int = 0
    news: Touched | None = None
    own: Touched | None = None
    rejected: Mapping[int, Rejected] = {}
    durable: bool = True


class Beat(NamedTuple):
    """One broker's sign of life.

    Attributes:
        instance: The broker.
        age_ms: Since it, on the store's clock.
        said: What it says of itself, JSON.
    """

    instance: str
    age_ms: int
    said: str


class Beats(NamedTuple):
    """The brokers that live, and who of them does the chores."""

    beats: Sequence[Beat]
    chores: str


class Listener(Protocol):
    """Who is told what a shared store learns between commits."""

    def on_news(self, news: Touched) -> None:
        """Others have changed this; it is as durable as they promised."""

    def on_new_life(self, lost: Sequence[Allocation], news: Touched) -> None:
        """Continuity was in doubt: another term has begun, and `state` is as the store now is.

        Args:
            lost: What the store no longer knows; its agents may bring it back.
            news: What differs from what was known.
        """


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

    @property
    def shared(self) -> bool:
        """Whether several brokers may use it at once."""

    @property
    def ahead(self) -> int:
        """Commits that may be under way at once."""

    @property
    def staged(self) -> int:
        """Transactions accepted by `stage` since the last commit; 0 where that is final."""

    @property
    def up(self) -> bool:
        """Whether it takes anything now."""

    async def open(self, state: LedgerState) -> None:
        """Load everything into `state` (empty, with its listeners set) and follow it from now on.

        Raises:
            StoreRefusedError: Damaged, foreign, newer, locked by another broker, or configured
                so that it could lose data. Nothing was changed.
            ConnectionError: Its server cannot be reached now.
        """

    def stage(self, tx: Transaction) -> Outcome:
        """Check and apply in memory. The outcome is final once the next commit has ended.

        Raises:
            OutcomeUnknownError: The store is broken.
            StoreUnavailableError: It is not up.
        """

    def commit(self, *, durable: bool = True) -> Awaitable[Verdict | None]:
        """Make everything staged so far durable.

        Args:
            durable: Also on disk, and on replicas, where that is a choice.

        Returns:
            What became of it; None when all is as it was staged.

        Raises:
            OutcomeUnknownError: On awaiting: it may or may not have become durable.
            StoreUnavailableError: On awaiting: nothing of it has happened.
        """

    async def close(self) -> None:
        """Finish what was begun and let go of everything."""
