"""The pool as an object for asyncio; the twin of `pool`.

Importing this is cheap: gRPC and the generated code are loaded when the first
`AsyncPool` is made. For one event loop.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

from computepool_client import asking, endpoints, errors, reading

if TYPE_CHECKING:
    from computepool_client import explanations, inventory, values
    from computepool_client.aio_lease import Asked, AsyncLease, AsyncLeases


class AsyncPool:
    """One pool of computing power; use it in `async with`, or `close` it.

    Args:
        endpoint: "HOST:PORT" of the broker, or several equal brokers joined by
            commas; that of COMPUTEPOOL_ENDPOINT, or of this machine, if not given.
        timeout: for each call, all its retries included.

    Every method raises a `PoolError` of the type that says what happened. What is
    safe is tried again until the timeout: never a refusal, unless `wait_for_room`
    is given. Closing releases the leases that are kept alive.
    """

    def __init__(self, endpoint: str | None = None, *, timeout: reading.Duration = 30.0) -> None:
        addresses = endpoints.parse(endpoint)
        timeout_s = reading.seconds(timeout, "timeout")
        # These load gRPC.
        from computepool_client import (  # noqa: PLC0415 - see above
            aio_lease,
            calls,
            inventory_calls,
            watching,
        )
        from computepool_client.aio_engine import AsyncEngine  # noqa: PLC0415 - see above
        from computepool_client.aio_keeper import AsyncKeeper  # noqa: PLC0415 - see above

        self._calls, self._inventory = calls, inventory_calls
        self._leases, self._watching = aio_lease, watching
        self._engine = AsyncEngine(addresses, timeout_s)
        self._keeper = AsyncKeeper(self._engine)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Releases what is kept alive, and ends the connection; calls in flight end."""
        await self._keeper.close()

    def __repr__(self) -> str:
        return f"<AsyncPool {','.join(self._engine.addresses)}>"

    # -- asking ----------------------------------------------------------------------------

    def allocate(self, **asked: Unpack[asking.Asked]) -> "Asked[AsyncLease]":
        """Asks for computing power: await it, or use it in `async with`; see `Pool.allocate`."""
        return self._leases.Asked(lambda: self._allocate(asked))

    def allocate_many(
        self,
        requests: Sequence[asking.One],
        *,
        atomic: bool = True,
        **waiting: Unpack[asking.Waiting],
    ) -> "Asked[AsyncLeases]":
        """Asks for up to 1,000 allocations: all or none, or each by itself.

        Await it, or use it in `async with`; see `Pool.allocate_many`.
        """
        return self._leases.Asked(lambda: self._allocate_many(requests, waiting, atomic=atomic))

    async def preview(
        self, *, tenant: str = "", **wanted: Unpack[asking.Place]
    ) -> "values.Preview":
        """Where `allocate` would place it now, or why nowhere; nothing is held."""
        return await self._engine.run(self._calls.preview(tenant, asking.place(wanted)))

    async def explain(
        self, subject: "str | errors.NoRoomError | None" = None, **wanted: Unpack[asking.Place]
    ) -> "explanations.Explanation":
        """Why an allocation (by its id) is where it is, or what a refused request met.

        With keywords instead: where such a request would go now, or why nowhere and
        what would fit.
        """
        return await self._engine.run(self._calls.explain(asking.subject(subject, wanted)))

    # -- allocations -----------------------------------------------------------------------

    async def get(self, allocation: str) -> "values.Allocation":
        """One allocation by its id; `NotFoundError` when there is none."""
        return await self._engine.run(self._calls.get(allocation))

    def list(
        self,
        *,
        filter: str = "",  # noqa: A002 - the protocol's word
        order_by: str = "",
        tenant: str = "",
        include_ended: bool = False,
    ) -> "AsyncIterator[values.Allocation]":
        """Allocations that match, by id unless another order is asked for; page after page."""
        return self._engine.items(
            self._calls.allocations(tenant, filter, order_by, include_ended=include_ended)
        )

    async def renew(
        self, allocation: str, *, ttl: reading.Duration | None = None
    ) -> "values.Allocation":
        """Makes the time of any allocation start anew, by its id."""
        return await self._engine.run(self._calls.renew(allocation, reading.ttl_s(ttl)))

    async def release(
        self, allocation: str, *, message: str = "", ack: asking.StoreAck | None = None
    ) -> "values.Allocation":
        """Gives any allocation back, by its id; an ended one is returned as it is."""
        return await self._engine.run(
            self._calls.release(allocation, message, asking.store_ack(ack))
        )

    def watch(
        self,
        *,
        filter: str = "",  # noqa: A002 - the protocol's word
        resume_token: str = "",
        changes_only: bool = False,
        patience: reading.Duration = 60.0,
    ) -> "AsyncGenerator[explanations.Changes, None]":
        """How allocations change, first those that are there; for as long as it is read.

        Goes on through broken connections and restarts of the broker, and gives up
        when none answered for `patience`.
        """
        watch = self._watching.AllocationsWatch(filter, resume_token, changes_only=changes_only)
        return self._engine.watch(watch, reading.seconds(patience, "patience"))

    # -- the pool --------------------------------------------------------------------------

    async def view(self, *, precision: str = "") -> "inventory.View":
        """The one view over all centers."""
        return await self._engine.run(self._inventory.view(precision))

    def watch_view(
        self,
        *,
        precision: str = "",
        interval: reading.Duration = 1.0,
        patience: reading.Duration = 60.0,
    ) -> "AsyncGenerator[inventory.View, None]":
        """The view, whole, whenever it changed; at most once in `interval` (0.2 s to 60 s)."""
        watch = self._watching.ViewWatch(precision, reading.seconds(interval, "interval"))
        return self._engine.watch(watch, reading.seconds(patience, "patience"))

    def centers(
        self,
        *,
        filter: str = "",  # noqa: A002 - the protocol's word
        order_by: str = "",
        precision: str = "",
    ) -> "AsyncIterator[inventory.Center]":
        """Centers that match, by name unless another order is asked for."""
        return self._engine.items(self._inventory.centers(precision, filter, order_by))

    def nodes(
        self,
        center: str = "",
        *,
        filter: str = "",  # noqa: A002 - the protocol's word
        order_by: str = "",
    ) -> "AsyncIterator[inventory.Node]":
        """Nodes that match, of one center or of all, by name unless ordered otherwise."""
        return self._engine.items(self._inventory.nodes(center, filter, order_by))

    def agents(
        self,
        *,
        filter: str = "",  # noqa: A002 - the protocol's word
        order_by: str = "",
    ) -> "AsyncIterator[inventory.Agent]":
        """Agents that match, by name unless another order is asked for."""
        return self._engine.items(self._inventory.agents(filter, order_by))

    # -- what an operator does -------------------------------------------------------------

    async def cordon(self, *, node: str = "", center: str = "", message: str = "") -> int:
        """No new grants on a node or a center; gives the number of leases still there."""
        return await self._engine.run(self._inventory.cordon(node, center, message))

    async def uncordon(self, *, node: str = "", center: str = "") -> None:
        """New grants again on a node or a center."""
        await self._engine.run(self._inventory.uncordon(node, center))

    def drain(
        self,
        *,
        node: str = "",
        center: str = "",
        message: str = "",
        patience: reading.Duration = 60.0,
    ) -> "AsyncGenerator[inventory.DrainProgress, None]":
        """Cordons, then says who is still there until nobody is; nobody is evicted.

        Ending the iteration early leaves the cordon.
        """
        watch = self._watching.DrainWatch(node, center, message)
        return self._engine.watch(watch, reading.seconds(patience, "patience"))

    async def forget(self, agent: str) -> tuple[int, int]:
        """Strikes a silent agent off; gives the allocations lost and the nodes removed."""
        return await self._engine.run(self._inventory.forget(agent))

    async def audit(self) -> "inventory.Audit":
        """Recomputes everything from leases and reports, and names what disagrees."""
        return await self._engine.run(self._inventory.audit())

    async def _allocate(self, asked: asking.Asked) -> "AsyncLease":
        order, patience = asking.order(asked), asking.patience(asked)
        call = self._calls.create(order, patience.wait, patience.ack)
        try:
            grant, sent_s = await self._engine.run_timed(call, patience.timeout_s, patience.room_s)
        except BaseException as error:
            if order.own_id:
                await self._keeper.abandon([order], error)
            if isinstance(error, errors.NoRoomError):
                error.asked(order.spec)
            raise
        return self._leases.AsyncLease(self._keeper, grant, sent_s, patience.on_lost)

    async def _allocate_many(
        self, requests: Sequence[asking.One], waiting: asking.Waiting, *, atomic: bool
    ) -> "AsyncLeases":
        orders, patience = asking.orders(requests), asking.patience(waiting)
        call = self._calls.create_many(orders, patience.wait, patience.ack, atomic=atomic)
        try:
            results, sent_s = await self._engine.run_timed(
                call, patience.timeout_s, patience.room_s
            )
        except BaseException as error:
            own = [order for order in orders if order.own_id]
            await self._keeper.abandon(own, error)
            raise
        granted, refused = self._calls.parted(results)
        leases = [
            self._leases.AsyncLease(self._keeper, grant, sent_s, patience.on_lost)
            for grant in granted
        ]
        return self._leases.AsyncLeases(self._keeper, leases, refused)
