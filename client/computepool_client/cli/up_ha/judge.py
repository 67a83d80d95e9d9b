"""Whether anything is lost or double, from what the brokers list. Pure; time is an argument.

Lost is an allocation that was acknowledged as durable and that no broker knows any
more, or that ended though nobody gave it back. While the pool brings back from the
journals of its agents what a store lost, it is pending instead: until the time for
that is over.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from computepool_client.cli.up_ha.book import Book, Held

WHOLE_MILLI: Final = 1000
# The view of a broker that was stopped may be old for a moment once it goes on.
_SURE_AFTER_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Listed:
    """A listed allocation: what tells it from others, and what it holds.

    Attributes:
        live: not ended for its tenant; else it is being torn down.
        devices: with thousandths of each; also while it is torn down.
    """

    id: str
    tenant: str
    request_id: str
    live: bool
    devices: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Look:
    """What one broker said of the whole pool.

    Attributes:
        began_s: when it was asked.
        listed: all that has not ended, or is being torn down, by id.
    """

    broker: str
    began_s: float
    listed: Mapping[str, Listed]
    identity: str
    epoch: int
    warming_up: bool

    def live_ids(self) -> set[str]:
        """Ids of what has not ended."""
        return {each.id for each in self.listed.values() if each.live}


@dataclass(frozen=True, slots=True)
class Fate:
    """What one broker answers when it is asked for one allocation.

    Attributes:
        found: as it is; None when there is no such allocation.
        ended_as: how it ended; empty while it is live.
    """

    found: Listed | None
    ended_as: str = ""

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self.found is not None and self.found.live


class Judge:
    """Judges look after look.

    Attributes:
        lost: why each lost one is lost, by id; never shrinks.
        double: what was granted twice; never shrinks.
        epoch: the highest that was seen.

    Args:
        warm_up_s: for how long, in seconds, a store that was lost may wait for its agents.
        report_s: between two reports of an agent, in seconds.
    """

    def __init__(self, book: Book, warm_up_s: float, report_s: float) -> None:
        self.lost: dict[str, str] = {}
        self.double: dict[str, str] = {}
        self.epoch = 0
        self.live = 0
        self._book = book
        self._patience_s = warm_up_s + 3 * report_s
        self._identity = ""
        self._doubted_s: float | None = None
        self._warm_s: float | None = None

    @property
    def pending(self) -> int:
        """How many are missing now, and not yet lost."""
        return sum(each.missing_since_s is not None for each in self._book.held.values())

    def looked(self, looks: Collection[Look], now_s: float) -> list[str]:
        """Takes the looks of one round; gives the ids that none of them knows."""
        if not looks:
            return []
        for look in looks:
            self._note_store(look, now_s)
        seen = set.union(*(look.live_ids() for look in looks))
        self.live = len(seen)
        began_s = min(look.began_s for look in looks)
        for id_ in seen & self._book.held.keys():
            self._book.held[id_].missing_since_s = None
        return [id_ for id_ in self._book.held_before(began_s) if id_ not in seen]

    def asked(
        self, id_: str, fates: Collection[Fate], now_s: float, away: Collection[str] = ()
    ) -> None:
        """Takes what the brokers say of one that no list had.

        `away` are the centers whose agents cannot answer now: stopped, or killed.
        """
        held = self._book.held.get(id_)
        if held is None or not fates:
            return
        ended = next((fate.ended_as for fate in fates if fate.ended_as), "")
        if any(fate.live for fate in fates):
            held.missing_since_s = None
        elif ended == "RELEASED" or (ended == "EXPIRED" and now_s > held.valid_until_s):
            del self._book.held[id_]  # given back by somebody else, or not renewed in time
        elif ended:
            self._lose(held, f"ended as {ended}, and nobody gave it back")
        else:
            self._missing(held, now_s, away)

    def current(self, looks: Iterable[Look]) -> list[Look]:
        """Those through brokers that know of the newest epoch.

        A broker that was cut off together with an old primary lists grants that it
        could not acknowledge, and what others have released since.
        """
        return [look for look in looks if look.epoch == self.epoch]

    def granted_twice(self, look: Look) -> dict[str, list[str]]:
        """Devices that a current list has more than once, with the allocations on each.

        A list of many pages is no moment: whether it was so, `confirmed` says. Also
        takes note of request ids with two allocations.
        """
        by_request: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for each in look.listed.values():
            if each.request_id:
                by_request[each.tenant, each.request_id].append(each.id)
        for (tenant, request_id), ids in by_request.items():
            known = self._book.id_of(request_id, look.began_s)
            if len(ids) > 1 or (known and known not in ids):
                self._double(f"request_id {tenant}/{request_id}", {*ids, known} - {""})
        for request_id in self._book.twice:
            self._double(f"request_id {request_id}", ("two allocations, by the answers",))
        return _overfull(look.listed.values())

    def confirmed(self, device: str, fates: Iterable[Fate]) -> None:
        """Takes what became of the allocations that a list had on one device."""
        still = [fate.found for fate in fates if fate.found is not None]
        on_it = _overfull(still)
        if device in on_it:
            self._double(f"device {device}", on_it[device])

    def _note_store(self, look: Look, now_s: float) -> None:
        if look.epoch < self.epoch:
            return  # a broker that has not heard of it yet
        if (look.identity, look.epoch) != (self._identity, self.epoch):
            # The first store that is seen is none that was lost.
            self._doubted_s = now_s if self._identity else None
            self._identity, self.epoch = look.identity, look.epoch
        if look.warming_up:
            self._warm_s = now_s

    def _missing(self, held: Held, now_s: float, away: Collection[str]) -> None:
        if held.missing_since_s is None:
            held.missing_since_s = now_s
        until_s = held.missing_since_s + _SURE_AFTER_S
        if self._doubted_s is not None and held.acked_s < self._doubted_s:
            if held.centers & set(away):
                held.awaited_s = now_s  # nobody else can bring it back
            until_s = max(until_s, max(self._doubted_s, held.awaited_s) + self._patience_s)
        if self._warm_s is not None:
            until_s = max(until_s, self._warm_s + _SURE_AFTER_S)
        if now_s >= until_s:
            self._lose(held, f"no broker knows it, for {now_s - held.missing_since_s:.0f} s")

    def _lose(self, held: Held, why: str) -> None:
        del self._book.held[held.id]
        self.lost[held.id] = why

    def _double(self, what: str, ids: Iterable[str]) -> None:
        self.double.setdefault(what, f"{what} has {' and '.join(sorted(ids))}")


def _overfull(live: Iterable[Listed]) -> dict[str, list[str]]:
    on: defaultdict[str, list[str]] = defaultdict(list)
    sums: defaultdict[str, int] = defaultdict(int)
    for each in live:
        for device, milli in each.devices:
            on[device].append(each.id)
            sums[device] += milli
    return {device: on[device] for device, milli in sums.items() if milli > WHOLE_MILLI}
