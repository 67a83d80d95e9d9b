"""The simulated backend: plays one center of a scenario, thousands of nodes of it.

May import model, admission, misbehave, scenario and its neighbours. No I/O: time and chance
are arguments. Starting and tearing down take no time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from computepool_agents.admission import Refusal
from computepool_agents.backends.load import idle_nodes, with_half_the_devices, with_load
from computepool_agents.misbehave import Kind

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from computepool.v1 import types_pb2 as types
    from computepool_agents.misbehave import Switch
    from computepool_agents.model import Held, Node
    from computepool_agents.scenario import CenterPlan

INJECTED = "INJECTED"
MAX_TICKS_AT_ONCE = 100  # after a long pause the world has moved on, not been replayed
CHURN_SHARE = 0.01
DEFAULT_TICK_S = 10.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the foreign load changes.

    Attributes:
        tick_s: Seconds between two changes.
        churn_nodes_per_s: Nodes that change in a second, over the whole center; None means 1 %
            of the nodes, at least one, in each tick.
    """

    tick_s: float = DEFAULT_TICK_S
    churn_nodes_per_s: float | None = None

    def nodes_per_tick(self, nodes: int) -> float:
        """Give how many nodes change in a tick; a fraction carries over."""
        if self.churn_nodes_per_s is None:
            return max(1.0, nodes * CHURN_SHARE)
        return self.churn_nodes_per_s * self.tick_s


class SimulatedBackend:
    """One center; its load moves on whenever it is measured."""

    name = "simulated"

    def __init__(
        self,
        plan: CenterPlan,
        pace: Pace,
        switches: Sequence[Switch],
        elapsed_s: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._plan = plan
        self._pace = pace
        self._switches = switches
        self._elapsed_s = elapsed_s
        self._rng = rng
        self._nodes = idle_nodes(plan)
        self._ticks = -1  # of load drawn; the first measurement draws it for all nodes
        self._carried = 0.0
        # Which nodes lose devices first: a share of them is a prefix of this order.
        self._losing = list(range(len(self._nodes)))
        rng.shuffle(self._losing)

    async def nodes(self, held: Mapping[str, Held]) -> tuple[Node, ...]:
        """Let the load move on to now and give all nodes."""
        by_node: dict[str, list[Held]] = {}
        for lease in held.values():
            by_node.setdefault(lease.record.node, []).append(lease)
        ticks = int(self._elapsed_s() / self._pace.tick_s)
        if self._ticks < 0:
            self._draw(range(len(self._nodes)), by_node)
        else:
            for _ in range(min(ticks - self._ticks, MAX_TICKS_AT_ONCE)):
                self._tick(by_node)
        self._ticks = ticks
        return self._as_shown()

    def veto(self, record: types.LeaseRecord) -> Refusal | None:
        """Refuse with the probability of the switch that is on."""
        switch = self._on(Kind.REFUSE)
        if switch and self._rng.random() < switch.p:
            return Refusal(INJECTED, f"refused {record.lease_id!r} as told on the command line")
        return None

    async def adopt(self, held: Iterable[Held]) -> None:
        """Nothing runs here that could be taken over."""

    async def start(self, record: types.LeaseRecord) -> None:
        """Nothing has to run for the lease to count."""

    async def stop(self, record: types.LeaseRecord) -> None:
        """Nothing has to stop."""

    def _tick(self, by_node: Mapping[str, list[Held]]) -> None:
        wanted = self._carried + self._pace.nodes_per_tick(len(self._nodes))
        count = min(math.floor(wanted), len(self._nodes))
        self._carried = wanted - math.floor(wanted)
        self._draw(self._rng.sample(range(len(self._nodes)), count), by_node)

    def _draw(self, places: Iterable[int], by_node: Mapping[str, list[Held]]) -> None:
        for place in places:
            node = self._nodes[place]
            held = by_node.get(node.name, ())
            self._nodes[place] = with_load(node, held, self._plan.foreign_share, self._rng)

    def _as_shown(self) -> tuple[Node, ...]:
        switch = self._on(Kind.LOSE_CAPACITY)
        if switch is None:
            return tuple(self._nodes)
        shown = list(self._nodes)
        for place in self._losing[: round(switch.p * len(shown))]:
            shown[place] = with_half_the_devices(shown[place])
        return tuple(shown)

    def _on(self, kind: Kind) -> Switch | None:
        now_s = self._elapsed_s()
        return next((s for s in self._switches if s.kind is kind and s.is_on(now_s)), None)
