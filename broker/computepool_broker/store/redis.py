"""The store on a Redis or Valkey primary: many brokers, every batch one short script.

Each broker's tables in memory are a replica that it plans on; Redis decides. A commit sends what
was staged as one call of redis_commit.lua, which judges every transaction by Redis' own tables,
applies those that hold, and tells all brokers by one entry of a stream. Its answer says what was
rejected, and what others have done since the place in the stream that this broker has seen.

    stage ──> check and fold in the replica ──┐                     ┌──> verdict
    stage ──> check and fold in the replica ──┴─ commit ─ EVALSHA ──┤
                                                                    └──> stream ──> the others

The replica has then assumed its own batch and lacks what came before it. Mostly the two have
nothing in common: what the others did is folded on top, and only the numbers of revisions move.
Otherwise, and where something was rejected, the batch is taken back (ledger/undo.py), and all is
folded in the order of the stream. One commit is under way at a time, so there is never more than
one batch to take back.

The first broker that meets another server process, an older copy or an empty database begins a
new term there (redis_enter.lua); all others hear of it with their next commit, or by the stream.
A batch of the term before, or over an old connection, is refused.

Files beside this one: redis_keys.py (every key), redis_batch.py (batches as text), the scripts
redis_*.lua, redis_link.py (connecting, loading, catching up), redis_client.py (what is asked of
the server), redis_connection.py and redis_checks.py (finding it, and what it must be like),
redis_loading.py (reading it all back).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import structlog

from computepool_broker.errors import OutcomeUnknownError, StoreUnavailableError
from computepool_broker.ledger import undo
from computepool_broker.ledger.ledger import Ledger
from computepool_broker.ledger.transaction import Committed, Rejected, RejectReason
from computepool_broker.model import codec
from computepool_broker.model.amounts import MAX_HELD
from computepool_broker.store import redis_keys as keys
from computepool_broker.store.base import Beat, Beats, Verdict
from computepool_broker.store.redis_batch import Batch, head, transactions
from computepool_broker.store.redis_link import RedisLink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from computepool_broker.ledger.state import LedgerState
    from computepool_broker.ledger.touched import Touched
    from computepool_broker.ledger.transaction import Outcome, Transaction
    from computepool_broker.model.records import Allocation
    from computepool_broker.store.base import Listener
    from computepool_broker.store.redis_client import Entry, RedisClient, Reply
    from computepool_broker.store.redis_connection import Connector

MEMORY_ONLY = -1
log = structlog.get_logger()


class _Step(NamedTuple):
    """A transaction that was staged: what it replaced, and what its planner was told."""

    before: undo.Before
    outcome: Committed


class RedisStore:
    """See the module. One event loop."""

    shared = True
    ahead = 1

    def __init__(
        self, connector: Connector, instance: str, *, replicas: int = 0, listener: Listener
    ) -> None:
        """Nothing is connected before `open`.

        Args:
            connector: Finds the server.
            instance: Random name of this life of the broker.
            replicas: How many of them must have a durable commit.
            listener: Told of what others do.
        """
        self._instance = instance
        self._replicas = replicas
        self._listener = listener
        self._link = RedisLink(connector, instance, self)
        self._encoder, self._decoder = codec.Encoder(), codec.Decoder()
        self._steps: list[_Step] = []
        self._committing: asyncio.Future[Verdict] | None = None
        self.commits = 0
        self.transactions = 0
        self.conflicts = 0

    @property
    def state(self) -> LedgerState:
        """The tables."""
        return self._ledger.state

    @property
    def durable(self) -> bool:
        """Whether a commit can be made to survive a crash of the server's machine."""
        return self._link.gives_durable

    @property
    def always_durable(self) -> bool:
        """Whether every commit is, asked for or not: it is a setting of the server."""
        return self._link.always_durable and not self._replicas

    @property
    def staged(self) -> int:
        """Transactions accepted since the last commit."""
        return len(self._steps)

    @property
    def up(self) -> bool:
        """Whether the server is there, and this replica follows it."""
        return self._link.client is not None

    @property
    def link(self) -> RedisLink:
        """The connection, for those who show how it is doing."""
        return self._link

    @property
    def always_durable(self) -> bool:
        """See `durable`: it is a matter of the server's setting, not of the commit."""
        return self._durable

    async def open(self, state: LedgerState) -> None:
        """See Store.open."""
        self._ledger = Ledger(state)
        self._batch = Batch(0, self._encoder)
        await self._link.open(state)
        self._batch = Batch(state.revision, self._encoder)

    def stage(self, tx: Transaction) -> Outcome:
        """See Store.stage."""
        if not self.up:
            raise self._unavailable()
        state = self.state
        if not self._steps:
            self._batch = Batch(state.revision, self._encoder)
        before = undo.look(state, tx)
        outcome = self._ledger.apply(tx)
        if isinstance(outcome, Committed):
            self._steps.append(_Step(before, outcome))
            self._batch.add(state, tx, dict(before.allocations))
        return outcome

    def commit(self, *, durable: bool = True) -> Awaitable[Verdict]:
        """See Store.commit."""
        steps, self._steps = self._steps, []
        batch = self._batch if steps else Batch(self.state.revision, self._encoder)
        client = self._link.client
        if client is None:
            failed: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
            failed.set_exception(self._unavailable())
            return failed
        self._committing = asyncio.ensure_future(self._commit(client, batch, steps, durable=durable))
        # Whoever waited may have gone; what happened is in the tables.
        self._committing.add_done_callback(lambda end: end.cancelled() or end.exception())
        return asyncio.shield(self._committing)

    async def beat(self, said: str, *, goes: bool = False) -> Beats:
        """Say that this broker lives, and hear who else does.

        Args:
            said: What it says of itself, JSON.
            goes: It leaves in good order.

        Raises:
            StoreUnavailableError: The server is not there.
        """
        client = self._link.client
        if client is None:
            raise self._unavailable()
        try:
            found = await client.beat(
                self._instance, said, str(keys.GONE_MS), str(keys.CHORES_MS), "1" if goes else ""
            )
        except Exception as error:
            raise StoreUnavailableError(f"no beat: {error!r}", retry_after_ms=500) from error
        now, chores = int(found[0]), found[1]
        rows = zip(found[2::3], found[3::3], found[4::3], strict=True)
        return Beats([Beat(name, max(0, now - int(at)), what) for name, at, what in rows], chores)

    async def close(self) -> None:
        """See Store.close."""
        if self._committing is not None:
            await asyncio.wait((self._committing,))
        await self._link.close()

    # -- one commit ------------------------------------------------------------------------

    async def _commit(
        self, client: RedisClient, batch: Batch, steps: list[_Step], *, durable: bool
    ) -> Verdict:
        try:
            disks = self._replicas if durable and self.durable else MEMORY_ONLY
            first = self._head(client, durable=disks != MEMORY_ONLY)
            reply = await client.commit(batch.keys(), first, batch.text(), disks)
        except StoreUnavailableError as error:
            self._take_back(steps)
            self._link.server_refuses(client, error)
            raise
        except BaseException as error:
            self._take_back(steps)
            self._link.lose(client, repr(error))
            raise
        if reply.behind:
            self._take_back(steps)
            self._link.lose(client, reply.behind)
            raise StoreUnavailableError(
                f"this broker has to catch up with the store: {reply.behind}", retry_after_ms=100
            )
        verdict = self._settle(batch.base, steps, reply)
        self.commits += 1
        self.transactions += len(steps)
        self.conflicts += len(verdict.rejected)
        if durable and not self.durable:
            return verdict._replace(durable=False)
        return verdict

    def _head(self, client: RedisClient, *, durable: bool) -> str:
        link = self._link
        return head(
            schema=str(keys.SCHEMA),
            identity=self.state.identity,
            server=client.facts.run_id,
            term=link.term,
            instance=self._instance,
            serial=str(link.serial),
            next_serial=str(link.serial + 1),
            place=link.place,
            most=keys.MOST_NEWS,
            keep=keys.STREAM_ENTRIES,
            max_held=MAX_HELD,
            durable=durable,
        )

    def _settle(self, low: int, steps: list[_Step], reply: Reply) -> Verdict:
        """Bring the tables in line with what happened at the server."""
        state, link = self.state, self._link
        shift = reply.base - low
        rejected = {at - 1: _rejected(words) for at, words in reply.rejected.items()}
        news = [tx for entry in reply.others for tx in self.decode(entry)]
        again = bool(rejected) or _overlap([s.before.tx for s in steps], [tx for tx, _ in news])
        if again:
            self._take_back(steps)
        if shift:
            _renumber(state, steps, low, shift)
        touched = self._fold(news) if news else None
        own = None
        if again:
            for at, (before, outcome) in enumerate(steps):
                outcome.undone = at in rejected
                if not outcome.undone:
                    state.fold(before.tx, _moved(outcome.revision, low, shift))
            own = state.take_touched()
            self._correct(rejected)
        state.revision = reply.revision
        link.moved_to(reply.place or (reply.others[-1][0] if reply.others else ""))
        link.serial = reply.serial
        return Verdict(low, shift, touched, own, rejected, reply.durable)

    def _take_back(self, steps: Sequence[_Step]) -> None:
        for step in reversed(steps):
            undo.take_back(self.state, step.before)
        self.state.take_touched()  # names what was taken back

    def _correct(self, rejected: dict[int, Rejected]) -> None:
        """A replica that was loaded in between may count renewals wrongly."""
        for each in rejected.values():
            if each.reason is RejectReason.RENEWED and each.subject in self.state.allocations:
                self.state.renewals[each.subject] = each.missing

    # -- what others do --------------------------------------------------------------------

    async def settled(self) -> bool:
        """Wait for the commit that is under way; whether there was one."""
        if self._committing is None or self._committing.done():
            return False
        await asyncio.wait((self._committing,))
        return True

    def decode(self, entry: Entry) -> list[tuple[Transaction, int]]:
        """The transactions of an entry of the stream, each with the revision after it."""
        fields = entry[1]
        if "batch" not in fields:
            return []
        rejected = frozenset(int(at) for at in fields["rejected"].split(",") if at)
        return list(transactions(fields["batch"], int(fields["base"]), rejected, self._decoder))

    def take(self, entries: Sequence[Entry]) -> None:
        """Fold what others did, while no commit is under way."""
        news = [tx for entry in entries for tx in self.decode(entry)]
        if news:
            self._listener.on_news(self._fold(news))

    def new_life(self, lost: Sequence[Allocation]) -> None:
        """The tables were brought in line with another life of the store."""
        self._listener.on_new_life(lost, self.state.take_touched())

    def caught_up(self) -> None:
        """The tables were read anew, in the same life."""
        self._listener.on_news(self.state.take_touched())

    def _fold(self, news: Sequence[tuple[Transaction, int]]) -> Touched:
        state = self.state
        state.take_touched()
        for tx, revision in news:
            state.fold(tx, revision)
        return state.take_touched()

    def _unavailable(self) -> StoreUnavailableError:
        return StoreUnavailableError(
            f"the store is not there: {self._link.why}", retry_after_ms=200
        )


