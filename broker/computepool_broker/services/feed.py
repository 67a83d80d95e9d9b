"""What became durable lately, once for all who watch allocations.

    on_durable ──> pending ──beat──> Block | Block | Block     (bounded; the oldest go)
                                        ^               ^
                                     a slow watcher   the others: the same bytes for all

A watcher has only a place. Whoever is behind the oldest block reads the ledger instead
(services/allocation_watch.py). Nothing is kept while nobody watches.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from computepool_broker.ledger.touched import Touched
    from computepool_broker.model.records import Allocation
    from computepool_broker.services.watches import Bell

    Matches = Callable[[Allocation], bool] | None

BEAT_S = 0.05
"""Changes of so long are told together."""
WATCHERS_A_BEAT = 50
"""With more watchers beats are further apart, so that all together get 1,000 messages a second."""
MOST_WEIGHT = 131_072
"""Of all blocks: about 30,000 small allocations, tens of MB."""
MOST_MERGED = 2_048
"""Events that one look merges: a slow watcher is told of its backlog piece by piece."""
MESSAGE_BYTES = 128 * 1024
"""Of one message, about: what a client that reads nothing costs."""
END = "~"
"""Above all ids: everything of a revision."""


class Place(NamedTuple):
    """How far a watcher is: all up to this revision, and of it all ids up to this one."""

    revision: int
    id: str = END


class Change:
    """A record as it became durable, and its bytes once somebody needs them."""

    __slots__ = ("_told", "record")

    def __init__(self, record: Allocation) -> None:
        self.record = record
        self._told: bytes | None = None

    @property
    def place(self) -> Place:
        """Where it stands among all changes."""
        return Place(self.record.revision, self.record.id)

    def told(self, encode: Callable[[Allocation], bytes]) -> bytes:
        """Its event as bytes, made once."""
        if self._told is None:
            self._told = encode(self.record)
        return self._told


class Block(NamedTuple):
    """The newest state of everything that changed between two beats, by revision and id.

    `since_s` is when the first of it became durable, on the event loop's clock.
    """

    through: int
    changes: list[Change]
    weight: int
    since_s: float


class Taken:
    """What comes next for watchers at one place with one filter; they share it.

    Attributes:
        chunks: Events as bytes.
        place: Where it leads to.
        complete: Nothing more is there now.
        revision: All changes up to here have been told with it.
        seen: The highest revision of anything told with it.
        since_s: When the first of it became durable, on the event loop's clock; 0 if not known.
        message: The whole message, for whoever sends it first to keep.
    """

    __slots__ = ("chunks", "complete", "message", "place", "revision", "seen", "since_s")

    def __init__(
        self,
        chunks: list[bytes],
        place: Place,
        revision: int,
        seen: int,
        *,
        complete: bool,
        since_s: float = 0.0,
    ) -> None:
        self.chunks = chunks
        self.place = place
        self.revision = revision
        self.seen = seen
        self.complete = complete
        self.since_s = since_s
        self.message: bytes | None = None


class Feed:
    """See the module."""

    def __init__(self, encode: Callable[[Allocation], bytes], bell: Bell) -> None:
        """Begin without watchers.

        Args:
            encode: An event of a changed allocation, as bytes.
            bell: Rung when there is something new.
        """
        self._encode = encode
        self.bell = bell
        self._watchers = 0
        self._opened = False
        self._pending: dict[str, Allocation] = {}
        self._blocks: deque[Block] = deque()
        self._weight = 0
        self._floor = 0
        self._head = 0
        self._since_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._next_beat_s = 0.0
        self._shared: dict[tuple[Place, str], Taken] = {}

    # -- watchers --------------------------------------------------------------------------

    def join(self) -> None:
        """Another watcher is coming: `open` follows in a job."""
        self._watchers += 1

    def open(self, revision: int) -> None:
        """Follow changes from here on; in a job, at the revision that it has seen.

        What is staged after the job becomes durable after it: nothing above that is missed.
        """
        if self._watchers and not self._opened:
            self._opened = True
            self._floor = self._head = revision

    def leave(self) -> None:
        """A watcher has gone; with the last one everything is dropped."""
        self._watchers -= 1
        if self._watchers:
            return
        self._opened = False
        self._pending.clear()
        self._blocks.clear()
        self._shared.clear()
        self._weight = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def holds(self, place: Place) -> bool:
        """Whether everything after the place is still here."""
        return place >= Place(self._floor)

    def ahead(self, place: Place) -> bool:
        """Whether there is anything after the place."""
        return Place(self._head) > place

    def take(self, place: Place, key: str, matches: Matches) -> Taken:
        """What comes after a place that is still here.

        Args:
            place: Where the watcher is.
            key: The filter's text: watchers with the same one share the answer.
            matches: The filter; None lets everything through.
        """
        taken = self._shared.get((place, key))
        if taken is None:
            taken = self._take(place, matches)
            if len(self._shared) < WATCHERS_A_BEAT:
                self._shared[place, key] = taken
        return taken

    def _take(self, place: Place, matches: Matches) -> Taken:
        changes, through, since_s = self._after(place)
        end = Place(max(through, place.revision))
        complete = through >= self._head
        chunks: list[bytes] = []
        size, told = 0, place.revision - (place.id != END)
        for at, change in enumerate(changes):
            if matches is not None and not matches(change.record):
                continue
            chunk = change.told(self._encode)
            size += len(chunk)
            if size > MESSAGE_BYTES and chunks:
                last = changes[at - 1].place
                told = max(told, last.revision - (change.record.revision == last.revision))
                return Taken(chunks, last, told, last.revision, complete=False, since_s=since_s)
            chunks.append(chunk)
        revision = end.revision
        return Taken(chunks, end, revision, revision, complete=complete, since_s=since_s)

    def _after(self, place: Place) -> tuple[list[Change], int, float]:
        """Changes after a place, the newest of each allocation; through which revision; since."""
        blocks = self._blocks
        first = len(blocks)
        while first and Place(blocks[first - 1].through) > place:
            first -= 1
        if first == len(blocks):
            return [], self._head, 0.0
        block = blocks[first]
        since_s = block.since_s
        newest = {c.record.id: c for c in block.changes if c.place > place}
        at = first + 1
        while at < len(blocks) and len(newest) < MOST_MERGED:
            block = blocks[at]
            newest.update((c.record.id, c) for c in block.changes)
            at += 1
        changes = list(newest.values())
        if at > first + 1:
            changes.sort(key=lambda c: c.place)
        return changes, block.through, since_s

    # -- what became durable ---------------------------------------------------------------

    def on_durable(self, touched: Touched) -> None:
        """Take in what changed; told with the next beat."""
        if not self._opened or not touched.allocations:
            return
        self._pending.update(touched.allocations)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._since_s = loop.time()
            self._timer = loop.call_at(max(loop.time(), self._next_beat_s), self._beat)

    def _beat(self) -> None:
        self._timer = None
        beat_s = BEAT_S * max(1.0, self._watchers / WATCHERS_A_BEAT)
        self._next_beat_s = asyncio.get_running_loop().time() + beat_s
        pending, self._pending = self._pending, {}
        changes = [Change(record) for record in pending.values()]
        changes.sort(key=lambda c: c.place)
        weight = sum(map(_weight, pending.values()))
        block = Block(changes[-1].place.revision, changes, weight, self._since_s)
        self._blocks.append(block)
        self._weight += block.weight
        while self._weight > MOST_WEIGHT:
            old = self._blocks.popleft()
            self._weight -= old.weight
            self._floor = old.through
        self._head = max(self._head, block.through)
        self._shared.clear()
        self.bell.ring()


def _weight(record: Allocation) -> int:
    """About the memory that keeping it costs, in units of 100 bytes."""
    return 4 + len(record.labels) + sum([1 + len(part.amounts) for part in record.parts])
