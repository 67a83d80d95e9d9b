"""What a Redis must be like, judged by what INFO and CONFIG GET say."""

from __future__ import annotations

from typing import Any

import pytest

from computepool_broker.errors import StoreRefusedError
from computepool_broker.store.redis_checks import (
    ServerFacts,
    check_server,
    gives_durable,
    read_facts,
)

GOOD = {
    "maxmemory-policy": "noeviction",
    "appendonly": "yes",
    "appendfsync": "always",
    "min-replicas-to-write": "1",
    "min-replicas-max-lag": "2",
}
PRIMARY: dict[str, Any] = {"redis_version": "7.0.15", "role": "master", "run_id": "ab12"}


def facts(**changed: Any) -> ServerFacts:
    plain = read_facts("h", 1, PRIMARY, GOOD, has_waitaof=False)
    return plain._replace(**changed)


def test_a_good_server_will_do_with_and_without_replicas() -> None:
    check_server("here", PRIMARY, GOOD)
    check_server("here", PRIMARY, GOOD, 15)


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("min-replicas-to-write", "0", "set min-replicas-to-write 1 and min-replicas-max-lag 2"),
        ("min-replicas-to-write", "", "set min-replicas-to-write 1"),
        ("min-replicas-max-lag", "0", "turns min-replicas-to-write off"),
        ("min-replicas-max-lag", "11", "would confirm for 11 seconds what a failover drops"),
    ],
)
def test_where_replicas_are_expected_a_primary_must_stop_without_them(
    name: str, value: str, advice: str
) -> None:
    settings = GOOD | {name: value}
    check_server("here", PRIMARY, settings)
    with pytest.raises(StoreRefusedError) as refusal:
        check_server("here", PRIMARY, settings, 1)
    assert advice in str(refusal.value)
    assert "on the replicas too" in str(refusal.value)


@pytest.mark.parametrize("name", ["maxmemory-policy", "appendonly", "appendfsync"])
def test_a_setting_that_is_not_shown_is_told_by_name(name: str) -> None:
    settings = {key: value for key, value in GOOD.items() if key != name}
    with pytest.raises(StoreRefusedError, match=f"let CONFIG GET {name} answer"):
        check_server("here", PRIMARY, settings)


@pytest.mark.parametrize(
    ("appendfsync", "has_waitaof", "want"),
    [
        ("always", False, True),
        ("always", True, True),
        ("everysec", True, True),
        ("everysec", False, False),
        # It leaves the fsync to the system: WAITAOF would wait in vain.
        ("no", True, False),
        ("no", False, False),
    ],
)
def test_what_can_be_durable(appendfsync: str, has_waitaof: bool, want: bool) -> None:
    assert gives_durable(facts(appendfsync=appendfsync, has_waitaof=has_waitaof)) is want


def test_facts_are_read_and_only_replicas_that_are_online_count() -> None:
    info = PRIMARY | {
        "valkey_version": "9.1.2",
        "connected_slaves": 3,
        "slave0": {"state": "online"},
        "slave1": {"state": "wait_bgsave"},
        "slave2": {"state": "online"},
    }
    assert read_facts("h", 7, info, GOOD, has_waitaof=True) == ServerFacts(
        host="h",
        port=7,
        run_id="ab12",
        version=(9, 1, 2),
        valkey=True,
        appendfsync="always",
        has_waitaof=True,
        replicas=2,
        min_replicas_to_write=1,
    )
    assert facts().version == (7, 0, 15)
    assert not facts().valkey
