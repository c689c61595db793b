"""What an order server believes of a page of the ledger and of a sale's outcome."""

from __future__ import annotations

from typing import Any

import pytest

from common.bundle import Recorded
from order.model import Malformed, Order, Refused, ask_after, outcome_of, parse_page
from tests.support.order_fakes import order

REFUSAL = {"status": 409, "code": "sold-out", "detail": "none left"}


def page(end: int, *numbers: int) -> dict[str, Any]:
    return {"end": end, "rows": [{"number": at, "order": order(at)} for at in numbers]}


def test_the_last_row_taken_is_asked_for_once_more() -> None:
    """An overlap of one row lets the follower see that the ledger is still the same."""
    assert [ask_after(since) for since in (0, 1, 7)] == [0, 0, 6]


@pytest.mark.parametrize(
    ("since", "document", "last"),
    [
        (0, page(0), 0),
        (0, page(2, 1, 2), 2),
        (0, page(9, 1, 2), 2),
        (2, page(2, 2), 2),
        (2, page(4, 2, 3, 4), 4),
    ],
)
def test_a_page_without_gaps_is_believed(since: int, document: Any, last: int) -> None:
    """Whole or cut short by the limit, rows in a line bring the log forward."""
    assert parse_page(document, "shop", since).last == last


@pytest.mark.parametrize(
    ("since", "document"),
    [
        pytest.param(0, page(3, 1, 3), id="a gap inside"),
        pytest.param(0, page(3, 2, 3), id="a gap before"),
        pytest.param(2, page(4, 3, 4), id="without the overlap"),
        pytest.param(2, page(2), id="without the overlap, and nothing new"),
        pytest.param(0, page(3, 1, 1, 2), id="a row twice"),
        pytest.param(0, page(1, 1, 2), id="rows beyond the end"),
        pytest.param(0, page(3), id="rows said to be there, but none sent"),
        pytest.param(2, page(4, 2), id="nothing new, though there is more"),
        pytest.param(0, {"end": 1, "rows": [{"number": 1, "order": {}}]}, id="no order id"),
        pytest.param(0, {"end": 1, "rows": [{"order": order(1)}]}, id="no number"),
        pytest.param(0, {"end": "1", "rows": []}, id="an end that is no number"),
        pytest.param(0, {"rows": []}, id="no end"),
        pytest.param(0, [], id="a list"),
        pytest.param(0, None, id="null"),
    ],
)
def test_a_page_with_a_gap_or_of_another_shape_is_worth_nothing(since: int, document: Any) -> None:
    """A row that cannot be placed must not move the cursor."""
    with pytest.raises(Malformed):
        parse_page(document, "shop", since)


def test_a_page_of_no_cluster_is_worth_nothing() -> None:
    """A log could not be bound to where it came from."""
    with pytest.raises(Malformed):
        parse_page(page(0), "", 0)


def test_a_ledger_that_became_shorter_is_refused() -> None:
    """It has lost sales that were durable on two machines: never mix the two histories."""
    with pytest.raises(Refused, match="lost sales"):
        parse_page(page(4), "shop", 5)


def test_a_sale_comes_without_its_number() -> None:
    """The number is the ledger's; the public document has none."""
    outcome = outcome_of(Recorded(201, order(7) | {"number": 7}), "shop")
    assert outcome.answer == order(7)
    assert outcome.order is not None
    assert (outcome.order.order_id, outcome.order.number) == ("order-7", 7)


def test_a_recorded_refusal_is_no_order() -> None:
    """Its status and document are passed on as they are."""
    outcome = outcome_of(Recorded(409, REFUSAL), "shop")
    assert (outcome.status, outcome.answer, outcome.order) == (409, REFUSAL, None)


@pytest.mark.parametrize(
    "recorded",
    [Recorded(201, {}), Recorded(200, {}), Recorded(201, order(1) | {"number": "1"})],
)
def test_what_is_no_outcome_is_worth_nothing(recorded: Recorded) -> None:
    """An answer nobody understands proves neither a sale nor a refusal."""
    with pytest.raises(Malformed):
        outcome_of(recorded, "shop")


def test_two_copies_agree_whatever_the_order_of_members() -> None:
    """JSON objects have no order; a number one copy lacks is no difference."""
    one = Order("a", 1, '{"order_id":"a","total_cents":5}')
    assert one.same(Order("a", None, '{"total_cents": 5, "order_id": "a"}'))
    assert not one.same(Order("a", 2, one.body))
    assert not one.same(Order("a", 1, '{"order_id":"a","total_cents":6}'))
    assert not one.same(Order("b", 1, one.body))
