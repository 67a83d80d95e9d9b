"""Who takes part, where each listens, and how each is started. Pure but for the config files.

Others reach a Redis, a sentinel, and (agents) a broker at its `door`: a port of
the network between them, which can be cut; behind it the process listens at `port`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

SERVICE: Final = "pool"
"""What the sentinels call the primary."""
REPORT_S: Final = 2.0
"""Seconds between two reports of an agent."""
WARM_UP_S: Final = 20.0
"""Seconds for which a store that was lost waits for its agents."""
_BROKER: Final = "computepool_broker.main"
_AGENT: Final = "computepool_agents.main"
_HOST: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Shape:
    """How many of each; without sentinels one Redis stands alone.

    With R replicas, a commit counts as durable when R - 1 of them have it, too: then
    one server may be missing, and the pool still grants.
    """

    brokers: int = 2
    replicas: int = 2
    sentinels: int = 3
    scenario: Path | None = None
    seed: int | None = None

    @property
    def synced(self) -> int:
        """Replicas that must have a commit."""
        return max(0, self.replicas - 1)


@dataclass(frozen=True, slots=True)
class Spec:
    """One process to run.

    Attributes:
        kind: "redis", "sentinel", "broker" or "agent".
        module: a module or a program, as `Child` takes it.
        port: where it listens; 0 for agents.
        door: where others reach it; 0 for agents.
    """

    name: str
    kind: str
    module: str
    arguments: tuple[str, ...]
    port: int = 0
    door: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """All processes of one run, in the order in which they start."""

    shape: Shape
    folder: Path
    server: str
    specs: tuple[Spec, ...]

    def of_kind(self, kind: str) -> list[Spec]:
        """Those of one kind."""
        return [spec for spec in self.specs if spec.kind == kind]

    @property
    def endpoints(self) -> list[str]:
        """Where clients ask the brokers: past the network that can be cut."""
        return [f"{_HOST}:{spec.port}" for spec in self.of_kind("broker")]


class _Place(NamedTuple):
    """Where one listens, and where others reach it."""

    name: str
    port: int
    door: int


def plan(shape: Shape, folder: Path, server: str, ports: Iterator[int]) -> Layout:
    """Gives everybody ports, and writes the config files of the servers into `folder`."""

    def places(kind: str, count: int) -> list[_Place]:
        return [_Place(f"{kind}-{n + 1}", next(ports), next(ports)) for n in range(count)]

    redises, watchers = places("redis", 1 + shape.replicas), places("sentinel", shape.sentinels)
    brokers, primary = places("broker", shape.brokers), redises[0].door
    store = _store(primary, watchers)
    doors = ",".join(f"{_HOST}:{each.door}" for each in brokers)
    specs = [
        *(_spec(each, "redis", server, _redis(folder, each, primary, shape)) for each in redises),
        *(
            _spec(each, "sentinel", server, _sentinel(folder, each, primary, shape))
            for each in watchers
        ),
        *(_spec(each, "broker", _BROKER, _broker(each.port, store, shape)) for each in brokers),
        *(
            Spec(f"agent-{backend}", "agent", _AGENT, _agent(folder, backend, doors, shape))
            for backend in ("server", "simulated")
        ),
    ]
    return Layout(shape, folder, server, tuple(specs))


def _spec(place: _Place, kind: str, module: str, arguments: tuple[str, ...]) -> Spec:
    return Spec(place.name, kind, module, arguments, place.port, place.door)


def _store(primary: int, watchers: Sequence[_Place]) -> str:
    if not watchers:
        return f"redis://{_HOST}:{primary}/0"
    doors = ",".join(f"{_HOST}:{each.door}" for each in watchers)
    return f"redis+sentinel://{doors}/{SERVICE}"


def _broker(port: int, store: str, shape: Shape) -> tuple[str, ...]:
    settings = {
        "listen": f"{_HOST}:{port}",
        "store": store,
        "report-interval-s": f"{REPORT_S:g}",
        "disconnected-after-s": f"{3 * REPORT_S:g}",
        "warm-up-s": f"{WARM_UP_S:g}",
        "retention-s": "600",
        "audit-interval-s": "10",
    }
    if shape.sentinels:
        settings["redis-replicas"] = str(shape.synced)
    return _flags(settings)


def _agent(folder: Path, backend: str, brokers: str, shape: Shape) -> tuple[str, ...]:
    settings = {
        "backend": backend,
        "broker": brokers,
        "state-dir": str(folder / "agents" / backend),
        # What the environment says of metrics can only be meant for one daemon.
        "metrics-listen": "",
        "metrics-ready-file": "",
    }
    if backend == "server":
        settings |= {"region": "local", "center": "local", "role": "core"}
    else:
        settings |= {"scenario": str(shape.scenario)} if shape.scenario is not None else {}
        settings |= {"seed": str(shape.seed)} if shape.seed is not None else {}
    return _flags(settings)


def _flags(settings: dict[str, str]) -> tuple[str, ...]:
    return tuple(text for key, value in settings.items() for text in (f"--{key}", value))


def _redis(folder: Path, place: _Place, primary: int, shape: Shape) -> tuple[str, ...]:
    """The config file of one server: as docs/operations.md wants it, but for the ports."""
    lines = [
        f"port {place.port}",
        f"bind {_HOST}",
        f'dir "{folder / place.name}"',
        "appendonly yes",
        # Synced before it answers: what was acknowledged outlives every kill.
        "appendfsync always",
        'save ""',
        "maxmemory-policy noeviction",
        f"replica-announce-ip {_HOST}",
        f"replica-announce-port {place.door}",
        "repl-diskless-sync-delay 0",
        "repl-ping-replica-period 1",
        "repl-timeout 5",
        f"min-replicas-to-write {shape.synced}",
        "min-replicas-max-lag 3",
    ]
    if place.door != primary:
        lines.append(f"replicaof {_HOST} {primary}")
    return (_written(folder / place.name, "redis.conf", lines),)


def _sentinel(folder: Path, place: _Place, primary: int, shape: Shape) -> tuple[str, ...]:
    quorum = shape.sentinels // 2 + 1
    lines = [
        f"port {place.port}",
        f"bind {_HOST}",
        f'dir "{folder / place.name}"',
        f"sentinel announce-ip {_HOST}",
        f"sentinel announce-port {place.door}",
        f"sentinel monitor {SERVICE} {_HOST} {primary} {quorum}",
        f"sentinel down-after-milliseconds {SERVICE} 1000",
        f"sentinel failover-timeout {SERVICE} 6000",
        f"sentinel parallel-syncs {SERVICE} 1",
    ]
    return (_written(folder / place.name, "sentinel.conf", lines), "--sentinel")


def _written(folder: Path, name: str, lines: Sequence[str]) -> str:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / name
    path.write_text("\n".join([*lines, ""]))
    return str(path)
