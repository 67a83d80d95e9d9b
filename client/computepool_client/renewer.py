"""Renews the leases of a pool: one thread for all of them, one call for many.

Does its I/O through the pool's engine. What to renew when is for `renewal` to say.
"""

import random
import threading
from math import inf

from computepool_client import calls, errors
from computepool_client.engine import Engine
from computepool_client.held import Tenure, log
from computepool_client.renewal import Renewals, settle


class Renewer:
    """Holds what is to be kept; the thread lives from the first on."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._plan = Renewals(random.random)
        self._kept: dict[str, Tenure] = {}
        self._changed = threading.Condition()
        self._wake_s = -inf
        self._thread: threading.Thread | None = None
        self._closed = False

    def keep(self, tenure: Tenure) -> None:
        """Renews this one from now on; raises `ClosedError` when all is over."""
        with self._changed:
            if self._closed:
                raise errors.ClosedError(errors.CLOSED, "CLOSED")
            self._kept[tenure.id] = tenure
            due_s = self._plan.keep(
                tenure.id, tenure.ttl_s, tenure.valid_until_s, self._engine.clock()
            )
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="computepool-renewer", daemon=True
                )
                self._thread.start()
            elif due_s < self._wake_s:  # else it would look at thousands for nothing
                self._changed.notify()

    def keeps(self, id_: str) -> bool:
        """Whether this one is renewed."""
        return id_ in self._kept

    def drop(self, id_: str) -> None:
        """Renews this one no more."""
        with self._changed:
            self._kept.pop(id_, None)
            self._plan.drop(id_)

    def close(self) -> list[Tenure]:
        """Renews nothing any more; gives what was still kept."""
        with self._changed:
            self._closed = True
            left, self._kept = list(self._kept.values()), {}
            for tenure in left:
                self._plan.drop(tenure.id)
            self._changed.notify()
        return left

    def _work(self) -> None:
        while not self._closed:
            lost, due, call_s = self._wait()
            for tenure in lost:
                tenure.time_over()
            if due:
                try:
                    self._renew(due, call_s)
                except Exception:  # noqa: BLE001 - a bug must not end the renewal of all others
                    log.exception("renewing failed")
                    with self._changed:
                        self._plan.failed(self._engine.clock(), None)

    def _wait(self) -> tuple[list[Tenure], list[str], float]:
        """Waits until there is something to tell or to renew."""
        with self._changed:
            while not self._closed:
                now_s = self._engine.clock()
                lost = [self._kept.pop(id_) for id_ in self._plan.lost(now_s)]
                due = self._plan.due(now_s)
                if lost or due:
                    return lost, due, self._plan.call_s(now_s)
                wake_s = self._plan.wake_s()
                self._wake_s = inf if wake_s is None else wake_s
                self._changed.wait(None if wake_s is None else max(0.0, wake_s - now_s))
                self._wake_s = -inf
        return [], [], 0.0

    def _renew(self, ids: list[str], call_s: float) -> None:
        try:
            answer = self._engine.run_timed(calls.renew_many(ids), call_s)
        except errors.PoolError as error:
            with self._changed:
                self._plan.failed(self._engine.clock(), error.retry_after_s)
            return
        with self._changed:
            now_s = self._engine.clock()
            ended = settle(self._plan, self._kept, ids, answer, now_s)
        for tenure, why in ended:
            tenure.refused(why)
