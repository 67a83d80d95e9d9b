"""A store that met a bug of ours, not of the disk: what rests on it must not last either."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from computepool_broker.errors import OutcomeUnknownError
from computepool_broker.ledger.state import LedgerState
from computepool_broker.ledger.transaction import NodeAmounts, PutCenter, Transaction
from computepool_broker.store.embedded import EmbeddedStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CORDON = Transaction(1, centers=(PutCenter("c1", cordoned=True),))
HALF_FOLDED = Transaction(
    1,
    centers=(PutCenter("c2", cordoned=True),),
    release=(NodeAmounts("nowhere", (("cpu_milli", 1),)),),
)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    store = EmbeddedStore(tmp_path)
    await store.open(LedgerState())
    yield store
    await store.close()


async def test_nothing_lasts_after_a_transaction_that_was_folded_by_half(
    store: EmbeddedStore,
) -> None:
    store.stage(CORDON)
    with pytest.raises(KeyError):
        store.stage(HALF_FOLDED)
    with pytest.raises(OutcomeUnknownError):
        await store.commit()
    with pytest.raises(OutcomeUnknownError):
        store.stage(CORDON)


async def test_nothing_lasts_after_a_write_that_failed_for_any_reason(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise MemoryError

    store.stage(CORDON)
    with monkeypatch.context() as patch:
        patch.setattr(store, "_connection", fails)
        with pytest.raises(OutcomeUnknownError):
            await store.commit()
    with pytest.raises(OutcomeUnknownError):
        await store.commit()
