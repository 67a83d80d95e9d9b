"""What a scrape of GET /metrics brings, as numbers that a test can ask for by name and labels."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

WITHIN_S = 20.0


class Scraped:
    """One page."""

    def __init__(self, text: str) -> None:
        self.families: dict[str, Metric] = {}
        self._values: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in text_string_to_metric_families(text):
            assert family.name not in self.families, f"{family.name} is there twice"
            self.families[family.name] = family
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in self._values, f"{key} is there twice"
                self._values[key] = sample.value

    @property
    def names(self) -> set[str]:
        """Of all series, and of families that have none yet."""
        return {name for name, _ in self._values} | {
            f"{name}_total" if family.type == "counter" else name
            for name, family in self.families.items()
        }

    def labels_of(self, name: str) -> set[str]:
        """Label names of a series."""
        return {key for of, labels in self._values for key, _ in labels if of == name}

    def value(self, name: str, **labels: str) -> float:
        """One sample."""
        key = (name, frozenset(labels.items()))
        near = [f"{n}{dict(ls)}" for n, ls in self._values if n == name]
        assert key in self._values, f"no {name}{labels}; there are {near or 'none of that name'}"
        return self._values[key]

    def total(self, name: str, **labels: str) -> float:
        """The sum of all samples with these labels among theirs; 0 without any."""
        wanted = labels.items()
        return sum(
            value
            for (of, has), value in self._values.items()
            if of == name and all(pair in has for pair in wanted)
        )


async def request(address: str, text: str) -> tuple[str, str]:
    """Say something to an HTTP server; gives the head and the body of what comes back."""
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(WITHIN_S):
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(text.encode("latin-1"))
            await writer.drain()
            head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        finally:
            writer.close()
    return head, body


async def get(address: str, path: str = "/metrics", headers: str = "") -> tuple[str, str]:
    """GET something."""
    return await request(address, f"GET {path} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n")


async def scrape(address: str) -> Scraped:
    """GET /metrics, which must succeed."""
    head, body = await get(address)
    assert head.startswith("HTTP/1.1 200 "), head
    return Scraped(body)
