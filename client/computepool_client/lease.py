"""Leases of a `Pool`: one, and several that were asked for together."""

import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self, overload

from computepool_client import asking, calls, errors, held, reading
from computepool_client.keeper import Keeper
from computepool_client.values import Allocation


class Lease(held.Held[threading.Event]):
    """An allocation that is held, made by `Pool.allocate`.

    In a `with` statement it renews itself while the block lives and is released
    when the block ends, whatever ends it. Leaving a block whose lease was lost
    raises `LeaseLostError`, unless another exception is on its way: work on devices
    that may have been another's never passes for done.

    Without `with` it is released by `release()` only, or ends when its TTL is over
    without `renew()`; `keep_alive()` renews it until it is released or the pool is
    closed, which releases it.
    """

    def __init__(
        self, keeper: Keeper, grant: calls.Grant, sent_s: float, on_lost: asking.OnLost | None
    ) -> None:
        lost = threading.Event()
        tenure = held.Tenure(grant, sent_s, lost, on_lost, keeper.engine.clock)
        super().__init__(grant.allocation, lost, tenure)
        self._keeper = keeper

    def renew(self, ttl: reading.Duration | None = None) -> Allocation:
        """Makes its time start anew, with another length where one is given.

        Raises:
            LeaseLostError: it has ended.
            PoolError: the broker could not be asked; it may still be held.
        """
        self._allocation = self._keeper.renew(self._tenure, reading.ttl_s(ttl))
        return self._allocation

    def keep_alive(self) -> Self:
        """Renews it until it is released, or its pool is closed; gives the lease itself."""
        self._keeper.keep(self._tenure)
        return self

    def release(self, message: str = "", *, ack: asking.StoreAck | None = None) -> Allocation:
        """Gives it back, whatever its state; also the second time.

        Raises:
            PoolError: the broker could not be asked; it ends when its TTL is over.
        """
        self._allocation = self._keeper.release(self._tenure, message, asking.store_ack(ack))
        return self._allocation

    def refresh(self) -> Allocation:
        """Asks how it is now; changes nothing."""
        self._allocation = self._keeper.engine.run(calls.get(self.id))
        return self._allocation

    def __enter__(self) -> Self:
        return self.keep_alive()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._keeper.leave([self._tenure], told=error is not None)


class Leases(Sequence[Lease]):
    """Leases that were asked for together, in the order of the requests.

    As a context manager it is to all of them what a lease is to itself.

    Attributes:
        refused: what was not granted, by its place in the request.
    """

    def __init__(
        self, keeper: Keeper, leases: Sequence[Lease], refused: Mapping[int, errors.PoolError]
    ) -> None:
        self.refused = dict(refused)
        self._keeper = keeper
        self._leases = tuple(leases)

    @overload
    def __getitem__(self, index: int) -> Lease: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Lease, ...]: ...
    def __getitem__(self, index: int | slice) -> Lease | tuple[Lease, ...]:
        return self._leases[index]

    def __len__(self) -> int:
        return len(self._leases)

    def check(self) -> None:
        """As `Lease.check`, of all of them."""
        for lease in self._leases:
            lease.check()

    def keep_alive(self) -> Self:
        """As `Lease.keep_alive`, of all of them."""
        for lease in self._leases:
            lease.keep_alive()
        return self

    def release(self) -> None:
        """Gives all back; raises the error of the first that could not be."""
        for error in self._keeper.release_many(self._tenures):
            raise error

    def __enter__(self) -> Self:
        return self.keep_alive()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._keeper.leave(self._tenures, told=error is not None)

    @property
    def _tenures(self) -> list[held.Tenure]:
        return [lease._tenure for lease in self._leases]  # noqa: SLF001 - of this module
