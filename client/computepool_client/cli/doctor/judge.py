"""What the broker's answers say about the health of the pool. Pure."""

from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING, Final

from computepool_client.cli import documents, units
from computepool_client.cli.doctor.findings import Finding, counted, fail, named, ok, warn
from computepool_client.cli.doctor.seen import MOST_ALLOCATIONS, Seen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from computepool.v1 import allocation_pb2, inventory_pb2

# What a broker asks agents for where nobody set it otherwise; it asks less often of very many.
_USUAL_INTERVAL_MS: Final = 10_000
_LATE_INTERVALS: Final = 3
_MANY_AGENTS: Final = 10
# A part that no agent admits is placed anew for so long, then the allocation fails.
_ADMIT_MS: Final = 30_000
_BUGS: Final = ("FINDING_KIND_BOOKS", "FINDING_KIND_VIEW")


def judge(seen: Seen) -> list[Finding]:
    """All findings about a pool that answered, in the order of the checks."""
    return [check(seen) for check in CHECKS]


def _health(seen: Seen) -> Finding:
    view = _view(seen)
    if documents.enum_name(view, "state") == "POOL_STATE_WARMING_UP":
        todo = "wait: it ends when all known agents are back, or after the broker's --warm-up-s"
        return warn("health", "the broker is warming up: not all known agents are back", todo)
    if seen.health not in ("", "SERVING"):
        todo = "wait for its end or its restart; the broker's log says why"
        return fail("health", f"the broker says {seen.health} of itself", todo)
    return ok("health", "the broker is ready")


def _present(seen: Seen) -> Finding:
    active = [each for each in seen.agents if _state(each) == "ACTIVE"]
    if not seen.agents:
        todo = "start computepool-agent with --broker set to this endpoint"
        return fail("agents", "no agent has ever reported: there is nothing to grant", todo)
    if not active:
        todo = "look at the agents' logs, and whether they reach the broker"
        return fail("agents", f"none of {counted(len(seen.agents), 'agent')} is active", todo)
    nodes = sum(each.nodes for each in active)
    what = f"{len(active):,} of {counted(len(seen.agents), 'agent')} active"
    return ok("agents", f"{what}, with {counted(nodes, 'node')}")


def _silent(seen: Seen) -> Finding:
    silent = [each for each in seen.agents if _state(each) in ("DISCONNECTED", "LOST")]
    if not silent:
        return ok("silent-agents", "no agent is silent")
    silent.sort(key=lambda each: (each.last_sync_age_ms >= 0, -each.last_sync_age_ms))
    told = [f"{each.name} ({_since(each)})" for each in silent]
    todo = "look at their logs and network; `computepool forget` only what never comes back"
    return warn("silent-agents", f"{counted(len(silent), 'agent')} silent: {named(told)}", todo)


def _since(agent: "inventory_pb2.Agent") -> str:
    if agent.last_sync_age_ms < 0:
        return "since the broker's start"
    return f"for {units.age(agent.last_sync_age_ms)}"


def _mass_silence(seen: Seen) -> Finding:
    if not _view(seen).mass_silence:
        return ok("mass-silence", "centers do not fall silent together")
    todo = "look at the broker's own network first: it takes the fault for its own"
    return fail("mass-silence", "more than half of the centers fell silent together", todo)


def _audit(seen: Seen) -> Finding:
    found = seen.audit
    if found is None:
        audited = _view(seen).audit_findings >= 0
        return ok("audit", "the last audit found nothing" if audited else "not audited yet")
    if not found.findings:
        return ok("audit", "an audit of now finds nothing")
    kinds = [documents.enum_name(each, "kind") for each in found.findings]
    count = len(kinds) + found.findings_omitted
    words = sorted({each.removeprefix("FINDING_KIND_") for each in kinds})
    what = f"{counted(count, 'audit finding')}: {', '.join(words)}"
    if any(each in _BUGS for each in kinds):
        return fail("audit", what, "report it as a bug with what `computepool audit --json` prints")
    return warn("audit", what, "see `computepool audit`")


def _overcommit(seen: Seen) -> Finding:
    over = [each.center for each in _centers(seen) if any(a.overcommit for a in _amounts(each))]
    if not over:
        return ok("overcommit", "nothing is granted beyond what there is")
    todo = "release something there, or wait; `computepool audit` names the nodes"
    return warn("overcommit", f"more is used than there is in {named(over)}", todo)


def _cordons(seen: Seen) -> Finding:
    shut = [each for each in _centers(seen) if each.cordoned]
    if not shut:
        return ok("cordons", "no center is cordoned")
    told = [
        each.center + (f" ({each.cordon_message})" if each.cordon_message else "") for each in shut
    ]
    todo = f"when the work is done: computepool uncordon --center {shut[0].center}"
    return warn("cordons", f"{counted(len(shut), 'center')} cordoned: {named(told)}", todo)


def _ages(seen: Seen) -> Finding:
    ages = {
        each.name: each.last_sync_age_ms
        for each in seen.agents
        if _state(each) == "ACTIVE" and each.last_sync_age_ms >= 0
    }
    interval_ms = report_interval_ms(list(ages.values()))
    late = [name for name, age in ages.items() if age > _LATE_INTERVALS * interval_ms]
    if not late:
        oldest = max(ages.values(), default=0)
        return ok("reports", f"reports come in time, the oldest is {units.age(oldest)} old")
    late.sort(key=lambda name: -ages[name])
    told = [f"{name} ({units.age(ages[name])})" for name in late]
    todo = "these agents or their network are slow; see their logs and load"
    what = f"{counted(len(late), 'report')} older than {_LATE_INTERVALS} intervals: {named(told)}"
    return warn("reports", what, todo)


