"""The simulated center: seeded, busy around its mean, never where our leases are."""

from __future__ import annotations

import random
from dataclasses import dataclass

from computepool_agents.admission import overfull
from computepool_agents.backends.simulated import Pace, SimulatedBackend
from computepool_agents.misbehave import parse
from computepool_agents.model import STARTED, Node
from fakes.agent_builders import make_held, make_plan, make_record


@dataclass
class Elapsed:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


def make_backend(
    elapsed: Elapsed | None = None,
    *switches: str,
    seed: int = 1,
    nodes: int = 100,
    devices: int = 8,
    foreign_share: float = 0.6,
    pace: Pace | None = None,
) -> SimulatedBackend:
    plan = make_plan(
        nodes=nodes, devices=devices, foreign_share=foreign_share, labels={"energy": "green"}
    )
    return SimulatedBackend(
        plan,
        pace or Pace(),
        [parse(switch) for switch in switches],
        elapsed or Elapsed(),
        random.Random(seed),
    )


def busy_devices(nodes: tuple[Node, ...]) -> int:
    return sum(device.foreign_milli > 0 for node in nodes for device in node.devices)


async def test_equal_seeds_give_equal_centers() -> None:
    first = await make_backend(seed=7).nodes({})
    assert first == await make_backend(seed=7).nodes({})
    assert first != await make_backend(seed=8).nodes({})


async def test_nodes_are_named_and_labelled_after_the_plan() -> None:
    nodes = await make_backend(nodes=2).nodes({})
    assert [node.name for node in nodes] == ["c1-n0001", "c1-n0002"]
    assert nodes[0].labels == {"energy": "green", "type": "a"}
    assert len({device.id for node in nodes for device in node.devices}) == 16


async def test_load_is_near_its_mean_for_devices_and_for_cpu() -> None:
    nodes = await make_backend(foreign_share=0.6).nodes({})
    assert 400 <= busy_devices(nodes) <= 560
    nodes = await make_backend(foreign_share=0.6, devices=0).nodes({})
    used = sum(node.foreign.cpu_milli for node in nodes)
    room = sum(node.total.cpu_milli - node.reserved.cpu_milli for node in nodes)
    assert 0.55 <= used / room <= 0.65


async def test_a_hundredth_of_the_nodes_changes_each_tick() -> None:
    elapsed = Elapsed()
    backend = make_backend(elapsed, nodes=200)
    before = await backend.nodes({})
    assert await backend.nodes({}) == before
    elapsed.now_s = 10.0
    after = await backend.nodes({})
    assert 1 <= sum(old is not new for old, new in zip(before, after, strict=True)) <= 2


async def test_churn_counts_nodes_per_second() -> None:
    elapsed = Elapsed()
    backend = make_backend(elapsed, pace=Pace(tick_s=0.5, churn_nodes_per_s=5.0))
    before = await backend.nodes({})
    elapsed.now_s = 1.0
    after = await backend.nodes({})
    # 2.5 in each of two ticks; a node can be drawn in both.
    assert 3 <= sum(old is not new for old, new in zip(before, after, strict=True)) <= 5


async def test_churn_of_none_changes_nothing() -> None:
    elapsed = Elapsed()
    backend = make_backend(elapsed, pace=Pace(churn_nodes_per_s=0.0))
    before = await backend.nodes({})
    elapsed.now_s = 100.0
    assert await backend.nodes({}) == before


async def test_others_never_take_what_our_leases_hold() -> None:
    elapsed = Elapsed()
    backend = make_backend(
        elapsed, nodes=3, foreign_share=0.95, pace=Pace(tick_s=1.0, churn_nodes_per_s=3.0)
    )
    lease = make_held(
        "a.0.0", STARTED, node="c1-n0001", cpu=40, memory=300, devices={"c1-n0001-d0": 300}
    )
    for second in range(50):
        elapsed.now_s = float(second)
        nodes = await backend.nodes({"a.0.0": lease})
        assert overfull(nodes[0], [lease]) == {}
        assert nodes[0].devices[0].foreign_milli == 0


async def test_lost_capacity_comes_back() -> None:
    elapsed = Elapsed()
    backend = make_backend(elapsed, "lose-capacity:p=0.25:after_s=5:for_s=5", nodes=8)
    counts = []
    for now_s in (4.9, 5.0, 9.9, 10.0):
        elapsed.now_s = now_s
        counts.append(sum(len(node.devices) for node in await backend.nodes({})))
    assert counts == [64, 56, 56, 64]


async def test_refusals_are_injected_with_their_probability() -> None:
    backend = make_backend(None, "refuse:p=0.5")
    refusals = [backend.veto(make_record()) for _ in range(200)]
    reasons = [refusal.reason for refusal in refusals if refusal]
    assert set(reasons) == {"INJECTED"}
    assert 70 <= len(reasons) <= 130
    assert make_backend().veto(make_record()) is None
