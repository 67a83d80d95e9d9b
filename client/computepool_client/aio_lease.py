"""Leases of an `AsyncPool`; the twin of `lease`."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar, overload

from computepool_client import asking, calls, errors, held, reading
from computepool_client.aio_keeper import AsyncKeeper
from computepool_client.values import Allocation


class AsyncLease(held.Held[asyncio.Event]):
    """An allocation that is held, made by `AsyncPool.allocate`; see `Lease`.

    When the body of `async with` is cancelled, the lease is released too: giving back
    goes on in a task of its own, for a few seconds at most, even if it is cancelled
    again.
    """

    def __init__(
        self, keeper: AsyncKeeper, grant: calls.Grant, sent_s: float, on_lost: asking.OnLost | None
    ) -> None:
        lost = asyncio.Event()
        tenure = held.Tenure(grant, sent_s, lost, on_lost, keeper.engine.clock)
        super().__init__(grant.allocation, lost, tenure)
        self._keeper = keeper

    async def renew(self, ttl: reading.Duration | None = None) -> Allocation:
        """Makes its time start anew, with another length where one is given.

        Raises:
            LeaseLostError: it has ended.
            PoolError: the broker could not be asked; it may still be held.
        """
        self._allocation = await self._keeper.renew(self._tenure, reading.ttl_s(ttl))
        return self._allocation

    def keep_alive(self) -> Self:
        """Renews it until it is released, or its pool is closed; gives the lease itself."""
        self._keeper.keep(self._tenure)
        return self

    async def release(self, message: str = "", *, ack: asking.StoreAck | None = None) -> Allocation:
        """Gives it back, whatever its state; also the second time.

        Raises:
            PoolError: the broker could not be asked; it ends when its TTL is over.
        """
        self._allocation = await self._keeper.release(self._tenure, message, asking.store_ack(ack))
        return self._allocation

    async def refresh(self) -> Allocation:
        """Asks how it is now; changes nothing."""
        self._allocation = await self._keeper.engine.run(calls.get(self.id))
        return self._allocation

    async def __aenter__(self) -> Self:
        return self.keep_alive()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._keeper.leave([self._tenure], told=error is not None)


class AsyncLeases(Sequence[AsyncLease]):
    """Leases that were asked for together; see `Leases`."""

    def __init__(
        self,
        keeper: AsyncKeeper,
        leases: Sequence[AsyncLease],
        refused: Mapping[int, errors.PoolError],
    ) -> None:
        self.refused = dict(refused)
        self._keeper = keeper
        self._leases = tuple(leases)

    @overload
    def __getitem__(self, index: int) -> AsyncLease: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[AsyncLease, ...]: ...
    def __getitem__(self, index: int | slice) -> AsyncLease | tuple[AsyncLease, ...]:
        return self._leases[index]

    def __len__(self) -> int:
        return len(self._leases)

    def check(self) -> None:
        """As `AsyncLease.check`, of all of them."""
        for lease in self._leases:
            lease.check()

    def keep_alive(self) -> Self:
        """As `AsyncLease.keep_alive`, of all of them."""
        for lease in self._leases:
            lease.keep_alive()
        return self

    async def release(self) -> None:
        """Gives all back; raises the error of the first that could not be."""
        for error in await self._keeper.release_many(self._tenures):
            raise error

    async def __aenter__(self) -> Self:
        return self.keep_alive()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._keeper.leave(self._tenures, told=error is not None)

    @property
    def _tenures(self) -> list[held.Tenure]:
        return [lease._tenure for lease in self._leases]  # noqa: SLF001 - of this module


class _Kept(Protocol):
    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


K = TypeVar("K", bound=_Kept)


class Asked(Awaitable[K], Generic[K]):
    """What `AsyncPool.allocate` gives: await it for a lease, or use it in `async with`."""

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, K]]) -> None:
        self._ask = ask
        self._held: K | None = None

    def __await__(self) -> Generator[Any, Any, K]:
        return self._ask().__await__()

    async def __aenter__(self) -> K:
        self._held = await self._ask()
        return await self._held.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._held is not None:
            await self._held.__aexit__(kind, error, trace)
