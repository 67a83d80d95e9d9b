"""Settings: layers, kinds, ranges, and what a broker refuses to start with."""

from __future__ import annotations

from pathlib import Path

import pytest

from computepool_broker.config import ConfigError, build, from_env, from_file, split_address
from computepool_broker.main import parser


def test_the_defaults_are_valid_and_later_layers_win() -> None:
    config = build({"listen": "127.0.0.1:1"}, {"listen": "127.0.0.1:2", "tick_ms": "100"})
    assert (config.listen, config.tick_ms) == ("127.0.0.1:2", 100)


@pytest.mark.parametrize(
    ("name", "value", "names"),
    [
        ("tick_ms", 1, "tick_ms"),
        ("tick_ms", "soon", "tick_ms"),
        ("report_interval_s", float("nan"), "report_interval_s"),
        ("report_interval_s", 0, "report_interval_s"),
        ("report_interval_s", 20, "disconnected_after_s"),
        ("lost_after_s", 5, "lost_after_s"),
        ("retention_s", -1, "retention_s"),
        ("admit_timeout_s", 1e9, "admit_timeout_s"),
        ("log_level", "loud", "log_level"),
        ("log_format", "xml", "log_format"),
        ("insecure", "perhaps", "insecure"),
        ("listen", "127.0.0.1", "listen"),
        ("listen", "127.0.0.1:99999", "listen"),
        ("listen", ":7600", "listen"),
        ("listen", "0.0.0.0:7600", "listen"),
        ("listen", "example.org:7600", "listen"),
        ("lissten", "127.0.0.1:7600", "lissten"),
    ],
)
def test_a_bad_setting_is_refused_by_name(name: str, value: object, names: str) -> None:
    with pytest.raises(ConfigError, match=f"^{names}"):
        build({name: value})


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:7600", "[::1]:7600"])
def test_loopback_needs_no_word(address: str) -> None:
    assert build({"listen": address}).listen == address


def test_another_address_needs_insecure() -> None:
    assert build({"listen": "0.0.0.0:7600", "insecure": "yes"}).insecure


def test_the_environment_names_settings_with_a_prefix() -> None:
    assert from_env({"COMPUTEPOOL_TICK_MS": "99", "TICK_MS": "1"}) == {"tick_ms": "99"}


def test_a_file_that_is_missing_or_no_toml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    with pytest.raises(ConfigError, match=r"config\.toml"):
        from_file(path)
    path.write_text("tick_ms = ")
    with pytest.raises(ConfigError, match=r"config\.toml"):
        from_file(path)
    path.write_text("tick_ms = 77")
    assert build(from_file(path)).tick_ms == 77


def test_an_address_comes_apart() -> None:
    assert split_address("[::1]:7600") == ("[::1]", 7600)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"\xff\xfe", "can't decode"),
        (b"a = " + b"9" * 5_000, "Exceeds the limit"),
        (b"a = " + b"[" * 5_000, "recursion"),
        (b"#" * 70_000, "longer than 65,536 bytes"),
    ],
)
def test_a_file_that_is_none_of_ours_is_refused(tmp_path: Path, text: bytes, why: str) -> None:
    path = tmp_path / "broker.toml"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match=why):
        from_file(path)


def test_a_file_without_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="longer than"):
        from_file(Path("/dev/zero"))


REDIS, SENTINELS = "redis://h", "redis+sentinel://a,b/pool"


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"redis_replicas": 1}, "redis_replicas: means nothing without a Redis"),
        ({"store": REDIS, "redis_replicas": 16}, "redis_replicas: must be from -1 to 15"),
        ({"store": REDIS, "redis_replicas": -2}, "redis_replicas: must be from -1 to 15"),
        ({"store": REDIS, "redis_ca": "ca.pem"}, "redis_ca: means nothing without rediss://"),
        ({"store": SENTINELS, "redis_cert": "c.pem"}, "redis_cert: means nothing without rediss"),
        ({"store": "rediss://h", "redis_key": "k.pem"}, "redis_key: .* without redis_cert"),
        ({"store": REDIS, "redis_sentinel_password": "x"}, "redis_sentinel_password: .* sentinels"),
        ({"store": SENTINELS, "redis_sentinel_username": "x"}, "redis_sentinel_username: means"),
    ],
)
def test_a_setting_of_redis_that_would_do_nothing_is_refused(
    settings: dict[str, object], names: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{names}"):
        build(settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"store": REDIS, "redis_replicas": 0},
        {"store": SENTINELS, "redis_replicas": "2", "redis_sentinel_password": "x"},
        {"store": "rediss://h", "redis_ca": "a", "redis_cert": "b", "redis_key": "c"},
        {"store": "rediss+sentinel://a/p", "redis_cert": "both"},
    ],
)
def test_settings_of_redis_go_with_its_address(settings: dict[str, object]) -> None:
    assert build(settings).store == settings["store"]


def test_the_sentinels_login_is_no_flag_and_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    config = build({"store": SENTINELS}, from_env({"COMPUTEPOOL_REDIS_SENTINEL_PASSWORD": "xyzzy"}))
    assert "xyzzy" in config.redis_sentinel_password
    assert "xyzzy" not in repr(config)
    with pytest.raises(SystemExit):
        parser().parse_args(["--redis-sentinel-password", "xyzzy"])
    assert "--redis-replicas" in capsys.readouterr().err
