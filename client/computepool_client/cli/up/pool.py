"""The daemons of a whole pool: the order they start and stop in, and who restarts them."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from computepool_client import errors
from computepool_client.cli.up.child import Child, in_words
from computepool_client.cli.up.state_dir import StateDir

if TYPE_CHECKING:
    from computepool_client.cli.documents import Json
    from computepool_client.cli.up.stopping import Stopping
    from computepool_client.cli.up.voice import Voice
    from computepool_client.client import PoolClient

_BROKER: Final = "computepool_broker.main"
_AGENT: Final = "computepool_agents.main"
_POLL_S: Final = 0.1
# The agents say goodbye to the broker, which may be slow; then the broker finishes.
_STOP_WITHIN_S: Final = 15.0
_CALL_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run: `scenario` None is the packaged one, `simulation` False none at all.

    `metrics` is where the broker serves them; empty: nowhere.
    """

    listen: str
    metrics: str
    simulation: bool
    scenario: Path | None
    seed: int | None
    server_agent: bool
    start_within_s: float


class Pool:
    """A broker and its agents as children."""

    def __init__(self, plan: Plan, state: StateDir, voice: "Voice", stopping: "Stopping") -> None:
        self._plan = plan
        self._state = state
        self._voice = voice
        self._stopping = stopping
        self._children: list[Child] = []
        self._due: dict[str, float] = {}
        self.endpoint = ""
        self.metrics = ""

    def start(self) -> bool:
        """Starts all and waits until all agents have reported.

        Returns whether that came about: not, when a stop was asked for meanwhile.

        Raises:
            PoolError: a daemon ended, or the time was over; its log is quoted.
        """
        deadline = time.monotonic() + self._plan.start_within_s
        with self._voice.progress() as tell:
            tell("starting the broker")
            arguments = self._broker_arguments(self._plan.listen, self._plan.metrics)
            broker = self._child("broker", _BROKER, arguments)
            if not self._await([broker], deadline, lambda: None):
                return False
            self.endpoint = broker.ready()
            # Started again, it must come back where the agents look for it.
            metrics = self._metrics_file.read_text().strip() if self._plan.metrics else ""
            self.metrics = metrics and f"http://{metrics}/metrics"
            arguments = self._broker_arguments(self.endpoint, metrics)
            self._children[0] = replace(broker, arguments=arguments)
            agents = [self._child(*each) for each in self._agents()]
            with self.client() as client:
                return self._await(agents, deadline, lambda: tell(_progress(client)))

    def client(self) -> "PoolClient":
        """A client of the pool; use it in a `with` statement."""
        from computepool_client.client import PoolClient  # noqa: PLC0415 - gRPC is slow to import

        return PoolClient(self.endpoint, timeout_s=_CALL_TIMEOUT_S)

    def watch(self) -> None:
        """Starts again, with back-off, what has ended; to be called often."""
        now = time.monotonic()
        for child in self._children:
            status = child.status()
            if status is None:
                continue
            due = self._due.get(child.name)
            if due is None:
                delay_s = child.delay_s()
                self._due[child.name] = now + delay_s
                self._voice.event(
                    "child_ended",
                    f"{child.name} ended ({in_words(status)}), starting it again in"
                    f" {delay_s:.0f} s; its log: {child.log}",
                    {"child": child.name, "status": status},
                )
            elif now >= due:
                self._start_again(child, now)

    def _start_again(self, child: Child, now: float) -> None:
        more: dict[str, Json] = {"child": child.name}
        try:
            child.start()
        except OSError as error:  # no space for the log, too many processes
            self._due[child.name] = now + child.delay_s()
            self._voice.event("child_failed", f"cannot start {child.name}: {error}", more)
            return
        del self._due[child.name]
        text = f"{child.name} started again (process {child.pid})"
        self._voice.event("child_started", text, {**more, "pid": child.pid})

    def stop(self) -> None:
        """Stops the agents, then the broker; kills what does not stop in time."""
        broker, agents = self._children[:1], self._children[1:]
        for group in (agents, broker):
            for child in group:
                child.signal(signal.SIGTERM)
            deadline = time.monotonic() + _STOP_WITHIN_S
            for child in group:
                self._finish(child, deadline)

    def _finish(self, child: Child, deadline: float) -> None:
        patience = self._stopping.asked
        while not child.wait(_POLL_S):
            # Another Ctrl-C means: now.
            if time.monotonic() > deadline or self._stopping.asked > max(patience, 1):
                child.signal(signal.SIGKILL)
                child.wait(_STOP_WITHIN_S)
                self._voice.event("killed", f"{child.name} did not stop in time: killed")
                return

    def _child(self, name: str, module: str, arguments: tuple[str, ...]) -> Child:
        ready_file = self._state.run / f"{name}.ready"
        child = Child(
            name=name,
            module=module,
            arguments=(*arguments, "--ready-file", str(ready_file)),
            log=self._state.logs / f"{name}.log",
            ready_file=ready_file,
        )
        child.start()
        self._children.append(child)
        text = f"{name} started (process {child.pid})"
        if self._voice.as_json:
            self._voice.event("child_started", text, {"child": name, "pid": child.pid})
        return child

    @property
    def _metrics_file(self) -> Path:
        return self._state.run / "broker.metrics"

    def _broker_arguments(self, listen: str, metrics: str) -> tuple[str, ...]:
        file = str(self._metrics_file) if metrics else ""
        return (
            *("--listen", listen, "--store", f"embedded:{self._state.broker}"),
            *("--metrics-listen", metrics, "--metrics-ready-file", file),
        )

    def _agents(self) -> "list[tuple[str, str, tuple[str, ...]]]":
        found = []
        if self._plan.server_agent:
            place = ("--region", "local", "--center", "local", "--role", "core")
            found.append(("server", _AGENT, (*self._agent_arguments("server"), *place)))
        if self._plan.simulation:
            arguments = self._agent_arguments("simulated")
            if self._plan.scenario is not None:
                arguments += ("--scenario", str(self._plan.scenario))
            if self._plan.seed is not None:
                arguments += ("--seed", str(self._plan.seed))
            found.append(("simulated", _AGENT, arguments))
        return found

    def _agent_arguments(self, backend: str) -> tuple[str, ...]:
        state_dir = str(self._state.agent(backend))
        place = ("--backend", backend, "--broker", self.endpoint, "--state-dir", state_dir)
        # What the environment says of metrics can only be meant for one daemon: the broker.
        return (*place, "--metrics-listen", "", "--metrics-ready-file", "")

    def _await(self, children: list[Child], deadline: float, tell: Callable[[], None]) -> bool:
        """Waits until all are ready; whether they are (else: a stop was asked for)."""
        while not all(child.ready() for child in children):
            if self._stopping.wait(_POLL_S):
                return False
            tell()
            self._check(deadline)
        return True

    def _check(self, deadline: float) -> None:
        for child in self._children:
            status = child.status()
            if status is not None:
                raise _ended(child, f"{child.name} ended at its start ({in_words(status)})")
        if time.monotonic() > deadline:
            late = next(child for child in reversed(self._children) if not child.ready())
            within = f"{self._plan.start_within_s:g} s"
            raise _ended(late, f"{late.name} was not ready within {within} (--start-timeout)")


def _ended(child: Child, what: str) -> errors.PoolError:
    log = "\n".join(child.tail())
    quoted = f"; its log {child.log} ends:\n{log}" if log else f"; its log {child.log} is empty"
    return errors.PoolError(what + quoted, "START_FAILED", {"child": child.name})


def _progress(client: "PoolClient") -> str:
    try:
        agents = client.agents()
    except errors.PoolError:
        return "waiting for the broker"
    from computepool_client.cli.agents import state_of  # noqa: PLC0415 - see client()

    active = sum(state_of(agent) == "ACTIVE" for agent in agents)
    return (
        f"{active} of {len(agents)} known agents have reported" if agents else "waiting for agents"
    )
