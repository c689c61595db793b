"""What the control room says of the shop: red only for numbers that belong to one moment."""

from __future__ import annotations

from typing import Any

import pytest

from frontend.control.invariants import (
    BROKEN,
    HOLDS,
    OPEN,
    Verdict,
    catalogs_equal,
    orders_equal,
    stock_conserved,
)

ONE, TWO = "catalog-1", "catalog-2"
CATALOGS, LOGS = (ONE, TWO), ("order-1", "order-2")
Told = dict[str, Any]


def told(seq: int = 9, **changed: Any) -> Told:
    """Return what a catalog tells at an entry of its log."""
    history = [[entry, f"hash-{entry}"] for entry in range(seq, max(0, seq - 5), -1)]
    sums = {"books": 3, "received": 20, "sold": 4, "left": 16, "orders": 4, "counted": 4}
    return {"position": [1, seq], "history": history} | sums | changed


def rows(one: str = "d", two: str = "d", seq: int = 9, other: int = 9) -> dict[str, Told]:
    """Return what both say of all their rows."""
    return {
        ONE: {"position": [1, seq], "digest": one}, TWO: {"position": [1, other], "digest": two},
    }  # fmt: skip


# --- stock ---


def test_stock_is_conserved_when_what_came_is_sold_or_there() -> None:
    """At each catalog, whatever its position."""
    verdict = stock_conserved(CATALOGS, {ONE: told(), TWO: told(7, sold=3, left=17, orders=3)})
    assert verdict.state == HOLDS
    assert verdict.text == "20 copies received, 4 sold and 16 left"


@pytest.mark.parametrize(("left", "said"), [(17, "1 too many"), (13, "3 missing")])
def test_a_copy_too_many_or_missing_is_said_with_its_numbers(left: int, said: str) -> None:
    """And where."""
    verdict = stock_conserved(CATALOGS, {ONE: told(), TWO: told(left=left)})
    assert verdict.state == BROKEN
    assert verdict.text == f"catalog-2: 20 copies received, 4 sold and {left} left: {said}"
    assert {"node": TWO, "received": 20, "sold": 4, "left": left} in verdict.numbers


def test_what_is_still_being_counted_is_open() -> None:
    """A ledger of half a million orders takes a few looks."""
    verdict = stock_conserved(CATALOGS, {ONE: told(counted=2, sold=2), TWO: told()})
    assert (verdict.state, verdict.text) == (OPEN, "catalog-1 has counted 2 of 4 orders")


def test_nobody_to_ask_is_no_breach() -> None:
    """Nor is one of two."""
    assert stock_conserved(CATALOGS, {}).state == OPEN
    assert stock_conserved(CATALOGS, {ONE: told()}).text.endswith("(catalog-2 cannot be asked)")


# --- catalogs ---


def test_copies_are_equal_with_one_history_and_the_same_rows() -> None:
    """At one position."""
    verdict = catalogs_equal(CATALOGS, {ONE: told(), TWO: told()}, rows())
    assert verdict.state == HOLDS
    assert verdict.text == "the same history and sums at 1:9; every row the same at 1:9"


def test_who_is_behind_is_not_compared_but_its_history_is() -> None:
    """It is said by how much."""
    verdict = catalogs_equal(CATALOGS, {ONE: told(12), TWO: told(9, left=1)}, {})
    assert verdict.state == OPEN
    assert verdict.text.startswith("not comparable now: catalog-2 is behind by 3")
    assert "up to entry 9" in verdict.text
    far = catalogs_equal(CATALOGS, {ONE: told(4000), TWO: told(9)}, {})
    assert far.text == "not comparable now: catalog-2 is behind by 3,991"


def test_one_that_does_not_answer_is_not_compared() -> None:
    """It is named."""
    verdict = catalogs_equal(CATALOGS, {ONE: told()}, {})
    assert (verdict.state, verdict.text) == (
        OPEN, "not comparable now (catalog-2 cannot be asked)",
    )  # fmt: skip


def test_two_histories_are_a_breach_even_when_one_is_behind() -> None:
    """From the first entry on that both tell of."""
    other = told(9) | {"history": [[9, "hash-9"], [8, "other"], [7, "other"]]}
    verdict = catalogs_equal(CATALOGS, {ONE: told(10), TWO: other}, {})
    assert (verdict.state, verdict.text) == (
        BROKEN, "catalog-1 and catalog-2 hold different entries from 7 on",
    )  # fmt: skip


def test_other_sums_or_rows_at_one_position_are_a_breach() -> None:
    """With the numbers."""
    both = {ONE: told(), TWO: told(left=15)}
    verdict = catalogs_equal(CATALOGS, both, {})
    assert verdict.state == BROKEN
    assert "left 16 and 15" in verdict.text
    verdict = catalogs_equal(CATALOGS, {ONE: told(), TWO: told()}, rows(two="other"))
    assert (verdict.state, verdict.text) == (
        BROKEN,
        "rows of catalog-1 and catalog-2 differ at 1:9",
    )


def test_rows_of_two_positions_say_nothing() -> None:
    """They may well differ."""
    verdict = catalogs_equal(CATALOGS, {ONE: told(), TWO: told()}, rows(two="other", other=8))
    assert verdict.state == HOLDS
    assert verdict.text.endswith("not been read at one position yet")


# --- orders ---


def logs(ends: dict[str, int], **digests: str) -> Verdict:
    """Judge order logs; digests by node, with an underscore."""
    upto = min(ends.values())
    ledgers = {node: {"upto": upto, "digest": "d"} for node in ends}
    for name, digest in digests.items():
        ledgers[name.replace("_", "-")]["digest"] = digest
    return orders_equal(CATALOGS, LOGS, ends, ledgers)


ALL = {ONE: 5, TWO: 5, "order-1": 5, "order-2": 5}


def test_order_logs_are_equal_as_far_as_they_all_go() -> None:
    """Who is behind is named."""
    assert logs(ALL) == Verdict(
        "orders", HOLDS, "5 orders, the same everywhere",
        [{"node": node, "orders": 5, "compared": 5, "digest": "d"} for node in ALL],
    )  # fmt: skip
    behind = logs(ALL | {"order-2": 3})
    assert behind.text == "3 orders, the same everywhere; order-2 is behind by 2"


def test_an_order_log_that_differs_is_named() -> None:
    """By the majority; without one all are."""
    assert logs(ALL, order_1="x").text == "order-1 differs from the others in the first 5 orders"
    assert logs(ALL, order_1="x").state == BROKEN
    half = logs(ALL, order_1="x", order_2="x")
    assert half.text.startswith("catalog-1 and catalog-2 and order-1 and order-2 differ")


def test_order_logs_need_one_ledger_and_both_logs() -> None:
    """A dead catalog hinders nobody, a dead order server is not compared."""
    assert logs({ONE: 5, "order-1": 5, "order-2": 5}).state == HOLDS
    assert logs({ONE: 5, TWO: 5, "order-1": 5}).state == OPEN
    assert logs({"order-1": 5, "order-2": 5}).state == OPEN


def test_a_log_that_is_still_being_read_is_open() -> None:
    """Whatever its digest so far."""
    ledgers = {node: {"upto": 5, "digest": "d"} for node in ALL} | {
        "order-2": {"upto": 2, "digest": "other"}
    }
    verdict = orders_equal(CATALOGS, LOGS, ALL, ledgers)
    assert (verdict.state, verdict.text) == (OPEN, "2 of 5 orders have been read so far")
