"""Rounds of faults under load: one strikes, is mended, all comes back, the promises are checked."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

from chaos.blocks import Blocks
from chaos.clients import Client, Gate
from chaos.judge import Judge
from chaos.menu import menu

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chaos.fault import Fault
    from chaos.world import Shape, World

CLIENTS = 4
PROGRAMS = 2
_ANSWERED_S = 90.0


class Rounds:
    """Faults, one after the other; use it in an `async with` statement.

    Attributes:
        wrong: What must not be, found so far.
    """

    def __init__(self, world: World, seed: str) -> None:
        self.world = world
        self.wrong: list[str] = []
        self._seed = seed
        self._number = 0
        self._gate = Gate()
        self._clients: list[Client | Blocks] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._judge = await self._stack.enter_async_context(Judge(self.world))
        await self._judge.whole()
        self.world.history.note("pool", nodes=await self._judge.nodes())
        kinds: list[type[Client | Blocks]] = [Client] * CLIENTS + [Blocks] * PROGRAMS
        for number, kind in enumerate(kinds):
            name = f"c{number}-{self._seed}"
            rng = random.Random(f"{self._seed}:{number}")
            self._clients.append(kind(name, self.world.targets, self.world.history, rng))
        self._tasks = [asyncio.create_task(each.run(self._gate)) for each in self._clients]
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    async def round(self, fault: Fault) -> str:
        """One fault from its beginning until all is checked; gives a line about it."""
        self._number += 1
        rng = random.Random(f"{self._seed}:round:{self._number}")
        note, terms = self.world.history.note, fault.terms
        began_s = time.monotonic()
        note("fault", round=self._number, name=fault.name)
        self._note_loss(terms.loses)
        await fault.strike(self.world, rng)
        self._note_loss(terms.loses)
        # Any moment of what goes on meanwhile: the wait is the fault's length.
        await asyncio.sleep(rng.uniform(terms.least_s, terms.most_s))
        await fault.heal(self.world)
        self._note_loss(terms.loses)
        note("healed", round=self._number)
        await self._checked(self._come_back())
        took_s = time.monotonic() - began_s
        recovery = self.world.checker.recoveries[-1]
        times = [
            f"{s:.2f} s" if s is not None else "-" for s in (recovery.served_s, recovery.whole_s)
        ]
        verdict = f"{len(self.wrong)} WRONG" if self.wrong else "ok"
        return (
            f"{self._number:4} {self._seed} {fault.name:34} served {times[0]:>8}, "
            f"whole {times[1]:>8}, round {took_s:5.1f} s, {verdict}"
        )

    async def finish(self) -> None:
        """Release everything, and check that all is back."""
        for client in self._clients:
            self.wrong += client.bugs
        await self._checked(self._leave())

    def _note_loss(self, level: int) -> None:
        if level:
            self.world.history.note("loss", level=level)

    async def _come_back(self) -> None:
        await self._judge.whole()
        self.world.history.note("whole", round=self._number)
        await self._gate.shut(_ANSWERED_S)
        await self._judge.look()
        self._gate.open()

    async def _leave(self) -> None:
        await self._gate.shut(_ANSWERED_S)
        await self._judge.empty()

    async def _checked(self, work: object) -> None:
        """Do something that may find what is wrong, then read the history."""
        try:
            await work  # type: ignore[misc]
        except (AssertionError, TimeoutError) as error:
            self.wrong.append(f"round {self._number}: {type(error).__name__} {error}")
        for task in self._tasks:
            if task.done():
                self.wrong.append(f"a client ended: {task.exception()!r}")
        self.wrong += self.world.read()


def drawn(seed: str, shape: Shape, only: str = "") -> Iterator[Fault]:
    """Faults without end: each of the menu in turn, in an order of chance that changes."""
    rng = random.Random(f"{seed}:menu")
    while True:
        faults = [fault for fault in menu(shape) if only in fault.name]
        if not faults:
            raise SystemExit(f"no fault has {only!r} in its name")
        rng.shuffle(faults)
        yield from faults
