"""A region as data: centers, their nodes and how busy others keep them.

For the simulated backend, which plays the centers of one scenario file. May import the
standard library and toml_table only. Reading the file is the one effect; everything that comes
out of it is checked, bounded and frozen.

The file is TOML; docs/scenario.md describes it. What somebody states stands under `facts`;
what had to be made up is named in the `assumed` list of its table and explained under
`assumptions`, so that a program can tell the one from the other.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from computepool_agents.toml_table import Table, TableError

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT = 1
ROLES = ("core", "support", "receiver")
DEFAULT_NAME = "jing-jin-ji.toml"

MAX_FILE_BYTES = 1 << 20
MAX_CENTERS = 1_000
MAX_NODE_TYPES = 256
MAX_FACTS = 256
MAX_FIELDS = 32  # of a node type, known or not
MAX_NODES = 200_000  # of the whole scenario
MAX_DEVICES = 64  # of a node, as in an allocation's part
MAX_AMOUNT = 1 << 40  # thousandths of cores, or MiB, of a node: far above any server
MAX_SEED = (1 << 63) - 1
MAX_LATENCY_MS = 60_000.0


class ScenarioError(ValueError):
    """A scenario cannot be used; the text names the file and the field."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something stated about the region by somebody else.

    Attributes:
        about: region or center that it is true of.
        field: what is stated, such as "peak_pflops" (P, dense fp16) or "centers".
        value: the stated value.
        source: who states it.
    """

    about: str
    field: str
    value: str | float
    source: str


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """Equal nodes of a center.

    Attributes:
        count: number of nodes.
        cpu_milli: processor time of each, in thousandths of a core.
        memory_mib: main memory of each, in MiB.
        disk_mib: local disk of each, in MiB.
        devices: accelerators of each node; 0 for a node without.
        model: their model in the catalogue's spelling; empty without devices.
        device_memory_mib: memory of each device, in MiB; 0 without devices.
        labels: labels of these nodes beside those of their center.
        node_type: name of the node type in the file.
        assumed: fields of the node type that were made up.
    """

    count: int
    cpu_milli: int
    memory_mib: int
    disk_mib: int
    devices: int
    model: str
    device_memory_mib: int
    labels: dict[str, str]
    node_type: str = ""
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CenterPlan:
    """One center to play.

    Attributes:
        name: unique in the scenario.
        region: the region that it stands in.
        role: "core", "support" or "receiver"; the same for all centers of a region.
        groups: its nodes, at least one.
        foreign_share: mean share, 0 to 1, of its devices (of cpu on nodes without devices) that
            others use.
        latency_ms: round trip to the core, in milliseconds.
        labels: labels that all its nodes carry.
        assumed: fields of the center that were made up; "labels.pue" means that one label.
    """

    name: str
    region: str
    role: str
    groups: tuple[NodeGroup, ...]
    foreign_share: float
    latency_ms: float
    labels: dict[str, str]
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """A region of centers.

    Attributes:
        name: of the scenario.
        seed: for everything random in playing it.
        centers: in the order of the file, at least one.
        facts: what others state about the region.
        assumptions: why each assumed field has the values it has, by the field's name.
    """

    name: str
    seed: int
    centers: tuple[CenterPlan, ...]
    facts: tuple[Fact, ...] = ()
    assumptions: dict[str, str] = field(default_factory=dict)


def default_path() -> Path:
    """Return where the scenario that comes with the product lies.

    In an installed package it lies beside this module, in a checkout in the folder scenarios.

    Raises:
        ScenarioError: it is in neither place; the installation is damaged.
    """
    packaged = resources.files("computepool_agents").joinpath("scenarios", DEFAULT_NAME)
    checkout = Path(__file__).resolve().parents[2] / "scenarios" / DEFAULT_NAME
    for place in (Path(str(packaged)), checkout):
        if place.is_file():
            return place
    raise ScenarioError(f"{DEFAULT_NAME}: neither at {packaged} nor at {checkout}")


def load(path: Path) -> Scenario:
    """Read and check a scenario file.

    Raises:
        ScenarioError: the file cannot be read, is no TOML, or a field of it is missing,
            unknown, of the wrong kind or out of bounds; the text names file and field.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read: {error.strerror}") from error
    if len(raw) > MAX_FILE_BYTES:
        raise ScenarioError(f"{path}: longer than {MAX_FILE_BYTES:,} bytes")
    try:
        document = tomllib.loads(raw.decode())
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path}: is not UTF-8: {error}") from error
    except (ValueError, RecursionError) as error:
        # Besides TOMLDecodeError: integers too long for Python, nesting too deep for it.
        raise ScenarioError(f"{path}: is not TOML: {error}") from error
    try:
        return _scenario(Table(document, f"{path}: "))
    except TableError as error:
        raise ScenarioError(str(error)) from None


