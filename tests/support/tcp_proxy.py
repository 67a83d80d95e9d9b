"""A TCP proxy between any two processes, which can spoil what goes through it while it runs.

It works in a thread of its own, so that a test may block. Imports the standard library only.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

Direction = Literal["both", "up", "down"]
"""Which way a fault works: `up` is to the target, `down` is from it."""
Pids = Callable[[], "set[int]"]
"""Processes, asked for when they are needed: one that is started again has another number."""
_START_S = 10.0
_CHUNK = 1 << 16
_MOST_CHUNKS = 1_024
# No order to wait: closed so, the kernel sends a reset.
_RESET = struct.pack("ii", 1, 0)
T = TypeVar("T")


@dataclass(frozen=True)
class _Fault:
    kind: Literal["delay", "hold", "blackhole", "refuse"]
    direction: Direction = "both"
    delay_s: float = 0.0
    only: Pids | None = None
    but: Pids | None = None

    def strikes(self, inode: str) -> bool:
        """Whether it is meant for the connection whose far end is this socket."""
        if self.only is not None:
            return inode in _sockets_of(self.only())
        return self.but is None or inode not in _sockets_of(self.but())


class TcpProxy:
    """Passes bytes on to `target` until told otherwise; use it in a `with` statement.

    A fault holds from the call's return until `heal`, for the connections that there are and for
    new ones; the last one said counts. With `only` or `but` it strikes those alone whose client
    is, or is not, one of these processes, asked at the call and at each new connection.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._fault: _Fault | None = None
        self._pairs: set[_Pair] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._server: asyncio.Server
        self.address = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *error: object) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._pairs)

    # -- faults -----------------------------------------------------------------------------

    def delay(
        self,
        delay_s: float,
        direction: Direction = "both",
        *,
        only: Pids | None = None,
        but: Pids | None = None,
    ) -> None:
        """Let everything arrive so much later, in seconds, and in order."""
        self._set(_Fault("delay", direction, delay_s, only, but))

    def hold(
        self,
        direction: Direction = "both",
        *,
        only: Pids | None = None,
        but: Pids | None = None,
    ) -> None:
        """Let nothing arrive before it is healed; then all does, however late, and in order."""
        self._set(_Fault("hold", direction, 0.0, only, but))

    def blackhole(
        self,
        direction: Direction = "both",
        *,
        only: Pids | None = None,
        but: Pids | None = None,
    ) -> None:
        """Accept and swallow; healed, the connections that lost bytes are reset."""
        self._set(_Fault("blackhole", direction, 0.0, only, but))

    def refuse(self, *, only: Pids | None = None, but: Pids | None = None) -> None:
        """Reset the connections, and every new one."""
        self._set(_Fault("refuse", "both", 0.0, only, but))

    def cut(self, *, only: Pids | None = None, but: Pids | None = None) -> None:
        """Reset the connections that there are now; new ones are served."""
        self._do(self._now(_Fault("refuse", "both", 0.0, only, but), _Pair.reset))

    def halve(self, *, only: Pids | None = None, but: Pids | None = None) -> None:
        """Of the next message on each connection deliver one half, and close it then."""
        self._do(self._now(_Fault("refuse", "both", 0.0, only, but), _Pair.halve))

    def heal(self) -> None:
        """Pass everything on again."""
        self._set(None)

    # -- in the thread ----------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _do(self, work: Coroutine[None, None, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_START_S)

    def _set(self, fault: _Fault | None) -> None:
        self._do(self._put(fault))

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.address = f"{host}:{port}"

    async def _stop(self) -> None:
        self._server.close()
        await self._now(_Fault("refuse"), _Pair.reset)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=_START_S)

    async def _now(self, fault: _Fault, happens: Callable[[_Pair], None]) -> None:
        for pair in list(self._pairs):
            if fault.strikes(pair.inode):
                happens(pair)

    async def _put(self, fault: _Fault | None) -> None:
        self._fault = fault
        for pair in list(self._pairs):
            pair.put(fault if fault and fault.strikes(pair.inode) else None)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer: tuple[str, int] = writer.get_extra_info("peername")
        pair = _Pair(reader, writer, _inode_of(peer[1], writer.get_extra_info("sockname")[1]))
        self._pairs.add(pair)
        try:
            if self._fault and self._fault.strikes(pair.inode):
                pair.put(self._fault)
            await pair.serve(self._target)
        except OSError:
            pair.reset()  # nobody listens there
        finally:
            self._pairs.discard(pair)


