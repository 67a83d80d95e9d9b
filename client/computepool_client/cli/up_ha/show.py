"""A run from the first call of the load to the last verdict: lines, deeds, keys."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from computepool_client import errors
from computepool_client.cli import screen
from computepool_client.cli.up_ha.line import Line, heading
from computepool_client.cli.up_ha.menu import QUIT, Menu
from computepool_client.cli.up_ha.script import Deed, Timed

if TYPE_CHECKING:
    from computepool_client.cli.up.voice import Voice
    from computepool_client.cli.up_ha.book import Book
    from computepool_client.cli.up_ha.fleet import Fleet
    from computepool_client.cli.up_ha.judge import Judge
    from computepool_client.cli.up_ha.load import Load
    from computepool_client.cli.up_ha.looks import Looker

_EVERY_S: Final = 1.0
_TEND_S: Final = 0.1
_PRIMARY_S: Final = 0.5
_HEADING_EVERY: Final = 20
# A time without any answer that is worth a line of its own.
_GAP_S: Final = 1.0
# What was released before a look, and is live in it: not the delay of a list.
_BACK_AFTER_S: Final = 3.0
_SETTLE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Cast:
    """All who take part in a run."""

    fleet: "Fleet"
    book: "Book"
    judge: "Judge"
    looker: "Looker"
    load: "Load"


class Show:
    """Says a line a second, does what flags and keys say, until it is over.

    Args:
        timed: what is done by itself, by time.
        for_s: how long it lasts, in seconds; None until it is stopped.
        stop: set when somebody asks to stop.
    """

    def __init__(
        self,
        cast: Cast,
        voice: "Voice",
        timed: Sequence[Timed],
        for_s: float | None,
        stop: asyncio.Event,
    ) -> None:
        self._cast = cast
        self._voice = voice
        self._timed = list(timed)
        self._for_s = for_s
        self._stop = stop
        self._lines = 0
        self._errors: Counter[str] = Counter()
        self._told: set[str] = set()
        self._epoch = 0
        self._pending = False
        self._deeds: set[asyncio.Task[None]] = set()
        self._returning: asyncio.Task[None] | None = None
        self.menu = Menu(
            [member.name for member in cast.fleet.of_kind("broker")],
            sentinels=bool(cast.fleet.of_kind("sentinel")),
        )

    async def run(self) -> None:
        """Runs until the time is over or a stop is asked for, and gives a last verdict."""
        endless = (self._judge, self._tend, self._follow_primary, self._say)
        tasks: list[asyncio.Task[None]] = [asyncio.create_task(each()) for each in endless]
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait(
                {*tasks, stopping}, timeout=self._for_s, return_when=asyncio.FIRST_COMPLETED
            )
            for task in tasks:
                if task.done():
                    task.result()  # a bug: they never end
            await self._settle()
        finally:
            stopping.cancel()
            for task in (*tasks, *self._deeds):
                task.cancel()
            await asyncio.gather(stopping, *tasks, *self._deeds, return_exceptions=True)

    def key(self, key: str, show: Callable[[str], None]) -> None:
        """Takes a key."""
        if key == QUIT:
            self._stop.set()
            return
        deed = self.menu.key(key)
        show(self.menu.prompt)
        if deed is not None:
            self.do(deed)

    def do(self, deed: Deed) -> None:
        """Begins something, and tells what came of it."""
        task = asyncio.create_task(self._do(deed))
        self._deeds.add(task)
        task.add_done_callback(self._deeds.discard)

    async def _do(self, deed: Deed) -> None:
        try:
            text = await self._cast.fleet.do(deed)
        except errors.PoolError as error:
            self._voice.event("not_done", f"not done: {deed}: {error.message}")
        else:
            self._voice.event("done", text, {"what": deed.what, "whom": deed.whom})

    # -- what goes on all the time ----------------------------------------------------------

    async def _judge(self) -> None:
        while True:
            began_s = time.monotonic()
            up = self._cast.fleet.endpoints_up()
            await self._round(up)
            await self._cast.looker.find_chores(up)
            await asyncio.sleep(max(0.0, began_s + _EVERY_S - time.monotonic()))

    async def _round(self, ask: Sequence[str]) -> None:
        cast = self._cast
        looks = await cast.looker.round(self._away(), ask)
        if not looks:
            return
        # A broker that was stopped may list for a moment what others know to be gone.
        live = set.intersection(*(look.live_ids() for look in looks))
        since_s = min(look.began_s for look in looks) - _BACK_AFTER_S
        back = cast.book.came_back(live, since_s)
        if back and (self._returning is None or self._returning.done()):
            self._returning = asyncio.create_task(self._give_back_again(back))
            self._deeds.add(self._returning)
            self._returning.add_done_callback(self._deeds.discard)
        self._tell_verdict()

    async def _give_back_again(self, ids: Sequence[str]) -> None:
        for id_ in ids:
            await self._cast.load.release(id_)
        text = f"{len(ids)} that were given back had come back with the store: released again"
        self._voice.event("came_back", text, {"count": len(ids)})

    def _tell_verdict(self) -> None:
        judge = self._cast.judge
        if judge.epoch != self._epoch:
            if self._epoch:
                text = f"epoch {judge.epoch}: the brokers doubt that the store went on unbroken"
                self._voice.event("epoch", text, {"epoch": judge.epoch})
            self._epoch = judge.epoch
        for kind, found in (("lost", judge.lost), ("double", judge.double)):
            for name, why in found.items():
                if name not in self._told:
                    self._told.add(name)
                    self._voice.event(kind, f"{kind.upper()}: {name}: {why}", {"subject": name})
        if bool(judge.pending) != self._pending:
            self._pending = bool(judge.pending)
            text = "all that was pending is back, or judged"
            if self._pending:
                text = f"{judge.pending} allocations are gone from the store: pending until their"
                text += " agents had the time to bring them back"
            self._voice.event("pending", text, {"pending": judge.pending})

    def _away(self) -> set[str]:
        """Centers whose agents cannot answer now."""
        away: set[str] = set()
        for member in self._cast.fleet.of_kind("agent"):
            if member.state != "up":
                everywhere = {c for held in self._cast.book.held.values() for c in held.centers}
                local = {"local"}
                away |= local if member.name == "agent-server" else everywhere - local
        return away

    async def _tend(self) -> None:
        fleet, began_s = self._cast.fleet, time.monotonic()
        while True:
            self._cast.load.check()
            for found in fleet.look():
                if isinstance(found, Deed):
                    self.do(found)
                else:
                    self._voice.event("ended", found)
            while self._timed and time.monotonic() - began_s >= self._timed[0].at_s:
                self.do(self._timed.pop(0).deed)
            await asyncio.sleep(_TEND_S)

    async def _follow_primary(self) -> None:
        fleet = self._cast.fleet
        while True:
            if await fleet.find_primary():
                self._voice.event("primary", f"{fleet.primary} is the primary now")
            await asyncio.sleep(_PRIMARY_S)

    async def _say(self) -> None:
        last_s = time.monotonic()
        due_s = last_s
        while True:
            due_s = max(due_s + _EVERY_S, time.monotonic())
            await asyncio.sleep(due_s - time.monotonic())
            now_s = time.monotonic()
            self._say_line(now_s - last_s)
            last_s = now_s

    def _say_line(self, seconds: float) -> None:
        line = self._line(seconds)
        self._errors.update(line.errors)
        gap_s = self._cast.book.take_gap_s()
        if gap_s >= _GAP_S:
            text = f"service is back: no call was answered for {gap_s:.1f} s"
            self._voice.event("gap", text, {"gap_s": round(gap_s, 2)})
        if self._voice.as_json:
            self._voice.event("second", "", line.document())
            return
        console = screen.stdout()
        columns = console.width
        if self._lines % _HEADING_EVERY == 0:
            screen.say(heading(line.states, columns), "bold")
        self._lines += 1
        bad = line.lost or line.double
        well = not line.errors and all(state == "up" for state in line.states.values())
        for text in line.text(columns):
            screen.say(text, "bold red" if bad else "" if well else "yellow")

    def _line(self, seconds: float) -> Line:
        cast, second = self._cast, self._cast.book.take_second()
        judged_s = cast.looker.judged_s
        return Line(
            time=f"{datetime.now(UTC).astimezone():%H:%M:%S}",
            seconds=seconds,
            ok=second.ok,
            errors=second.errors,
            live=cast.judge.live,
            held=len(cast.book.held),
            lost=len(cast.judge.lost),
            pending=cast.judge.pending,
            double=len(cast.judge.double),
            p99_ms=second.p99_ms(),
            chores=self._chores(),
            primary=cast.fleet.primary,
            epoch=cast.judge.epoch,
            judged_age_s=None if judged_s is None else time.monotonic() - judged_s,
            states=cast.fleet.states(),
        )

    def _chores(self) -> str:
        """Name of the broker that does the chores."""
        port = self._cast.looker.chores.rpartition(":")[2]
        brokers = self._cast.fleet.of_kind("broker")
        return next((m.name for m in brokers if str(m.spec.port) == port), "")

    # -- the end ----------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Waits for what is pending, for a while; another wish to stop ends that."""
        judge, deadline = self._cast.judge, time.monotonic() + _SETTLE_S
        while judge.pending and time.monotonic() < deadline and not self._stop.is_set():  # noqa: ASYNC110 - several things may end it
            await asyncio.sleep(_TEND_S)

    def summary(self) -> tuple[bool, str]:
        """Whether nothing was lost or double, and the whole run in a sentence."""
        book, judge = self._cast.book, self._cast.judge
        self._errors.update(book.take_second().errors)
        longest_gap_s = max(book.longest_gap_s, book.silent_s(time.monotonic()))
        failed = ", ".join(f"{reason} {count:,}" for reason, count in self._errors.most_common())
        parts = [
            f"{book.ok_total:,} calls answered",
            f"{sum(self._errors.values()):,} failed" + (f" ({failed})" if failed else ""),
            f"longest time without an answer {longest_gap_s:.1f} s",
            f"lost {len(judge.lost)}",
            f"double {len(judge.double)}",
        ]
        if judge.pending:
            parts.append(f"{judge.pending} still pending: not judged")
        if self._cast.looker.judged_s is None:
            parts.append("no broker ever answered: nothing was judged")
        return not judge.lost and not judge.double, ", ".join(parts)
