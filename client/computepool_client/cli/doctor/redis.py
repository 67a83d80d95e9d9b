"""Can a Redis hold the ledger? Connects, reads its settings, changes nothing."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from computepool_client.cli.doctor.findings import Finding, fail, ok, warn
from computepool_client.cli.doctor.machine import numbers

_OLDEST: Final = (6, 2)
_SETTINGS: Final = ("appendonly", "appendfsync", "maxmemory-policy")


def redis_store(url: str, timeout_s: float) -> Iterator[Finding]:
    """Looks at the server of a redis:// URL."""
    from redis import Redis, RedisError  # noqa: PLC0415 - only here

    try:
        client = Redis.from_url(
            url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, decode_responses=True
        )
    except ValueError as error:
        yield fail("redis", f"{_bare(url)}: {error}", "write redis://HOST:PORT/DB")
        return
    try:
        info: dict[str, Any] = client.info()
        found = {name: client.config_get(name).get(name) or "" for name in _SETTINGS}
    except RedisError as error:
        yield fail(
            "redis", f"{_bare(url)} does not answer: {error}", "is it running, and reachable?"
        )
        return
    finally:
        client.close()
    yield from judge(_bare(url), info, found)


def judge(where: str, info: Mapping[str, Any], found: Mapping[str, str]) -> Iterator[Finding]:
    """What INFO and CONFIG GET say about a server. Pure."""
    version = str(info.get("redis_version", "0"))
    if numbers(version)[:2] < _OLDEST:
        yield fail("redis", f"{where} is Redis {version}", "6.2 or newer is needed, or Valkey")
    elif info.get("role") != "master":
        yield fail("redis", f"{where} is a replica", "name the primary in the store's URL")
    elif int(info.get("cluster_enabled", 0)):
        yield fail("redis", f"{where} is a node of a cluster", "use a single primary")
    else:
        yield ok("redis", f"{where} is Redis {version}, a primary")
    policy = found.get("maxmemory-policy")
    if policy != "noeviction":
        what = f"it drops records when its memory is full (maxmemory-policy {policy})"
        yield fail("redis-memory", what, "set maxmemory-policy noeviction")
    else:
        yield ok("redis-memory", "it never drops records (maxmemory-policy noeviction)")
    if found.get("appendonly") != "yes":
        yield fail("redis-log", "it keeps no log on disk", "set appendonly yes")
    elif found.get("appendfsync") != "always":
        todo = "set appendfsync always where the last two seconds may not be lost in a power cut"
        yield warn("redis-log", f"its log is synced {found.get('appendfsync')}", todo)
    else:
        yield ok("redis-log", "its log is synced before it answers (appendfsync always)")


def _bare(url: str) -> str:
    """The address without a password that may be in it."""
    return url.rpartition("@")[2].removeprefix("redis://").removeprefix("rediss://")
