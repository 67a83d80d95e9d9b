"""WatchAllocations on the wire: messages as bytes, made once for all who are told the same."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from computepool.v1 import allocation_pb2 as wire
from computepool_broker.query.filters import read_filter
from computepool_broker.query.stable import STABLE_FIELDS
from computepool_broker.rpc.to_wire import PAGE_BYTES
from computepool_broker.services import watch_tokens
from computepool_broker.services.allocation_watch import AllocationWatch, Told, Watch
from computepool_broker.services.feed import Feed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from computepool_broker.model.records import Allocation
    from computepool_broker.rpc.answers import Answers
    from computepool_broker.services.pool import Pool
    from computepool_broker.services.watches import Watches

TOO_LARGE = "leases are left out: they do not go into one message"


class AllocationWatches:
    """Validates, follows, writes."""

    def __init__(self, pool: Pool, answers: Answers, watches: Watches, life: bytes) -> None:
        """Wire it.

        Args:
            pool: The ledger.
            answers: Fills allocations.
            watches: Counts the streams.
            life: Random name of this life of the broker.
        """
        self._answers = answers
        feed = Feed(self._changed, watches.bell())
        pool.followers.append(feed.on_durable)
        self._service = AllocationWatch(pool, feed, watches, life, self._existing, self._changed)

    async def watch(self, request: wire.WatchAllocationsRequest) -> AsyncIterator[bytes]:
        """Serialised WatchAllocationsResponses.

        Raises:
            InvalidArgumentError: The filter, or the token.
        """
        watch = _read(request)
        async with aclosing(self._service.follow(watch)) as stream:
            async for told in stream:
                yield _message(told)

    def _existing(self, record: Allocation) -> bytes:
        return self._event(record, wire.ALLOCATION_EVENT_KIND_EXISTING)

    def _changed(self, record: Allocation) -> bytes:
        return self._event(record, wire.ALLOCATION_EVENT_KIND_CHANGED)

    def _event(self, record: Allocation, kind: wire.AllocationEventKind) -> bytes:
        """One event, as the bytes of a message that has nothing else.

        Bytes of messages one after the other are the bytes of the message with all their events.
        """
        out = wire.WatchAllocationsResponse()
        event = out.events.add(kind=kind)
        self._answers.fill(event.allocation, record)
        data = out.SerializeToString()
        if len(data) > PAGE_BYTES:
            del event.allocation.leases[:]
            event.allocation.flags.append(TOO_LARGE)
            data = out.SerializeToString()
        return data


def _message(told: Told) -> bytes:
    taken = told.taken
    if taken.message is not None and told.synced:
        return taken.message
    rest = wire.WatchAllocationsResponse(
        resume_token="" if told.token is None else watch_tokens.write(told.token),
        synced=told.synced,
        revision=taken.revision,
    )
    data = b"".join([*taken.chunks, rest.SerializeToString()])
    if told.synced:
        taken.message = data
    return data


def _read(request: wire.WatchAllocationsRequest) -> Watch:
    only = read_filter(request.filter, STABLE_FIELDS)
    query = watch_tokens.query_hash(only.text)
    token = watch_tokens.read(request.resume_token, query) if request.resume_token else None
    return Watch(only.text, query, only.matches, token, request.changes_only)
