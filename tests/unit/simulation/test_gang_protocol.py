"""The protocol of a gang over two shards, in every state that can be reached."""

from __future__ import annotations

import pytest
from simulation.gang import Hold, Home, Rules, State, report, search, steps


def test_it_is_all_or_nothing_whatever_stops_gets_lost_or_fails_over() -> None:
    found = search(Rules())
    assert found.wrongs == {}
    assert found.stuck == []
    assert found.states > 200


@pytest.mark.parametrize("rule", Rules._fields)
def test_each_rule_is_needed(rule: str) -> None:
    found = search(Rules()._replace(**{rule: False}))
    assert found.wrongs, f"nothing goes wrong without {rule}"
    for way in found.wrongs.values():
        at = State()
        for name in way:  # the way told can be gone
            at = next(
                then for told, then in steps(at, Rules()._replace(**{rule: False})) if told == name
            )


def test_a_request_to_hold_that_comes_after_the_end_is_given_up_again() -> None:
    late = State(home=Home.ABORTED, home_safe=Home.ABORTED, alive=False, prepare=True)
    held = dict(steps(late, Rules()))["B holds"]
    assert held.hold is Hold.HELD
    assert dict(steps(held, Rules()))["time-out in B: A says no"].hold is Hold.NONE


def test_the_report_names_what_goes_wrong_without_each_rule() -> None:
    text = report()
    assert "WRONG" not in text.split("without")[0]
    assert text.count("WRONG") >= len(Rules._fields)
