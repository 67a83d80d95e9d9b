"""A grant over two shards: every interleaving of its steps, crashes and failovers included. Pure.

The protocol that docs/design-notes/sharding.md proposes, as a state machine small enough to look
at every state that can be reached:

    coordinator            home shard (A)             other shard (B)
        │ 1 RESERVING, part A ──>│                          │
        │ 2 hold part B ─────────┼─────────────────────────>│
        │ 3 GRANTED, if RESERVING>│                         │
        │   (the caller is told)  │                         │
        │ 4 confirm ──────────────┼────────────────────────>│

    time-out in A:  RESERVING -> ABORTED, part A is free      (one compare-and-set against step 3)
    time-out in B:  asks A; GRANTED: confirm; ABORTED or unknown: part B is free; else wait

The coordinator can stop for ever after any step; messages can be late, even later than the
coordinator's end; each primary can fail over to a replica that lacks its last writes, and lose
them; time-outs can come at any moment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class Home(Enum):
    """The coordinator record, which is in A with part A."""

    NONE = "-"
    RESERVING = "reserving"
    GRANTED = "granted"
    ABORTED = "aborted"


class Hold(Enum):
    """Part B."""

    NONE = "-"
    HELD = "held"
    CONFIRMED = "confirmed"


class Done(Enum):
    """The last step of the coordinator that it knows to be done."""

    NOTHING = "nothing"
    RESERVED = "part A is reserved"
    ASKED = "B has been asked"
    HEARD = "B has said that it holds"
    DECIDED = "granted"
    TOLD = "the caller has been told"


class State(NamedTuple):
    """Everything.

    Attributes:
        home, hold: In the primaries of A and B.
        home_safe, hold_safe: On their replicas: what a failover goes back to.
        done: How far the coordinator has come.
        alive: Whether it still goes on.
        prepare, confirm: A message that is on its way to B.
        told: The caller has been told that it has its gang.
    """

    home: Home = Home.NONE
    home_safe: Home = Home.NONE
    hold: Hold = Hold.NONE
    hold_safe: Hold = Hold.NONE
    done: Done = Done.NOTHING
    alive: bool = True
    prepare: bool = False
    confirm: bool = False
    told: bool = False


class Rules(NamedTuple):
    """What the protocol insists on; without any of them it is unsafe, and the search says how.

    Attributes:
        hold_safe: The hold is on B's replicas before the decision.
        decide_safe: The decision is before anybody is told.
        reads_safe: B believes what A says of the record only when it is on A's replicas.
        compare: The decision is one compare-and-set in A.
    """

    hold_safe: bool = True
    decide_safe: bool = True
    reads_safe: bool = True
    compare: bool = True


Step = tuple[str, State]


def steps(at: State, rules: Rules) -> Iterator[Step]:
    """All that can happen next."""
    if at.alive:
        yield from coordinator(at, rules)
        yield "the coordinator stops", at._replace(alive=False)
    yield from messages(at)
    yield from time_outs(at, rules)
    yield from replicas(at)


def coordinator(at: State, rules: Rules) -> Iterator[Step]:
    """Its steps 1 to 4."""
    home, safe = at.home, at.home is at.home_safe
    if at.done is Done.NOTHING:
        yield "1: RESERVING in A", at._replace(home=Home.RESERVING, done=Done.RESERVED)
    if at.done is Done.RESERVED:
        yield "2: B is asked to hold", at._replace(prepare=True, done=Done.ASKED)
    if at.done is Done.ASKED and not at.prepare:
        yield "2 again", at._replace(prepare=True)
    # It hears that B holds; that it heard so can be old news by the time of step 3.
    held_safely = at.hold is Hold.HELD and (at.hold_safe is Hold.HELD or not rules.hold_safe)
    if at.done is Done.ASKED and held_safely:
        yield "B holds, says the answer", at._replace(done=Done.HEARD)
    if at.done is Done.HEARD and (home is Home.RESERVING or not rules.compare):
        yield "3: GRANTED in A", at._replace(home=Home.GRANTED, done=Done.DECIDED)
    granted = home is Home.GRANTED and (safe or not rules.decide_safe)
    if at.done is Done.DECIDED and granted:
        yield (
            "4: the caller is told, B is asked to confirm",
            at._replace(told=True, confirm=True, done=Done.TOLD),
        )
    if at.done is Done.TOLD and not at.confirm:
        yield "4 again", at._replace(confirm=True)


def messages(at: State) -> Iterator[Step]:
    """What is on its way arrives, whoever sent it may have stopped since."""
    if at.prepare:
        held = Hold.HELD if at.hold is Hold.NONE else at.hold
        yield "B holds", at._replace(prepare=False, hold=held)
        yield "the request to hold is lost", at._replace(prepare=False)
    if at.confirm:
        confirmed = Hold.CONFIRMED if at.hold is Hold.HELD else at.hold
        yield "B confirms", at._replace(confirm=False, hold=confirmed)
        yield "the request to confirm is lost", at._replace(confirm=False)


def time_outs(at: State, rules: Rules) -> Iterator[Step]:
    """Chores of any broker of A, and of B."""
    if at.home is Home.RESERVING:
        yield "time-out: ABORTED in A", at._replace(home=Home.ABORTED)
    if at.hold is Hold.HELD and (at.home is at.home_safe or not rules.reads_safe):
        if at.home is Home.GRANTED:
            yield "time-out in B: A says GRANTED", at._replace(hold=Hold.CONFIRMED)
        elif at.home is not Home.RESERVING:
            yield "time-out in B: A says no", at._replace(hold=Hold.NONE)


def replicas(at: State) -> Iterator[Step]:
    """Replicas catch up; or a primary is lost, and with it what they lack."""
    if at.home is not at.home_safe:
        yield "A's replica has it", at._replace(home_safe=at.home)
        yield "A fails over and loses it", at._replace(home=at.home_safe)
    if at.hold is not at.hold_safe:
        yield "B's replica has it", at._replace(hold_safe=at.hold)
        yield "B fails over and loses it", at._replace(hold=at.hold_safe)


def wrong(at: State) -> str:
    """What may never be, or nothing."""
    if at.told and at.home is not Home.GRANTED:
        return "the caller was told of a grant that A does not have"
    if at.told and at.hold is Hold.NONE:
        return "the caller was told, and part B is free for others"
    if at.hold is Hold.CONFIRMED and at.home is Home.ABORTED:
        return "part B is confirmed for an aborted gang"
    return ""


def at_rest(at: State) -> bool:
    """All or nothing, and nothing is held for nobody."""
    if at.prepare or at.confirm or at.home is not at.home_safe or at.hold is not at.hold_safe:
        return False
    return (at.home, at.hold) in {
        (Home.GRANTED, Hold.CONFIRMED),
        (Home.ABORTED, Hold.NONE),
        (Home.NONE, Hold.NONE),
    }


@dataclass(slots=True)
class Search:
    """What was found.

    Attributes:
        states, moves: Looked at.
        wrongs: What may never be, each with the shortest way there.
        stuck: States from which rest cannot be reached any more.
    """

    states: int = 0
    moves: int = 0
    wrongs: dict[str, list[str]] = field(default_factory=dict)
    stuck: list[State] = field(default_factory=list)


def search(rules: Rules) -> Search:
    """Every state that can be reached, breadth first."""
    found, first = Search(), State()
    came: dict[State, tuple[str, State] | None] = {first: None}
    before: dict[State, list[State]] = {}
    order = [first]
    for at in order:
        if (text := wrong(at)) and text not in found.wrongs:
            found.wrongs[text] = way_to(at, came)
        for name, then in steps(at, rules):
            found.moves += 1
            before.setdefault(then, []).append(at)
            if then not in came:
                came[then] = (name, at)
                order.append(then)
    found.states = len(order)
    found.stuck = not_among(order, before)
    return found


def not_among(order: list[State], before: dict[State, list[State]]) -> list[State]:
    """States from which no way leads to rest."""
    good = {at for at in order if at_rest(at)}
    waiting = list(good)
    while waiting:
        for earlier in before.get(waiting.pop(), ()):
            if earlier not in good:
                good.add(earlier)
                waiting.append(earlier)
    return [at for at in order if at not in good]


def way_to(at: State, came: dict[State, tuple[str, State] | None]) -> list[str]:
    """The steps that lead to a state."""
    way: list[str] = []
    while (last := came[at]) is not None:
        way.append(last[0])
        at = last[1]
    return way[::-1]


def report() -> str:
    """The protocol, and the same without each of its rules."""
    lines = []
    for left_out in ("", *Rules._fields):
        rules = Rules()._replace(**{left_out: False}) if left_out else Rules()
        found = search(rules)
        name = f"without {left_out}" if left_out else "all rules"
        lines.append(f"{name}: {found.states} states, {found.moves} steps")
        lines += [f"  WRONG {text}: {'; '.join(way)}" for text, way in found.wrongs.items()]
        if found.stuck:
            lines.append(f"  STUCK in {len(found.stuck)} states: half a gang stays for ever")
    return "\n".join(lines)
