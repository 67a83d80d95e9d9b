"""The configuration of an agent process: one frozen tree, read once, valid or refused.

May import misbehave, brokers and backends.server's Reserve. Pure: the command line's values and the
environment are arguments; nothing is read from the disk here.
"""

from __future__ import annotations

import ipaddress
import math
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from computepool_agents import brokers, misbehave
from computepool_agents.backends.server import Reserve
from computepool_agents.backends.simulated import DEFAULT_TICK_S, Pace
from computepool_agents.scenario import ROLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from computepool_agents.brokers import Place
    from computepool_agents.misbehave import Switch

DEFAULT_BROKER = "127.0.0.1:7600"
DEFAULT_PLACE = "local"
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("json", "console")
BACKENDS = ("server", "simulated")
MAX_AMOUNT = 1 << 40
MAX_SEED = (1 << 63) - 1
MAX_SWITCHES = 100
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_TARGET = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")


class ConfigError(ValueError):
    """A setting is missing, malformed or out of range; the text names it."""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Settings of the server backend; see --help for their meaning."""

    agent: str
    center: str
    region: str
    role: str
    node: str
    disk: Path
    reserve: Reserve


@dataclass(frozen=True, slots=True)
class SimulatedConfig:
    """Settings of the simulated backend; see --help for their meaning.

    Attributes:
        scenario: The file; None takes the packaged one.
        centers: Names; empty plays all.
        seed: None takes the scenario's.
        time_scale: Simulated seconds in a real one.
        pace: How fast the foreign load changes, in simulated seconds.
        switches: How to misbehave, in simulated seconds.
    """

    scenario: Path | None
    centers: tuple[str, ...]
    seed: int | None
    time_scale: float
    pace: Pace
    switches: tuple[Switch, ...] = ()


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """Where the figures are served; the file is told the address."""

    host: str
    port: int
    ready_file: Path | None


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of the process."""

    brokers: tuple[Place, ...]
    state_dir: Path
    ready_file: Path | None
    log_level: str
    log_format: str
    metrics: MetricsConfig | None
    backend: ServerConfig | SimulatedConfig


@dataclass(frozen=True, slots=True)
class Given:
    """Settings as texts, from the command line or else the environment.

    Attributes:
        flags: By flag without dashes ("state-dir"); several values for a repeated flag.
        environ: By full name ("COMPUTEPOOL_STATE_DIR").
    """

    flags: Mapping[str, list[str]]
    environ: Mapping[str, str] = field(default_factory=dict)

    def texts(self, flag: str) -> tuple[str, list[str]]:
        """Give where a setting comes from and its values, none when it is not set."""
        if flag in self.flags:
            return f"--{flag}", self.flags[flag]
        variable = variable_of(flag)
        return variable, self.environ.get(variable, "").split()

    def text(self, flag: str, default: str = "") -> str:
        """Give one text."""
        if flag in self.flags:
            return self.flags[flag][-1]
        return self.environ.get(variable_of(flag)) or default

    def name(self, flag: str, default: str) -> str:
        """Give a name: letters, digits, "-", "_" and "."; at most 63."""
        value = self.text(flag, default)
        if not _NAME.fullmatch(value):
            raise self.error(flag, f"must match {_NAME.pattern}, not {value!r}")
        return value

    def choice(self, flag: str, choices: tuple[str, ...], default: str) -> str:
        """Give one of several words."""
        value = self.text(flag, default)
        if value not in choices:
            raise self.error(flag, f"must be one of {', '.join(choices)}, not {value!r}")
        return value

    def integer(self, flag: str, most: int) -> int | None:
        """Give an integer from 0, or None."""
        value = self.text(flag)
        if not value:
            return None
        if not re.fullmatch(r"[0-9]{1,19}", value) or int(value) > most:
            raise self.error(flag, f"must be an integer from 0 to {most}, not {value!r}")
        return int(value)

    def number(self, flag: str, least: float, most: float) -> float | None:
        """Give a number, or None."""
        value = self.text(flag)
        if not value:
            return None
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not least <= number <= most:
            raise self.error(flag, f"must be a number from {least:g} to {most:g}, not {value!r}")
        return number

    def switch(self, flag: str) -> bool:
        """Give whether something is on."""
        value = self.text(flag).lower()
        if value not in {"", "1", "true", "yes", "0", "false", "no"}:
            raise self.error(flag, f"must be true or false, not {value!r}")
        return value in {"1", "true", "yes"}

    def path(self, flag: str) -> Path | None:
        """Give a path, or None."""
        value = self.text(flag)
        return Path(value).expanduser() if value else None

    def error(self, flag: str, problem: str) -> ConfigError:
        """Make the error about a setting, naming the flag or the variable that it came from."""
        source = f"--{flag}" if flag in self.flags else variable_of(flag)
        return ConfigError(f"{source} {problem}")


