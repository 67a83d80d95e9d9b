"""What must hold after any fault, once it is over: asked of the pool, and of the clients' book."""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool.v1 import inventory_pb2
from support.load import all_comes_back, check_book, same_again, settled
from support.local_pool import CENTERS, DEVICES

if TYPE_CHECKING:
    from support.caller import Caller
    from support.load import Book


async def whole_again(caller: Caller, book: Book, *, may_end: bool = False) -> None:
    """Nothing acknowledged is lost, nothing is granted twice, all capacity comes back."""
    await caller.agents_are(inventory_pb2.AGENT_STATE_ACTIVE, *CENTERS)
    await settled(caller)
    await check_book(caller, book, may_end=may_end)
    await same_again(caller, book)
    await no_findings(caller)
    await all_comes_back(caller, DEVICES)
    await no_findings(caller)


async def no_findings(caller: Caller) -> None:
    """An audit made now finds nothing."""
    findings = await caller.findings()
    assert findings == []
