"""The real agent, whose journal also writes a history: `recorded_agent.py HISTORY FLAGS...`.

What is written follows each commit, so a lease is in the history when it is in the journal, and
leases of one node appear and go in the order in which they did. A process that is killed in
between writes all that its journal has when it begins again.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

# Started as a file: its folder is on the path instead of the one above it.
sys.path.insert(0, str(Path(__file__).parents[1]))

from computepool_agents import main, wiring
from computepool_agents.journal import Journal
from support.history import History

if TYPE_CHECKING:
    from computepool_agents.model import Change, Held


class RecordedJournal(Journal):
    """Writes to `history` what has become durable."""

    history: History
    agent = ""

    @classmethod
    def open(cls, folder: Path, agent: str) -> Self:
        """See Journal."""
        journal = super().open(folder, agent)
        journal.agent = agent
        cls.history.note("held", agent=agent, leases=[facts_of(h) for h in journal.saved.held])
        return journal

    async def commit(self, change: Change) -> None:
        """See Journal."""
        await super().commit(change)
        for lease_id in change.drops:
            self.history.note("drops", agent=self.agent, lease=lease_id)
        for held in change.puts:
            self.history.note("holds", agent=self.agent, **facts_of(held))


def facts_of(held: Held) -> dict[str, Any]:
    """A lease as a history has it."""
    record = held.record
    plain = {"cpu_milli", "memory_mib", "disk_mib"}
    amounts = {name: getattr(record.resources, name) for name in plain}
    amounts |= {f"d/{share.device_id}": share.milli for share in record.devices}
    return {
        "lease": record.lease_id,
        "allocation": record.allocation_id,
        "tenant": record.tenant,
        "request_id": record.request_id,
        "node": record.node,
        "amounts": {name: n for name, n in amounts.items() if n},
        "state": int(held.state),
    }


if __name__ == "__main__":
    RecordedJournal.history = History(Path(sys.argv[1]))
    # Where the process makes its journals.
    vars(wiring)["Journal"] = RecordedJournal
    sys.exit(main.main(sys.argv[2:]))
