"""Good histories have nothing wrong; each kind of wrong is found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.history import Event
from support.history_check import Checker, check

if TYPE_CHECKING:
    import random

NODES = {"n1": {"cpu_milli": 4_000, "d/d0": 1_000, "d/d1": 1_000}, "n2": {"cpu_milli": 4_000}}


class Script:
    """Writes a history line by line, a second apart."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.now_s = 0.0
        self.calls = 0
        self.note("pool", nodes=NODES)

    def note(self, kind: str, **facts: Any) -> Self:
        self.now_s += 1
        self.events.append(Event(self.now_s, kind, facts))
        return self

    def create(
        self,
        name: str,
        request_id: str = "",
        *,
        outcome: str = "ok",
        level: int = 2,
        state: str = "ACTIVE",
        device: str = "",
        ttl_s: float = 600.0,
    ) -> Self:
        self.calls += 1
        call = str(self.calls)
        request_id = request_id or f"r-{name}"
        asked: dict[str, Any] = {"tenant": "t", "request_id": request_id, "ttl_s": ttl_s}
        self.note("call", call=call, op="create", level=0, **asked)
        if outcome != "ok":
            return self.note("answer", call=call, outcome=outcome)
        devices = [["n1", device, 1_000]] if device else []
        told = {"allocation": name, "state": state, "level": level, "devices": devices}
        return self.note("answer", call=call, outcome="ok", **told)

    def of(self, op: str, name: str, outcome: str = "ok") -> Self:
        self.calls += 1
        self.note("call", call=str(self.calls), op=op, allocation=name)
        return self.note("answer", call=str(self.calls), outcome=outcome)

    def holds(self, name: str, node: str = "n1", /, **amounts: int) -> Self:
        return self.note("holds", agent=f"of-{node}", **self.lease(name, node, **amounts))

    def lease(self, name: str, node: str = "n1", /, **amounts: int) -> dict[str, Any]:
        request = {"tenant": "t", "request_id": f"r-{name}"}
        named = {key.replace("d_", "d/"): n for key, n in amounts.items()}
        return {"lease": f"{name}.0.0", "allocation": name, "node": node, "amounts": named,
                "state": 1} | request  # fmt: skip

    def drops(self, name: str, node: str = "n1") -> Self:
        return self.note("drops", agent=f"of-{node}", lease=f"{name}.0.0")

    def listed(self, *live: str, request_ids: dict[str, str] | None = None, **ended: str) -> Self:
        of = request_ids or {}
        facts = {
            name: {"tenant": "t", "request_id": of.get(name, f"r-{name}"), "state": "ACTIVE"}
            for name in live
        }
        return self.note("listed", live=facts, ended=ended)

    def final(self, **wrong: Any) -> Self:
        return self.note("final", **({"live": [], "granted": {}, "findings": []} | wrong))

    def finds(self, what: str) -> None:
        """One thing is wrong, and says this."""
        (found,) = check(self.events)
        assert what in found, found

    def is_good(self) -> None:
        assert check(self.events) == []


def test_a_whole_life_is_good() -> None:
    script = Script().create("x", device="d0").holds("x", d_d0=1_000).of("renew", "x").listed("x")
    script.of("release", "x").drops("x").create("y", device="d0").holds("y", d_d0=1_000)
    script.of("release", "y").drops("y").listed(x="RELEASED", y="RELEASED").final().is_good()


# -- (a) ------------------------------------------------------------------------------------


def test_a_device_in_two_journals_is_found() -> None:
    Script().holds("x", d_d0=600).holds("y", d_d0=600).finds("(a) n1 is over-committed")


def test_the_sum_on_a_node_counts_and_not_that_of_a_center() -> None:
    Script().holds("x", cpu_milli=3_000).holds("y", "n2", cpu_milli=3_000).is_good()
    Script().holds("x", cpu_milli=3_000).holds("y", cpu_milli=3_000).finds("over-committed")


def test_a_new_state_of_a_lease_is_no_second_lease_and_a_new_life_begins_with_its_journal() -> None:
    script = Script().holds("x", d_d0=1_000).holds("x", d_d0=1_000)
    script.note("held", agent="of-n1", leases=[script.lease("x", d_d0=1_000)]).is_good()
    script.note("held", agent="of-n1", leases=[]).holds("y", d_d0=1_000).is_good()


def test_a_device_that_two_clients_were_given_is_found_when_both_live() -> None:
    script = Script().create("x", device="d0").create("y", device="d0")
    script.listed("x", "y").finds("(a) d0 of n1 was given to ['x', 'y']")


def test_a_device_whose_client_asked_for_release_may_go_to_another() -> None:
    script = Script().create("x", device="d0").of("release", "x", "unknown")
    script.create("y", device="d0").listed("y", x="RELEASED").is_good()


def test_a_device_of_an_expired_lease_may_go_to_another() -> None:
    script = Script().create("x", device="d0", ttl_s=1).create("y", device="d0")
    script.listed("y", x="EXPIRED").is_good()


# -- (b) ------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [1, 2, 3])
def test_what_was_acknowledged_and_is_missing_is_found(level: int) -> None:
    Script().create("x", level=level, state="RESERVED").listed().finds("(b) x of ('t', 'r-x')")


@pytest.mark.parametrize("reason", ["REVOKED", "LOST", "FAILED", "RELEASED", "EXPIRED"])
def test_an_end_that_nothing_explains_is_found(reason: str) -> None:
    Script().create("x").listed(x=reason).finds(f"not live: {reason}")


