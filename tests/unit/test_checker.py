"""The checker itself, on histories known to be good and known to be bad."""

from __future__ import annotations

from math import inf

from tests.support.checker import Operation, linearizable

START = (1, 500)


def op(what: str, argument: int, called: float, returned: float, result: object) -> Operation:
    return Operation(what, argument, called, result, returned)


def test_a_sequential_history_is_accepted() -> None:
    """Read, sell, read: each sees what came before."""
    history = [
        op("read", 0, 0, 1, (1, 500)),
        op("sell", 1, 2, 3, 500),
        op("read", 0, 4, 5, (0, 500)),
    ]
    assert linearizable(history, START)


def test_a_read_during_a_write_may_see_either() -> None:
    """Two overlapping reads may see new and old when they overlap each other, too."""
    sale = op("sell", 1, 0, 10, 500)
    assert linearizable([sale, op("read", 0, 1, 9, (0, 500)), op("read", 0, 1, 9, (1, 500))], START)


def test_new_then_old_is_refused() -> None:
    """One replica answers new, then the other one old."""
    history = [
        op("sell", 1, 0, 10, 500),
        op("read", 0, 1, 2, (0, 500)),
        op("read", 0, 3, 4, (1, 500)),
    ]
    assert not linearizable(history, START)


def test_an_old_cache_entry_after_the_write_is_refused() -> None:
    """A frontend that woke up answers from before the sale."""
    assert not linearizable([op("sell", 1, 0, 1, 500), op("read", 0, 2, 3, (1, 500))], START)


def test_a_lost_acknowledged_write_is_refused() -> None:
    """A restock was answered and is gone."""
    history = [op("restock", 5, 0, 1, (6, 500)), op("sell", 6, 2, 3, "sold-out")]
    assert not linearizable(history, START)


def test_a_double_sale_is_refused() -> None:
    """Two buyers got the only copy."""
    assert not linearizable([op("sell", 1, 0, 5, 500), op("sell", 1, 0, 5, 500)], START)


def test_an_unknown_sale_may_have_happened_late_or_never() -> None:
    """Its effect may show at any time after the call."""
    unknown = Operation("sell", 1, 0.0)
    assert unknown.returned == inf
    assert linearizable([unknown, op("read", 0, 5, 6, (1, 500))], START)
    assert linearizable([unknown, op("read", 0, 5, 6, (0, 500))], START)
    back = [unknown, op("read", 0, 5, 6, (0, 500)), op("read", 0, 7, 8, (1, 500))]
    assert not linearizable(back, START)


def test_an_unknown_sale_happens_at_most_once() -> None:
    """Two copies gone for one unknown sale of one copy."""
    unknown = Operation("sell", 1, 0.0)
    assert not linearizable([unknown, op("read", 0, 5, 6, (0, 500))], (2, 500))


def test_an_old_price_on_a_page_is_refused() -> None:
    """A topic page kept the price from before the change."""
    history = [op("price", 600, 0, 1, (1, 600)), op("price-seen", 0, 2, 3, 500)]
    assert not linearizable(history, START)


def test_a_sale_at_the_old_price_is_refused() -> None:
    """The price was changed, then a copy was sold at the old one."""
    assert not linearizable([op("price", 600, 0, 1, (1, 600)), op("sell", 1, 2, 3, 500)], START)
