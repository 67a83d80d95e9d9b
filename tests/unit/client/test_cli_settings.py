"""Settings: a flag goes before the environment, the environment before the config file."""

import json
import os
from pathlib import Path

import pytest

from computepool.v1 import inventory_pb2
from computepool_client.cli.main import main
from computepool_client.cli.settings import SETTINGS
from fakes.pool_messages import make_center, make_model, make_view
from fakes.scripted_services import ScriptedServices

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the config file would be; nothing else says anything."""
    for name in [name for name in os.environ if name.startswith("COMPUTEPOOL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "computepool").mkdir()
    return tmp_path / "computepool" / "config.toml"


def in_force(capsys: Capture, *flags: str) -> dict[str, tuple[str, str]]:
    assert main(["config", "--json", *flags]) == 0
    found = json.loads(capsys.readouterr().out)["settings"]
    return {key: (each["value"], each["source"]) for key, each in found.items()}


def test_without_anything_what_is_built_in_is_in_force(capsys: Capture) -> None:
    assert in_force(capsys) == {
        "endpoint": ("127.0.0.1:7600", "built in"),
        "timeout": ("10s", "built in"),
        "output": ("json", "--json"),
        "tenant": ("default", "built in"),
    }


def test_each_setting_is_taken_from_where_it_is_said_first(
    capsys: Capture, config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config_file.write_text('# ours\nendpoint = "file:1"\ntimeout = "3s"\n\ntenant = "vision"\n')
    monkeypatch.setenv("COMPUTEPOOL_TIMEOUT", "4s")
    found = in_force(capsys, "--tenant", "mine")
    assert found["endpoint"] == ("file:1", f"{config_file}, line 2")
    assert found["timeout"] == ("4s", "COMPUTEPOOL_TIMEOUT")
    assert found["tenant"] == ("mine", "--tenant")


def test_config_is_a_table_too(capsys: Capture, config_file: Path) -> None:
    assert main(["config"]) == 0
    assert f"config file: {config_file} (there is none)" in capsys.readouterr().out
    config_file.write_text('timeout = "1m"\n')
    assert main(["config"]) == 0
    out = capsys.readouterr().out
    assert ["timeout", "60s", f"{config_file},", "line", "1"] in [
        x.split() for x in out.split("\n")
    ]
    assert "there is none" not in out
    assert main(["config", "-o", "name"]) == 0
    assert capsys.readouterr().out.split() == list(SETTINGS)


@pytest.mark.parametrize(
    ("text", "line", "want"),
    [
        (
            'endpoint = "a:1"\ntimeuot = "1s"\n',
            2,
            "timeuot: no such setting; did you mean timeout?",
        ),
        ("xyz = 1\n", 1, "xyz: no such setting; there are endpoint, timeout, output, tenant"),
        ("\n\n[endpoint]\na = 1\n", 3, 'endpoint: must be text, such as endpoint = "127.0.0.1'),
        ("timeout = 5\n", 1, 'timeout: must be text, such as timeout = "10s"'),
        ('timeout = "5"\n', 1, "timeout: '5' is no duration"),
        ('# x\n"endpoint" = "a"\n', 2, "endpoint: 'a' is no endpoint"),
        ('output = "yaml"\n', 1, "output: 'yaml' is no form of output"),
        ('tenant = "a/b"\n', 1, "tenant: 'a/b' is no tenant"),
        ('tenant = "-a"\n', 1, "tenant: '-a' is no tenant"),
        ('tenant = "a"\nendpoint = [\n', 3, "is no TOML"),
        ('tenant = "a"\ntenant = "b"\n', 2, "is no TOML"),
    ],
)
def test_a_bad_file_is_told_with_its_line_and_key(
    capsys: Capture, config_file: Path, text: str, line: int, want: str
) -> None:
    config_file.write_text(text)
    assert main(["view"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"Error: {config_file}, line {line}: {want}")
    assert main(["view", "--json"]) == 2
    error = json.loads(capsys.readouterr().err)["error"]
    assert (error["reason"], error["metadata"]["line"]) == ("BAD_CONFIG", str(line))


def test_a_file_that_cannot_be_read_is_told(
    capsys: Capture, config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config_file.write_bytes(b'tenant = "a"\n# \xff\n')
    assert main(["agents"]) == 2
    assert f"{config_file}, line 2: is not UTF-8 text" in capsys.readouterr().err
    config_file.write_bytes(b"#" * 70_000)
    assert main(["agents"]) == 2
    assert "too large" in capsys.readouterr().err
    for deep in (b"a = " + b"[" * 5_000, b"a = " + b"9" * 5_000):
        config_file.write_bytes(deep)
        assert main(["agents"]) == 2
        assert f"{config_file}: is no TOML" in capsys.readouterr().err
    monkeypatch.setenv("COMPUTEPOOL_CLIENT_CONFIG", "/dev/zero")
    assert main(["agents"]) == 2
    assert "/dev/zero: is too large" in capsys.readouterr().err
    monkeypatch.setenv("COMPUTEPOOL_CLIENT_CONFIG", str(config_file))
    config_file.unlink()
    config_file.mkdir()
    assert main(["agents"]) == 2
    assert f"{config_file}: cannot be read" in capsys.readouterr().err
    monkeypatch.setenv("COMPUTEPOOL_CLIENT_CONFIG", "/nowhere/config.toml")
    assert main(["agents"]) == 2
    assert "/nowhere/config.toml: there is no such file" in capsys.readouterr().err


def test_help_does_not_need_a_good_file(config_file: Path) -> None:
    config_file.write_text("nonsense")
    assert main(["view", "--help"]) == 0


def test_a_bad_variable_is_told(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("COMPUTEPOOL_ENDPOINT", "nonsense")
    assert main(["view"]) == 2
    assert "no endpoint" in capsys.readouterr().err


def test_the_file_says_where_the_broker_is_and_what_to_print(
    services: ScriptedServices,
    capsys: Capture,
    config_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("COMPUTEPOOL_ENDPOINT")
    config_file.write_text(f'endpoint = "{services.endpoint}"\noutput = "json"\ntenant = "t"\n')
    services.script("GetView", make_view(make_center("tj-1", make_model())))
    services.script("AuditPool", inventory_pb2.AuditPoolResponse())
    assert main(["view"]) == 0
    assert json.loads(capsys.readouterr().out)["precision"] == "fp16"
    assert main(["audit"]) == 0  # has no forms of output, but JSON
    assert json.loads(capsys.readouterr().out)["nodes"] == 0
    assert main(["view", "-o", "name"]) == 0
    assert capsys.readouterr().out == "tj-1\n"
    assert main(["view", "--no-json"]) == 0
    assert "tianjin (support)" in capsys.readouterr().out
    assert main(["preview", "--gpus", "1"]) == 1
    assert services.requests["PreviewAllocation"][0].tenant == "t"
    assert json.loads(capsys.readouterr().err)["error"]["reason"] == "UNIMPLEMENTED"