def test_ends_that_may_be_are_good() -> None:
    Script().create("x", state="RESERVED").listed(x="FAILED").is_good()
    Script().create("x", ttl_s=2).listed(x="EXPIRED").is_good()
    Script().create("x").of("release", "x", "unknown").listed(x="RELEASED").is_good()
    Script().create("x").of("release", "x", "unknown").listed("x").is_good()


def test_a_renewal_that_was_sent_puts_off_the_end() -> None:
    script = Script().create("x", ttl_s=3).of("renew", "x").listed(x="EXPIRED")
    script.finds("not live: EXPIRED")


def test_what_was_lost_with_the_store_is_no_wrong_but_what_agents_had_admitted_is() -> None:
    Script().create("x", state="RESERVED").note("loss", level=2).listed().is_good()
    Script().create("x", state="RESERVED").note("loss", level=1).listed().finds("(b)")
    Script().create("x", state="RESERVED", level=1).note("loss", level=1).listed().is_good()
    Script().create("x").note("loss", level=2).listed().finds("(b)")
    script = Script().create("x", state="RESERVED").note("loss", level=2)
    script.create("x", state="RESERVED").listed().finds("(b)")  # told once more after the loss


def test_what_was_released_does_not_come_back_unless_the_store_was_lost() -> None:
    Script().create("x").of("release", "x").listed("x").finds("(b) x was released")
    Script().create("x").of("release", "x").note("loss", level=2).listed("x").is_good()
    script = Script().create("x").of("release", "x").listed(x="RELEASED").listed("x")
    script.finds("(b) x had ended as RELEASED, and lives")


def test_a_lease_that_the_sdk_lost_is_found() -> None:
    script = Script().create("x").note("call", call="b", op="block", allocation="x")
    script.note("answer", call="b", outcome="lost", reason="REVOKED").finds("lost: REVOKED")


# -- (c) ------------------------------------------------------------------------------------


def test_a_request_with_two_allocations_is_found_wherever_they_are_seen() -> None:
    Script().create("x", "r").create("y", "r").finds("(c) request ('t', 'r') has y and ['x']")
    script = Script().create("", "r", outcome="unknown").create("x", "r")
    script.listed("x", "y", request_ids={"x": "r", "y": "r"}).finds("(c)")
    Script().create("x", "r-y").holds("y").finds("(c)")


def test_a_request_asked_again_may_have_the_same_allocation_or_another_when_it_was_lost() -> None:
    Script().create("", "r", outcome="unknown").create("x", "r").create("x", "r").is_good()
    script = Script().create("x", "r", state="RESERVED").note("loss", level=2).create("y", "r")
    script.listed("y", request_ids={"y": "r"}).is_good()


# -- (d), (e), (f) --------------------------------------------------------------------------


def test_what_does_not_come_back_is_found() -> None:
    Script().holds("x").final().finds("(d) all was released, and of-n1 holds ['x.0.0']")
    Script().final(live=["x"]).finds("(d)")
    Script().final(granted={"n1": {"cpu_milli": 1}}).finds("(d)")
    Script().final(findings=["PHANTOM x"]).finds("(e)")


def test_service_is_back_with_the_first_grant_that_was_asked_for_after_the_fault() -> None:
    script = Script().note("call", call="a", op="create", tenant="", request_id="", ttl_s=9)
    script.note("fault", round=1, name="kill").create("", outcome="unknown")
    told = {"allocation": "z", "state": "ACTIVE", "level": 2, "devices": []}
    script.note("answer", call="a", outcome="ok", **told).note("healed")
    script.create("x").note("whole")
    checker = Checker()
    checker.feed(script.events)
    (recovery,) = checker.recoveries
    assert (recovery.served_s, recovery.whole_s) == (6.0, 3.0)


# -- at random ------------------------------------------------------------------------------


def lived(rng: random.Random) -> tuple[Script, dict[str, str]]:
    """A pool that does all as it should, and what lives at the end, with its device."""
    script, live, free = Script(), dict[str, str](), {"d0", "d1"}
    for n in range(rng.randrange(2, 30)):
        if free and (not live or rng.random() < 0.5):
            name, device = f"a{n}", rng.choice(sorted(free))
            free.remove(device)
            for _ in range(rng.randrange(3)):
                script.create("", f"r-{name}", outcome="unknown")
            script.create(name, device=device).holds(name, **{f"d_{device}": 1_000})
            live[name] = device
        elif live and rng.random() < 0.3:
            script.of("renew", rng.choice(sorted(live)), rng.choice(("ok", "unknown")))
        elif live:
            name = rng.choice(sorted(live))
            script.of("release", name, rng.choice(("ok", "unknown"))).drops(name)
            free.add(live.pop(name))
        if rng.random() < 0.2:
            script.listed(*live)
    return script.listed(*live), live


@given(st.randoms(use_true_random=False))
def test_a_good_pool_has_nothing_wrong_and_one_bad_thing_in_it_is_found(rng: random.Random) -> None:
    script, live = lived(rng)
    script.is_good()
    if not live:
        return
    name = rng.choice(sorted(live))
    spoil = rng.randrange(4)
    if spoil == 0:
        script.listed(*(live.keys() - {name})).finds("(b)")
    elif spoil == 1:
        script.create("other", f"r-{name}").finds("(c)")
    elif spoil == 2:
        script.holds("other", **{f"d_{live[name]}": 1}).finds("(a)")
    else:
        script.create("other", device=live[name]).listed("other", *live).finds("(a)")
