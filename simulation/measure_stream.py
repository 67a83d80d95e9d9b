"""What the stream of changes costs Redis: one entry a commit appended, and read by every broker.

The commands alone on a real server, with entries as long as measured changes make them; the
server's own account of their time (`INFO commandstats`) is read, and its processor time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import redis
from bench.redis_server import redis_server

if TYPE_CHECKING:
    from pathlib import Path

KEY = "{computepool}:stream"
APPEND = "redis.call('XADD', KEYS[1], 'MAXLEN', '~', 20000, '*', 'c', ARGV[1]) return 1"
CHANGES = (1, 20, 100)
"""Changes in an entry."""
ENTRIES = 3_000
ROUND_TRIPS = 5_000


def run(folder: Path, bytes_per_change: float) -> dict[str, float]:
    """Microseconds of Redis for appending and for reading an entry, by the changes in it."""
    found: dict[str, float] = {}
    with redis_server(folder / "redis") as (url, _), redis.Redis.from_url(url) as client:
        for changes in CHANGES:
            text = "x" * round(bytes_per_change * changes)
            client.flushall()
            found[f"append_us_{changes}"] = appended(client, text)
            found[f"read_us_{changes}"] = read(client)
        began = time.monotonic()
        for _ in range(ROUND_TRIPS):
            client.ping()
        found["loopback_round_trip_us"] = (time.monotonic() - began) / ROUND_TRIPS * 1e6
    return found


def appended(client: redis.Redis, text: str) -> float:
    """Append the entry many times in a script; time of one, the empty script's taken off."""
    append, empty = client.register_script(APPEND), client.register_script("return 1")
    took = []
    for script in (append, empty):
        script(keys=[KEY], args=[text])  # loaded from here on
        client.config_resetstat()
        for _ in range(ENTRIES):
            script(keys=[KEY], args=[text])
        took.append(usec(client, "evalsha"))
    return took[0] - took[1]


def read(client: redis.Redis) -> float:
    """Read each entry by itself; Redis' whole processor time of one."""
    before = cpu_us(client)
    for _ in range(ENTRIES):
        client.xread({KEY: "0"}, count=1)
    reading = cpu_us(client) - before
    before = cpu_us(client)
    for _ in range(ENTRIES):
        client.ping()
    return (reading - (cpu_us(client) - before)) / ENTRIES


def usec(client: redis.Redis, command: str) -> float:
    """Mean time of a command since the last reset, in microseconds."""
    stats: dict[str, Any] = client.info("commandstats")
    return float(stats[f"cmdstat_{command}"]["usec_per_call"])


def cpu_us(client: redis.Redis) -> float:
    """Processor time of the server so far, in microseconds."""
    cpu: dict[str, Any] = client.info("cpu")
    return (float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])) * 1e6
