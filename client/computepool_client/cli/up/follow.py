"""Looking at a pool again and again, and saying what changed."""

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from computepool_client import errors
from computepool_client.cli import documents, grants, view_rows
from computepool_client.cli.agents import state_of
from computepool_client.cli.up.changes import Change, Look, changes, in_one_line

if TYPE_CHECKING:
    from computepool.v1 import allocation_pb2, inventory_pb2
    from computepool_client.cli.up.voice import Voice
    from computepool_client.client import PoolClient

# With more live allocations than this, they are counted and no longer listed; it
# bounds what a look costs, the ends that are asked for one by one included.
_LISTED_ALLOCATIONS: Final = 100


class Follower:
    """Remembers the last look; `look` says what is different."""

    def __init__(self, client: "PoolClient", voice: "Voice") -> None:
        self._client = client
        self._voice = voice
        self._last: Look | None = None
        self._answers = True

    def look(self) -> None:
        """One look; silent when nothing changed, and once when the broker is silent."""
        try:
            now = _look(self._client)
        except errors.PoolError as error:
            if self._answers:
                self._voice.event("broker_silent", f"the broker does not answer: {error.message}")
            self._answers = False
            return
        if not self._answers:
            self._answers = True
            self._voice.event("broker_answers", "the broker answers again")
        last, self._last = self._last or now, now
        found = changes(last, now)
        if not any(each.kind == "use" for each in found):
            # Small steps of use add up until they are worth a line.
            self._last = replace(now, use=last.use)
        found = [self._with_end(each) for each in found]
        if self._voice.as_json:
            for each in found:
                self._voice.event(each.kind, each.text, {"subject": each.subject})
        elif found:
            self._voice.event("changes", in_one_line(found))

    def _with_end(self, change: Change) -> Change:
        """An end with its reason, which a list of what is live does not have."""
        if change.kind != "ended":
            return change
        try:
            ended = self._client.get(change.subject)
        except errors.PoolError:
            return change
        return replace(change, text=f"{change.subject} is {grants.state_of(ended)}")


def _look(client: "PoolClient") -> Look:
    view = client.view()
    allocations = None
    if view.allocations <= _LISTED_ALLOCATIONS:
        allocations = {
            each.id: (
                grants.state_of(each),
                _in_short(each),
            )
            for each in client.allocations()
        }
    return Look(
        agents={agent.name: state_of(agent) for agent in client.agents()},
        allocations=allocations,
        live=view.allocations,
        use=_use(view),
        warming_up=documents.enum_name(view, "state") == "POOL_STATE_WARMING_UP",
        mass_silence=view.mass_silence,
        findings=view.audit_findings,
    )


def _in_short(allocation: "allocation_pb2.Allocation") -> str:
    place = grants.places(allocation) or "no node"
    return f"{grants.asked_for(allocation.spec)} on {place} for {allocation.tenant}"


def _use(view: "inventory_pb2.GetViewResponse") -> float:
    whole = view_rows.rows(view, view_rows.Depth.REGION)[-1].sums
    used, there = view_rows.use(whole) if whole is not None else (0, 0)
    return 100 * used / there if there else 0.0
