"""The numbers that the simulation rests on, each with its source. Pure.

All times in microseconds. `measured` means by `python -m simulation measure` on the machine of
docs/benchmarks.md: two cores, a broker with 10,000 nodes on Redis 7.0 with appendfsync everysec.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

LIFE_STEPS = 5
"""Commits in a life: granted, admitted, started, ended, torn down."""
US = 1e-6


@dataclass(frozen=True, slots=True)
class Costs:
    """See SOURCES for where each comes from.

    Attributes:
        job_us: Broker, for one step of a life with its call or report, without planning.
        commit_us: Broker, for each commit besides its jobs.
        plan_us: Broker, planning one grant when few nodes have changed since.
        catch_up_us: The same when more than `FEW_BEHIND` have changed.
        catch_up_row_us: And for each changed node.
        build_row_us: Instead of these for a shape without an index: for each node.
        fold_us: Broker, for each change of another broker: read, fold, view.
        call_us: Redis, for each script call besides its transactions.
        transaction_us: Redis, for each transaction in it.
        append_us: Redis, for each stream entry written.
        read_us: Redis, for each stream entry read by a broker.
        round_trip_us: Between a broker and Redis.
        fsync_us: Redis, once for all commands that it has read together.
        hop_us: From broker to broker, both ways, besides the job on each side.
    """

    job_us: float = 116.0
    commit_us: float = 560.0
    plan_us: float = 11.0
    catch_up_us: float = 45.0
    catch_up_row_us: float = 0.17
    build_row_us: float = 0.019
    fold_us: float = 17.5
    call_us: float = 97.0
    transaction_us: float = 15.6
    append_us: float = 5.0
    read_us: float = 4.0
    round_trip_us: float = 250.0
    fsync_us: float = 0.0
    hop_us: float = 500.0

    def times(self, factor: float, *names: str) -> Costs:
        """The same with some of them `factor` times as high."""
        return replace(self, **{name: getattr(self, name) * factor for name in names})


FEW_BEHIND = 12
"""As placement/shape_index.py: so many changed rows are judged one by one."""
MOST_BEHIND = 1_000
"""Changes beyond are mostly of nodes that have changed already, and judged once: the `engine` bench
has 262 us for 2,900."""

UNARY = Costs()
"""One call for each create and each release."""
BATCHED = Costs(job_us=30.0, transaction_us=8.0)
"""Callers that ask for a hundred at a time: 159 us of the broker and 41 us of Redis for a life,
measured, the commit's own share taken off."""

BROKER = (
    *("job_us", "commit_us", "fold_us"),
    *("plan_us", "catch_up_us", "catch_up_row_us", "build_row_us"),
)
REDIS = ("call_us", "transaction_us", "append_us", "read_us")

SOURCES = {
    "job_us": "measured: 580 us for a life (unary calls, agents that report each step), by 5 steps",
    "commit_us": "measured: slope of a life's cost over its commits, 1 to 64 calls in flight",
    "plan_us": "measured: 8 shapes in turn, index up to 12 changed nodes behind",
    "catch_up_us": "measured: index 64 to 1,024 changed nodes behind, intercept",
    "catch_up_row_us": "measured: the same, slope",
    "build_row_us": "measured: a shape that is new, 10,000 nodes",
    "fold_us": "measured: text to record 11.4, tables 4.4, view 1.7",
    "call_us": "measured: processor time of Redis over transactions in a call, intercept",
    "transaction_us": "measured: the same, slope (its log and the network included)",
    "append_us": "measured: XADD in a script, entries of 1 to 100 changes: 2 to 8",
    "read_us": "measured: XREAD, the same entries: 2 to 8",
    "round_trip_us": "assumed: one data center; loopback measured: 78",
    "fsync_us": "0 with everysec; with always 190, docs/benchmarks.md (fdatasync, growing file)",
    "hop_us": "assumed: two data centers of one region",
}


def table(costs: Costs) -> str:
    """The parameters as a Markdown table."""
    rows = ["| parameter | us | source |", "|---|---|---|"]
    rows += [
        f"| `{field.name}` | {getattr(costs, field.name):g} | {SOURCES[field.name]} |"
        for field in fields(costs)
    ]
    return "\n".join(rows)
