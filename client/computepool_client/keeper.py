"""Keeps, renews and gives back the leases of one `Pool`.

Does its I/O through the pool's engine. What is kept is given back at the end of
the interpreter too.
"""

import atexit
from collections.abc import Sequence

from computepool_client import calls, errors, held
from computepool_client.asking import Order, StoreAck
from computepool_client.engine import Engine
from computepool_client.held import Tenure
from computepool_client.renewer import Renewer
from computepool_client.values import Allocation

_OPEN: "set[Keeper]" = set()


class Keeper:
    """What leases need of their pool."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._renewer = Renewer(engine)

    def keep(self, tenure: Tenure) -> None:
        """Renews it until it is released; once is enough."""
        tenure.check()
        if not self._renewer.keeps(tenure.id):
            self._renewer.keep(tenure)
            _OPEN.add(self)

    def renew(self, tenure: Tenure, ttl_s: int) -> Allocation:
        """Makes its time start anew; see `Lease.renew`."""
        tenure.check()
        began_s = self.engine.clock()
        try:
            allocation, sent_s = self.engine.run_timed(calls.renew(tenure.id, ttl_s))
        except BaseException as error:  # an interrupt too
            if isinstance(error, errors.PoolError) and error.reason in calls.ENDED:
                raise tenure.refused(error) from error
            tenure.doubted(error, began_s, ttl_s)
            self._plan_anew(tenure)
            raise
        tenure.renewed(sent_s, float(allocation.spec.ttl_s))
        self._plan_anew(tenure)
        return allocation

    def _plan_anew(self, tenure: Tenure) -> None:
        if self._renewer.keeps(tenure.id):
            self._renewer.keep(tenure)

    def release(self, tenure: Tenure, message: str, ack: StoreAck | None) -> Allocation:
        """Gives it back; see `Lease.release`."""
        tenure.check_ours()
        # First: a renewal on its way must not take the release for a loss.
        self._renewer.drop(tenure.id)
        allocation = self.engine.run(calls.release(tenure.id, message, ack))
        tenure.released = True
        return allocation

    def release_many(self, tenures: Sequence[Tenure]) -> list[errors.PoolError]:
        """Gives back what is left of these; what could not be."""
        for tenure in tenures:
            tenure.check_ours()
        still = {tenure.id: tenure for tenure in tenures if not tenure.ended}
        for id_ in still:
            self._renewer.drop(id_)  # see release
        failed: list[errors.PoolError] = []
        over_s = self.engine.clock() + held.RELEASE_S
        for some in calls.slices(list(still), calls.MOST_RELEASES):
            try:
                failures = self.engine.run(calls.release_many(some), over_s - self.engine.clock())
            except errors.PoolError as error:
                failures = dict.fromkeys(some, error)
            failed += held.sorted_out(still, some, failures)
        return failed

    def abandon(self, orders: Sequence[Order], error: BaseException) -> None:
        """Nobody will ever ask for what these may have been granted: gives it back, if it can.

        After an interrupt, or an acknowledgement that was missed, it is not known whether
        there is a grant. Asking once more with the same request_id gives it, or another
        one, to release.
        """
        granted = held.granted_to(orders, error)
        if not granted and (held.surely_not_granted(error) or not orders):
            return  # refused; or no broker answers, and it ends with its TTL
        try:
            if not granted:
                again = calls.create_many(orders, "reserved", atomic=False)
                results = self.engine.run(again, held.ABANDON_S)
                made, _ = calls.parted(results)
                granted = [each.allocation for each in made]
            if granted:  # else it was refused
                self.engine.run(calls.release_many([each.id for each in granted]), held.ABANDON_S)
        except errors.PoolError as failure:
            held.log.warning("a grant was not given back, it ends with its TTL: %s", failure)

    def leave(self, tenures: Sequence[Tenure], *, told: bool) -> None:
        """The end of a block that held these.

        In a process that was forked inside the block nothing is done: they are its
        parent's.

        Raises:
            LeaseLostError: one was lost, unless another error is `told` already.
        """
        if any(tenure.forked for tenure in tenures):
            return
        for error in self.release_many(tenures):
            held.log.warning("a lease was not released, it ends with its TTL: %s", error)
        if not told:
            for tenure in tenures:
                tenure.check_lost()

    def close(self) -> None:
        """Releases what is kept, and ends the connection."""
        _OPEN.discard(self)
        if self.engine.ours:  # in a child that was forked a lock can be held for ever
            self.leave(self._renewer.close(), told=True)
            self.engine.close()


@atexit.register
def _at_exit() -> None:
    for keeper in list(_OPEN):
        keeper.close()