def variable_of(flag: str) -> str:
    """Give the environment variable that stands for a flag."""
    return "COMPUTEPOOL_" + flag.upper().replace("-", "_")


def make_config(given: Given) -> Config:
    """Check all settings.

    Raises:
        ConfigError: Naming the first that is wrong.
    """
    if not given.text("backend"):
        raise ConfigError(f"--backend is required: {' or '.join(BACKENDS)}")
    backend = given.choice("backend", BACKENDS, "")
    state_dir = given.path("state-dir") or default_state_dir(given.environ)
    return Config(
        brokers=_brokers(given),
        state_dir=state_dir,
        ready_file=given.path("ready-file"),
        log_level=given.choice("log-level", LOG_LEVELS, "info"),
        log_format=given.choice("log-format", LOG_FORMATS, "json"),
        metrics=_metrics(given),
        backend=_server(given, state_dir) if backend == "server" else _simulated(given),
    )


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """Give ${XDG_STATE_HOME:-~/.local/state}/computepool/agent."""
    base = environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "computepool" / "agent"


def _brokers(given: Given) -> tuple[Place, ...]:
    try:
        return brokers.parse(given.text("broker", DEFAULT_BROKER))
    except ValueError as error:
        raise given.error("broker", str(error)) from error


def _metrics(given: Given) -> MetricsConfig | None:
    target = given.text("metrics-listen")
    ready_file = given.path("metrics-ready-file")
    if not target:
        if ready_file is not None:
            raise given.error("metrics-ready-file", "means nothing without --metrics-listen")
        return None
    match = _TARGET.fullmatch(target)
    if not match or int(match[1]) > 65_535:  # noqa: PLR2004 - the highest port
        raise given.error("metrics-listen", f"must be host:port, not {target!r}")
    host = target.removesuffix(f":{match[1]}")
    if not given.switch("insecure") and not _is_loopback(host):
        raise given.error(
            "metrics-listen",
            f"{host} is not loopback, and others could read there what the agent has and does; "
            "say --insecure if that is what you want",
        )
    return MetricsConfig(host, int(match[1]), ready_file)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _server(given: Given, state_dir: Path) -> ServerConfig:
    host = socket.gethostname()[:63]
    return ServerConfig(
        agent=given.name("name", host),
        center=given.name("center", DEFAULT_PLACE),
        region=given.name("region", DEFAULT_PLACE),
        role=given.choice("role", ROLES, "core"),
        node=given.name("node-name", host),
        disk=given.path("disk-path") or state_dir,
        reserve=Reserve(
            given.integer("reserve-cpu-milli", MAX_AMOUNT),
            given.integer("reserve-memory-mib", MAX_AMOUNT),
            given.integer("reserve-disk-mib", MAX_AMOUNT),
        ),
    )


def _simulated(given: Given) -> SimulatedConfig:
    centers = [name for name in given.text("centers", "all").split(",") if name]
    return SimulatedConfig(
        scenario=given.path("scenario"),
        centers=() if centers == ["all"] else tuple(dict.fromkeys(centers)),
        seed=given.integer("seed", MAX_SEED),
        time_scale=given.number("time-scale", 0.001, 1_000.0) or 1.0,
        pace=Pace(
            given.number("tick-s", 0.01, 86_400.0) or DEFAULT_TICK_S,
            given.number("churn-nodes", 0.0, 1_000_000.0),
        ),
        switches=_switches(given),
    )


def _switches(given: Given) -> tuple[Switch, ...]:
    source, texts = given.texts("misbehave")
    if len(texts) > MAX_SWITCHES:
        raise ConfigError(f"{source} may be given at most {MAX_SWITCHES} times")
    try:
        return tuple(misbehave.parse(text) for text in texts)
    except misbehave.SwitchError as error:
        raise ConfigError(f"{source}: {error}") from error
