"""Contact terms: from the sending of the last answered Sync, on the boot's clock."""

from __future__ import annotations

import math

from computepool_agents.contact import expired, next_stop_s
from computepool_agents.model import ADMITTED, RELEASING, STARTED, STOPPED, Contact
from fakes.agent_builders import make_held

LAST = Contact("boot-1", 100.0)
STOPPING = make_held("a.0.0", STARTED, stop_after_s=30)
KEEPING = make_held("b.0.0", STARTED)


def test_stops_after_its_term_and_not_before() -> None:
    held = [STOPPING, KEEPING]
    assert expired(held, LAST, Contact("boot-1", 130.0)) == []
    assert expired(held, LAST, Contact("boot-1", 130.01)) == [STOPPING]


def test_reboot_counts_as_over() -> None:
    assert expired([STOPPING, KEEPING], LAST, Contact("boot-2", 5.0)) == [STOPPING]


def test_no_contact_ever_counts_as_over() -> None:
    assert expired([STOPPING, KEEPING], None, Contact("boot-1", 5.0)) == [STOPPING]


def test_only_what_may_run_is_stopped() -> None:
    held = [
        make_held(f"{state}.0.0", state, stop_after_s=1)
        for state in (ADMITTED, STARTED, RELEASING, STOPPED)
    ]
    over = expired(held, LAST, Contact("boot-1", 200.0))
    assert [lease.state for lease in over] == [ADMITTED, STARTED]


def test_next_stop_is_the_earliest() -> None:
    held = [STOPPING, KEEPING, make_held("c.0.0", stop_after_s=20)]
    assert next_stop_s(held, LAST, "boot-1") == 120.0
    assert next_stop_s([KEEPING], LAST, "boot-1") == math.inf
