"""What an answer guarantees: the levels, which one a call has, and what the store can give.

    COMMITTED  in the store
    DURABLE    on the store's disk, and on as many replicas as the broker is set to
    CONFIRMED  DURABLE, and every agent has admitted its part

Imports no I/O. What the store can give is asked at each call: it may meet another server.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

from computepool_broker.errors import (
    AckLevelUnavailableError,
    NotAcknowledgedError,
    StoreRefusedError,
)
from computepool_broker.model.records import AllocationState

if TYPE_CHECKING:
    from computepool_broker.model.records import Allocation

AUTO = "auto"
ASK_AGAIN_MS = 50
"""Of what was not confirmed in time: the broker itself waits for the agents."""
REMEDY = "set appendfsync always at its server"


class Level(IntEnum):
    """What is guaranteed; each includes those above it. The numbers are those of the wire."""

    COMMITTED = 1
    DURABLE = 2
    CONFIRMED = 3

    @property
    def at_store(self) -> Level:
        """What the writer is asked for when it runs the call.

        CONFIRMED asks for a durable look when the agents have admitted all, which holds for the
        grant too: so the disk is waited for once, and beside the agents.
        """
        return Level.DURABLE if self is Level.DURABLE else Level.COMMITTED


class Promises(Protocol):
    """What `Levels` asks of a store; see Store."""

    @property
    def durable(self) -> bool:
        """Whether a commit can be made durable."""

    @property
    def always_durable(self) -> bool:
        """Whether every commit is, asked for or not."""


class Levels:
    """Which level a call has, and which one its answer names."""

    def __init__(self, setting: str, store: Promises) -> None:
        """Wire it.

        Args:
            setting: "auto", or the name of a level in lower case.
            store: Asked once it is open.
        """
        self._set = None if setting == AUTO else Level[setting.upper()]
        self._store = store

    @property
    def default(self) -> Level:
        """Of calls that name none."""
        if self._set is not None:
            return self._set
        return Level.DURABLE if self._store.durable else Level.COMMITTED

    def check(self) -> None:
        """Refuse a store that cannot give what the broker was told to promise.

        Raises:
            StoreRefusedError: See above; the setting, and what to change at the server.
        """
        if self.default > Level.COMMITTED and not self._store.durable:
            raise StoreRefusedError(
                f"ack_level {self.default.name.lower()}: this store cannot make its commits "
                f"durable: {REMEDY}; or set ack_level to auto or committed"
            )

    def of_create(self, asked: Level | None, *, waits: bool) -> Level:
        """The level of a create.

        Args:
            asked: What the call names; None when it names none.
            waits: Whether it waits for ACTIVE. One that does not, and names no level, is not
                confirmed whatever the broker's default is.

        Raises:
            AckLevelUnavailableError: The store cannot give it.
        """
        return self._given(asked or (self.default if waits else self._unconfirmed))

    def of_release(self, asked: Level | None) -> Level:
        """The level of a release, which has nothing to confirm; errors as of a create."""
        return self._given(asked or self._unconfirmed)

    def told(self, asked: Level, allocation: Allocation) -> Level:
        """What holds of a grant that was made at a level.

        CONFIRMED is told only to those that ask for it: clients older than the word compare the
        answer with DURABLE.
        """
        if asked is Level.CONFIRMED and allocation.state is AllocationState.ACTIVE:
            return asked
        if asked >= Level.DURABLE or self._store.always_durable:
            return Level.DURABLE
        return Level.COMMITTED

    @property
    def _unconfirmed(self) -> Level:
        return min(self.default, Level.DURABLE)

    def _given(self, level: Level) -> Level:
        if level > Level.COMMITTED and not self._store.durable:
            raise AckLevelUnavailableError(
                f"ack_level: {level.name} is not to be had: this store cannot make its commits "
                f"durable; ask for COMMITTED, or {REMEDY}",
                metadata={"ack_level": level.name},
            )
        return level


def unconfirmed(allocation: Allocation, wait_s: float) -> NotAcknowledgedError | None:
    """What to answer instead of a grant that was to be confirmed; None when it can be told.

    One that has ended meanwhile is told as it is: there is nothing left to confirm.
    """
    if allocation.state is not AllocationState.RESERVED:
        return None
    again = "retry with the same request_id, or release it"
    return NotAcknowledgedError(
        f"{allocation.id} is granted, but was not confirmed by its agents within "
        f"{max(0.0, wait_s):.3g} s; {again if allocation.request_id else 'release it'}",
        metadata={"ack_level": Level.CONFIRMED.name, "allocation_id": allocation.id},
        retry_after_ms=ASK_AGAIN_MS,
    )
