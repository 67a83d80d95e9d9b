"""Watches that go on through everything with their resume tokens, and fold what they are told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc.aio

from computepool.v1 import allocation_pb2 as wire
from computepool.v1 import inventory_pb2 as inventory
from support.caller import reason_of
from support.load import OPEN

if TYPE_CHECKING:
    from support.caller import Caller

_PAUSE_S = 0.1


class Follower:
    """Follows allocations that pass a filter; never begins anew."""

    def __init__(self, filter_text: str = "") -> None:
        self.known: dict[str, tuple[int, int]] = {}
        self.revision = 0
        self.synced = False
        self.resumed = 0
        self._filter = filter_text
        self._token = ""

    async def run(self, caller: Caller) -> None:
        """Follow until cancelled; fails at what must not be."""
        while True:
            self.synced = False
            if not self._token:
                self.known.clear()
            request = wire.WatchAllocationsRequest(filter=self._filter, resume_token=self._token)
            call: Any = caller.allocations.WatchAllocations(request)
            try:
                async for message in call:
                    self._fold(message)
            except grpc.aio.AioRpcError as error:
                _must_be_open(error)
            self.resumed += 1
            await asyncio.sleep(_PAUSE_S)

    def _fold(self, message: wire.WatchAllocationsResponse) -> None:
        for event in message.events:
            new = event.allocation
            old = self.known.get(new.id, (0, 0))
            assert new.revision >= old[0], f"{new.id} went back from {old} to {new.revision}"
            self.known[new.id] = (new.revision, new.state)
        self._token = message.resume_token or self._token
        self.synced, self.revision = message.synced, message.revision


class ViewFollower:
    """Follows the view."""

    def __init__(self) -> None:
        self.centers: dict[str, inventory.CenterView] = {}
        self.resumed = 0
        self._token = ""

    async def run(self, caller: Caller) -> None:
        """Follow until cancelled; fails at what must not be."""
        while True:
            request = inventory.WatchViewRequest(least_interval_ms=200, resume_token=self._token)
            call: Any = caller.inventory.WatchView(request)
            try:
                async for message in call:
                    self._fold(message)
            except grpc.aio.AioRpcError as error:
                _must_be_open(error)
            self.resumed += 1
            await asyncio.sleep(_PAUSE_S)

    def _fold(self, message: inventory.WatchViewResponse) -> None:
        if message.whole:
            self.centers.clear()
        for region in message.view.regions:
            for center in region.centers:
                assert all(m.devices.overcommit == 0 for m in center.models), center
                self.centers[center.center] = center
        for name in message.centers_gone:
            self.centers.pop(name, None)
        self._token = message.resume_token


def _must_be_open(error: grpc.aio.AioRpcError) -> None:
    assert error.code() in OPEN, f"watch: {reason_of(error)} {error.details()}"
