"""Watches as data: what is asked for next, and what each message means. Pure.

A watch remembers where it is, so that it goes on after its connection broke or
its broker was started anew. One object for one watch.
"""

from typing import Any, Protocol, TypeVar

from google.protobuf.message import Message

from computepool.v1 import allocation_pb2, inventory_pb2
from computepool_client import (
    errors,
    explanations,
    from_wire,
    inventory,
    inventory_calls,
    inventory_from_wire,
    methods,
)

T_co = TypeVar("T_co", covariant=True)
_EXPIRED = "RESUME_TOKEN_EXPIRED"


class Watch(Protocol[T_co]):
    """What a pool's watch is made of."""

    method: methods.Method[Any, Any]

    def request(self) -> Message:
        """Asks for what follows the last message."""
        ...

    def read(self, message: Any) -> T_co | None:
        """What the next message means; None when more of it follows."""
        ...

    def mended(self, error: errors.PoolError) -> bool:
        """Whether asking at once again, in another way, mends an error."""
        ...

    def ended(self) -> None:
        """The stream came to its end; raises `NoAnswerError` when the watch has not."""


class AllocationsWatch:
    """How allocations change."""

    method = methods.WATCH

    def __init__(self, filter_by: str, resume_token: str, *, changes_only: bool) -> None:
        self._filter = filter_by
        self._token = resume_token
        self._changes_only = changes_only
        self._restarted = False

    def request(self) -> Message:
        """See Watch."""
        return allocation_pb2.WatchAllocationsRequest(
            filter=self._filter,
            resume_token=self._token,
            changes_only=self._changes_only and not self._token,
        )

    def read(self, message: allocation_pb2.WatchAllocationsResponse) -> explanations.Changes:
        """See Watch."""
        self._token = message.resume_token or self._token
        restarted, self._restarted = self._restarted, False
        return from_wire.changes(message, restarted=restarted)

    def mended(self, error: errors.PoolError) -> bool:
        """A token that cannot be resumed is dropped: the next message says so."""
        if error.reason != _EXPIRED or not self._token:
            return False
        self._token, self._restarted = "", True
        return True

    def ended(self) -> None:
        """A stream that ends is one that broke."""
        raise _broke()


class ViewWatch:
    """The view, kept whole out of its changes."""

    method = methods.WATCH_VIEW

    def __init__(self, precision: str, least_interval_s: float) -> None:
        self._precision = precision
        self._interval_ms = int(least_interval_s * 1000)
        self._token = ""
        self._centers: dict[str, tuple[inventory.Region, inventory.Center]] = {}

    def request(self) -> Message:
        """See Watch."""
        return inventory_pb2.WatchViewRequest(
            precision=self._precision,
            least_interval_ms=self._interval_ms,
            resume_token=self._token,
        )

    def read(self, message: inventory_pb2.WatchViewResponse) -> inventory.View | None:
        """See Watch. What does not go into one message has its token in the last."""
        self._token = message.resume_token
        if message.whole:
            self._centers.clear()
        for name in message.centers_gone:
            self._centers.pop(name, None)
        changed = inventory_from_wire.view(message.view)
        for region in changed.regions:
            for center in region.centers:
                self._centers[center.name] = (region, center)
        return inventory.with_centers(changed, self._centers.values()) if self._token else None

    def mended(self, error: errors.PoolError) -> bool:
        """Never: the broker begins anew by itself."""
        del error
        return False

    def ended(self) -> None:
        """See AllocationsWatch."""
        raise _broke()


class DrainWatch:
    """Who is still on a node or in a center that is drained."""

    method = methods.DRAIN

    def __init__(self, node: str, center: str, message: str) -> None:
        self._request = inventory_pb2.DrainRequest(
            message=message, **inventory_calls.one_target(node, center)
        )
        self._at_start: int | None = None
        self._done = False

    def request(self) -> Message:
        """See Watch."""
        return self._request

    def read(self, message: inventory_pb2.DrainResponse) -> inventory.DrainProgress:
        """See Watch."""
        if self._at_start is None:
            self._at_start = message.leases_at_start
        self._done = not message.leases
        return inventory_from_wire.drain(message, self._at_start)

    def mended(self, error: errors.PoolError) -> bool:
        """Never: draining again is the same drain."""
        del error
        return False

    def ended(self) -> None:
        """It has, once nobody is left."""
        if not self._done:
            raise _broke()


def _broke() -> errors.NoAnswerError:
    return errors.NoAnswerError("the broker ended the watch", "STREAM_ENDED")
