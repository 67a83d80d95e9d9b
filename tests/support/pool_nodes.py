"""The nodes of the agents in a small world, and what can become of them."""

from __future__ import annotations

from dataclasses import replace

from computepool_agents.model import Amounts, Device, Node
from fakes.agent_builders import make_node


def make_nodes(agent: str, devices: int) -> tuple[Node, ...]:
    """Two nodes of an agent, with four cores and some devices each."""
    names = (f"{agent}-n{place}" for place in (1, 2))
    return tuple(make_node(name, cpu=4, memory=8, devices=devices) for name in names)


def reshaped(node: Node, shape: str) -> Node | None:
    """A node as it is then: whole, smaller, sick, used by others (foreign), or gone."""
    first, *rest = node.devices
    sick = Device(first.id, first.model, first.memory_mib, healthy=False)
    used = Device(first.id, first.model, first.memory_mib, foreign_milli=1000)
    return {
        "whole": node,
        "smaller": make_node(node.name, cpu=1, memory=8, devices=len(rest)),
        "sick": replace(node, devices=(sick, *rest)),
        "foreign": replace(node, devices=(used, *rest), foreign=Amounts(3000, 0, 0)),
        "gone": None,
    }[shape]
