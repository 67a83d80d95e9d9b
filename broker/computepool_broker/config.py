"""One frozen tree of settings, read once at the start and validated there.

Sources, later ones win: defaults, the TOML file of --config, COMPUTEPOOL_* in the environment,
flags. The help text of each knob lives here, with its unit and when one would change it.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

ENV_PREFIX = "COMPUTEPOOL_"
MAX_FILE_BYTES = 64 * 1024
"""Of a config file."""


class ConfigError(ValueError):
    """A setting that the broker refuses to start with; names the setting."""


def _knob(default: Any, text: str, low: float | None = None, high: float | None = None) -> Any:
    return field(default=default, metadata={"help": text, "low": low, "high": high, "flag": True})


def _secret(text: str) -> Any:
    """A knob of the environment and the file alone: everybody may read a command line."""
    metadata = {"help": text, "low": None, "high": None, "flag": False}
    return field(default="", metadata=metadata, repr=False)


def default_store() -> str:
    """`embedded:` in the user's state folder."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return f"embedded:{base}/computepool/broker"


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that an operator can set."""

    listen: str = _knob("127.0.0.1:7600", "host:port to listen on; port 0 picks a free one")
    store: str = _knob(
        "",
        "embedded:FOLDER (default: a folder in the user's state); redis://HOST:PORT/DB, a primary "
        "of Redis or Valkey; redis+sentinel://HOST:PORT,HOST:PORT/NAME/DB, the primary that its "
        "sentinels know as NAME; rediss:// and rediss+sentinel://, the same over TLS. A login "
        "stands before the first HOST, as USER:PASSWORD@; then rather set COMPUTEPOOL_STORE, since "
        "everybody may read a command line",
    )
    redis_replicas: int = _knob(
        -1,
        "replicas that must have what is durable; -1: 1 under sentinels, else 0. 0 under sentinels "
        "says that a failover may lose commits",
        -1,
        15,
    )
    redis_ca: str = _knob(
        "", "PEM file of authorities that rediss:// believes besides the system's"
    )
    redis_cert: str = _knob(
        "", "PEM file of the certificate shown to Redis, where it asks for one (tls-auth-clients)"
    )
    redis_key: str = _knob("", "PEM file of its key, unencrypted, where redis_cert has it not")
    redis_sentinel_username: str = _secret("login at the sentinels, where they have users")
    redis_sentinel_password: str = _secret(
        "password of the sentinels (their requirepass); the one in store is the primary's"
    )
    insecure: bool = _knob(False, "listen on other addresses than loopback, without TLS")  # noqa: FBT003
    ready_file: str = _knob("", "write host:port into this file when serving")
    metrics_listen: str = _knob(
        "", "host:port of GET /metrics for Prometheus; port 0 picks a free one (default: off)"
    )
    metrics_ready_file: str = _knob("", "write host:port into this file when metrics are served")
    log_level: str = _knob("info", "debug, info, warning or error")
    log_format: str = _knob("json", "json or console")
    report_interval_s: float = _knob(
        10.0, "seconds between routine reports of an agent; lower for fresher numbers", 0.2, 3600
    )
    disconnected_after_s: float = _knob(
        30.0, "seconds of silence until an agent gets no new grants", 0.5, 86_400
    )
    lost_after_s: float = _knob(
        300.0, "seconds of silence until an agent's leases follow their contact terms", 1, 604_800
    )
    warm_up_s: float = _knob(
        30.0, "seconds after the start during which known agents are awaited", 0, 3600
    )
    admit_timeout_s: float = _knob(
        30.0, "seconds for all agents of an allocation to admit it", 1, 3600
    )
    mass_silence_hold_s: float = _knob(
        900.0, "seconds for which LOST is frozen when most centers fall silent together", 0, 86_400
    )
    retention_s: float = _knob(
        3600.0, "seconds for which ended allocations and their request ids are kept", 1, 604_800
    )
    audit_interval_s: float = _knob(60.0, "seconds between audits", 1, 86_400)
    tick_ms: int = _knob(250, "milliseconds between looks at deadlines", 10, 10_000)
    gather_ms: float = _knob(
        10.0, "most milliseconds to gather calls into one commit when many are in flight", 0, 100
    )
    ack_level: str = _knob(
        "auto",
        "what answers guarantee to calls that do not say: auto (durable where the store can give "
        "it, else committed), committed, durable or confirmed; see docs/acknowledgements.md",
    )
    stop_grace_s: float = _knob(5.0, "seconds for running calls to end on SIGTERM", 0, 300)

    def __post_init__(self) -> None:
        for knob in fields(self):
            value = getattr(self, knob.name)
            low, high = knob.metadata["low"], knob.metadata["high"]
            if low is not None and not low <= value <= high:
                raise ConfigError(f"{knob.name}: must be from {low} to {high}, not {value}")
        if self.lost_after_s < self.disconnected_after_s:
            raise ConfigError("lost_after_s: must not be below disconnected_after_s")
        if self.disconnected_after_s < 2 * self.report_interval_s:
            raise ConfigError(
                "disconnected_after_s: must be at least twice report_interval_s, or agents that "
                "report in time would be taken for silent"
            )
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise ConfigError("log_level: must be debug, info, warning or error")
        if self.log_format not in ("json", "console"):
            raise ConfigError("log_format: must be json or console")
        if self.ack_level not in ("auto", "committed", "durable", "confirmed"):
            raise ConfigError("ack_level: must be auto, committed, durable or confirmed")
        self._check_addresses()
        self._check_redis()

    def _check_redis(self) -> None:
        scheme = self.store.partition(":")[0]
        needs = {
            "redis_replicas": self.redis_replicas < 0 or scheme.startswith("redis"),
            "redis_ca": not self.redis_ca or scheme.startswith("rediss"),
            "redis_cert": not self.redis_cert or scheme.startswith("rediss"),
            "redis_key": not self.redis_key or bool(self.redis_cert),
            "redis_sentinel_username": (
                not self.redis_sentinel_username or bool(self.redis_sentinel_password)
            ),
            "redis_sentinel_password": (
                not self.redis_sentinel_password or scheme.endswith("+sentinel")
            ),
        }
        for name, met in needs.items():
            if not met:
                raise ConfigError(f"{name}: means nothing without {_NEEDED[name]}")

    def _check_addresses(self) -> None:
        host, _ = split_address(self.listen)
        if not self.insecure and not is_loopback(host):
            raise ConfigError(
                f"listen: {host} is not loopback; this version has no TLS, so others could read "
                "and change everything. Say --insecure if that is what you want"
            )
        if self.metrics_listen:
            host, _ = split_address(self.metrics_listen, "metrics_listen")
            if not self.insecure and not is_loopback(host):
                raise ConfigError(
                    f"metrics_listen: {host} is not loopback, and others could read there what the "
                    "pool has and does. Say --insecure if that is what you want"
                )
        elif self.metrics_ready_file:
            raise ConfigError("metrics_ready_file: means nothing without metrics_listen")


_NEEDED = {
    "redis_replicas": "a Redis in store",
    "redis_ca": "rediss:// or rediss+sentinel:// in store",
    "redis_cert": "rediss:// or rediss+sentinel:// in store",
    "redis_key": "redis_cert",
    "redis_sentinel_username": "redis_sentinel_password",
    "redis_sentinel_password": "sentinels in store (redis+sentinel://)",
}
"""What a setting needs another to be."""


def split_address(address: str, knob: str = "listen") -> tuple[str, int]:
    """host:port apart; raises ConfigError naming the setting."""
    host, sep, port = address.rpartition(":")
    digits = port.isascii() and port.isdigit() and len(port) <= 5  # noqa: PLR2004 - 65535
    if not sep or not host or not digits or int(port) > 65_535:  # noqa: PLR2004 - ports
        raise ConfigError(f"{knob}: {address!r} is not host:port")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether the address reaches this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def from_file(path: Path) -> dict[str, Any]:
    """Settings of a TOML file; raises ConfigError."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"config: cannot read {path}: {error.strerror}") from error
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError(f"config: {path}: longer than {MAX_FILE_BYTES:,} bytes")
    try:
        return tomllib.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        # Besides TOMLDecodeError: no UTF-8, integers too long for Python, nesting too deep.
        raise ConfigError(f"config: {path}: {error}") from error


def from_env(environ: dict[str, str]) -> dict[str, Any]:
    """Settings of the environment."""
    names = {f.name for f in fields(Config)}
    return {
        name: value
        for name in names
        if (value := environ.get(ENV_PREFIX + name.upper())) is not None
    }


def build(*layers: dict[str, Any]) -> Config:
    """Merge layers, later ones win, and validate.

    Raises:
        ConfigError: An unknown name, a value of the wrong kind or out of range.
    """
    merged: dict[str, Any] = {"store": default_store()}
    kinds = {f.name: type(f.default) for f in fields(Config)}
    for layer in layers:
        for name, value in layer.items():
            if name not in kinds:
                raise ConfigError(f"{name}: no such setting")
            merged[name] = _as_kind(name, value, kinds[name])
    return Config(**merged)


def _as_kind(name: str, value: Any, kind: type) -> Any:
    if kind is bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("1", "true", "yes", "0", "false", "no"):
            return str(value).lower() in ("1", "true", "yes")
        raise ConfigError(f"{name}: must be true or false, not {value!r}")
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise ConfigError(f"{name}: must be a {kind.__name__}, not {value!r}") from None