class _Pair:
    """A client's connection and the one to the target that belongs to it."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, inode: str
    ) -> None:
        self.inode = inode
        self.halving = False
        self._near = reader, writer
        self._writers = [writer]
        self._fault: _Fault | None = None
        self._changed = asyncio.Event()
        self._lossy = False
        self._over = False

    def put(self, fault: _Fault | None) -> None:
        """A fault begins or ends here."""
        self._fault, changed = fault, self._changed
        self._changed = asyncio.Event()
        changed.set()
        if fault is None:
            self.halving = False
        if (fault and fault.kind == "refuse") or (self._lossy and fault is None):
            self.reset()

    def halve(self) -> None:
        """Of the next message that goes through, half is the last that does."""
        self.halving = True

    def reset(self) -> None:
        """End both connections, as a reset; what is under way is lost."""
        self._over = True
        for writer in self._writers:
            near: socket.socket = writer.get_extra_info("socket")
            with suppress(OSError):
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
        self._changed.set()

    def _close(self) -> None:
        """End both connections when what was written has gone out."""
        self._over = True
        for writer in self._writers:
            writer.close()

    async def serve(self, target: tuple[str, int]) -> None:
        """Pass on until either side ends."""
        while not self._over and self._stops("up"):
            self._lossy |= not self._held
            await self._changed.wait()
        if self._over:
            return
        reader, writer = await asyncio.open_connection(*target)
        self._writers.append(writer)
        if self._over:
            self.reset()
        near_reader, near_writer = self._near
        up = asyncio.create_task(self._pass_on(near_reader, writer, "up"))
        down = asyncio.create_task(self._pass_on(reader, near_writer, "down"))
        await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        self._close()
        up.cancel()
        down.cancel()
        await asyncio.gather(up, down, return_exceptions=True)

    def _stops(self, way: Direction) -> bool:
        fault = self._fault
        return (
            fault is not None
            and fault.kind in ("hold", "blackhole")
            and fault.direction in ("both", way)
        )

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Direction
    ) -> None:
        """Read as things come, so that each waits for its own delay alone."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_MOST_CHUNKS)
        reading = asyncio.create_task(_read(reader, queue))
        try:
            await self._deliver(queue, writer, way)
        finally:
            reading.cancel()

    async def _deliver(
        self,
        queue: asyncio.Queue[tuple[float, bytes]],
        writer: asyncio.StreamWriter,
        way: Direction,
    ) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while not self._over:
                came_s, data = await queue.get()
                if not data:
                    return
                while self._stops(way) and self._held and not self._over:
                    await self._changed.wait()
                if self._stops(way):
                    self._lossy = True
                    continue
                await asyncio.sleep(max(0.0, came_s + self._delay_s(way) - loop.time()))
                if self.halving:
                    writer.write(data[: max(1, len(data) // 2)])
                    return
                writer.write(data)
                await writer.drain()

    @property
    def _held(self) -> bool:
        return self._fault is not None and self._fault.kind == "hold"

    def _delay_s(self, way: Direction) -> float:
        fault = self._fault
        if fault is None or fault.kind != "delay" or fault.direction not in ("both", way):
            return 0.0
        return fault.delay_s


async def _read(reader: asyncio.StreamReader, queue: asyncio.Queue[tuple[float, bytes]]) -> None:
    """Put all that comes into the queue with its time in seconds, and nothing at the end."""
    loop = asyncio.get_running_loop()
    with suppress(OSError):
        while data := await reader.read(_CHUNK):
            await queue.put((loop.time(), data))
    await queue.put((0.0, b""))


def _inode_of(port: int, at_port: int) -> str:
    """The socket of this machine that is connected from one port to another; "" when unknown."""
    near, far = f":{port:04X}", f":{at_port:04X}"
    with suppress(OSError):
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1].endswith(near) and fields[2].endswith(far):
                return fields[9]
    return ""


def _sockets_of(pids: set[int]) -> set[str]:
    """The sockets that these processes have open."""
    found = set()
    for pid in pids:
        with suppress(OSError):
            for each in os.scandir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    name = os.readlink(each.path)  # noqa: PTH115 - a Path each would be slow
                    if name.startswith("socket:["):
                        found.add(name[8:-1])
    return found