def _scenario(table: Table) -> Scenario:
    table.integer("format", FORMAT, FORMAT)
    types = table.table("node_types", most=MAX_NODE_TYPES)
    node_types = {key: _node_type(types, key) for key in sorted(types.keys)}
    reasons = table.table("assumptions", most=MAX_FACTS, optional=True)
    scenario = Scenario(
        name=table.name("name"),
        seed=table.integer("seed", 0, MAX_SEED),
        centers=tuple(
            _center(entry, node_types)
            for entry in table.tables("centers", least=1, most=MAX_CENTERS)
        ),
        facts=tuple(_fact(entry) for entry in table.tables("facts", least=0, most=MAX_FACTS)),
        assumptions={key: reasons.text(key) for key in sorted(reasons.keys)},
    )
    table.end()
    _check_together(table, scenario)
    _check_assumptions(table, scenario, node_types.values())
    return scenario


def _node_type(types: Table, key: str) -> NodeGroup:
    types.check_name(key, key)
    table = types.table(key, most=MAX_FIELDS)
    devices = table.integer("devices", 0, MAX_DEVICES)
    labels = table.labels()
    group = NodeGroup(
        count=0,
        cpu_milli=table.integer("cpu_milli", 1, MAX_AMOUNT),
        memory_mib=table.integer("memory_mib", 1, MAX_AMOUNT),
        disk_mib=table.integer("disk_mib", 0, MAX_AMOUNT),
        devices=devices,
        # Without devices both fields are unknown: end() says so.
        model=table.name("model") if devices else "",
        device_memory_mib=table.integer("device_memory_mib", 1, MAX_AMOUNT) if devices else 0,
        labels=labels,
        node_type=key,
        assumed=table.assumed(labels),
    )
    table.end()
    return group


def _center(table: Table, node_types: dict[str, NodeGroup]) -> CenterPlan:
    labels = table.labels()
    role = table.name("role")
    if role not in ROLES:
        raise table.error("role", f"must be one of {', '.join(ROLES)}, not {role!r:.80}")
    center = CenterPlan(
        name=table.name("name"),
        region=table.name("region"),
        role=role,
        groups=_groups(table.table("nodes", most=MAX_NODE_TYPES), node_types),
        foreign_share=table.number("foreign_share", 1),
        latency_ms=table.number("latency_ms", MAX_LATENCY_MS),
        labels=labels,
        assumed=table.assumed(labels),
    )
    if not center.groups:
        raise table.error("nodes", "must name at least one node type")
    table.end()
    return center


def _groups(counts: Table, node_types: dict[str, NodeGroup]) -> tuple[NodeGroup, ...]:
    for key in sorted(counts.keys - set(node_types)):
        raise counts.error(key, "is no entry of node_types")
    return tuple(
        replace(node_types[key], count=counts.integer(key, 1, MAX_NODES))
        for key in sorted(counts.keys)
    )


def _fact(table: Table) -> Fact:
    fact = Fact(
        about=table.name("about"),
        field=table.name("field"),
        value=table.text_or_number("value"),
        source=table.text("source"),
    )
    table.end()
    return fact


def _check_together(table: Table, scenario: Scenario) -> None:
    """Check what no table can know alone."""
    roles: dict[str, str] = {}
    seen: set[str] = set()
    nodes = 0
    for index, center in enumerate(scenario.centers):
        if center.name in seen:
            raise table.error(f"centers[{index}].name", f"{center.name!r} is there twice")
        seen.add(center.name)
        role = roles.setdefault(center.region, center.role)
        if role != center.role:
            raise table.error(
                f"centers[{index}].role",
                f"{center.role!r}, but region {center.region!r} is {role!r} in an earlier center",
            )
        nodes += sum(group.count for group in center.groups)
    if nodes > MAX_NODES:
        raise table.error("centers", f"have {nodes:,} nodes in all; at most {MAX_NODES:,}")


def _check_assumptions(table: Table, scenario: Scenario, node_types: Iterable[NodeGroup]) -> None:
    """Check that each assumed field is explained and that nothing else is."""
    assumed = {name for center in scenario.centers for name in center.assumed}
    assumed |= {name for node_type in node_types for name in node_type.assumed}
    for name in sorted(assumed - set(scenario.assumptions)):
        raise table.error("assumptions", f"lack {name!r}, which is assumed somewhere")
    for name in sorted(set(scenario.assumptions) - assumed):
        raise table.error(f"assumptions.{name}", "is not assumed anywhere")
