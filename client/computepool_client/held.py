"""A lease as its holder sees it: what it is on, and until when it is surely held.

Does no I/O; the clock is an argument. Both kinds of lease are made of this.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Generic, Protocol, TypeVar

from computepool_client import errors
from computepool_client.asking import OnLost, Order
from computepool_client.calls import ENDED, Grant
from computepool_client.values import AckLevel, Allocation, AllocationState, Part, Placed

RELEASE_S = 10.0
"""The end of a block waits so long for its release, at most."""
ABANDON_S = 3.0
"""Giving back what nobody will ask for takes so long, at most."""

_NOT_DONE = (errors.InvalidRequestError, errors.NotFoundError, errors.WrongStateError)
"""What a broker answers that has changed nothing."""

log = logging.getLogger("computepool_client")


class Flag(Protocol):
    """What threading.Event and asyncio.Event have in common."""

    def set(self) -> None:
        """Raises the flag."""

    def is_set(self) -> bool:
        """Whether it is up."""
        ...


F = TypeVar("F", bound=Flag)


def clock() -> float:
    """Seconds that only go forward, and that count while the machine sleeps if they can.

    The broker's clock goes on while this machine sleeps; a clock that stood still
    meanwhile would believe in a lease for too long.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class Tenure:
    """Until when one lease is held, and how that ended.

        HELD ──release──> released
          └──its time is over by this clock, or the broker says so──> lost

    Attributes:
        ttl_s: how long it lasts without renewal, in seconds.
        valid_until_s: when it is surely held no more, by `now`.
        loss: how it was lost; None while it is not.
        released: given back by its holder.
        ack: what the answer to its asking guaranteed.
    """

    def __init__(
        self,
        grant: Grant,
        sent_s: float,
        flag: Flag,
        on_lost: OnLost | None = None,
        now: Callable[[], float] = clock,
    ) -> None:
        self.id = grant.allocation.id
        self.ttl_s = float(grant.allocation.spec.ttl_s)
        # A grant made by this very attempt lasts a whole TTL from its sending on, at least.
        left_s = grant.allocation.remaining_ttl_ms / 1000 if grant.duplicate else self.ttl_s
        self.valid_until_s = sent_s + left_s
        self.loss: errors.LeaseLostError | None = None
        self.released = False
        self.ack = grant.ack
        self.now = now
        self._flag = flag
        self._on_lost = on_lost
        self._guard = threading.Lock()
        self._pid = os.getpid()

    @property
    def forked(self) -> bool:
        """Whether this process is a child of the holder's: it holds nothing."""
        return os.getpid() != self._pid

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to release."""
        return self.released or (self.loss is not None and self.loss.reason in ENDED)

    def renewed(self, sent_s: float, ttl_s: float | None = None) -> None:
        """A renewal that had been sent then was answered, perhaps with another length."""
        self.ttl_s = self.ttl_s if ttl_s is None else ttl_s
        until_s = sent_s + self.ttl_s
        self.valid_until_s = until_s if ttl_s is not None else max(self.valid_until_s, until_s)

    def doubted(self, error: BaseException, began_s: float, ttl_s: int) -> None:
        """A renewal that began then failed: a shorter length counts, it may have been taken."""
        if not isinstance(error, _NOT_DONE) and 0 < ttl_s < self.ttl_s:
            self.ttl_s = float(ttl_s)
            self.valid_until_s = min(self.valid_until_s, began_s + ttl_s)

    def time_over(self) -> None:
        """It could not be renewed in time."""
        text = f"{self.id} could not be renewed before its time was over: it can be another's"
        self._lose(errors.LeaseLostError(text, "TTL_OVER", allocation_id=self.id))

    def refused(self, error: errors.PoolError) -> errors.LeaseLostError:
        """The broker says that it has ended; gives what to raise."""
        loss = errors.LeaseLostError(
            error.message, error.reason, error.metadata, allocation_id=self.id
        )
        self._lose(loss)
        return loss

    def check_ours(self) -> None:
        """Raises `ClosedError` in a child of the holder's process."""
        if self.forked:
            raise errors.ClosedError(errors.FORKED, "FORKED")

    def check(self) -> None:
        """Raises the `PoolError` that says why it is not surely held; see `Held.check`."""
        self.check_ours()
        self.check_lost()
        if self.released:
            raise errors.LeaseLostError(
                f"{self.id} was released", "RELEASED", allocation_id=self.id
            )

    def check_lost(self) -> None:
        """Raises `LeaseLostError` when it is lost; not when it was released."""
        if self.loss is None and not self.released and self.now() >= self.valid_until_s:
            self.time_over()
        if self.loss is not None:
            raise self.loss.again()

    def _lose(self, error: errors.LeaseLostError) -> None:
        with self._guard:
            if self.loss is not None or self.released:
                return
            self.loss = error
        self._flag.set()
        if self._on_lost is not None:
            try:
                self._on_lost(error)
            except Exception:
                log.exception("on_lost of %s failed", self.id)


