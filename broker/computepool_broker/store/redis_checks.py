"""What a Redis must be like to hold the ledger. Pure.

Each refusal names the setting to change.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from computepool_broker.errors import StoreRefusedError
from computepool_broker.store import redis_keys as keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OLDEST = (6, 2)
SHOWN = 3
"""Foreign keys named in a refusal."""


def check_server(where: str, info: Mapping[str, Any], settings: Mapping[str, str]) -> None:
    """Refuse a server that could lose or forget what it has confirmed.

    Args:
        where: The server's address, for the message.
        info: What INFO says.
        settings: What CONFIG GET says.

    Raises:
        StoreRefusedError: See the module.
    """
    version = str(info.get("redis_version", "0"))
    if tuple(int(x) for x in re.findall(r"\d+", version)[:2]) < OLDEST:
        raise StoreRefusedError(
            f"{where} is Redis {version}; the store needs 6.2 or newer, or Valkey"
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
    policy = settings.get("maxmemory-policy")
    if policy != "noeviction":
        raise StoreRefusedError(
            f"{where} would drop records when its memory is full (maxmemory-policy {policy}): "
            "set maxmemory-policy noeviction"
        )
    if settings.get("appendonly") != "yes":
        raise StoreRefusedError(
            f"{where} keeps no log on disk (appendonly {settings.get('appendonly')}): set "
            "appendonly yes, with appendfsync always if commits must survive a power cut"
        )


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
