"""What changed in a pool between two looks, in words. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

# Foreign load moves all the time: smaller steps of use are not worth a line.
_STEP_OF_USE: Final = 0.5
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the pool found.

    Attributes:
        agents: state by name of agent.
        allocations: state and a short text by id; None when they are too many to
            list.
        live: number of live allocations.
        use: foreign and granted of all devices, in percent.
    """

    agents: Mapping[str, str] = field(default_factory=dict)
    allocations: Mapping[str, tuple[str, str]] | None = None
    live: int = 0
    use: float = 0.0
    warming_up: bool = False
    mass_silence: bool = False
    findings: int = -1


@dataclass(frozen=True, slots=True)
class Change:
    """One change: its kind (a stable word), whom it concerns, and words for people.

    `state` is the new state of an agent, by which many such changes are told in one.
    """

    kind: str
    subject: str
    text: str
    state: str = ""


def changes(before: Look, after: Look) -> list[Change]:
    """All changes from one look to the next, the gravest first."""
    return [
        *_of_pool(before, after),
        *_of_agents(before.agents, after.agents),
        *_of_allocations(before, after),
        *_of_use(before, after),
    ]


def in_one_line(found: list[Change]) -> str:
    """The first changes, and how many more there are; many agents are counted."""
    counts = Counter(each.state for each in found if each.state)
    many = [state for state, count in counts.items() if count > _SHOWN]
    texts = [f"{counts[state]} agents are {state}" for state in many]
    texts += [each.text for each in found if each.state not in many]
    more = f"; and {len(texts) - _SHOWN} more changes" if len(texts) > _SHOWN else ""
    return "; ".join(texts[:_SHOWN]) + more


def _of_pool(before: Look, after: Look) -> list[Change]:
    found = []
    if before.warming_up != after.warming_up:
        text = "the pool is warming up" if after.warming_up else "the pool is ready"
        found.append(Change("pool", "", text))
    if before.mass_silence != after.mass_silence:
        text = "MASS SILENCE of centers" if after.mass_silence else "the centers are back"
        found.append(Change("mass_silence", "", text))
    if before.findings != after.findings and max(before.findings, after.findings) > 0:
        found.append(Change("audit", "", f"the audit has {after.findings} findings"))
    return found


def _of_agents(before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    found = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old != new:
            text = f"agent {name} is {new}" if new else f"agent {name} was forgotten"
            found.append(Change("agent", name, text, new or ""))
    return found


def _of_allocations(before: Look, after: Look) -> list[Change]:
    if before.allocations is None or after.allocations is None:
        if before.live == after.live:
            return []
        return [
            Change("allocations", "", f"{after.live:,} live allocations (were {before.live:,})")
        ]
    found = []
    for id_ in sorted({*before.allocations, *after.allocations}):
        old, new = before.allocations.get(id_), after.allocations.get(id_)
        if new is None:
            found.append(Change("ended", id_, f"{id_} has ended"))
        elif old is None:
            found.append(Change("granted", id_, f"{id_} {new[0]}: {new[1]}"))
        elif old[0] != new[0]:
            found.append(Change("state", id_, f"{id_} is {new[0]}"))
    return found


def _of_use(before: Look, after: Look) -> list[Change]:
    if abs(before.use - after.use) < _STEP_OF_USE:
        return []
    return [Change("use", "", f"use {after.use:.1f} % (was {before.use:.1f} %)")]
