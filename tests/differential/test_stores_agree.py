"""The pure ledger, SQLite and Redis, given the same commands, never disagree.

Commands are drawn at random: the steps of lifecycle.py where they are possible, reports of nodes
and agents, cordons, epochs, adoptions, and wrong ones on purpose. After each command outcomes and
tables are compared, after each commit what Redis holds; now and then all are opened anew. What
the replica rejects is sent past it, so that the script's own check is compared as well.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from computepool_broker.ledger import adoption, lifecycle
from computepool_broker.ledger.invariants import check_invariants
from computepool_broker.ledger.transaction import (
    Blocker,
    Committed,
    EpochStart,
    PutAgent,
    PutCenter,
    PutNode,
    Rejected,
    RejectReason,
    SetBlockers,
    Transaction,
)
from computepool_broker.model.records import (
    AgentState,
    AllocationState,
    EndReason,
    PartState,
)
from computepool_broker.placement.places import Place
from support.builders import make_agent, make_held_record
from support.ledger_scene import draft
from support.redis_server import running_redis
from support.small_pool import AGENT_OF, KINDS, NODES, WANTED, on, shown_node
from support.store_trio import StoreTrio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from computepool_broker.model.amounts import Amounts
    from computepool_broker.model.records import Allocation
    from support.redis_server import RedisServer

REQUEST_IDS = ("", "", "", "r1", "r2", "r3")
BITS = (Blocker.CORDONED, Blocker.SUSPECT, Blocker.CORDONED | Blocker.SUSPECT)
THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"

node_names = st.sampled_from(NODES)
amounts = st.sampled_from(WANTED)
places = st.lists(st.tuples(st.sampled_from((*NODES, "n9")), amounts), min_size=1, max_size=3)


class StoresAgree(RuleBasedStateMachine):
    """See the module."""

    server: RedisServer

    def __init__(self) -> None:
        super().__init__()
        with self.server.client() as client:
            client.flushdb()
        self._folder = tempfile.TemporaryDirectory(prefix="computepool-")
        self.trio = StoreTrio(Path(self._folder.name), self.server.url())
        self.made = 0

    def teardown(self) -> None:
        self.trio.commit()
        self.trio.reopen()
        self.trio.close()
        self._folder.cleanup()

    def tell(self, tx: Transaction | None) -> None:
        if tx is None:
            return
        outcome = self.trio.stage(tx)
        if isinstance(outcome, Committed):
            assert check_invariants(self.trio.state) == []

    def tx(self, **parts: Any) -> Transaction:
        return Transaction(self.trio.state.epoch, **parts)

    # -- agents and nodes ------------------------------------------------------------------

    @initialize()
    def agents_report(self) -> None:
        """All agents are back with all nodes that are not there yet."""
        for agent in sorted(set(AGENT_OF.values())):
            record = make_agent(agent)
            self.tell(self.tx(agents=(PutAgent(agent, record, AgentState.ACTIVE),)))
        present = self.trio.state.nodes
        self.tell(
            self.tx(nodes=tuple(PutNode(n, shown_node(n, "")) for n in NODES if n not in present))
        )

    @rule(node=node_names, kind=st.sampled_from(KINDS))
    def report_node(self, node: str, kind: str) -> None:
        if AGENT_OF[node] in self.trio.state.agents:
            self.tell(self.tx(nodes=(PutNode(node, shown_node(node, kind)),)))

    @rule(node=node_names)
    def drop_node(self, node: str) -> None:
        book = self.trio.state.nodes.get(node)
        if book is not None and not book.leases:
            self.tell(self.tx(nodes=(PutNode(node, None),)))

    @rule(agent=st.sampled_from(("a1", "a2")), state=st.sampled_from(AgentState))
    def move_agent(self, agent: str, state: AgentState) -> None:
        self.tell(self.tx(agents=(PutAgent(agent, make_agent(agent), state),)))

    @rule(agent=st.sampled_from(("a1", "a2")), session=st.integers(1, 3))
    def open_session(self, agent: str, session: int) -> None:
        record = make_agent(agent, session=session)
        self.tell(self.tx(agents=(PutAgent(agent, record, AgentState.ACTIVE),)))

    @rule(agent=st.sampled_from(("a1", "a2")))
    def strike_off(self, agent: str) -> None:
        book = self.trio.state.agents.get(agent)
        if book is not None and not book.leases:
            self.tell(self.tx(nodes=tuple(PutNode(name, None) for name in sorted(book.nodes))))
            self.tell(self.tx(agents=(PutAgent(agent, None),)))

    @rule(node=st.sampled_from((*NODES, "n9")), bits=st.sampled_from(BITS), clear=st.booleans())
    def block(self, node: str, bits: int, clear: bool) -> None:
        change = SetBlockers(node, 0 if clear else bits, bits if clear else 0, "" if clear else "é")
        self.tell(self.tx(blockers=(change,)))

    @rule(center=st.sampled_from(("c1", "c2", "c3")), cordoned=st.booleans())
    def cordon_center(self, center: str, cordoned: bool) -> None:
        self.tell(self.tx(centers=(PutCenter(center, cordoned=cordoned, message="why"),)))

    @rule(further=st.integers(1, 3))
    def start_epoch(self, further: int) -> None:
        state = self.trio.state
        self.tell(self.tx(new_epoch=EpochStart(state.epoch + further, state.opened_revision)))

    # -- allocations -----------------------------------------------------------------------

    @rule(where=places, request_id=st.sampled_from(REQUEST_IDS))
    def grant(self, where: list[tuple[str, Amounts]], request_id: str) -> None:
        self.tell(self._granting(where, request_id))

    @rule(node=node_names)
    def grant_a_core(self, node: str) -> None:
        self.tell(self._granting([(node, (("cpu_milli", 1000),))], ""))

    def _granting(self, where: list[tuple[str, Amounts]], request_id: str) -> Transaction:
        self.made += 1
        record = draft(f"x{self.made}", count=len(where), request_id=request_id)
        chosen = [Place(node, "", on(node, what)) for node, what in where]
        return lifecycle.grant(self.trio.state, record, chosen)

    def _any(self, data: st.DataObject, *states: AllocationState) -> Allocation | None:
        found = [
            key
            for key, a in sorted(self.trio.state.allocations.items())
            if not states or a.state in states
        ]
        return self.trio.state.allocations[data.draw(st.sampled_from(found))] if found else None

    @precondition(lambda self: self.trio.state.allocations)
    @rule(data=st.data(), reached=st.sampled_from((PartState.ADMITTED, PartState.STARTED)))
    def progress(self, data: st.DataObject, reached: PartState) -> None:
        chosen = self._any(data, AllocationState.RESERVED, AllocationState.ACTIVE)
        if chosen is not None:
            for position in range(len(chosen.parts)):
                present = self.trio.state.allocations[chosen.id]
                self.tell(lifecycle.progress(self.trio.state, present, position, reached))

    @precondition(lambda self: self.trio.state.allocations)
    @rule(data=st.data(), node=st.sampled_from((*NODES, "n9")), what=amounts)
    def place_anew(self, data: st.DataObject, node: str, what: Amounts) -> None:
        chosen = self._any(data, AllocationState.RESERVED)
        pending = [
            at
            for at, p in enumerate(chosen.parts if chosen else ())
            if p.state is PartState.PENDING
        ]
        if chosen is not None and pending:
            place = Place(node, "", on(node, what))
            self.tell(lifecycle.place_anew(self.trio.state, chosen, pending[0], place))

    @rule(node=node_names)
    def grant_a_device_and_place_it_anew_where_it_is(self, node: str) -> None:
        """It fits only when its old amounts go first."""
        tx = self._granting([(node, (("d/0", 1000),))], "")
        self.tell(tx)
        granted = self.trio.state.allocations.get(tx.puts[0].id)
        if granted is not None:
            place = Place(node, "", granted.parts[0].amounts)
            self.tell(lifecycle.place_anew(self.trio.state, granted, 0, place))

    @precondition(lambda self: self.trio.state.allocations)
    @rule(data=st.data(), reason=st.sampled_from((EndReason.RELEASED, EndReason.EXPIRED)))
    def end(self, data: st.DataObject, reason: EndReason) -> None:
        chosen = self._any(data)
        if chosen is not None:
            self.tell(lifecycle.end(self.trio.state, chosen, reason, 'it said "no"'))

    @precondition(lambda self: self.trio.state.allocations)
    @rule(data=st.data(), all_of_it=st.booleans())
    def tear_down(self, data: st.DataObject, all_of_it: bool) -> None:
        chosen = self._any(data, AllocationState.RELEASING)
        if chosen is not None:
            left = [at for at, p in enumerate(chosen.parts) if p.state is PartState.RELEASING]
            self.tell(lifecycle.gone(self.trio.state, chosen, left if all_of_it else left[:1]))

    @precondition(lambda self: self.trio.state.allocations)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        chosen = self._any(data, AllocationState.RESERVED, AllocationState.ACTIVE)
        if chosen is not None:
            self.tell(
                lifecycle.end_and_gone(self.trio.state, chosen, (0,), EndReason.FAILED, "refused")
            )

    @precondition(lambda self: self.trio.state.allocations)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        chosen = self._any(data, AllocationState.ENDED)
        if chosen is not None:
            self.tell(lifecycle.forget_ended(self.trio.state, chosen))

    @precondition(lambda self: self.trio.state.allocations)
    @rule(data=st.data(), forget=st.booleans())
    def end_wholly(self, data: st.DataObject, forget: bool) -> None:
        """All steps to the end at once, so that there is often something that has ended."""
        chosen = self._any(data)
        state = self.trio.state
        if chosen is None:
            return
        key = chosen.id
        self.tell(lifecycle.end(state, chosen, EndReason.RELEASED))
        left = [
            at
            for at, part in enumerate(state.allocations[key].parts)
            if part.state is not PartState.GONE
        ]
        if left:
            self.tell(lifecycle.gone(state, state.allocations[key], left))
        if forget:
            self.tell(lifecycle.forget_ended(state, state.allocations[key]))

    @precondition(lambda self: self.trio.state.allocations)
    @rule(data=st.data(), ttl_s=st.sampled_from((60, 3600)))
    def renew(self, data: st.DataObject, ttl_s: int) -> None:
        chosen = self._any(data, AllocationState.RESERVED, AllocationState.ACTIVE)
        if chosen is not None:
            self.tell(lifecycle.change_spec_ttl(self.trio.state, chosen, ttl_s))

    @rule(
        key=st.sampled_from(("h1", "h2")),
        index=st.integers(0, 1),
        node=node_names,
        what=amounts,
        request_id=st.sampled_from(REQUEST_IDS),
    )
    def adopt(self, key: str, index: int, node: str, what: Amounts, request_id: str) -> None:
        held = make_held_record(
            key, index=index, count=2, node=node, amounts=on(node, what), request_id=request_id
        )
        self.tell(adoption.adopt(self.trio.state, AGENT_OF[node], held, 7))

    # -- wrong on purpose ------------------------------------------------------------------

    @precondition(lambda self: self.trio.state.allocations)
    @rule(data=st.data(), off_by=st.sampled_from((-1, 1)))
    def write_over_another_revision(self, data: st.DataObject, off_by: int) -> None:
        chosen = self._any(data)
        assert chosen is not None
        tx = lifecycle.change_spec_ttl(self.trio.state, chosen, 12_345)
        assert tx is not None
        put = tx.puts[0]._replace(expected=chosen.revision + off_by)
        outcome = self.trio.stage(tx._replace(puts=(put,)))
        assert outcome == Rejected(RejectReason.RECORD_CHANGED, chosen.id)

    @rule(off_by=st.sampled_from((-1, 1)), where=places)
    def commit_in_another_epoch(self, off_by: int, where: list[tuple[str, Amounts]]) -> None:
        epoch = self.trio.state.epoch
        outcome = self.trio.stage(self._granting(where, "")._replace(epoch=epoch + off_by))
        assert outcome == Rejected(RejectReason.EPOCH, str(epoch))

    @precondition(lambda self: self.trio.state.request_ids)
    @rule(node=node_names)
    def use_a_request_id_again(self, node: str) -> None:
        (_, request_id), holder = min(self.trio.state.request_ids.items())
        outcome = self.trio.stage(self._granting([(node, (("cpu_milli", 1),))], request_id))
        assert outcome == Rejected(RejectReason.REQUEST_ID_TAKEN, holder)

    # -- time ------------------------------------------------------------------------------

    @rule()
    def commit(self) -> None:
        self.trio.commit()

    @rule(committed=st.booleans())
    def reopen(self, committed: bool) -> None:
        if committed:
            self.trio.commit()
        self.trio.reopen()
        # What is volatile may differ now: agents report anew before they are active.
        books = self.trio.state.nodes
        nodes = tuple(PutNode(name, book.record) for name, book in sorted(books.items()))
        for store in self.trio.stores:
            store.stage(self.tx(nodes=nodes))
        self.agents_report()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.mark.timeout(3600 if THOROUGH else 120)
def test_the_pure_ledger_sqlite_and_redis_agree(server: RedisServer) -> None:
    StoresAgree.server = server
    run_state_machine_as_test(
        StoresAgree,
        settings=settings(
            max_examples=1500 if THOROUGH else 100,
            stateful_step_count=60 if THOROUGH else 40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
