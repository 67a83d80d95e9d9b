"""One process that takes part: started, stopped, continued, killed, started again.

     start()            stop()
down ───────> starting/up ────> stopped
  ^                │  ^ continue_() │
  │ kill()         │  └─────────────┤
  ├────────────────┴────────────────┘
  └── it ends by itself: "ended"
"""

import asyncio
import signal
import time
from pathlib import Path
from typing import Final

from computepool_client import errors
from computepool_client.cli.up.child import Child, in_words
from computepool_client.cli.up_ha.layout import Spec

_HAS_READY_FILE: Final = ("broker", "agent")
STOP_WITHIN_S: Final = 10.0
"""A daemon that has been asked to end is killed after so many seconds."""


class Member:
    """One process.

    Attributes:
        state: "up", "starting", "stopped" (SIGSTOP), "killed" (by us), "ended" (by
            itself) or "down" (ended because we asked).
        since_s: since when, on the monotonic clock.
    """

    def __init__(self, spec: Spec, folder: Path) -> None:
        self.spec = spec
        self.state = "down"
        self.since_s = time.monotonic()
        ready_file = folder / "run" / f"{spec.name}.ready"
        self._says_ready = spec.kind in _HAS_READY_FILE
        ready = ("--ready-file", str(ready_file)) if self._says_ready else ()
        log = folder / "logs" / f"{spec.name}.log"
        self.child = Child(spec.name, spec.module, (*spec.arguments, *ready), log, ready_file)

    @property
    def name(self) -> str:
        """Its name."""
        return self.spec.name

    @property
    def runs(self) -> bool:
        """Whether there is a process, stopped or not."""
        return self.state in ("up", "starting", "stopped")

    def start(self) -> None:
        """Starts it; from the main thread only.

        Raises:
            PoolError: the machine cannot.
        """
        try:
            self.child.start()
        except OSError as error:
            raise errors.PoolError(
                f"cannot start {self.name}: {error}", "START_FAILED", {"child": self.name}
            ) from error
        self._is("starting" if self._says_ready else "up")

    def look(self) -> str:
        """Looks how it is; what has happened to it by itself, in words, or nothing."""
        if self.state == "starting" and self.child.ready():
            self._is("up")
        status = self.child.status()
        if not self.runs or status is None:
            return ""
        self._is("ended")
        return f"{self.name} ended by itself ({in_words(status)}); its log: {self.child.log}"

    def kill(self) -> None:
        """Ends it as a crash would (SIGKILL)."""
        self.child.signal(signal.SIGKILL)
        self.child.wait(STOP_WITHIN_S)
        self._is("killed")

    def stop(self) -> None:
        """Lets it neither work nor answer (SIGSTOP), until it is continued."""
        self.child.signal(signal.SIGSTOP)
        self._is("stopped")

    def continue_(self) -> None:
        """Lets a stopped one go on."""
        self.child.signal(signal.SIGCONT)
        self._is("up")

    async def end(self) -> bool:
        """Asks it to end in good order; whether it did, else it was killed."""
        if not self.runs:
            return True
        self.child.signal(signal.SIGTERM)
        self.child.signal(signal.SIGCONT)  # by whomever it was stopped
        self._is("down")
        # A thread, which only waits: the loop goes on.
        in_time = await asyncio.to_thread(self.child.wait, STOP_WITHIN_S)
        if not in_time:
            self.child.signal(signal.SIGKILL)
            self.child.wait(STOP_WITHIN_S)
        return in_time

    def _is(self, state: str) -> None:
        if state != self.state:
            self.state, self.since_s = state, time.monotonic()
