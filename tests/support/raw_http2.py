"""A client that speaks HTTP/2 by hand, and so can do what no gRPC library would.

Half messages, calls that never go on, connections that end in the midst of a frame. Knows of
RFC 9113 what it needs: frames, windows, and headers as literals that are never indexed.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from typing import Self

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW = 4
_FRAME_BYTES = 16_384


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def headers(path: str) -> bytes:
    """The header block of a gRPC call."""
    pairs = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    out = b""
    for name, value in pairs.items():
        out += b"\x10" + bytes([len(name)]) + name.encode()
        out += bytes([len(value)]) + value.encode()
    return out


def message(data: bytes, length: int | None = None) -> bytes:
    """As gRPC sends it; `length` lies about how much is to come."""
    return struct.pack(">BI", 0, len(data) if length is None else length) + data


class RawClient:
    """One connection; use it in an `async with` statement.

    Attributes:
        resets: Streams that the server has reset, with the error code.
        ended: Streams that the server has ended in order.
        gone: The server has closed the connection, or said that it will.
    """

    def __init__(self, target: str, *, reads: bool = True) -> None:
        host, _, port = target.rpartition(":")
        self._address = (host, int(port))
        self._reads = reads
        self._task: asyncio.Task[None] | None = None
        self._next = 1
        self._first_window = 65_535
        self._windows = {0: 65_535}
        self._moved = asyncio.Event()
        self.resets: dict[int, int] = {}
        self.ended: set[int] = set()
        self.gone = False

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(*self._address)
        self._writer.write(PREFACE + frame(SETTINGS, 0, 0))
        if self._reads:
            self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._task is not None:
            self._task.cancel()
        self._writer.transport.abort()
        with suppress(OSError):
            await self._writer.wait_closed()

    def begin(self, path: str) -> int:
        """Open a stream; gives its number."""
        stream, self._next = self._next, self._next + 2
        self._windows[stream] = self._first_window
        self._writer.write(frame(HEADERS, END_HEADERS, stream, headers(path)))
        return stream

    async def send(self, stream: int, data: bytes, *, end: bool = False) -> int:
        """Send as much as the server's windows let through at once; gives how much that was."""
        at = 0
        while at < len(data):
            room = min(self._windows[0], self._windows[stream], _FRAME_BYTES, len(data) - at)
            if room <= 0 or self.gone or stream in self.resets:
                break
            last = end and at + room == len(data)
            flags = END_STREAM if last else 0
            self._writer.write(frame(DATA, flags, stream, data[at : at + room]))
            self._windows[0] -= room
            self._windows[stream] -= room
            at += room
        await self._writer.drain()
        return at

    async def moved(self, within_s: float) -> bool:
        """Wait for anything from the server; whether something came."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._moved.wait()
        came = self._moved.is_set()
        self._moved.clear()
        return came

    def write(self, data: bytes) -> None:
        """Send bytes that may be no frame."""
        self._writer.write(data)

    async def _read(self) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await self._reader.readexactly(9)
                size = int.from_bytes(head[:3], "big")
                kind, flags, stream = struct.unpack(">BBI", head[3:])
                self._take(kind, flags, stream, await self._reader.readexactly(size))
                self._moved.set()
        self.gone = True
        self._moved.set()

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE:
            more = int.from_bytes(payload, "big")
            self._windows[stream] = self._windows.get(stream, self._first_window) + more
        elif kind == SETTINGS and not flags & ACK:
            self._writer.write(frame(SETTINGS, ACK, 0))
            for at in range(0, len(payload), 6):
                name, value = struct.unpack(">HI", payload[at : at + 6])
                if name == INITIAL_WINDOW:
                    for each in self._windows.keys() - {0}:
                        self._windows[each] += value - self._first_window
                    self._first_window = value
        elif kind == PING and not flags & ACK:
            self._writer.write(frame(PING, ACK, 0, payload))
        elif kind == RESET:
            self.resets[stream] = int.from_bytes(payload, "big")
        elif kind == GOAWAY:
            self.gone = True
        if flags & END_STREAM and kind in (DATA, HEADERS):
            self.ended.add(stream)
