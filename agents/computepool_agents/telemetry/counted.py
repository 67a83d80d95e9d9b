"""A link and a backend that count what goes through them; around the real ones.

May import link, backends.base and tally.
"""

from __future__ import annotations

from time import monotonic, perf_counter
from typing import TYPE_CHECKING

from computepool_agents.backends.base import BackendError
from computepool_agents.link import LinkError, SessionStaleError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from computepool.v1 import agent_pb2 as agent
    from computepool.v1 import types_pb2 as types
    from computepool_agents.admission import Refusal
    from computepool_agents.backends.base import Backend
    from computepool_agents.link import Answer, Link
    from computepool_agents.model import Held, Node
    from computepool_agents.telemetry.tally import Contacts, Tally


class CountedLink:
    """See Link."""

    def __init__(self, link: Link, tally: Tally, contacts: Contacts) -> None:
        self._link = link
        self._tally = tally
        self._contacts = contacts

    async def open(self, request: agent.OpenSessionRequest) -> agent.OpenSessionResponse:
        """Begin a session; see Link."""
        self._contacts.in_session = False
        try:
            opened = await self._link.open(request)
        except LinkError as error:
            self._tally.session_failures.add(error.reason)
            raise
        self._contacts.in_session = True
        self._tally.sessions += 1
        return opened

    async def report(self, parts: Sequence[agent.SyncRequest]) -> list[Answer]:
        """Deliver a report; see Link."""
        began = perf_counter()
        try:
            answers = await self._link.report(parts)
        except LinkError as error:
            self._contacts.in_session &= not isinstance(error, SessionStaleError)
            self._tally.failures.add(error.reason)
            raise
        self._tally.report_s.add(perf_counter() - began)
        self._tally.reports[_kind(parts[0])] += 1
        self._contacts.answered_s = monotonic()
        return answers

    async def doorbell(self, request: agent.WatchCommandsRequest) -> AsyncIterator[int]:
        """Wait for rings; see Link."""
        async for revision in self._link.doorbell(request):
            self._tally.rings += 1
            yield revision

    async def close(self, request: agent.CloseSessionRequest) -> None:
        """Say good-bye; see Link."""
        self._contacts.in_session = False
        await self._link.close(request)


def _kind(part: agent.SyncRequest) -> str:
    if part.delta:
        return "delta"
    return "unchanged" if part.nodes_unchanged else "full"


class CountedBackend:
    """See Backend."""

    def __init__(self, backend: Backend, tally: Tally, contacts: Contacts) -> None:
        self._backend = backend
        self._tally = tally
        self._contacts = contacts
        self.name = backend.name

    async def nodes(self, held: Mapping[str, Held]) -> tuple[Node, ...]:
        """Measure all nodes; see Backend."""
        began = perf_counter()
        try:
            found = await self._backend.nodes(held)
        except BackendError:
            self._tally.backend_errors["measure"] += 1
            raise
        self._tally.measure_s.add(perf_counter() - began)
        self._contacts.nodes = len(found)
        return found

    def veto(self, record: types.LeaseRecord) -> Refusal | None:
        """See Backend."""
        return self._backend.veto(record)

    async def adopt(self, held: Iterable[Held]) -> None:
        """See Backend."""
        await self._backend.adopt(held)

    async def start(self, record: types.LeaseRecord) -> None:
        """Make a grant real; see Backend."""
        try:
            await self._backend.start(record)
        except BackendError:
            self._tally.backend_errors["start"] += 1
            raise

    async def stop(self, record: types.LeaseRecord) -> None:
        """Tear a grant down; see Backend."""
        try:
            await self._backend.stop(record)
        except BackendError:
            self._tally.backend_errors["stop"] += 1
            raise