def _rejected(words: Sequence[str]) -> Rejected:
    """The script's words of a rejection: REASON subject key missing."""
    reason = words[0]
    if reason not in RejectReason.__members__:
        raise OutcomeUnknownError(f"the store's tables are damaged: {' '.join(words)}")
    subject = (words[1] if len(words) > 1 else "").removeprefix(keys.NODE_PREFIX)
    key = words[2] if len(words) > 2 else ""  # noqa: PLR2004 - see above
    return Rejected(RejectReason[reason], subject, key, int(words[3]) if words[3:] else 0)


def _overlap(own: Sequence[Transaction], news: Sequence[Transaction]) -> bool:
    """Whether the order of two batches matters for what the tables say after both.

    Amounts add up in any order, and what one batch must not do after the other was rejected. So
    it matters only where both write the same record.
    """
    if not own or not news:
        return False
    if any(tx.new_epoch is not None for tx in (*own, *news)):
        return True
    return not _written(own).isdisjoint(_written(news))


def _written(txs: Sequence[Transaction]) -> set[tuple[str, str]]:
    out: set[tuple[str, str]] = set()
    for tx in txs:
        out.update([("allocation", put.id) for put in tx.puts])
        if tx.nodes or tx.blockers or tx.agents or tx.centers:
            out.update(("node", put.name) for put in tx.nodes)
            out.update(("node", change.node) for change in tx.blockers)
            out.update(("agent", put.name) for put in tx.agents)
            out.update(("center", put.name) for put in tx.centers)
    return out


def _moved(revision: int, low: int, shift: int) -> int:
    return revision + shift if revision > low else revision


def _renumber(state: LedgerState, steps: Sequence[_Step], low: int, shift: int) -> None:
    """Move the revisions that a batch has given itself."""
    seen: set[int] = set()
    for step in steps:
        for put in step.before.tx.puts:
            record = put.record
            if record is None or id(record) in seen:
                continue
            seen.add(id(record))
            record.revision = _moved(record.revision, low, shift)
            for part in record.parts:
                if id(part) not in seen:  # records share the parts that did not change
                    seen.add(id(part))
                    part.revision = _moved(part.revision, low, shift)
    state.forgotten_through = _moved(state.forgotten_through, low, shift)
