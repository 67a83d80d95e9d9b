"""Where figures are served is checked before anything starts, by both daemons."""

from __future__ import annotations

import pytest

from computepool_agents import arguments
from computepool_agents import config as agents
from computepool_broker import config as broker


def settle(daemon: str, *flags: str, environ: dict[str, str] | None = None) -> object:
    """Read flags and environment as the daemon does; gives its settings for metrics."""
    env = environ or {}
    if daemon == "broker":
        pairs = {}
        for flag in flags:
            name, sign, value = flag.removeprefix("--").partition("=")
            pairs[name.replace("-", "_")] = value if sign else "true"
        read = broker.build(broker.from_env(env), pairs)
        return (read.metrics_listen, read.metrics_ready_file)
    given = arguments.parse(["--backend=simulated", *flags], env)
    found = agents.make_config(given).metrics
    if found is None:
        return ("", "")
    return (f"{found.host}:{found.port}", str(found.ready_file or ""))


DAEMONS = pytest.mark.parametrize("daemon", ["broker", "agent"])


@DAEMONS
def test_nothing_is_served_unless_asked_for(daemon: str) -> None:
    assert settle(daemon) == ("", "")
    assert settle(daemon, "--metrics-listen=", "--metrics-ready-file=") == ("", "")


@DAEMONS
@pytest.mark.parametrize("address", ["127.0.0.1:0", "127.0.0.9:7601", "localhost:1", "[::1]:65535"])
def test_loopback_is_taken(daemon: str, address: str) -> None:
    assert settle(daemon, f"--metrics-listen={address}", "--metrics-ready-file=f") == (address, "f")


@DAEMONS
@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:1", "10.0.0.1:80", "example.com:80"])
def test_other_addresses_must_be_wanted(daemon: str, address: str) -> None:
    with pytest.raises(ValueError, match=r"not loopback.*--?insecure"):
        settle(daemon, f"--metrics-listen={address}")
    asked = settle(daemon, f"--metrics-listen={address}", "--insecure")
    assert asked == (address, "")


@DAEMONS
@pytest.mark.parametrize(
    "address", ["nonsense", ":1", "127.0.0.1:", "127.0.0.1:65536", "h:-1", "h:²"]
)
def test_what_is_no_address_is_named(daemon: str, address: str) -> None:
    with pytest.raises(ValueError, match=r"metrics.listen.* host:port"):
        settle(daemon, f"--metrics-listen={address}")


@DAEMONS
def test_a_file_for_an_address_needs_an_address(daemon: str) -> None:
    with pytest.raises(ValueError, match=r"metrics.ready.file.* means nothing without"):
        settle(daemon, "--metrics-ready-file=f")


@DAEMONS
def test_the_environment_counts_and_the_flag_wins(daemon: str) -> None:
    environ = {"COMPUTEPOOL_METRICS_LISTEN": "127.0.0.1:1"}
    assert settle(daemon, environ=environ) == ("127.0.0.1:1", "")
    assert settle(daemon, "--metrics-listen=127.0.0.1:2", environ=environ) == ("127.0.0.1:2", "")
    assert settle(daemon, "--metrics-listen=", environ=environ) == ("", "")


def test_an_agents_switch_is_true_or_false() -> None:
    environ = {"COMPUTEPOOL_INSECURE": "maybe"}
    with pytest.raises(ValueError, match="COMPUTEPOOL_INSECURE must be true or false"):
        settle("agent", "--metrics-listen=127.0.0.1:1", environ=environ)
    environ["COMPUTEPOOL_INSECURE"] = "yes"
    assert settle("agent", "--metrics-listen=0.0.0.0:1", environ=environ) == ("0.0.0.0:1", "")
