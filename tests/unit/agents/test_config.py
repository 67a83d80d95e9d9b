"""Settings: valid or refused, from flags or the environment, naming what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from computepool_agents.arguments import parse
from computepool_agents.brokers import Place
from computepool_agents.config import (
    Config,
    ConfigError,
    ServerConfig,
    SimulatedConfig,
    make_config,
)


def config(line: str, **environ: str) -> Config:
    return make_config(parse(line.split(), environ))


def test_server_defaults() -> None:
    made = config("--backend server", HOME="/home/x")
    assert made.brokers == (Place("127.0.0.1", 7600),)
    assert made.state_dir == Path("~/.local/state/computepool/agent").expanduser()
    assert isinstance(made.backend, ServerConfig)
    assert (made.backend.center, made.backend.role) == ("local", "core")


def test_state_follows_xdg() -> None:
    made = config("--backend server", XDG_STATE_HOME="/x")
    assert made.state_dir == Path("/x/computepool/agent")


def test_simulated_settings() -> None:
    made = config(
        "--backend simulated --centers a,b,a --seed 7 --time-scale 10 --tick-s 2 "
        "--churn-nodes 0 --misbehave silence --misbehave double:p=0.5"
    ).backend
    assert isinstance(made, SimulatedConfig)
    assert (made.centers, made.seed, made.time_scale) == (("a", "b"), 7, 10.0)
    assert (made.pace.tick_s, made.pace.churn_nodes_per_s) == (2.0, 0.0)
    assert [switch.kind.value for switch in made.switches] == ["silence", "double"]


def test_flag_wins_over_environment() -> None:
    made = config("--backend server --broker a:1", COMPUTEPOOL_BROKER="b:2")
    assert made.brokers == (Place("a", 1),)
    made = config("", COMPUTEPOOL_BACKEND="simulated", COMPUTEPOOL_BROKER="b:2")
    assert made.brokers == (Place("b", 2),)


def test_switches_from_the_environment() -> None:
    made = config("--backend simulated", COMPUTEPOOL_MISBEHAVE="silence late").backend
    assert isinstance(made, SimulatedConfig)
    assert [switch.kind.value for switch in made.switches] == ["silence", "late"]


@pytest.mark.parametrize(
    ("line", "want"),
    [
        ("", "--backend is required"),
        ("--backend tape", "--backend must be one of server, simulated"),
        ("--backend server --broker nowhere", "--broker must be host:port"),
        ("--backend server --broker h:0", "--broker must be host:port"),
        ("--backend server --broker h:70000", "--broker must be host:port"),
        ("--backend server --name -x", None),
        ("--backend server --name a/b", "--name must match"),
        ("--backend server --role king", "--role must be one of"),
        ("--backend server --reserve-cpu-milli -5", "--reserve-cpu-milli must be an integer"),
        ("--backend server --reserve-cpu-milli 1e3", "--reserve-cpu-milli must be an integer"),
        ("--backend server --seed 3", "--seed means nothing with --backend server"),
        ("--backend simulated --name x", "--name means nothing with --backend simulated"),
        ("--backend simulated --time-scale 0", "--time-scale must be a number from 0.001"),
        ("--backend simulated --tick-s nan", "--tick-s must be a number"),
        ("--backend simulated --misbehave sulk", "--misbehave: unknown kind 'sulk'"),
        ("--backend server --log-level loud", "--log-level must be one of"),
    ],
)
def test_wrong_setting_is_named(line: str, want: str | None) -> None:
    if want is None:
        with pytest.raises(SystemExit):
            config(line)
        return
    with pytest.raises(ConfigError, match=want):
        config(line)


def test_wrong_variable_is_named() -> None:
    with pytest.raises(ConfigError, match="COMPUTEPOOL_ROLE must be one of"):
        config("--backend server", COMPUTEPOOL_ROLE="king")


def test_help_tells_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        config("--help")
    text = capsys.readouterr().out
    for flag in ("--backend", "--state-dir", "--reserve-cpu-milli", "--misbehave", "--time-scale"):
        assert flag in text
