"""WatchView on the wire: what changed between two ticks, made once for all who are told it."""

from __future__ import annotations

import base64
import struct
from contextlib import aclosing
from typing import TYPE_CHECKING

from computepool.v1 import inventory_pb2 as wire
from computepool_broker.errors import InvalidArgumentError
from computepool_broker.model.accelerators import DEFAULT_PRECISION, catalogue
from computepool_broker.rpc import limits, to_wire
from computepool_broker.rpc.centers import fill_ages, fill_center
from computepool_broker.services.view_feed import Seen, Step, ViewFeed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from computepool_broker.services.pool import Pool
    from computepool_broker.services.watches import Watches

DEFAULT_INTERVAL_MS = 1_000
LEAST_INTERVAL_MS = 200
MOST_INTERVAL_MS = 60_000
MESSAGE_BYTES = 128 * 1024
"""Of the centers in one message, about; a view of more goes in several."""
MAX_TOKEN = 128
MOST_KEPT = 64
"""Messages of the present tick: by the tick before and the precision."""
_TOKEN = struct.Struct(">B8sQ")
_VERSION = 1


class ViewWatches:
    """Validates, follows, writes."""

    def __init__(
        self,
        pool: Pool,
        watches: Watches,
        life: bytes,
        clock_s: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        """Wire it.

        Args:
            pool: What is looked at.
            watches: Counts the streams.
            life: Random name of this life of the broker, 8 bytes.
            clock_s: A clock that never goes back, in seconds.
            chance: From 0 to 1; spreads watchers over their interval.
        """
        self._pool = pool
        self._life = life
        self._feed = ViewFeed(pool, watches, clock_s, chance)
        self._tick = 0
        self._messages: dict[tuple[int, str], list[bytes]] = {}
        self._shown: dict[str, dict[str, tuple[int, wire.CenterView]]] = {}

    async def watch(self, request: wire.WatchViewRequest) -> AsyncIterator[bytes]:
        """Serialised WatchViewResponses.

        Raises:
            InvalidArgumentError: The precision, the interval, or the token.
        """
        precision = request.precision or DEFAULT_PRECISION
        catalogue().peak_gflops("", precision)  # refuses an unknown precision, naming the field
        interval_ms = request.least_interval_ms or DEFAULT_INTERVAL_MS
        limits.ranged("least_interval_ms", interval_ms, LEAST_INTERVAL_MS, MOST_INTERVAL_MS)
        after = self._read(request.resume_token, precision) if request.resume_token else 0
        async with aclosing(self._feed.follow(interval_ms / 1000, after)) as stream:
            async for step in stream:
                for message in self._told(step, precision):
                    yield message

    # -- messages --------------------------------------------------------------------------

    def _told(self, step: Step, precision: str) -> list[bytes]:
        if step.tick != self._tick:
            self._tick = step.tick
            self._messages.clear()
        key = (step.after, precision)
        messages = self._messages.get(key)
        if messages is None:
            messages = [m.SerializeToString() for m in self._make(step, precision)]
            if len(self._messages) < MOST_KEPT:
                self._messages[key] = messages
        return messages

    def _make(self, step: Step, precision: str) -> list[wire.WatchViewResponse]:
        """The messages of a step: usually one."""
        feed = self._feed
        out = [wire.WatchViewResponse(view=self._head(precision), whole=step.after == 0)]
        if step.after:
            left = (name for name, tick in feed.gone.items() if tick > step.after)
            out[0].centers_gone.extend(left)
        seen = [s for s in feed.centers.values() if s.tick > step.after]
        seen.sort(key=lambda s: (s.facts.region, s.facts.name))
        size = 0
        for one in seen:
            center = self._center(one, precision)
            size += center.ByteSize()
            if size > MESSAGE_BYTES and out[-1].view.regions:
                out.append(wire.WatchViewResponse(view=self._head(precision)))
                size = center.ByteSize()
            regions = out[-1].view.regions
            if not regions or regions[-1].region != one.facts.region:
                regions.add(region=one.facts.region, role=one.facts.role)
            regions[-1].centers.append(center)
        out[-1].resume_token = self._write(step.tick, precision)
        return out

    def _center(self, one: Seen, precision: str) -> wire.CenterView:
        """A center as it is at the present tick; all but its ages is kept while it is so."""
        shown = self._shown.setdefault(precision, {})
        facts = one.facts
        tick, center = shown.get(facts.name, (0, None))
        if center is None or tick != one.tick:
            center = wire.CenterView()
            fill_center(center, facts, precision)
            shown[facts.name] = (one.tick, center)
            if len(shown) > 2 * len(self._feed.centers):
                for name in shown.keys() - self._feed.centers.keys():
                    del shown[name]
        fill_ages(center, facts, self._pool)
        return center

    def _head(self, precision: str) -> wire.GetViewResponse:
        head = self._feed.head
        if head is None:  # a step follows a look
            raise AssertionError(precision)
        return wire.GetViewResponse(
            mark=to_wire.mark(head.mark),
            state=wire.POOL_STATE_WARMING_UP if head.warming_up else wire.POOL_STATE_READY,
            precision=precision,
            mass_silence=head.mass_silence,
            audit_findings=head.audit_findings,
            allocations=head.allocations,
            grants_total=head.grants,
            refusals_total=head.refusals,
        )

    # -- tokens ----------------------------------------------------------------------------

    def _write(self, tick: int, precision: str) -> str:
        data = _TOKEN.pack(_VERSION, self._life, tick) + precision.encode()
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    def _read(self, token: str, precision: str) -> int:
        """The tick to go on after; 0 when it is of another life of the broker."""
        if len(token) > MAX_TOKEN:
            raise InvalidArgumentError("resume_token", f"longer than {MAX_TOKEN} characters")
        try:
            data = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
            version, life, tick = _TOKEN.unpack_from(data)
            of = data[_TOKEN.size :].decode()
        except (ValueError, struct.error):
            version, life, tick, of = 0, b"", 0, ""
        if version != _VERSION:
            raise InvalidArgumentError("resume_token", "is no token of a watch of the view")
        if of != precision:
            raise InvalidArgumentError("resume_token", "belongs to a watch with another precision")
        return tick if life == self._life else 0
