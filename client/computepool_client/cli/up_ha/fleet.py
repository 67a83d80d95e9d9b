"""All processes of a run: started in order, looked after, harmed on demand, ended."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from computepool_client import errors
from computepool_client.cli.up_ha import roles
from computepool_client.cli.up_ha.layout import Layout
from computepool_client.cli.up_ha.member import Member
from computepool_client.cli.up_ha.network import Network
from computepool_client.cli.up_ha.script import ALL, Deed

_POLL_S: Final = 0.1
_ENDED_FIRST: Final = ("agent", "broker", "sentinel", "redis")


class Fleet:
    """The processes of one run.

    Attributes:
        members: by name, in the order in which they start.
        primary: name of the present primary, empty when no sentinel says so.
        cut_off: names of those on the island, when the network is cut.
    """

    def __init__(self, layout: Layout, network: Network, restart_after_s: float | None) -> None:
        self.layout = layout
        self.members = {spec.name: Member(spec, layout.folder) for spec in layout.specs}
        self.primary = layout.of_kind("redis")[0].name
        self.cut_off: list[str] = []
        self._network = network
        self._restart_after_s = restart_after_s
        self._cut_s = 0.0
        self._hit: dict[str, str] = {}
        self._busy: set[str] = set()

    # -- start and end ----------------------------------------------------------------------

    async def start(self, within_s: float, tell: Callable[[str], None]) -> None:
        """Starts all, and waits until all agents have reported.

        Raises:
            PoolError: one ended, or the time was over; its log is quoted.
        """
        deadline = time.monotonic() + within_s
        for kind, ready in (
            ("redis", self._redis_ready),
            ("sentinel", self._sentinels_ready),
            ("broker", self._all_up),
            ("agent", self._all_up),
        ):
            members = self.of_kind(kind)
            if members:
                tell(f"starting {', '.join(member.name for member in members)}")
            for member in members:
                member.start()
            await self._until(ready, deadline)

    async def end(self) -> list[str]:
        """Ends all, agents first; gives the names of those that had to be killed."""
        killed: list[str] = []
        for kind in _ENDED_FIRST:
            members = self.of_kind(kind)
            in_time = await asyncio.gather(*(member.end() for member in members))
            killed += [m.name for m, ok in zip(members, in_time, strict=True) if not ok]
        return killed

    def kill_all(self) -> None:
        """Ends all at once."""
        for member in self.members.values():
            member.kill()

    # -- while it runs ----------------------------------------------------------------------

    def of_kind(self, kind: str) -> list[Member]:
        """The members of one kind."""
        return [member for member in self.members.values() if member.spec.kind == kind]

    def endpoints_up(self) -> list[str]:
        """Of the brokers that could answer now."""
        endpoints = zip(self.of_kind("broker"), self.layout.endpoints, strict=True)
        return [endpoint for member, endpoint in endpoints if member.state == "up"]

    def states(self) -> Mapping[str, str]:
        """State by name."""
        return {
            name: "cut off" if name in self.cut_off and member.state == "up" else member.state
            for name, member in self.members.items()
        }

    def look(self) -> list[Deed | str]:
        """What has happened by itself, in words, and what is due to be done by us."""
        found: list[Deed | str] = [text for m in self.members.values() if (text := m.look())]
        after_s, now_s = self._restart_after_s, time.monotonic()
        if after_s is None:
            return found
        for member in self.members.values():
            due = now_s - member.since_s >= after_s and member.name not in self._busy
            if due and member.state in ("killed", "ended"):
                found.append(Deed("restart", member.name))
            elif due and member.state == "stopped":
                found.append(Deed("continue", member.name))
        if self.cut_off and now_s - self._cut_s >= after_s:
            found.append(Deed("heal"))
        return found

    async def find_primary(self) -> bool:
        """Asks the sentinels; whether it is another than before."""
        watchers = [m.spec.port for m in self.of_kind("sentinel") if m.state == "up"]
        door = await roles.primary_door(watchers) if watchers else 0
        found = next((m.name for m in self.of_kind("redis") if m.spec.door == door), "")
        if not found or found == self.primary:
            return False
        self.primary = found
        return True

    async def do(self, deed: Deed) -> str:
        """Does it; what was done, in words.

        Raises:
            PoolError: it cannot be done, in the present state or at all.
        """
        if deed.what == "flushall":
            await roles.flush(self.members[self.primary].spec.port)
            return f"FLUSHALL at {self.primary}: the store is empty"
        if deed.what == "cut":
            return self._cut()
        if deed.what == "heal":
            self.cut_off = []
            self._network.heal()
            return "the network is whole again"
        if deed.whom == ALL:
            return await self._mend()
        member = self.whom(deed)
        self._hit[deed.whom] = member.name
        return await self._harm(deed.what, member)

    def whom(self, deed: Deed) -> Member:
        """The member that is meant: by its name, its part, or the first of a kind that fits.

        Raises:
            WrongStateError: there is none.
        """
        mending = deed.what in ("continue", "restart")
        name = self._hit.get(deed.whom, "")
        if mending and name and self.members[name].state not in ("up", "starting"):
            return self.members[name]
        candidates = self._candidates(deed.whom)
        fitting = [m for m in candidates if (m.state in ("up", "starting")) != mending]
        if not candidates:
            raise errors.WrongStateError(f"there is no {deed.whom}", "NO_SUCH_MEMBER")
        return (fitting or candidates)[0]

    # -- inside -----------------------------------------------------------------------------

    def _candidates(self, whom: str) -> list[Member]:
        if whom in self.members:
            return [self.members[whom]]
        if whom == "primary":
            return [self.members[self.primary]]
        if whom == "replica":
            return [m for m in self.of_kind("redis") if m.name != self.primary]
        return self.of_kind(whom)

    async def _harm(self, what: str, member: Member) -> str:
        wrong = {
            "kill": not member.runs,
            "stop": member.state not in ("up", "starting"),
            "continue": member.state != "stopped",
        }.get(what, member.name in self._busy)
        if wrong:
            text = f"{member.name} is {member.state}: it cannot be done ({what})"
            raise errors.WrongStateError(text, "MEMBER_STATE")
        if what == "kill":
            member.kill()
            return f"killed {member.name} (kill -9)"
        if what == "stop":
            member.stop()
            return f"stopped {member.name} (SIGSTOP)"
        if what == "continue":
            member.continue_()
            return f"{member.name} goes on"
        self._busy.add(member.name)
        try:
            await member.end()
            member.start()
        finally:
            self._busy.discard(member.name)
        return f"started {member.name} again"

    async def _mend(self) -> str:
        done = []
        if self.cut_off:
            done.append(await self.do(Deed("heal")))
        for member in self.members.values():
            if member.state == "stopped":
                done.append(await self._harm("continue", member))
            elif not member.runs and member.name not in self._busy:
                done.append(await self._harm("restart", member))
        return "; ".join(done) or "everything runs already"

    def _cut(self) -> str:
        broker = self.whom(Deed("cut", "broker"))
        island = [self.members[self.primary], broker]
        self.cut_off = [member.name for member in island]
        self._cut_s = time.monotonic()
        self._network.cut(
            [member.spec.door for member in island], [member.child.pid for member in island]
        )
        return f"cut off {' and '.join(self.cut_off)} from all others but clients"

    async def _until(self, ready: Callable[[], Awaitable[bool]], deadline: float) -> None:
        while True:
            for member in self.members.values():
                if member.look():
                    raise _failed(member, "ended at its start")
            if await ready():
                return
            if time.monotonic() > deadline:
                late = next(m for m in reversed(self.members.values()) if m.runs)
                raise _failed(late, "was not ready in time (--start-timeout)")
            await asyncio.sleep(_POLL_S)

    async def _redis_ready(self) -> bool:
        ports = [member.spec.port for member in self.of_kind("redis")]
        if not all([await roles.answers(port) for port in ports]):
            return False
        return await roles.replicas(ports[0]) >= len(ports) - 1

    async def _sentinels_ready(self) -> bool:
        return all([await roles.agreed(m.spec.port) for m in self.of_kind("sentinel")])

    async def _all_up(self) -> bool:
        return all(member.state in ("up", "down") for member in self.members.values())


def _failed(member: Member, what: str) -> errors.PoolError:
    log = "\n".join(member.child.tail())
    quoted = f"; its log {member.child.log} ends:\n{log}" if log else ""
    return errors.PoolError(f"{member.name} {what}{quoted}", "START_FAILED", {"child": member.name})
