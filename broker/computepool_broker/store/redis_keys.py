"""Every key of ours in Redis, and what stands in it. Pure.

All keys begin with the hash tag `{computepool}`, so that they would share one slot of a cluster
and one script may touch them all. Anything else under that prefix is foreign and refused.

| key | type | field | value |
|---|---|---|---|
| `{computepool}:meta` | hash | `schema` | version of this table |
| | | `identity` | random name of the store, made once |
| | | `epoch`, `epochs` | the present epoch; JSON, past epoch to the last revision known of it |
| | | `revision` | commits that count (volatile changes do not) |
| | | `forgotten_through` | highest revision of a dropped allocation; absent before the first |
| | | `instance` | random name of the broker that may write: the fence |
| | | `serial` | batches that this instance has written |
| `{computepool}:allocations` | hash | id | revision, space, record (model/codec.py) |
| `{computepool}:request_ids` | hash | JSON `[tenant, request_id]` | id of the allocation |
| `{computepool}:agents` | hash | name | record |
| `{computepool}:centers` | hash | name | JSON `[cordoned, message]` |
| `{computepool}:node:NAME` | hash | `record` | what its agent reported last |
| | | `blockers` | bits of ledger.transaction.Blocker |
| | | `message` | why it is cordoned, for people; absent when empty |
| | | `c:KEY` | capacity under a resource key (model/amounts.py) |
| | | `u:KEY` | granted under it; absent when 0 |

Capacity and blockers are volatile for the ledger, but stand here because the script judges by
them whether a grant fits.
"""

from __future__ import annotations

import json

SCHEMA = 1
PREFIX = "{computepool}"
PATTERN = "{computepool}*"
"""For SCAN: braces mean nothing in Redis' patterns."""
META = PREFIX + ":meta"
ALLOCATIONS = PREFIX + ":allocations"
REQUEST_IDS = PREFIX + ":request_ids"
AGENTS = PREFIX + ":agents"
CENTERS = PREFIX + ":centers"
NODE_PREFIX = PREFIX + ":node:"
FIXED = (META, ALLOCATIONS, REQUEST_IDS, AGENTS, CENTERS)
"""In the order in which the script takes them."""

CAPACITY = "c:"
USED = "u:"


def node_key(name: str) -> str:
    """The key of a node."""
    return NODE_PREFIX + name


def request_field(tenant: str, request_id: str) -> str:
    """The field of a request_id; JSON, so that no two pairs share one."""
    return json.dumps([tenant, request_id], separators=(",", ":"), ensure_ascii=False)