def report_interval_ms(ages_ms: list[int]) -> float:
    """How often agents report, as far as the ages of their last reports show it.

    Ages of punctual agents lie evenly between 0 and the interval, so the interval is
    about twice their median; few agents show nothing.
    """
    if len(ages_ms) < _MANY_AGENTS:
        return _USUAL_INTERVAL_MS
    return max(_USUAL_INTERVAL_MS, 2 * median(ages_ms))


def _in_flight(seen: Seen) -> Finding:
    old = [each for each in _centers(seen) if each.in_flight_age_ms > _ADMIT_MS]
    if not old:
        return ok("in-flight", "grants are soon shown by reports")
    old.sort(key=lambda each: -each.in_flight_age_ms)
    told = [f"{each.center} ({units.age(each.in_flight_age_ms)})" for each in old]
    todo = "the agents there report late or do not admit; see `computepool agents` and their logs"
    return warn("in-flight", f"grants that no report has shown for long: {named(told)}", todo)


def _reserved(seen: Seen) -> Finding:
    waiting = [each for each in seen.allocations if _waits(each)]
    if not waiting:
        more = f" of the first {MOST_ALLOCATIONS:,}" * seen.more_allocations
        return ok("admission", f"no allocation{more} waits for long to be admitted")
    told = [each.id for each in waiting]
    todo = f"computepool explain {told[0]}; is the agent of its node alive?"
    what = f"{counted(len(told), 'allocation')} RESERVED for over 30 s: {named(told)}"
    return warn("admission", what, todo)


def _waits(allocation: "allocation_pb2.Allocation") -> bool:
    """RESERVED for long, by the broker's own durations: clocks of machines are not compared."""
    if documents.enum_name(allocation, "state") != "ALLOCATION_STATE_RESERVED":
        return False
    ttl_ms = (allocation.spec.ttl_s or 3600) * 1000
    return ttl_ms - allocation.remaining_ttl_ms > _ADMIT_MS


def _flags(seen: Seen) -> Finding:
    flagged = [f"{each.id} ({each.flags[0]})" for each in seen.allocations if each.flags]
    if not flagged:
        return ok("flags", "no allocation is flagged")
    todo = f"look at it: computepool get {flagged[0].split()[0]}"
    return warn("flags", f"{counted(len(flagged), 'allocation')} flagged: {named(flagged)}", todo)


def _closed(seen: Seen) -> Finding:
    centers = _centers(seen)
    devices = any(each.models for each in centers)
    free = closed = 0
    where = []
    for each in centers:
        amounts = [one.devices for one in each.models] if devices else [each.cpu_milli]
        here = sum(max(0, one.free - one.schedulable) for one in amounts)
        free += sum(one.free for one in amounts)
        closed += here
        where += [each.center] * (here > 0)
    what = "devices" if devices else "cores"
    if not closed:
        return ok("open", f"all {units.thousandths(free)} free {what} can be granted")
    told = f"{units.thousandths(closed)} of {units.thousandths(free)} free {what} cannot be granted"
    todo = f"`computepool nodes --center {where[0]}` says why: cordoned, silent, or suspect nodes"
    return warn("open", f"{told}, in {named(where)}", todo)


def _models(seen: Seen) -> Finding:
    unknown = sorted({m.model for each in _centers(seen) for m in each.models if m.unknown_model})
    if not unknown:
        return ok("models", "every model is in the catalogue")
    todo = "they can be granted by their name; see docs/accelerators.md"
    return warn("models", f"models that count 0 P: {named(unknown)}", todo)


def _refusals(seen: Seen) -> Finding:
    refusing = sorted((each for each in seen.agents if each.refusals), key=lambda e: -e.refusals)
    if not refusing:
        return ok("refusals", "no agent has refused a lease since the broker's start")
    told = [f"{each.name} ({each.refusals:,}, last {each.last_refusal})" for each in refusing]
    todo = "what they refused was placed anew; the agents' logs say what did not fit"
    return warn("refusals", f"agents refused leases: {named(told)}", todo)


CHECKS: Final[tuple[Callable[[Seen], Finding], ...]] = (
    _health,
    _present,
    _silent,
    _mass_silence,
    _audit,
    _overcommit,
    _cordons,
    _ages,
    _in_flight,
    _reserved,
    _refusals,
    _flags,
    _closed,
    _models,
)


def _view(seen: Seen) -> "inventory_pb2.GetViewResponse":
    if seen.view is None:
        raise ValueError("a pool that did not answer cannot be judged")
    return seen.view


def _centers(seen: Seen) -> "list[inventory_pb2.CenterView]":
    return [center for region in _view(seen).regions for center in region.centers]


def _amounts(center: "inventory_pb2.CenterView") -> "Iterable[inventory_pb2.Amounts]":
    yield from (center.cpu_milli, center.memory_mib, center.disk_mib)
    yield from (each.devices for each in center.models)


def _state(agent: "inventory_pb2.Agent") -> str:
    return documents.enum_name(agent, "state").removeprefix("AGENT_STATE_")
