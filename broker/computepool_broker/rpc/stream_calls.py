"""One call of a stream: read, and what the writer does for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from computepool_broker.errors import InvalidArgumentError, PoolError
from computepool_broker.rpc.creates import (
    read_create,
    read_release,
    read_release_level,
    read_renew,
    read_waits,
)
from computepool_broker.services.levels import Level

if TYPE_CHECKING:
    from collections.abc import Callable

    from computepool.v1 import allocation_pb2 as wire
    from computepool_broker.ledger.transaction import Outcome, Transaction
    from computepool_broker.rpc.stream import StreamParts
    from computepool_broker.services.grants import Create
    from computepool_broker.services.waits import Waiter

    Stage = Callable[[Transaction], Outcome]


class StreamCall(NamedTuple):
    """One call that was read.

    Attributes:
        kind: Field of StreamAllocationsRequest that it came in.
        do: What the writer runs; None for a create, which it runs with others.
        create: What is to be granted.
        wait_s: How long to wait for ACTIVE, in seconds; 0 does not wait.
        weight: What it costs the writer, in grants of one part.
        waiting: Who waits for its allocation.
        level: What its answer guarantees. A renewal has none: it need not be durable.
    """

    ticket: int
    kind: str
    do: Callable[[Stage], Any] | None
    wait_s: float
    weight: int
    waiting: dict[str, Waiter]
    level: Level = Level.COMMITTED
    create: Create | None = None

    @property
    def looks_again(self) -> bool:
        """Whether it is answered with more than what its job has done."""
        return bool(self.waiting) or self.level is Level.CONFIRMED


def run_call(stage: Stage, call: StreamCall) -> Any:
    """What a call that is no create came to; an error is its answer."""
    try:
        return None if call.do is None else call.do(stage)
    except PoolError as error:
        return error


def read_call(message: wire.StreamAllocationsRequest, kind: str, parts: StreamParts) -> StreamCall:
    """The call in a message.

    Raises:
        InvalidArgumentError: A field of the call is malformed, or there is no call.
        AckLevelUnavailableError: The store cannot give its level.
    """
    ticket, grants, levels = message.ticket, parts.grants, parts.answers.levels
    if kind == "create":
        create = read_create(message.create, parts.specs)
        wait_s, level = read_waits(message.create, levels)
        return StreamCall(ticket, kind, None, wait_s, create.weight, {}, level, create)
    if kind == "renew":
        renew = read_renew(message.renew)
        return StreamCall(ticket, kind, lambda stage: grants.renew(stage, *renew), 0.0, 1, {})
    if kind == "release":
        release = read_release(message.release)
        level = read_release_level(message.release, levels)
        return StreamCall(
            ticket, kind, lambda stage: grants.release(stage, *release), 0.0, 1, {}, level
        )
    raise InvalidArgumentError("call", "must be given")
