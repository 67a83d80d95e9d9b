"""Which server is the primary, by what its sentinels say.

    all are asked at once ──> more than half have answered, or nobody else will in time
                          ──> only what the newest configuration names is believed

A sentinel that was cut off together with the old primary goes on naming it. So it is not enough
to ask one: of several answers those with the highest configuration epoch count, which each
failover raises, and whether the server itself says that it is a primary is for the caller to see.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from computepool_broker.errors import StoreRefusedError
from computepool_broker.store.redis_address import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractAsyncContextManager

SENTINEL_DEADLINE_S = 1.0
"""Seconds for one sentinel; while more than half answer, nobody waits for the others."""


class UnknownNameError(Exception):
    """The sentinels that answer do not know the name: a mistake, or they have just lost it."""


class Named(NamedTuple):
    """What one sentinel says."""

    host: str
    port: int
    config_epoch: int


class NotNamed(NamedTuple):
    """Why one sentinel names nobody."""

    text: str
    reached: bool
    """Whether it answered."""
    refused: bool
    """Whether somebody has to change something."""


class Asked(Protocol):
    """The one call of a client that is needed here."""

    async def execute_command(self, *args: Any) -> Any:
        """Send a command; returns its raw reply."""
        ...


class Dial(Protocol):
    """Connects to a sentinel."""

    def __call__(
        self, host: str, port: int, deadline_s: float
    ) -> AbstractAsyncContextManager[Asked]:
        """A block with a connection, in which errors become ours."""
        ...


class Sentinels:
    """The sentinels of one address."""

    def __init__(
        self, where: str, hosts: Sequence[tuple[str, int]], service: str, dial: Dial
    ) -> None:
        self._where = where
        self._hosts = hosts
        self._service = service
        self._dial = dial

    async def primary(self) -> list[tuple[str, int]]:
        """Where the primary is; several where sentinels of the same configuration disagree.

        Raises:
            UnknownNameError: Sentinels answer, and none knows the name.
            StoreRefusedError: They refuse the login, or are none.
            ConnectionError: None can be reached.
        """
        answers = await self._answers()
        named = [answer for answer in answers if isinstance(answer, Named)]
        if named:
            return newest(named)
        missing = [answer for answer in answers if isinstance(answer, NotNamed)]
        text = f"{self._where}: no sentinel names the primary: " + "; ".join(
            problem.text for problem in missing
        )
        if any(problem.refused for problem in missing):
            raise StoreRefusedError(text)
        if any(problem.reached for problem in missing):
            raise UnknownNameError(text)
        raise ConnectionError(text)

    async def _answers(self) -> list[Named | NotNamed]:
        pending = {asyncio.ensure_future(self._ask(*host)) for host in self._hosts}
        answers: list[Named | NotNamed] = []
        try:
            while pending and 2 * _named(answers) <= len(self._hosts):
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                answers += [task.result() for task in done]
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        return answers

    async def _ask(self, host: str, port: int) -> Named | NotNamed:
        try:
            async with self._dial(host, port, SENTINEL_DEADLINE_S) as sentinel:
                return await self._said(sentinel, f"sentinel {shown(host, port)}")
        except ConnectionError as error:
            return NotNamed(str(error), reached=False, refused=False)
        except StoreRefusedError as error:
            return NotNamed(str(error), reached=True, refused=True)

    async def _said(self, sentinel: Asked, where: str) -> Named | NotNamed:
        found = await sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
        if found is None:
            known = sorted(row["name"] for row in await sentinel.execute_command(*ALL))
            only = f"only {', '.join(map(repr, known))}" if known else "nor any other"
            return NotNamed(
                f"{where} knows no {self._service!r}, {only}", reached=True, refused=False
            )
        state = await sentinel.execute_command("SENTINEL", "MASTER", self._service)
        return Named(found[0], int(found[1]), int(state["config-epoch"]))


ALL = ("SENTINEL", "MASTERS")


def newest(named: Iterable[Named]) -> list[tuple[str, int]]:
    """Of what sentinels name: the newest configuration's, what most of them name first. Pure."""
    named = list(named)
    epoch = max(one.config_epoch for one in named)
    votes = Counter((one.host, one.port) for one in named if one.config_epoch == epoch)
    return [place for place, _ in votes.most_common()]


def _named(answers: Iterable[Named | NotNamed]) -> int:
    return sum(isinstance(answer, Named) for answer in answers)
