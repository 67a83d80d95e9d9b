"""Where `computepool up` has its broker serve metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from computepool_client.cli.up.command import _metrics
from computepool_client.cli.up.pool import Plan, Pool
from computepool_client.cli.up.state_dir import StateDir


def make_pool(folder: Path, metrics: str) -> Pool:
    plan = Plan("127.0.0.1:0", metrics, False, None, None, True, 1.0)
    nobody: Any = None
    return Pool(plan, StateDir(folder), nobody, nobody)


def flags(arguments: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(arguments[::2], arguments[1::2], strict=True))


@pytest.mark.parametrize(
    ("said", "listens"),
    [("off", ""), ("127.0.0.1:0", "127.0.0.1:0"), ("localhost:7601", "localhost:7601")],
)
def test_addresses_of_this_machine_and_off_are_taken(said: str, listens: str) -> None:
    assert _metrics(said) == listens


@pytest.mark.parametrize("said", ["", "on", "0.0.0.0:1", "example.com:1", "127.0.0.1:x"])
def test_all_else_is_refused(said: str) -> None:
    with pytest.raises(ValueError, match=r"HOST:PORT|this machine alone"):
        _metrics(said)


def test_the_broker_is_told_where_and_into_which_file(tmp_path: Path) -> None:
    told = flags(make_pool(tmp_path, "127.0.0.1:0")._broker_arguments("x:1", "127.0.0.1:0"))
    assert told["--metrics-listen"] == "127.0.0.1:0"
    assert Path(told["--metrics-ready-file"]).parent == StateDir(tmp_path).run


def test_off_and_the_agents_are_said_whatever_the_environment_says(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, "")
    for arguments in (pool._broker_arguments("x:1", ""), pool._agent_arguments("server")):
        told = flags(arguments)
        assert (told["--metrics-listen"], told["--metrics-ready-file"]) == ("", "")
