"""Where the screen's answers come from: threads that ask the broker, and never give up.

`follow` gets the view: streamed, or asked for again and again where a broker
does not know how to stream. `Looker` asks for the agents and for what is in the
center that is open; its calls also show that the broker still answers while
nothing in the view changes. Both tell what they heard as events. Imports no gRPC.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from computepool_client import errors
from computepool_client.cli import documents
from computepool_client.cli.top.board import Detail

if TYPE_CHECKING:
    from computepool.v1 import allocation_pb2, inventory_pb2
    from computepool_client.client import PoolClient

MOST_NODES: Final = 100
MOST_ALLOCATIONS: Final = 200
# An older broker does not filter: this many are looked through for those of a center.
_MOST_LOOKED_THROUGH: Final = 2_000
_SLOWEST: Final = 20
_LEAST_LOOK_S: Final = 2.0
_MOST_LOOK_S: Final = 30.0
# Looking at many agents is dear: at most this part of the time goes into it.
_LOOK_SHARE: Final = 0.05
_BACK_OFF_S: Final = (0.5, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Viewed:
    """The view, or what changed of it."""

    view: "inventory_pb2.GetViewResponse"
    whole: bool = True
    gone: tuple[str, ...] = ()
    polled: bool = False


@dataclass(frozen=True, slots=True)
class Listed:
    """The agents, or those of them that were silent for longest."""

    agents: "tuple[inventory_pb2.Agent, ...]"


@dataclass(frozen=True, slots=True)
class Opened:
    """What is in the center that is open."""

    detail: Detail


@dataclass(frozen=True, slots=True)
class Failed:
    """A call failed; it will be made again."""

    trouble: str


Event: TypeAlias = Viewed | Listed | Opened | Failed


class Feed(Protocol):
    """Gives views until it fails with a `PoolError`, or is closed."""

    def views(self) -> Iterator[Viewed]:
        """Views, whenever there is news of them."""


class WatchFeed:
    """The broker's stream; goes on where it was after a break."""

    def __init__(self, pool: "PoolClient", precision: str, interval_s: float) -> None:
        self._pool = pool
        self._precision = precision
        self._interval_ms = round(interval_s * 1000)
        self._token = ""

    def views(self) -> Iterator[Viewed]:
        """See `Feed`."""
        for answer in self._pool.watch_view(
            self._precision, least_interval_ms=self._interval_ms, resume_token=self._token
        ):
            self._token = answer.resume_token
            yield Viewed(answer.view, answer.whole, tuple(answer.centers_gone))


class PollFeed:
    """Asks for the whole view at an interval, for a broker that has no stream of it."""

    def __init__(
        self, pool: "PoolClient", precision: str, interval_s: float, stop: threading.Event
    ) -> None:
        self._pool = pool
        self._precision = precision
        self._interval_s = interval_s
        self._stop = stop

    def views(self) -> Iterator[Viewed]:
        """See `Feed`."""
        while not self._stop.is_set():
            yield Viewed(self._pool.view(self._precision), polled=True)
            self._stop.wait(self._interval_s)


def follow(feeds: tuple[Feed, ...], stop: threading.Event, tell: Callable[[Event], None]) -> None:
    """Tells views until `stop` is set; goes to the next feed where the broker lacks a call."""
    at = failures = 0
    while not stop.is_set():
        try:
            for each in feeds[at].views():
                failures = 0
                if stop.is_set():
                    return
                tell(each)
        except errors.PoolError as error:
            if error.reason == "UNIMPLEMENTED" and at + 1 < len(feeds):
                at += 1
                continue
            if not stop.is_set():
                tell(Failed(error.message))
        except ValueError:  # the channel was closed under a call: we are to end
            return
        stop.wait(_BACK_OFF_S[min(failures, len(_BACK_OFF_S) - 1)])
        failures += 1


class Looker:
    """Asks, at an interval of its own, for what the view does not have."""

    def __init__(
        self, pool: "PoolClient", interval_s: float, tell: Callable[[Event], None]
    ) -> None:
        self._pool = pool
        self._interval_s = max(interval_s, _LEAST_LOOK_S)
        self._tell = tell
        self._center = ""
        self._wake = threading.Event()
        self._stopped = False

    def open(self, center: str) -> None:
        """Asks for this center too, from now on; for none with an empty name."""
        self._center = center
        self._wake.set()

    def stop(self) -> None:
        """Ends `run`, once its present call has ended."""
        self._stopped = True
        self._wake.set()

    def run(self) -> None:
        """Looks until it is stopped."""
        while not self._stopped:
            self._wake.clear()
            began_s = time.monotonic()
            try:
                self._look()
            except errors.PoolError as error:
                if not self._stopped:
                    self._tell(Failed(error.message))
            except ValueError:  # see `follow`
                return
            took_s = time.monotonic() - began_s
            self._wake.wait(min(max(self._interval_s, took_s / _LOOK_SHARE), _MOST_LOOK_S))

    def _look(self) -> None:
        center = self._center
        if center:
            self._tell(Opened(self._inside(center)))
        self._tell(Listed(self._slowest()))

    def _slowest(self) -> "tuple[inventory_pb2.Agent, ...]":
        found = sorted(self._pool.agents(), key=_longest_silent_first)
        return tuple(found[:_SLOWEST])

    def _inside(self, center: str) -> Detail:
        nodes = list(islice(self._pool.nodes(center, page_size=MOST_NODES + 1), MOST_NODES + 1))
        mine: list[allocation_pb2.Allocation] = []
        more = False
        theirs = self._pool.allocations(
            filter_by=f"center = {json.dumps(center, ensure_ascii=False)}"
        )
        for looked_at, each in enumerate(theirs, 1):
            if any(lease.center == center for lease in each.leases):
                mine.append(each)
            if len(mine) > MOST_ALLOCATIONS or looked_at >= _MOST_LOOKED_THROUGH:
                more = True
                break
        return Detail(
            center=center,
            nodes=nodes[:MOST_NODES],
            more_nodes=len(nodes) > MOST_NODES,
            allocations=mine[:MOST_ALLOCATIONS],
            more_allocations=more,
            seen_s=time.monotonic(),
        )


def _longest_silent_first(agent: "inventory_pb2.Agent") -> tuple[float, str]:
    silent_ms = agent.last_sync_age_ms
    # Closed in good order: nobody waits for it.
    if documents.enum_name(agent, "state") == "AGENT_STATE_CLOSED":
        return 0.0, agent.name
    return (float("-inf") if silent_ms < 0 else -float(silent_ms)), agent.name
