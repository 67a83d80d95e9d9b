"""What `computepool up-ha` calls lost, pending and double."""

from __future__ import annotations

from computepool_client.cli.up_ha.book import Book, Held
from computepool_client.cli.up_ha.judge import Fate, Judge, Listed, Look

WARM_UP_S = 20.0
REPORT_S = 2.0
UNKNOWN = Fate(None)


def listed(id_: str, *devices: tuple[str, int], request_id: str = "", live: bool = True) -> Listed:
    return Listed(id_, "t", request_id or f"r-{id_}", live, devices)


def look(
    *found: Listed,
    began_s: float = 100.0,
    broker: str = "a:1",
    epoch: int = 1,
    warming_up: bool = False,
) -> Look:
    return Look(broker, began_s, {each.id: each for each in found}, "store", epoch, warming_up)


def judging(*ids: str) -> tuple[Book, Judge]:
    book = Book()
    for id_ in ids:
        book.acknowledged(Held(id_, f"r-{id_}", 10.0, 610.0, frozenset({"core-a"})))
    judge = Judge(book, WARM_UP_S, REPORT_S)
    judge.looked([look(*map(listed, ids), began_s=20.0)], 20.0)
    return book, judge


def missing(
    judge: Judge, id_: str, at_s: float, *, epoch: int = 1, warming_up: bool = False
) -> None:
    found = look(began_s=at_s, epoch=epoch, warming_up=warming_up)
    assert judge.looked([found], at_s) == [id_]
    judge.asked(id_, [UNKNOWN], at_s)


def test_what_every_look_shows_is_neither_pending_nor_lost() -> None:
    _, judge = judging("x")
    assert judge.looked([look(listed("x"))], 101.0) == []
    assert (judge.pending, judge.lost, judge.double) == (0, {}, {})


def test_what_no_broker_knows_is_lost_once_that_is_sure() -> None:
    book, judge = judging("x")
    missing(judge, "x", 100.0)
    assert (judge.pending, judge.lost) == (1, {})
    missing(judge, "x", 102.0)
    assert judge.pending == 1
    missing(judge, "x", 103.0)
    assert judge.pending == 0
    assert "no broker knows it" in judge.lost["x"]
    assert not book.held


def test_one_broker_that_knows_it_is_enough() -> None:
    _, judge = judging("x")
    assert judge.looked([look(), look(listed("x"), broker="b:1")], 101.0) == []
    assert judge.looked([look()], 200.0) == ["x"]
    judge.asked("x", [UNKNOWN, Fate(listed("x"))], 200.0)
    assert (judge.pending, judge.lost) == (0, {})


def test_it_is_pending_while_a_store_that_was_lost_is_filled_again() -> None:
    _, judge = judging("x")
    missing(judge, "x", 100.0, epoch=2)
    over_s = 100.0 + WARM_UP_S + 3 * REPORT_S
    missing(judge, "x", over_s - 0.1, epoch=2)
    assert (judge.pending, judge.lost) == (1, {})
    missing(judge, "x", over_s, epoch=2)
    assert "x" in judge.lost


def test_it_is_pending_while_the_pool_says_that_it_warms_up() -> None:
    _, judge = judging("x")
    for at_s in (100.0, 110.0, 120.0):
        missing(judge, "x", at_s, warming_up=True)
    assert (judge.pending, judge.lost) == (1, {})
    missing(judge, "x", 123.0)
    assert "x" in judge.lost


def test_nobody_can_bring_it_back_while_its_agent_is_away() -> None:
    _, judge = judging("x")
    judge.looked([look(began_s=100.0, epoch=2)], 100.0)
    judge.asked("x", [UNKNOWN], 100.0)
    judge.asked("x", [UNKNOWN], 500.0, away={"core-a"})
    assert (judge.pending, judge.lost) == (1, {})
    judge.asked("x", [UNKNOWN], 510.0, away={"elsewhere"})
    assert judge.pending == 1
    judge.asked("x", [UNKNOWN], 530.0)
    assert "x" in judge.lost


def test_an_agent_that_is_away_excuses_only_what_it_holds() -> None:
    book, judge = judging("x", "y")
    book.held["y"].centers = frozenset({"core-b"})
    judge.looked([look(began_s=100.0, epoch=2)], 100.0)
    for id_ in ("x", "y"):
        judge.asked(id_, [UNKNOWN], 100.0, away={"core-a"})
        judge.asked(id_, [UNKNOWN], 130.0, away={"core-a"})
    assert set(judge.lost) == {"y"}


def test_an_absent_agent_excuses_nothing_while_the_store_goes_on() -> None:
    _, judge = judging("x")
    judge.asked("x", [UNKNOWN], 100.0, away={"core-a"})
    judge.asked("x", [UNKNOWN], 104.0, away={"core-a"})
    assert "x" in judge.lost


