"""Builds the agents of a process from its configuration and runs them.

The composition root, with main: the only place that makes and joins objects. May import
everything of the package.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

from computepool_agents import scenario
from computepool_agents.agent import Agent, Wiring
from computepool_agents.backends.bad_link import BadLink
from computepool_agents.backends.grants import Grants
from computepool_agents.backends.nvml import Nvml
from computepool_agents.backends.server import ServerBackend
from computepool_agents.backends.simulated import SimulatedBackend
from computepool_agents.brokers import Directory
from computepool_agents.clock import BootClock
from computepool_agents.config import Config, ConfigError, ServerConfig, SimulatedConfig
from computepool_agents.journal import Journal
from computepool_agents.roaming import Roaming
from computepool_agents.session import Channels
from computepool_agents.state_dir import StateDir, write_atomically
from computepool_agents.talk import Identity
from computepool_agents.telemetry.counted import CountedBackend, CountedLink
from computepool_agents.telemetry.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from computepool_agents.backends.base import Backend
    from computepool_agents.link import Link
    from computepool_agents.scenario import CenterPlan, Scenario

    Links = Callable[[str], Link]
    """The connection of an agent, by its name."""


class ReadyFile:
    """Says, by a file, that all agents of the process have had a complete report answered."""

    def __init__(self, path: Path | None, log: FilteringBoundLogger) -> None:
        self._path = path
        self._log = log
        self._waiting: set[str] = set()
        self._names: list[str] = []
        if path is not None:
            # One of a former process would be a lie.
            path.unlink(missing_ok=True)

    def expect(self, agent: str) -> Callable[[], None]:
        """Wait for one more agent; gives what that agent calls when it is ready."""
        self._waiting.add(agent)
        self._names.append(agent)

        def is_ready() -> None:
            self._waiting.discard(agent)
            if not self._waiting:
                self._write()

        return is_ready

    def _write(self) -> None:
        self._log.info("ready", agents=len(self._names))
        if self._path is not None:
            write_atomically(self._path, "".join(f"{name}\n" for name in self._names))


class Process:
    """The agents of one process; those at the same broker share a connection."""

    def __init__(self, config: Config, log: FilteringBoundLogger) -> None:
        self._config = config
        self._log = log
        self._clock = BootClock()
        self._version = metadata.version("computepool")
        self._tally = Tally()

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set.

        Raises:
            ConfigError, ScenarioError: Before anything was touched.
            StateDirError, JournalError: The state cannot be used.
            ExceptionGroup: See Agent.run.
        """
        backend = self._config.backend
        async with AsyncExitStack() as stack:
            try:
                ready = ReadyFile(self._config.ready_file, self._log)
            except OSError as error:
                raise ConfigError(f"--ready-file: {error}") from error
            channels = await stack.enter_async_context(Channels(self._clock))
            directory = Directory(self._config.brokers)

            def link_of(agent: str) -> Link:
                log = self._log.bind(agent=agent)
                return Roaming(agent, directory, channels, self._clock, log)

            if isinstance(backend, ServerConfig):
                agents = [await self._server(backend, link_of, ready, stack)]
            else:
                agents = await self._simulated(backend, link_of, ready, stack)
            await self._serve_metrics(stack)
            async with asyncio.TaskGroup() as group:
                for agent in agents:
                    group.create_task(agent.run(stop))

    async def _server(
        self, config: ServerConfig, link_of: Links, ready: ReadyFile, stack: AsyncExitStack
    ) -> Agent:
        folder = self._config.state_dir
        journal = await _journal(folder, config.agent, stack)
        nvml = Nvml.open(import_module("pynvml"), self._log)
        backend = ServerBackend(config.node, config.disk, config.reserve, Grants(folder), nvml)
        identity = Identity(
            config.agent, config.center, config.region, config.role, backend.name, self._version
        )
        return self._agent(identity, link_of(config.agent), journal, backend, ready)

    async def _simulated(
        self,
        config: SimulatedConfig,
        link_of: Links,
        ready: ReadyFile,
        stack: AsyncExitStack,
    ) -> list[Agent]:
        region = _load(config)
        began_s = time.monotonic()

        def elapsed_s() -> float:
            return (time.monotonic() - began_s) * config.time_scale

        seed = region.seed if config.seed is None else config.seed
        agents = []
        for plan in _chosen(region, config.centers):
            journal = await _journal(self._config.state_dir / plan.name, plan.name, stack)
            switches = [s for s in config.switches if s.center in {"", plan.name}]
            load_rng = _rng(f"{seed}:{plan.name}:load")
            backend = SimulatedBackend(plan, config.pace, switches, elapsed_s, load_rng)
            link_rng = _rng(f"{seed}:{plan.name}:link")
            link = link_of(plan.name)
            if switches:
                link = BadLink(link, switches, elapsed_s, link_rng)
            identity = Identity(
                plan.name, plan.name, plan.region, plan.role, backend.name, self._version
            )
            agents.append(self._agent(identity, link, journal, backend, ready))
        return agents

    def _agent(
        self,
        identity: Identity,
        link: Link,
        journal: Journal,
        backend: Backend,
        ready: ReadyFile,
    ) -> Agent:
        contacts = self._tally.contact()
        journal.on_commit = self._tally.commit_s.add
        wiring = Wiring(
            link=CountedLink(link, self._tally, contacts),
            journal=journal,
            backend=CountedBackend(backend, self._tally, contacts),
            clock=self._clock,
            rng=_rng(None),
            log=self._log.bind(agent=identity.agent),
            on_ready=ready.expect(identity.agent),
        )
        agent = Agent(identity, wiring)
        self._tally.agents.append(agent)
        return agent

    async def _serve_metrics(self, stack: AsyncExitStack) -> None:
        config = self._config
        if config.metrics is None:
            return
        # Optional weight: the client library takes a while to import.
        from computepool_agents.telemetry.endpoint import Endpoint  # noqa: PLC0415 - see above
        from computepool_agents.telemetry.metrics import Renderer  # noqa: PLC0415 - see above

        kind = "server" if isinstance(config.backend, ServerConfig) else "simulated"
        renderer = Renderer({"version": self._version, "backend": kind})

        async def collect() -> list[Any]:
            return renderer.collect(self._tally)

        endpoint = Endpoint(collect, renderer.page)
        host, port = config.metrics.host, config.metrics.port
        try:
            address = f"{host}:{await endpoint.start(host, port)}"
        except OSError as error:
            raise ConfigError(f"--metrics-listen: {error}") from error
        stack.push_async_callback(endpoint.stop)
        self._log.info("metrics", address=address)
        if config.metrics.ready_file is not None:
            write_atomically(config.metrics.ready_file, f"{address}\n")


def _rng(seed: str | None) -> random.Random:
    return random.Random(seed)  # noqa: S311 - load and jitter, no secrets


async def _journal(folder: Path, agent: str, stack: AsyncExitStack) -> Journal:
    stack.enter_context(StateDir(folder))
    journal = Journal.open(folder, agent)
    stack.push_async_callback(journal.close)
    return journal


def _load(config: SimulatedConfig) -> Scenario:
    """Read the scenario and check that the names on the command line are in it."""
    region = scenario.load(config.scenario or scenario.default_path())
    known = {plan.name for plan in region.centers}
    for name in config.centers:
        if name not in known:
            raise ConfigError(f"--centers: scenario {region.name!r} has no center {name!r}")
    for switch in config.switches:
        if switch.center and switch.center not in known:
            raise ConfigError(
                f"--misbehave: scenario {region.name!r} has no center {switch.center!r}"
            )
    return region


def _chosen(region: Scenario, names: tuple[str, ...]) -> list[CenterPlan]:
    return [plan for plan in region.centers if not names or plan.name in names]
