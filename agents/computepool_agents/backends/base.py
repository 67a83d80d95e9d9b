"""What a backend is.

May import model and admission.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from computepool.v1 import types_pb2 as types
    from computepool_agents.admission import Refusal
    from computepool_agents.model import Held, Node


class BackendError(Exception):
    """The local engine said no; the text is for people."""


class Backend(Protocol):
    """The local engine. All methods can be called again with the same argument, at any time."""

    name: str

    async def nodes(self, held: Mapping[str, Held]) -> tuple[Node, ...]:
        """Measure all nodes now.

        Args:
            held: The leases held, by id; their work is never foreign.

        Raises:
            BackendError: The engine cannot be asked now.
        """

    def veto(self, record: types.LeaseRecord) -> Refusal | None:
        """Give the engine's own reason against a lease that fits, or None."""

    async def adopt(self, held: Iterable[Held]) -> None:
        """Take over what the journal holds, once, at the process's start.

        Started leases are real again afterwards, if they were not still; what is real without
        being held is removed.

        Raises:
            BackendError: The engine cannot be used.
        """

    async def start(self, record: types.LeaseRecord) -> None:
        """Make a grant real.

        Raises:
            BackendError: It failed for good; the lease will be stopped.
        """

    async def stop(self, record: types.LeaseRecord) -> None:
        """Tear a grant down, also one that never started; returns when nothing is left.

        Raises:
            BackendError: Not yet; it will be called again.
        """