class Held(Placed, Generic[F]):
    """What a lease shows of itself.

    Attributes:
        lost: set once the lease is lost; wait for it, or look at it.
    """

    def __init__(self, allocation: Allocation, lost: F, tenure: Tenure) -> None:
        self.lost = lost
        self._allocation = allocation
        self._tenure = tenure

    @property
    def allocation(self) -> Allocation:
        """The allocation as the broker told it last; a plain value."""
        return self._allocation

    @property
    def id(self) -> str:
        """Id of the allocation."""
        return self._allocation.id

    @property
    def state(self) -> AllocationState:
        """State of the allocation as the broker told it last."""
        return self._allocation.state

    @property
    def ack(self) -> AckLevel:
        """What the broker's answer guaranteed when it was granted."""
        return self._tenure.ack

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts, each on one node."""
        return self._allocation.parts

    @property
    def ttl(self) -> timedelta:
        """How long it lasts without renewal."""
        return timedelta(seconds=self._tenure.ttl_s)

    @property
    def remaining(self) -> timedelta:
        """How long it is surely held if nothing renews it; zero once lost or released."""
        tenure = self._tenure
        if tenure.loss is not None or tenure.released:
            return timedelta(0)
        return timedelta(seconds=max(0.0, tenure.valid_until_s - tenure.now()))

    def check(self) -> None:
        """Does nothing while the lease is surely held.

        Raises:
            LeaseLostError: it is lost, or was released.
            ClosedError: asked in a process that was forked from the holder's.
        """
        self._tenure.check()

    def __repr__(self) -> str:
        state = "LOST" if self._tenure.loss is not None else str(self.state)
        return f"<{type(self).__name__} {self.id} {state} on {', '.join(self.nodes)}>"

    def _repr_html_(self) -> str:
        return self._allocation._repr_html_()

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled, it is its allocation: a plain value without the connection."""
        return (_same, (self._allocation,))

    def _placed(self) -> tuple[Part, ...]:
        return self._allocation.parts


def sorted_out(
    tenures: Mapping[str, Tenure], ids: Iterable[str], failures: Mapping[str, errors.PoolError]
) -> list[errors.PoolError]:
    """Notes which were released; gives, once each, why those that are not lost were not."""
    for id_ in ids:
        tenures[id_].released = id_ not in failures
    left = (error for id_, error in failures.items() if tenures[id_].loss is None)
    return list({error.message: error for error in left}.values())


def granted_to(orders: Iterable[Order], error: BaseException) -> list[Allocation]:
    """What an error says that these orders were granted."""
    ours = {order.request_id for order in orders}
    granted = getattr(error, "allocations", ())
    return [allocation for allocation in granted if allocation.request_id in ours]


def surely_not_granted(error: BaseException) -> bool:
    """Whether an error says that there is nothing, or that nobody can be asked about it now."""
    missed = isinstance(error, errors.NotAcknowledgedError)
    return isinstance(error, errors.PoolError) and not missed


def _same(allocation: Allocation) -> Allocation:
    return allocation
