"""A sentinel that says what a test wants: real ones correct each other too soon to be caught wrong.

Speaks as much RESP3 as a broker's questions need.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class ScriptedSentinel:
    """Names one server; until `answers` is set it reads and says nothing.

    Attributes:
        host, port: Whom it names.
        config_epoch: Of which configuration.
        answers: Whether it answers.
        asked: How often it was asked for the primary.
    """

    def __init__(self, port: int, config_epoch: int, host: str = "127.0.0.1") -> None:
        self.host = host
        self.port = port
        self.config_epoch = config_epoch
        self.answers = asyncio.Event()
        self.answers.set()
        self.asked = 0
        self.address = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while line := await reader.readline():
                words = [await self._word(reader) for _ in range(int(line[1:]))]
                await self.answers.wait()
                writer.write(self._reply([word.upper() for word in words]))
                await writer.drain()
        finally:
            writer.close()

    async def _word(self, reader: asyncio.StreamReader) -> str:
        size = int((await reader.readline())[1:])
        return (await reader.readexactly(size + 2))[:size].decode()

    def _reply(self, words: list[str]) -> bytes:
        if words[0] == "HELLO":
            return _map({"proto": "3"}).replace(b"$1\r\n3", b":3")
        if words[:2] == ["SENTINEL", "GET-MASTER-ADDR-BY-NAME"]:
            self.asked += 1
            return b"*2\r\n" + _text(self.host) + _text(str(self.port))
        if words[:2] == ["SENTINEL", "MASTER"]:
            return _map({"name": "pool", "config-epoch": str(self.config_epoch)})
        return b"+OK\r\n"


def _text(text: str) -> bytes:
    return f"${len(text.encode())}\r\n{text}\r\n".encode()


def _map(pairs: dict[str, str]) -> bytes:
    return f"%{len(pairs)}\r\n".encode() + b"".join(
        _text(key) + _text(value) for key, value in pairs.items()
    )


@asynccontextmanager
async def scripted_sentinel(port: int, config_epoch: int = 1) -> AsyncIterator[ScriptedSentinel]:
    """One that names 127.0.0.1 and this port, for the length of a block."""
    sentinel = ScriptedSentinel(port, config_epoch)
    async with await asyncio.start_server(sentinel.serve, "127.0.0.1", 0) as server:
        sentinel.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield sentinel
        # A connection that waits for the word would outlive the test.
        sentinel.answers.set()
