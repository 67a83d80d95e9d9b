"""What a Redis must be like to hold the ledger, and what it can give. Pure.

Each refusal names the setting to change.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from computepool_broker.errors import StoreRefusedError
from computepool_broker.store import redis_keys as keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OLDEST = (6, 2)
MAX_LAG_S = 10
"""Of min-replicas-max-lag: so long may a primary that was cut off confirm what is lost then."""
_NO_GUARD = "turns min-replicas-to-write off"
SHOWN = 3
"""Foreign keys named in a refusal."""


class ServerFacts(NamedTuple):
    """What a server has said of itself when it was connected to."""

    host: str
    port: int
    run_id: str
    """Of this process: another one after each start."""
    version: tuple[int, ...]
    """Of Valkey where `valkey`, else of Redis."""
    valkey: bool
    appendfsync: str
    has_waitaof: bool
    replicas: int
    """Online when it was asked."""
    min_replicas_to_write: int


def read_facts(
    host: str, port: int, info: Mapping[str, Any], settings: Mapping[str, str], *, has_waitaof: bool
) -> ServerFacts:
    """Put together what INFO and CONFIG GET say of a server that `check_server` let pass."""
    valkey = "valkey_version" in info
    return ServerFacts(
        host,
        port,
        str(info.get("run_id", "")),
        _version(str(info["valkey_version"] if valkey else info.get("redis_version", "0"))),
        valkey,
        settings["appendfsync"],
        has_waitaof,
        sum(_online(info.get(f"slave{n}")) for n in range(int(info.get("connected_slaves", 0)))),
        int(settings.get("min-replicas-to-write", 0)),
    )


def gives_durable(facts: ServerFacts) -> bool:
    """Whether the server can say of a commit that it is on its disk.

    With appendfsync no it cannot: WAITAOF then waits for an fsync that the server never makes.
    """
    if facts.appendfsync == "always":
        return True
    return facts.has_waitaof and facts.appendfsync == "everysec"


def check_server(
    where: str, info: Mapping[str, Any], settings: Mapping[str, str], replicas: int = 0
) -> None:
    """Refuse a server that could lose or forget what it has confirmed.

    Args:
        where: The server's address, for the message.
        info: What INFO says.
        settings: What CONFIG GET says.
        replicas: How many replicas are to have what is durable.

    Raises:
        StoreRefusedError: See the module.
    """
    version = str(info.get("redis_version", "0"))
    if _version(version)[:2] < OLDEST:
        raise StoreRefusedError(
            f"{where} is Redis {version}; the store needs 6.2 or newer, or Valkey"
        )
    if info.get("redis_mode") == "sentinel":
        raise StoreRefusedError(
            f"{where} is a sentinel: write redis+sentinel://HOST,HOST,HOST/NAME for the primary "
            "that it watches"
        )
    if info.get("role") != "master":
        raise StoreRefusedError(
            f"{where} is a replica (role {info.get('role')}) of "
            f"{info.get('master_host')}:{info.get('master_port')}: name the primary in the "
            "store's URL"
        )
    if int(info.get("cluster_enabled", 0)):
        raise StoreRefusedError(
            f"{where} is a node of a cluster: use a single primary (cluster-enabled no)"
        )
    _check_settings(where, settings)
    if replicas:
        _check_replicas(where, settings, replicas)


def _check_settings(where: str, settings: Mapping[str, str]) -> None:
    for name in ("maxmemory-policy", "appendonly", "appendfsync"):
        if not settings.get(name):
            raise StoreRefusedError(
                f"{where} does not show its setting {name}: the store must see that it loses "
                f"nothing; let CONFIG GET {name} answer"
            )
    policy = settings["maxmemory-policy"]
    if policy != "noeviction":
        raise StoreRefusedError(
            f"{where} would drop records when its memory is full (maxmemory-policy {policy}): "
            "set maxmemory-policy noeviction"
        )
    if settings["appendonly"] != "yes":
        raise StoreRefusedError(
            f"{where} keeps no log on disk (appendonly {settings['appendonly']}): set "
            "appendonly yes, with appendfsync always if commits must survive a power cut"
        )


def _check_replicas(where: str, settings: Mapping[str, str], replicas: int) -> None:
    """A primary that was cut off from its replicas must stop to confirm, and soon."""
    least = _number(settings, "min-replicas-to-write")
    lag_s = _number(settings, "min-replicas-max-lag")
    if not least:
        raise StoreRefusedError(
            f"{where} would go on writing when it has lost its replicas (min-replicas-to-write 0), "
            "and a failover would drop that: set min-replicas-to-write 1 and min-replicas-max-lag "
            f"2, on the replicas too (redis_replicas is {replicas}; 0 says that commits may be "
            "lost in a failover)"
        )
    if not 1 <= lag_s <= MAX_LAG_S:
        what = f"would confirm for {lag_s} seconds what a failover drops" if lag_s else _NO_GUARD
        raise StoreRefusedError(
            f"{where} {what} (min-replicas-max-lag {lag_s}): set min-replicas-max-lag 2 (at most "
            f"{MAX_LAG_S}), on the replicas too"
        )


def _number(settings: Mapping[str, str], name: str) -> int:
    text = settings.get(name, "0")
    return int(text) if text.isdecimal() else 0


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(x) for x in re.findall(r"\d+", text)[:3])


def _online(row: Any) -> bool:
    return isinstance(row, dict) and row.get("state") == "online"


def check_keys(where: str, meta: Mapping[str, str], foreign: Sequence[str]) -> None:
    """Refuse a database that another program, or a newer version of this one, has written.

    Args:
        where: The server's address, for the message.
        meta: The meta hash; empty when the store is to be made.
        foreign: Keys under our prefix that are not ours.

    Raises:
        StoreRefusedError: See the module.
    """
    schema = meta.get("schema", str(keys.SCHEMA))
    if schema.isdecimal() and int(schema) > keys.SCHEMA:
        raise StoreRefusedError(
            f"{where} was written by a newer computepool (schema {schema}, this one knows "
            f"{keys.SCHEMA}); run that one"
        )
    if foreign:
        more = f" and {len(foreign) - SHOWN} more" if len(foreign) > SHOWN else ""
        raise StoreRefusedError(
            f"{where} holds keys under {keys.PREFIX} that are none of ours "
            f"({', '.join(map(repr, foreign[:SHOWN]))}{more}): use another database number, or "
            "delete them"
        )
