"""The checks at the end of a chaos run find what they are there for; its figures add up."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.chaos_check import check_decided, check_history, pieces
from tests.support.chaos_figures import felt, too_slow
from tests.support.chaos_history import Call, History, Write, unavailable_s
from tests.support.chaos_nemesis import Fault
from tests.support.checker import Operation

START = (10, 500)


def read(called: float, returned: float, quantity: int, price: int = 500) -> Operation:
    return Operation("read", 0, called, (quantity, price), returned)


def sell(called: float, returned: float, result: object = 500, copies: int = 1) -> Operation:
    return Operation("sell", copies, called, result, returned)


GOOD = [
    read(0, 1, 10), sell(2, 5), read(3, 4, 10), read(4.5, 6, 9), read(7, 8, 9),
    Operation("price", 700, 9, (9, 700), 10), Operation("price-seen", 0, 11, 700, 12),
    read(13, 14, 9, 700), sell(15, 16, "sold-out", copies=20), read(17, 18, 9, 700),
]  # fmt: skip


def test_a_good_history_passes_whole_and_in_pieces() -> None:
    """Cut where a lone read shows the state."""
    parts = [(len(part), start) for part, start in pieces(GOOD, START)]
    assert parts == [(1, (10, 500)), (4, (10, 500)), (3, (9, 500)), (2, (9, 700)), (0, (9, 700))]
    assert check_history(1, GOOD, START) == []


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("old after new", [sell(0, 1), read(2, 3, 9), read(4, 5, 10)]),
        ("lost write", [sell(0, 1), read(2, 3, 10)]),
        ("sold twice", [sell(0, 1), read(2, 3, 8)]),
        ("old page", [Operation("price", 7, 0, (10, 7), 1), Operation("price-seen", 0, 2, 500, 3)]),
        ("across a cut", [read(0, 1, 10), sell(2, 3), read(4, 5, 9), read(6, 7, 10)]),
        ("in the tail", [read(0, 1, 10), sell(2, 6), read(3, 4, 9), read(4.5, 5, 10)]),
    ],
)
def test_a_bad_history_is_shown(name: str, bad: list[Operation]) -> None:
    """With what happened since the state was last certain."""
    (found,) = check_history(7, bad, START)
    assert "book 7 is not linearizable" in found
    assert str(bad[-1]) in found


def begun(history: History, **changes: object) -> Write:
    write = Write("k", "sell", {1: 1, 2: 1}, {book: sell(0, 0, None) for book in (1, 2)})
    vars(write).update(changes)
    history.begun(write)
    return write


def test_a_refused_basket_says_something_about_the_short_book_only() -> None:
    """The other line may have been there."""
    history = History()
    write = begun(history)
    history.decided(write, (409, {"code": "sold-out", "book_id": 2}))
    assert [op.result for op in history.operations[2]] == ["sold-out"]
    assert history.operations[1] == []
    assert check_decided(history) == []


def test_another_answer_for_the_same_key_is_a_violation() -> None:
    """And the first one stands."""
    history = History()
    write = begun(history)
    items = [{"book_id": book, "price_cents": 500} for book in (1, 2)]
    history.decided(write, (201, {"order_id": "a", "items": items}))
    history.decided(write, (201, {"order_id": "b", "items": items}))
    assert len(history.violations) == 1
    assert list(history.orders) == ["a"]


def test_a_write_that_was_given_up_is_no_part_of_the_history() -> None:
    """One that nobody decided is a violation."""
    history = History()
    history.give_up(begun(history))
    assert not any(history.operations.values())
    begun(history)
    assert len(check_decided(history)) == 1


def answered(*moments: float, kind: str = "look") -> list[Call]:
    return [Call(kind, "frontend-1", moment - 0.1, moment, "ok") for moment in moments]


def test_time_away_is_what_exceeds_the_patience() -> None:
    """Counted from the fault's begin to the next one's."""
    assert unavailable_s([0.5, 1.0, 4.0, 9.0], 1.0, 6.0, 0.5) == pytest.approx(2.5 + 1.5)
    assert unavailable_s([], 1.0, 1.2, 0.5) == 0


def test_what_a_fault_costs_counts_from_its_healing() -> None:
    """A fault among the aftermath of another one is not charged."""
    history = History(calls=[*answered(1.0, 3.5), *answered(1.0, 5.0, kind="sell")])
    fault = Fault("kill -9", ("catalog-1",), began=1.0, fresh=True, healed=2.0, next_began=10.0)
    cost = felt(fault, history)
    assert (cost.reads_back_s, cost.writes_back_s) == (1.5, 3.0)
    fault.fresh = False
    assert felt(fault, history).reads_back_s is None


@pytest.mark.parametrize(
    ("calls", "slow"),
    [
        (lambda: [*answered(3.0), *answered(3.0, kind="sell")], 0),
        (lambda: answered(3.0), 1),
        (lambda: [*answered(3.0), *answered(30.0, kind="sell")], 1),
        (list, 2),
    ],
)
def test_a_shop_that_stays_away_is_a_violation(calls: Callable[[], list[Call]], slow: int) -> None:
    """Whether it comes back late or not at all."""
    fault = Fault("kill -9", ("catalog-1",), 1.0, fresh=True, healed=2.0, next_began=40.0)
    assert len(too_slow([fault], History(calls=calls()), limit_s=15)) == slow
