"""GET /metrics, as little of HTTP as that takes, on the broker's own event loop.

The figures are read on the loop and written out in a thread of their own: at most one at a time,
and at most one a second; whoever asks more often gets the last answer again. Bounded in
connections, in the size of a request, and in the time that one may take.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MOST_CONNECTIONS: Final = 16
MOST_HEAD_BYTES: Final = 8 * 1024
PATIENCE_S: Final = 10.0
"""For a whole request and its answer; Prometheus gives up at about that, too."""
FRESH_S: Final = 1.0
_STATUS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_OPENMETRICS: Final = "application/openmetrics-text"

T = TypeVar("T")
log = structlog.get_logger()


class Page(NamedTuple):
    """A rendered answer and what kind of text it is."""

    body: bytes
    content_type: str


class Endpoint(Generic[T]):
    """Serves what `collect` and `render` make."""

    def __init__(
        self, collect: Callable[[], Awaitable[T]], render: Callable[[T, bool], Page]
    ) -> None:
        """Wire it.

        Args:
            collect: Reads the figures, on the event loop.
            render: Makes a page of them, in a thread; whether as OpenMetrics.
        """
        self._collect = collect
        self._render = render
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="metrics")
        self._turn = asyncio.Lock()
        self._pages: dict[bool, tuple[float, Page]] = {}
        self._open = 0
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port.

        Raises:
            OSError: The address cannot be listened on.
        """
        try:
            self._server = await asyncio.start_server(
                self._serve, host.strip("[]"), port, limit=MOST_HEAD_BYTES
            )
        except OSError as error:
            why = error.strerror or str(error)
            raise OSError(
                f"cannot listen on {host}:{port} for metrics: {why}; name another with"
                " --metrics-listen (port 0: a free one)"
            ) from error
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Take no new requests; those that run end by themselves or are dropped."""
        if self._server is not None:
            self._server.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            async with asyncio.timeout(PATIENCE_S):
                if self._open > MOST_CONNECTIONS:
                    await _answer(writer, 503, "too many connections\n")
                else:
                    await self._talk(reader, writer)
        except (TimeoutError, OSError):
            # Gone, or too slow: a mere close would keep what was not read, for as long as it takes.
            writer.transport.abort()
        finally:
            self._open -= 1
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return
        except asyncio.LimitOverrunError:
            await _answer(writer, 400, "the request is too long\n")
            return
        line, _, rest = head.partition("\r\n")
        words = line.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):  # noqa: PLR2004 - RFC 9112
            await _answer(writer, 400, "this is not HTTP/1.1\n")
        elif words[1].partition("?")[0] != "/metrics":
            await _answer(writer, 404, "the figures are at /metrics\n")
        elif words[0] != "GET":
            await _answer(writer, 405, "only GET\n", "Allow: GET\r\n")
        else:
            await self._answer_figures(writer, openmetrics=_OPENMETRICS in _accept(rest))

    async def _answer_figures(self, writer: asyncio.StreamWriter, *, openmetrics: bool) -> None:
        try:
            page = await self._page(openmetrics=openmetrics)
        except Exception:
            log.exception("metrics_failed")
            await _answer(writer, 500, "see the log\n")
        else:
            await _send(writer, 200, page)

    async def _page(self, *, openmetrics: bool) -> Page:
        async with self._turn:
            last = self._pages.get(openmetrics)
            if last is not None and monotonic() - last[0] < FRESH_S:
                return last[1]
            figures = await self._collect()
            loop = asyncio.get_running_loop()
            page = await loop.run_in_executor(self._thread, self._render, figures, openmetrics)
            self._pages[openmetrics] = (monotonic(), page)
            return page


def _accept(headers: str) -> str:
    for line in headers.split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "accept":
            return value.strip()
    return ""


async def _answer(writer: asyncio.StreamWriter, code: int, text: str, more: str = "") -> None:
    await _send(writer, code, Page(text.encode(), "text/plain; charset=utf-8"), more)


async def _send(writer: asyncio.StreamWriter, code: int, page: Page, more: str = "") -> None:
    head = (
        f"HTTP/1.1 {code} {_STATUS[code]}\r\nContent-Type: {page.content_type}\r\n"
        f"Content-Length: {len(page.body)}\r\n{more}Connection: close\r\n\r\n"
    )
    writer.write(head.encode() + page.body)
    await writer.drain()
    with suppress(OSError):
        writer.write_eof()
