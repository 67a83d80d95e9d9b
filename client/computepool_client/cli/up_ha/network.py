"""The network between the processes: doors in front of them, which can be cut.

Runs in a thread of its own: the network goes on while somebody else draws a screen.
Imports psutil, which says whose connection it is.
"""

import asyncio
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Final, Self

from computepool_client import errors

_CHUNK: Final = 1 << 16
_HOST: Final = "127.0.0.1"
_STOP_WITHIN_S: Final = 5.0


class Network:
    """Passes bytes from doors to ports; use it in a `with` statement.

    Args:
        doors: the port behind each door.
    """

    def __init__(self, doors: Mapping[int, int]) -> None:
        self._doors = dict(doors)
        self._loop = asyncio.new_event_loop()
        self._links: set[_Link] = set()
        self._island = _Island(frozenset(), frozenset())
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)

    def __enter__(self) -> Self:
        """Opens all doors.

        Raises:
            PoolError: one of them is in use.
        """
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        except OSError as error:
            self.__exit__()
            text = f"cannot open the network between the processes: {error.strerror}"
            raise errors.PoolError(text, "START_FAILED") from error
        return self

    def __exit__(self, *error: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_STOP_WITHIN_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_WITHIN_S)
        self._loop.close()

    def cut(self, doors: Collection[int], pids: Collection[int]) -> None:
        """Makes an island of these processes and their doors, until `heal`.

        Between the island and all others nothing arrives any more, in both
        directions; connections stay open, as they do when a cable is pulled. Those
        of one side among themselves go on.
        """
        island = _Island(frozenset(doors), frozenset(pids))
        self._loop.call_soon_threadsafe(self._divide, island)

    def heal(self) -> None:
        """Lets everything through again; connections whose bytes were lost break."""
        self._loop.call_soon_threadsafe(self._divide, _Island(frozenset(), frozenset()))

    def _divide(self, island: "_Island") -> None:
        self._island = island
        ports = island.ports()
        for link in tuple(self._links):
            link.set_cut(cut=island.divides(link, ports))

    async def _open(self) -> None:
        for door, port in self._doors.items():
            server = await asyncio.start_server(self._accepter(door, port), _HOST, door)
            self._servers.append(server)

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepter(self, door: int, port: int):  # type: ignore[no-untyped-def]  # noqa: ANN202 - asyncio's own
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            link = _Link(door, writer)
            task = self._loop.create_task(self._serve(link, port, reader))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return accept

    async def _serve(self, link: "_Link", port: int, reader: asyncio.StreamReader) -> None:
        self._links.add(link)
        if self._island.doors:
            link.set_cut(cut=self._island.divides(link, self._island.ports()))
        try:
            await link.carry(port, reader)
        finally:
            self._links.discard(link)
            link.close()


class _Island:
    """Processes and their doors that are cut off from all others."""

    def __init__(self, doors: frozenset[int], pids: frozenset[int]) -> None:
        self.doors = doors
        self._pids = pids

    def ports(self) -> frozenset[int]:
        """Local ports of the connections that the island's processes have now."""
        import psutil  # noqa: PLC0415 - only who cuts pays for it

        found: set[int] = set()
        for pid in self._pids:
            with suppress(psutil.Error):
                connections = psutil.Process(pid).net_connections("tcp")
                found.update(each.laddr.port for each in connections if each.laddr)
        return frozenset(found)

    def divides(self, link: "_Link", ports: frozenset[int]) -> bool:
        """Whether a link has one end on the island, and the other one elsewhere."""
        return (link.door in self.doors) != (link.source in ports)


class _Link:
    """One connection through a door."""

    def __init__(self, door: int, near: asyncio.StreamWriter) -> None:
        self.door = door
        peer = near.get_extra_info("peername")
        self.source = int(peer[1]) if peer else 0
        self._near = near
        self._far: asyncio.StreamWriter | None = None
        self._open = asyncio.Event()
        self._open.set()

    def set_cut(self, *, cut: bool) -> None:
        """Cuts it; or, when it was cut, ends it: its bytes are lost."""
        if cut:
            self._open.clear()
        elif not self._open.is_set():
            self._open.set()
            self.close()

    async def carry(self, port: int, reader: asyncio.StreamReader) -> None:
        """Carries bytes both ways until one side ends."""
        await self._open.wait()
        if self._near.is_closing():
            return
        try:
            far_reader, self._far = await asyncio.open_connection(_HOST, port)
        except OSError:
            return
        ways = (self._pass_on(reader, self._far), self._pass_on(far_reader, self._near))
        tasks = [asyncio.ensure_future(way) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        """Ends both connections at once."""
        for writer in (self._near, self._far):
            if writer is not None:
                writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                if self._open.is_set():
                    writer.write(data)
                    await writer.drain()
