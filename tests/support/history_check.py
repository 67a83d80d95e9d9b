"""Holds a history against what the pool promises. Pure: no I/O, no clock.

(a) No node and no device is over-committed, by what agents hold and by what clients were told.
(b) What was acknowledged as durable is there until it was released, or has ended as it may.
(c) A request_id of a tenant leads to one allocation at most.
(d) When all was released, everything is back.
(e) The audit finds nothing.
(f) How long service was away after each fault.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support.history import Event

COMMITTED, DURABLE, CONFIRMED = 1, 2, 3
ACTIVE, LIVE = "ACTIVE", ("RESERVED", "ACTIVE")
_TTL_SLACK_S = 0.5
_WHOLE_DEVICE_MILLI = 1_000


@dataclass
class Known:
    """What clients know of one allocation.

    Attributes:
        request: Tenant and request_id; an empty request_id says nothing.
        sent_s: When the call was sent that brought it; of several answered ones the last.
        level: The best that it was acknowledged at.
        active: Its client was told that it is ACTIVE.
        kept_s: When the last call was sent that may have given it its time.
        ttl_s: Its time.
        release_s: When its release was asked for first; None before.
        released: Its release was answered.
    """

    request: tuple[str, str]
    sent_s: float
    ttl_s: float
    level: int = 0
    active: bool = False
    kept_s: float = 0.0
    release_s: float | None = None
    released: bool = False


@dataclass
class Recovery:
    """How one fault went.

    Attributes:
        round: Its number.
        name: What it was.
        begun_s: When it began.
        served_s: Seconds from there until a grant was answered that was asked for after it began.
        whole_s: Seconds from its mending until all was whole; None when it never was.
    """

    round: int
    name: str
    begun_s: float
    served_s: float | None = None
    healed_s: float | None = None
    whole_s: float | None = None


@dataclass
class Checker:
    """Reads events one by one, in the order of their times.

    Attributes:
        wrong: What must not be, in the order found.
        recoveries: One for each fault.
    """

    wrong: list[str] = field(default_factory=list)
    recoveries: list[Recovery] = field(default_factory=list)
    allocations: dict[str, Known] = field(default_factory=dict)
    _nodes: dict[str, dict[str, int]] = field(default_factory=dict)
    _calls: dict[str, tuple[float, dict[str, Any]]] = field(default_factory=dict)
    _held: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: defaultdict(dict))
    _asked: dict[tuple[str, str], float] = field(default_factory=dict)
    _ids: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    _since: dict[str, float] = field(default_factory=dict)
    _ended: dict[str, str] = field(default_factory=dict)
    _losses: list[tuple[float, int]] = field(default_factory=list)
    _owners: dict[tuple[str, str], dict[str, int]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    _doubts: list[tuple[str, set[str]]] = field(default_factory=list)

    def feed(self, events: Iterable[Event]) -> None:
        """Take the next events."""
        for event in events:
            getattr(self, f"_on_{event.kind}")(event.at_s, **event.facts)

    # -- clients ----------------------------------------------------------------------------

    def _on_pool(self, _at_s: float, nodes: dict[str, dict[str, int]]) -> None:
        self._nodes = nodes

    def _on_call(self, at_s: float, call: str, **facts: Any) -> None:
        self._calls[call] = at_s, facts
        if facts.get("request_id"):
            self._asked.setdefault((facts["tenant"], facts["request_id"]), at_s)
        known = self.allocations.get(facts.get("allocation", ""))
        if known is None:
            return
        if facts["op"] == "renew":
            known.kept_s = at_s
        if facts["op"] == "release" and known.release_s is None:
            known.release_s = at_s
            self._let_go(facts["allocation"])

    def _on_answer(self, at_s: float, call: str, outcome: str, **facts: Any) -> None:
        sent_s, asked = self._calls.pop(call)
        op = asked["op"]
        if outcome == "ok" and op == "create":
            self._granted(at_s, sent_s, asked, facts)
        elif outcome == "ok" and op == "release":
            self.allocations[asked["allocation"]].released = True
        elif outcome == "lost":
            self._must_be_excused(asked["allocation"], f"lost: {facts.get('reason')}", at_s)

    def _granted(
        self, at_s: float, sent_s: float, asked: dict[str, Any], facts: dict[str, Any]
    ) -> None:
        name = facts["allocation"]
        request = asked.get("tenant", ""), asked.get("request_id", "")
        # An earlier call of the same request may have made it; its time runs since then.
        first_s = self._asked.get(request, sent_s)
        fresh = Known(request, sent_s, asked["ttl_s"], kept_s=first_s)
        known = self.allocations.setdefault(name, fresh)
        known.level, known.sent_s = max(known.level, facts["level"]), sent_s
        if facts["level"] < asked.get("level", 0):
            self._complain(at_s, f"{name} was asked at level {asked['level']}, got {facts}")
        self._seen(name, request, at_s)
        if facts["state"] == ACTIVE and known.release_s is None:
            known.active = True
            self._own(name, facts["devices"])
        for each in self.recoveries:
            if each.served_s is None and sent_s >= each.begun_s:
                each.served_s = at_s - each.begun_s

    def _own(self, name: str, devices: list[tuple[str, str, int]]) -> None:
        """From an answer that says ACTIVE until its release is asked for, devices are its own."""
        for node, device, milli in devices:
            owners = self._owners[node, device]
            owners[name] = milli
            if sum(owners.values()) > _WHOLE_DEVICE_MILLI:
                self._doubts.append((f"{device} of {node}", set(owners)))

    def _let_go(self, name: str) -> None:
        for owners in self._owners.values():
            owners.pop(name, None)

    # -- agents -----------------------------------------------------------------------------

    def _on_held(self, at_s: float, agent: str, leases: list[dict[str, Any]]) -> None:
        self._held[agent].clear()
        for lease in leases:
            self._on_holds(at_s, agent, **lease)

    def _on_holds(self, at_s: float, agent: str, lease: str, **facts: Any) -> None:
        new = lease not in self._held[agent]
        self._held[agent][lease] = facts
        if new:
            self._seen(facts["allocation"], (facts["tenant"], facts["request_id"]), at_s)
            self._check_node(at_s, agent, facts["node"])

    def _on_drops(self, _at_s: float, agent: str, lease: str) -> None:
        self._held[agent].pop(lease, None)

    def _check_node(self, at_s: float, agent: str, node: str) -> None:
        used: Counter[str] = Counter()
        on_it = {k: each for k, each in self._held[agent].items() if each["node"] == node}
        for each in on_it.values():
            used.update(each["amounts"])
        if not self._nodes:
            return  # what is asked for before anybody knows what there is
        have = self._nodes.get(node, {})
        over = {what: n for what, n in used.items() if n > have.get(what, 0)}
        if over:
            self._complain(at_s, f"(a) {node} is over-committed: {over} by {sorted(on_it)}")

    # -- one request, one allocation --------------------------------------------------------

    def _seen(self, name: str, request: tuple[str, str], at_s: float) -> None:
        names = self._ids[request]
        if not request[1] or name in names:
            return
        others = [other for other in names if not self._may_be_gone(other)]
        self._since[name] = at_s
        names.append(name)
        if others:
            self._complain(at_s, f"(c) request {request} has {name} and {others}")

    def _on_loss(self, at_s: float, level: int) -> None:
        self._losses.append((at_s, level))

    def _may_be_gone(self, name: str) -> bool:
        """Whether it was in something that was lost."""
        known = self.allocations.get(name)
        if known is not None and known.active:
            return False
        level = known.level if known else 0
        since_s = known.sent_s if known else self._since.get(name, 0.0)
        return any(at_s >= since_s and level <= lost for at_s, lost in self._losses)

    # -- what is there ----------------------------------------------------------------------

    def _on_listed(
        self, at_s: float, live: dict[str, dict[str, Any]], ended: dict[str, str]
    ) -> None:
        """All allocations, with no call under way; `ended` may leave out what was told before."""
        self._ended |= ended
        for name, facts in live.items():
            self._seen(name, (facts["tenant"], facts["request_id"]), at_s)
            if name in self._ended:
                self._complain(at_s, f"(b) {name} had ended as {self._ended[name]}, and lives")
        for name, known in list(self.allocations.items()):
            if name in live:
                self._check_released(at_s, name, known)
            elif known.release_s is None:
                reason = self._ended.get(name, "missing")
                self._must_be_excused(name, f"not live: {reason}", at_s)
        self._check_doubts(at_s)
        self._forget(live)

    def _check_released(self, at_s: float, name: str, known: Known) -> None:
        release_s = known.release_s
        # Released just before the whole store was lost it may come back, once.
        lost = any(t >= (release_s or 0) and level >= DURABLE for t, level in self._losses)
        if known.released and not lost:
            self._complain(at_s, f"(b) {name} was released at {release_s:.3f}, and lives")

    def _must_be_excused(self, name: str, what: str, at_s: float) -> None:
        known = self.allocations[name]
        reason = self._ended.get(name, "")
        expired = at_s - known.kept_s >= known.ttl_s - _TTL_SLACK_S
        failed = reason == "FAILED" and not known.active
        if expired or failed or self._may_be_gone(name):
            return
        self._complain(
            at_s, f"(b) {name} of {known.request}, acknowledged at level {known.level}, {what}"
        )
        del self.allocations[name]  # said once

    def _check_doubts(self, at_s: float) -> None:
        for what, names in self._doubts:
            there = [n for n in names if self._ended.get(n, "RELEASED") == "RELEASED"]
            if len(there) > 1:
                self._complain(at_s, f"(a) {what} was given to {sorted(there)} at the same time")
        self._doubts.clear()

    def _forget(self, live: dict[str, dict[str, Any]]) -> None:
        """What is over for good need not be looked at again."""
        over = [n for n, k in self.allocations.items() if n not in live and k.release_s is not None]
        for name in over:
            del self.allocations[name]

    # -- faults and the end -----------------------------------------------------------------

    def _on_fault(self, at_s: float, name: str, **facts: int) -> None:
        self.recoveries.append(Recovery(facts["round"], name, at_s))

    def _on_healed(self, at_s: float, **_facts: Any) -> None:
        self.recoveries[-1].healed_s = at_s

    def _on_whole(self, at_s: float, **_facts: Any) -> None:
        last = self.recoveries[-1]
        last.whole_s = at_s - (last.healed_s or last.begun_s)
        if last.served_s is None:  # no client asked meanwhile; whoever says this was granted
            last.served_s = at_s - last.begun_s

    def _on_final(
        self, at_s: float, live: list[str], granted: dict[str, Any], findings: list[str]
    ) -> None:
        if live:
            self._complain(at_s, f"(d) all was released, and there live {live}")
        if granted:
            self._complain(at_s, f"(d) all was released, and there is granted {granted}")
        for agent, leases in self._held.items():
            if leases:
                self._complain(at_s, f"(d) all was released, and {agent} holds {sorted(leases)}")
        if findings:
            self._complain(at_s, f"(e) the audit finds {findings}")

    def _complain(self, at_s: float, what: str) -> None:
        self.wrong.append(f"at {at_s:.3f} s: {what}")


def check(events: Iterable[Event]) -> list[str]:
    """All that is wrong in a whole history."""
    checker = Checker()
    checker.feed(sorted(events, key=lambda event: event.at_s))
    return checker.wrong