def test_what_was_granted_after_the_doubt_is_not_excused_by_it() -> None:
    book, judge = judging()
    judge.looked([look(began_s=100.0, epoch=2)], 100.0)
    book.acknowledged(Held("late", "r-late", 101.0, 701.0))
    judge.asked("late", [UNKNOWN], 102.0)
    judge.asked("late", [UNKNOWN], 105.0)
    assert "late" in judge.lost


def test_what_comes_back_in_time_is_not_lost() -> None:
    _, judge = judging("x")
    missing(judge, "x", 100.0, epoch=2)
    judge.looked([look(listed("x"), began_s=110.0, epoch=2)], 110.0)
    assert judge.pending == 0
    missing(judge, "x", 200.0, epoch=2)
    assert (judge.pending, judge.lost) == (1, {})


def test_an_end_that_nobody_asked_for_is_a_loss() -> None:
    _, judge = judging("x", "y")
    torn_down = listed("x", live=False)
    assert judge.looked([look(torn_down, listed("y"))], 101.0) == ["x"]
    judge.asked("x", [Fate(torn_down, "FAILED")], 101.0)
    assert "ended as FAILED" in judge.lost["x"]
    judge.asked("y", [Fate(listed("y", live=False), "EXPIRED")], 101.0)
    assert "y" in judge.lost


def test_ends_with_a_reason_of_ours_are_none() -> None:
    book, judge = judging("x", "y")
    judge.asked("x", [Fate(listed("x", live=False), "RELEASED")], 101.0)
    judge.asked("y", [Fate(listed("y", live=False), "EXPIRED")], 611.0)
    assert not judge.lost
    assert not book.held


def test_what_is_given_back_meanwhile_is_not_judged() -> None:
    book, judge = judging("x")
    suspects = judge.looked([look()], 101.0)
    book.leaving("x")
    judge.asked(suspects[0], [UNKNOWN], 101.0)
    assert (judge.pending, judge.lost) == (0, {})


def test_what_was_granted_during_a_look_is_not_missed_in_it() -> None:
    book, judge = judging()
    book.acknowledged(Held("new", "r-new", 100.5, 700.0))
    assert judge.looked([look(began_s=100.0)], 101.0) == []


def test_without_an_answer_nothing_is_judged() -> None:
    _, judge = judging("x")
    assert judge.looked([], 500.0) == []
    judge.asked("x", [], 500.0)
    assert (judge.pending, judge.lost) == (0, {})


def test_a_device_is_double_when_both_still_have_it() -> None:
    _, judge = judging()
    x, y = listed("x", ("gpu", 1000)), listed("y", ("gpu", 250))
    assert judge.granted_twice(look(x, y)) == {"gpu": ["x", "y"]}
    judge.confirmed("gpu", [Fate(x), Fate(listed("y", live=False), "RELEASED")])
    assert not judge.double
    judge.confirmed("gpu", [Fate(x), Fate(y)])
    assert list(judge.double) == ["device gpu"]
    assert "x and y" in judge.double["device gpu"]


def test_shares_that_fill_a_device_are_not_double() -> None:
    _, judge = judging()
    shares = [listed(str(n), ("gpu", 250)) for n in range(4)]
    assert judge.granted_twice(look(*shares)) == {}
    assert not judge.double


def test_one_request_id_with_two_allocations_is_double() -> None:
    _, judge = judging("x")
    judge.granted_twice(look(listed("x"), listed("z", request_id="r-x")))
    assert list(judge.double) == ["request_id t/r-x"]


def test_another_allocation_for_an_answered_request_id_is_double() -> None:
    _, judge = judging("x")
    judge.granted_twice(look(listed("z", request_id="r-x")))
    assert list(judge.double) == ["request_id t/r-x"]


def test_a_broker_behind_the_newest_epoch_is_not_believed_to_list_what_is() -> None:
    _, judge = judging("x")
    cut_off = look(listed("x"), broker="b:1")
    there = look(listed("x"), epoch=2)
    judge.looked([cut_off, there], 101.0)
    assert judge.current([cut_off, there]) == [there]


def test_what_was_answered_during_a_look_tells_nothing_of_its_list() -> None:
    book, judge = judging()
    book.acknowledged(Held("x", "r", 100.5, 700.0))
    judge.granted_twice(look(listed("z", request_id="r"), began_s=100.0))
    assert not judge.double


def test_two_answers_to_one_request_id_are_double() -> None:
    book, judge = judging("x")
    book.acknowledged(Held("z", "r-x", 20.0, 620.0))
    judge.granted_twice(look())
    assert list(judge.double) == ["request_id r-x"]


def test_a_broker_that_has_not_heard_of_the_new_epoch_is_no_new_doubt() -> None:
    _, judge = judging("x")
    judge.looked([look(began_s=100.0, epoch=2), look(listed("x"), broker="b:1")], 100.0)
    judge.looked([look(listed("x"), broker="b:1"), look(epoch=2)], 130.0)
    assert judge.epoch == 2
    missing(judge, "x", 200.0, epoch=2)
    missing(judge, "x", 203.0, epoch=2)
    assert "x" in judge.lost
