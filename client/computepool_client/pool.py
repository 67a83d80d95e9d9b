"""The pool as a synchronous Python object: ask, keep, give back, look.

Importing this is cheap: gRPC and the generated code are loaded when the first
`Pool` is made. Safe to use from several threads.
"""

from collections.abc import Generator, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

from computepool_client import asking, endpoints, errors, reading

if TYPE_CHECKING:
    from computepool_client import explanations, inventory, values
    from computepool_client.lease import Lease, Leases


class Pool:
    """One pool of computing power; use it in a `with` statement, or `close` it.

    Args:
        endpoint: "HOST:PORT" of the broker, or several equal brokers joined by
            commas; that of COMPUTEPOOL_ENDPOINT, or of this machine, if not given.
        timeout: for each call, all its retries included.

    Every method raises a `PoolError` of the type that says what happened. What is
    safe is tried again until the timeout: never a refusal, unless `wait_for_room`
    is given. Closing releases the leases that are kept alive; so does the end of
    the interpreter.
    """

    def __init__(self, endpoint: str | None = None, *, timeout: reading.Duration = 30.0) -> None:
        addresses = endpoints.parse(endpoint)
        timeout_s = reading.seconds(timeout, "timeout")
        # These load gRPC.
        from computepool_client import (  # noqa: PLC0415 - see above
            calls,
            inventory_calls,
            lease,
            watching,
        )
        from computepool_client.engine import Engine  # noqa: PLC0415 - see above
        from computepool_client.keeper import Keeper  # noqa: PLC0415 - see above

        self._calls, self._inventory = calls, inventory_calls
        self._leases, self._watching = lease, watching
        self._engine = Engine(addresses, timeout_s)
        self._keeper = Keeper(self._engine)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Releases what is kept alive, and ends the connection; calls in flight end."""
        self._keeper.close()

    def __repr__(self) -> str:
        return f"<Pool {','.join(self._engine.addresses)}>"

    # -- asking ----------------------------------------------------------------------------

    def allocate(self, **asked: Unpack[asking.Asked]) -> "Lease":
        """Asks for computing power; `asking.Asked` has the keywords.

        Raises:
            InvalidRequestError: a keyword is malformed; `fields` names it.
            NoRoomError: no center has room; it carries why, and what would fit.
            NotActiveError: the agents did not admit it in time; it was given back,
                unless a request_id was given.
            AllocationFailedError: no agent admitted it.
            AckLevelUnavailableError: the store cannot give the `ack` asked for.
            NotAcknowledgedError: it was not reached in time; given back as above.
            OutcomeUnknownError: no broker answered in time. What may have been
                granted ends with its TTL; the same request_id gives it.
            PoolError: see the other errors.
        """
        order, patience = asking.order(asked), asking.patience(asked)
        call = self._calls.create(order, patience.wait, patience.ack)
        try:
            grant, sent_s = self._engine.run_timed(call, patience.timeout_s, patience.room_s)
        except BaseException as error:
            if order.own_id:
                self._keeper.abandon([order], error)
            if isinstance(error, errors.NoRoomError):
                error.asked(order.spec, self._explain)
            raise
        return self._leases.Lease(self._keeper, grant, sent_s, patience.on_lost)

    def allocate_many(
        self,
        requests: Sequence[asking.One],
        *,
        atomic: bool = True,
        **waiting: Unpack[asking.Waiting],
    ) -> "Leases":
        """Asks for up to 1,000 allocations: all or none, or each by itself.

        With `atomic` a refusal raises the error of the request that it is about
        (metadata "index"). Without, `refused` of the answer has the errors.

        Raises:
            PoolError: as `allocate`.
        """
        orders, patience = asking.orders(requests), asking.patience(waiting)
        call = self._calls.create_many(orders, patience.wait, patience.ack, atomic=atomic)
        try:
            results, sent_s = self._engine.run_timed(call, patience.timeout_s, patience.room_s)
        except BaseException as error:
            own = [order for order in orders if order.own_id]
            self._keeper.abandon(own, error)
            raise
        granted, refused = self._calls.parted(results)
        leases = [
            self._leases.Lease(self._keeper, grant, sent_s, patience.on_lost) for grant in granted
        ]
        return self._leases.Leases(self._keeper, leases, refused)

    def preview(self, *, tenant: str = "", **wanted: Unpack[asking.Place]) -> "values.Preview":
        """Where `allocate` would place it now, or why nowhere; nothing is held."""
        return self._engine.run(self._calls.preview(tenant, asking.place(wanted)))

    def explain(
        self, subject: "str | errors.NoRoomError | None" = None, **wanted: Unpack[asking.Place]
    ) -> "explanations.Explanation":
        """Why an allocation (by its id) is where it is, or what a refused request met.

        With keywords instead: where such a request would go now, or why nowhere and
        what would fit.
        """
        return self._engine.run(self._calls.explain(asking.subject(subject, wanted)))

    # -- allocations -----------------------------------------------------------------------

    def get(self, allocation: str) -> "values.Allocation":
        """One allocation by its id; `NotFoundError` when there is none."""
        return self._engine.run(self._calls.get(allocation))

    def list(
        self,
        *,
        filter: str = "",  # noqa: A002 - the protocol's word
        order_by: str = "",
        tenant: str = "",
        include_ended: bool = False,
    ) -> "Iterator[values.Allocation]":
        """Allocations that match, by id unless another order is asked for; page after page."""
        return self._engine.items(
            self._calls.allocations(tenant, filter, order_by, include_ended=include_ended)
        )

    def renew(self, allocation: str, *, ttl: reading.Duration | None = None) -> "values.Allocation":
        """Makes the time of any allocation start anew, by its id."""
        return self._engine.run(self._calls.renew(allocation, reading.ttl_s(ttl)))

    def release(
        self, allocation: str, *, message: str = "", ack: asking.StoreAck | None = None
    ) -> "values.Allocation":
        """Gives any allocation back, by its id; an ended one is returned as it is."""
        return self._engine.run(self._calls.release(allocation, message, asking.store_ack(ack)))

    def watch(
        self,
        *,
        filter: str = "",  # noqa: A002 - the protocol's word
        resume_token: str = "",
        changes_only: bool = False,
        patience: reading.Duration = 60.0,
    ) -> "Generator[explanations.Changes, None, None]":
        """How allocations change, first those that are there; for as long as it is read.

        Goes on through broken connections and restarts of the broker, and gives up
        when none answered for `patience`.
        """
        watch = self._watching.AllocationsWatch(filter, resume_token, changes_only=changes_only)
        return self._engine.watch(watch, reading.seconds(patience, "patience"))

    # -- the pool --------------------------------------------------------------------------

    def view(self, *, precision: str = "") -> "inventory.View":
        """The one view over all centers."""
        return self._engine.run(self._inventory.view(precision))

    def watch_view(
        self,
        *,
        precision: str = "",
        interval: reading.Duration = 1.0,
        patience: reading.Duration = 60.0,
    ) -> "Generator[inventory.View, None, None]":
        """The view, whole, whenever it changed; at most once in `interval` (0.2 s to 60 s)."""
        watch = self._watching.ViewWatch(precision, reading.seconds(interval, "interval"))
        return self._engine.watch(watch, reading.seconds(patience, "patience"))

    def centers(
        self,
        *,
        filter: str = "",  # noqa: A002 - the protocol's word
        order_by: str = "",
        precision: str = "",
    ) -> "Iterator[inventory.Center]":
        """Centers that match, by name unless another order is asked for."""
        return self._engine.items(self._inventory.centers(precision, filter, order_by))

    def nodes(
        self,
        center: str = "",
        *,
        filter: str = "",  # noqa: A002 - the protocol's word
        order_by: str = "",
    ) -> "Iterator[inventory.Node]":
        """Nodes that match, of one center or of all, by name unless ordered otherwise."""
        return self._engine.items(self._inventory.nodes(center, filter, order_by))

    def agents(
        self,
        *,
        filter: str = "",  # noqa: A002 - the protocol's word
        order_by: str = "",
    ) -> "Iterator[inventory.Agent]":
        """Agents that match, by name unless another order is asked for."""
        return self._engine.items(self._inventory.agents(filter, order_by))

    # -- what an operator does -------------------------------------------------------------

    def cordon(self, *, node: str = "", center: str = "", message: str = "") -> int:
        """No new grants on a node or a center; gives the number of leases still there."""
        return self._engine.run(self._inventory.cordon(node, center, message))

    def uncordon(self, *, node: str = "", center: str = "") -> None:
        """New grants again on a node or a center."""
        self._engine.run(self._inventory.uncordon(node, center))

    def drain(
        self,
        *,
        node: str = "",
        center: str = "",
        message: str = "",
        patience: reading.Duration = 60.0,
    ) -> "Generator[inventory.DrainProgress, None, None]":
        """Cordons, then says who is still there until nobody is; nobody is evicted.

        Ending the iteration early leaves the cordon.
        """
        watch = self._watching.DrainWatch(node, center, message)
        return self._engine.watch(watch, reading.seconds(patience, "patience"))

    def forget(self, agent: str) -> tuple[int, int]:
        """Strikes a silent agent off; gives the allocations lost and the nodes removed."""
        return self._engine.run(self._inventory.forget(agent))

    def audit(self) -> "inventory.Audit":
        """Recomputes everything from leases and reports, and names what disagrees."""
        return self._engine.run(self._inventory.audit())

    def _explain(self, spec: "values.Spec") -> "explanations.Explanation":
        return self._engine.run(self._calls.explain(spec))
