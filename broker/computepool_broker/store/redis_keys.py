"""Every key of ours in Redis, and what stands in it. Pure.

All keys begin with the hash tag `{computepool}`, so that they share one slot of a cluster and one
script may touch them all; sharded by region the tag would name the region too
(docs/design-notes). Anything else under that prefix is foreign and refused.

| key | type | field | value |
|---|---|---|---|
| `{computepool}:meta` | hash | `schema` | version of this table |
| | | `identity` | random name of the store, made once |
| | | `epoch`, `epochs` | the present epoch; JSON, past epoch to the last revision known of it |
| | | `revision` | commits that count (volatile changes do not) |
| | | `forgotten_through` | highest revision of a dropped allocation; absent before the first |
| | | `server` | run_id of the Redis process that the present term belongs to |
| | | `term` | counts the processes that held the store: no agent is active across them |
| `{computepool}:allocations` | hash | id | revision, space, base, space, record (model/codec.py) |
| `{computepool}:request_ids` | hash | JSON `[tenant, request_id]` | id of the allocation |
| `{computepool}:agents` | hash | name | session, state, term of that state, record, with spaces |
| `{computepool}:centers` | hash | name | JSON `[cordoned, message]` |
| `{computepool}:renewals` | hash | id | how often a live allocation was renewed; absent before |
| `{computepool}:node:NAME` | hash | `record` | what its agent reported last |
| | | `blockers` | bits of ledger.transaction.Blocker that are set for the node itself |
| | | `message` | why it is cordoned, for people; absent when empty |
| | | `agent`, `center` | whose state and cordon block it, too |
| | | `leases`, `conflicts` | leases on it; how many of them are flagged |
| | | `capacity` | JSON list of the keys under `c:` |
| | | `c:KEY` | capacity under a resource key (model/amounts.py) |
| | | `u:KEY` | granted under it; absent when 0 |
| `{computepool}:stream` | stream | `broker`, `base`, `rejected`, `batch` | one batch: who, revision before it, places of what was rejected, the batch as it was sent; trimmed to about 5,000 |
| | | `term` | alone: a new term has begun |
| `{computepool}:serials` | hash | instance | batches of a broker: the fence against a late one |
| `{computepool}:brokers` | hash | instance | time of its last beat, space, JSON of what it says |
| `{computepool}:chores` | string | | the broker that does the chores; lives for seconds |

A record counts revisions of its own commit from `base` (below 0 there), since its planner could
not know them. Capacity and states of agents are volatile for the ledger, but stand here because
the script judges by them whether a grant fits.

Request ids leave with the record of their allocation, an hour after its end; all other keys
follow what is there. So memory is bounded by the pool, the live allocations and the grants of an
hour.
"""

from __future__ import annotations

import json

SCHEMA = 2
PREFIX = "{computepool}"
PATTERN = "{computepool}*"
"""For SCAN: braces mean nothing in Redis' patterns."""
META = PREFIX + ":meta"
ALLOCATIONS = PREFIX + ":allocations"
REQUEST_IDS = PREFIX + ":request_ids"
AGENTS = PREFIX + ":agents"
CENTERS = PREFIX + ":centers"
RENEWALS = PREFIX + ":renewals"
SERIALS = PREFIX + ":serials"
STREAM = PREFIX + ":stream"
BROKERS = PREFIX + ":brokers"
CHORES = PREFIX + ":chores"
NODE_PREFIX = PREFIX + ":node:"
FIXED = (META, ALLOCATIONS, REQUEST_IDS, AGENTS, CENTERS, RENEWALS, SERIALS, STREAM)
"""In the order in which the commit script takes them."""
OURS = frozenset((*FIXED, BROKERS, CHORES))
TABLES = (META, ALLOCATIONS, REQUEST_IDS, AGENTS, CENTERS)

CAPACITY = "c:"
USED = "u:"
STREAM_ENTRIES = 5_000
"""Kept, about. A broker that is further behind reads the tables instead."""
MOST_NEWS = 1_000
"""Entries of others that one commit answers with; whoever is further behind catches up first."""
GONE_MS = 5_000
"""A broker that has not beaten for so long counts as gone."""
CHORES_MS = 5_000
"""For so long the chores are lent."""


def node_key(name: str) -> str:
    """The key of a node."""
    return NODE_PREFIX + name


def request_field(tenant: str, request_id: str) -> str:
    """The field of a request_id; JSON, so that no two pairs share one."""
    return json.dumps([tenant, request_id], separators=(",", ":"), ensure_ascii=False)
