"""GET /metrics of both daemons: what is answered, and how little it can be made to do."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

import computepool_agents.telemetry.endpoint as agents
import computepool_broker.telemetry.endpoint as broker
from support.scraped import WITHIN_S, get, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.parametrize("daemon", [broker, agents], ids=["broker", "agent"])


class Site:
    """An endpoint, and how often it was asked for figures."""

    def __init__(self, daemon: Any) -> None:
        self.collected = 0
        self.rendered: list[bool] = []
        self.fails = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.endpoint = daemon.Endpoint(self._collect, self._render)
        self._page = daemon.Page
        self.address = ""

    async def _collect(self) -> int:
        await self.gate.wait()
        self.collected += 1
        if self.fails:
            raise KeyError("hidden")
        return self.collected

    def _render(self, number: int, openmetrics: bool) -> Any:
        self.rendered.append(openmetrics)
        return self._page(b"page %d\n" % number, "text/fancy")


@asynccontextmanager
async def serving(daemon: Any) -> AsyncIterator[Site]:
    site = Site(daemon)
    site.address = f"127.0.0.1:{await site.endpoint.start('127.0.0.1', 0)}"
    try:
        yield site
    finally:
        site.gate.set()
        await site.endpoint.stop()


async def test_a_scrape_brings_the_page(daemon: Any) -> None:
    async with serving(daemon) as site:
        head, body = await get(site.address)
        assert head.splitlines()[0] == "HTTP/1.1 200 OK"
        assert "Content-Type: text/fancy" in head
        assert f"Content-Length: {len(body)}" in head
        assert body == "page 1\n"
        assert site.rendered == [False]


async def test_openmetrics_is_for_those_who_ask(daemon: Any) -> None:
    async with serving(daemon) as site:
        await get(site.address, headers="accept: application/openmetrics-text; version=1.0.0\r\n")
        await get(site.address, path="/metrics?x=1", headers="Accept: text/plain\r\n")
        assert site.rendered == [True, False]


async def test_whoever_asks_often_gets_the_last_page_again(daemon: Any) -> None:
    async with serving(daemon) as site:
        pages = await asyncio.gather(*(get(site.address) for _ in range(10)))
        assert {body for _, body in pages} == {"page 1\n"}
        assert site.collected == 1


async def test_figures_are_read_anew_when_the_page_is_old(
    daemon: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "FRESH_S", 0.0)
    async with serving(daemon) as site:
        assert [(await get(site.address))[1] for _ in range(3)] == [
            f"page {number}\n" for number in (1, 2, 3)
        ]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("GET / HTTP/1.1\r\n\r\n", 404),
        ("GET /metrics/../etc/passwd HTTP/1.1\r\n\r\n", 404),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 405),
        ("HEAD /metrics HTTP/1.1\r\n\r\n", 405),
        ("hello\r\n\r\n", 400),
        ("GET /metrics\r\n\r\n", 400),
        ("GET /metrics HTTP/2\r\n\r\n", 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        ("\x16\x03\x01\x00\xff\r\n\r\n", 400),
        ("GET /metrics HTTP/1.1\r\n" + "X: " + "y" * 20_000 + "\r\n\r\n", 400),
    ],
)
async def test_all_else_is_refused_in_a_line(daemon: Any, text: str, code: int) -> None:
    async with serving(daemon) as site:
        head, body = await request(site.address, text)
        assert head.startswith(f"HTTP/1.1 {code} ")
        assert body.count("\n") == 1
        assert site.collected == 0
        assert (await get(site.address))[1] == "page 1\n"


async def test_whoever_says_nothing_is_dropped(
    daemon: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "PATIENCE_S", 0.2)
    async with serving(daemon) as site:
        reader, writer = await asyncio.open_connection(*site.address.split(":"))
        writer.write(b"GET /metrics HTTP/1.1\r\n")
        async with asyncio.timeout(WITHIN_S):
            assert await reader.read() == b""
        writer.close()
        assert (await get(site.address))[0].startswith("HTTP/1.1 200 ")


async def test_whoever_reads_nothing_is_cut_off(
    daemon: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "PATIENCE_S", 0.2)
    async with serving(daemon) as site:
        monkeypatch.setattr(site, "_page", lambda *_: daemon.Page(b"x" * 8_000_000, "text/plain"))
        loop = asyncio.get_running_loop()
        with socket.socket() as lazy:
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            lazy.setblocking(False)
            host, _, port = site.address.partition(":")
            await loop.sock_connect(lazy, (host, int(port)))
            await loop.sock_sendall(lazy, b"GET /metrics HTTP/1.1\r\n\r\n")
            async with asyncio.timeout(WITHIN_S):
                while site.endpoint._open or not site.collected:  # noqa: ASYNC110 - nothing else tells
                    await asyncio.sleep(0.01)
                got = 0
                while piece := await loop.sock_recv(lazy, 65_536):
                    got += len(piece)
        assert got < 8_000_000, "what it did not read in time was kept for it"


async def test_connections_are_bounded(daemon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "MOST_CONNECTIONS", 3)
    async with serving(daemon) as site:
        site.gate.clear()
        asking = [asyncio.create_task(get(site.address)) for _ in range(3)]
        async with asyncio.timeout(WITHIN_S):
            while site.endpoint._open < 3:  # noqa: ASYNC110 - nothing else tells
                await asyncio.sleep(0.01)
        head, _ = await get(site.address)
        assert head.startswith("HTTP/1.1 503 ")
        site.gate.set()
        for head, _ in await asyncio.gather(*asking):
            assert head.startswith("HTTP/1.1 200 ")
        assert (await get(site.address))[0].startswith("HTTP/1.1 200 ")


async def test_a_bug_is_told_without_its_text_and_the_next_scrape_works(
    daemon: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "FRESH_S", 0.0)
    async with serving(daemon) as site:
        site.fails = True
        head, body = await get(site.address)
        assert head.startswith("HTTP/1.1 500 ")
        assert "hidden" not in body
        site.fails = False
        assert (await get(site.address))[0].startswith("HTTP/1.1 200 ")


async def test_whoever_goes_away_leaves_nothing_behind(daemon: Any) -> None:
    async with serving(daemon) as site:
        site.gate.clear()
        _, writer = await asyncio.open_connection(*site.address.split(":"))
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        await writer.drain()
        writer.transport.abort()
        site.gate.set()
        assert (await get(site.address))[0].startswith("HTTP/1.1 200 ")
        async with asyncio.timeout(WITHIN_S):
            while site.endpoint._open:  # noqa: ASYNC110 - nothing else tells
                await asyncio.sleep(0.01)


async def test_a_port_that_is_taken_is_named(daemon: Any) -> None:
    site = Site(daemon)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port} for metrics"):
            await site.endpoint.start("127.0.0.1", port)
    await site.endpoint.stop()
