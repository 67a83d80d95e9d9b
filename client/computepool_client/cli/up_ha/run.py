"""One run of `computepool up-ha`: everything is made, shown, and ended."""

import asyncio
import os
import random
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from computepool_client import errors
from computepool_client.cli.up.state_dir import StateDir
from computepool_client.cli.up.voice import Voice
from computepool_client.cli.up_ha import layout, servers, terminal
from computepool_client.cli.up_ha.book import Book
from computepool_client.cli.up_ha.fleet import Fleet
from computepool_client.cli.up_ha.judge import Judge
from computepool_client.cli.up_ha.load import Load
from computepool_client.cli.up_ha.looks import Looker
from computepool_client.cli.up_ha.network import Network
from computepool_client.cli.up_ha.script import Timed
from computepool_client.cli.up_ha.show import Cast, Show

if TYPE_CHECKING:
    from computepool_client.cli.documents import Json

# Below those that the kernel gives to outgoing connections: the port of a process that was
# killed stays free for its next life.
_PORTS: Final = range(15_000, 32_000)
_ASKED_TO_STOP: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Terms:
    """What to run, where, and for how long; times in seconds."""

    root: Path
    shape: layout.Shape
    rate: float
    start_within_s: float
    for_s: float | None
    timed: Sequence[Timed]
    restart_after_s: float | None


def run(terms: Terms, voice: Voice) -> bool:
    """Runs it to its end; whether nothing was lost or double.

    Raises:
        PoolError: something cannot be started.
    """
    server = servers.find()
    state = StateDir(terms.root)
    try:
        terms.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        text = f"cannot make the state folder {terms.root}: {error.strerror}"
        raise errors.PoolError(text, "STATE_DIR") from error
    lock = state.lock()
    try:
        return asyncio.run(_run(terms, _fresh(terms.root), server, voice))
    finally:
        os.close(lock)


def _fresh(root: Path) -> Path:
    """The folder of this run, empty."""
    folder = root / "pool"
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)
    for name in ("logs", "run", "agents"):
        (folder / name).mkdir(mode=0o700, parents=True)
    return folder


async def _run(terms: Terms, folder: Path, server: str, voice: Voice) -> bool:
    stop = asyncio.Event()
    plan = layout.plan(terms.shape, folder, server, _free_ports())
    doors = {spec.door: spec.port for spec in plan.specs if spec.door}
    with Network(doors) as network:
        fleet = Fleet(plan, network, terms.restart_after_s)
        async with _ended(fleet, voice, stop):
            starting = asyncio.create_task(_start(fleet, terms, voice))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
                return True
            stopping.cancel()
            starting.result()
            _greet(fleet, folder, voice)
            return await _show(terms, fleet, voice, stop)


async def _start(fleet: Fleet, terms: Terms, voice: Voice) -> None:
    with voice.progress() as tell:
        await fleet.start(terms.start_within_s, tell)


async def _show(terms: Terms, fleet: Fleet, voice: Voice, stop: asyncio.Event) -> bool:
    endpoints = fleet.layout.endpoints
    book = Book()
    judge = Judge(book, layout.WARM_UP_S, layout.REPORT_S)
    looker = Looker(endpoints, judge)
    async with Load(endpoints, book, terms.rate, os.urandom(4).hex()) as load:
        with ExitStack() as stack:
            interactive = not voice.as_json and terminal.interactive()
            below = stack.enter_context(terminal.footer()) if interactive else None
            cast = Cast(fleet, book, judge, looker, load)
            show = Show(cast, voice, terms.timed, terms.for_s, stop)
            if below is not None:
                below(show.menu.prompt)
                stack.enter_context(terminal.keys(lambda key: show.key(key, below)))
            try:
                await show.run()
            finally:
                await looker.close()
    well, text = show.summary()
    voice.event("summary", text, {"lost": len(judge.lost), "double": len(judge.double)})
    return well


@asynccontextmanager
async def _ended(fleet: Fleet, voice: Voice, stop: asyncio.Event) -> AsyncIterator[None]:
    """Ends the processes after the block; signals set `stop`, and another one kills them."""
    loop = asyncio.get_running_loop()
    ending = False

    def asked() -> None:
        if ending and stop.is_set():
            fleet.kill_all()
        stop.set()

    for number in _ASKED_TO_STOP:
        loop.add_signal_handler(number, asked)
    try:
        yield
    finally:
        ending = True
        try:
            voice.event("stopping", "stopping the agents, then the brokers, then the store")
        finally:  # also where nobody reads our output any more
            killed = await fleet.end()
        if killed:
            text = f"{', '.join(killed)} did not stop in time: killed"
            voice.event("killed", text, {"children": list(killed)})
        voice.event("stopped", f"stopped; logs are in {fleet.layout.folder / 'logs'}")


def _greet(fleet: Fleet, folder: Path, voice: Voice) -> None:
    """Where everything is."""
    endpoints = ",".join(fleet.layout.endpoints)
    if voice.as_json:
        processes: dict[str, Json] = {
            name: {"pid": member.child.pid, "port": member.spec.port, "door": member.spec.door}
            for name, member in fleet.members.items()
        }
        voice.event(
            "ready",
            f"the pool serves at {endpoints}",
            {"endpoint": endpoints, "processes": processes},
        )
        return
    for member in fleet.members.values():
        port = f"port {member.spec.port}" if member.spec.port else ""
        voice.plain(f"  {member.name:<16} process {member.child.pid:<8} {port}".rstrip())
    voice.plain("")
    voice.plain("The pool serves. In another terminal:")
    voice.whole(f"  export COMPUTEPOOL_ENDPOINT={endpoints}")
    voice.plain(f"Logs are in {folder / 'logs'}. Ctrl-C stops everything.")
    voice.plain("")


def _free_ports() -> Iterator[int]:
    """Ports of loopback that nobody listens on, each once."""
    chance = random.SystemRandom()
    given: set[int] = set()
    while True:
        port = chance.choice(_PORTS)
        if port in given:
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            given.add(port)
            yield port
