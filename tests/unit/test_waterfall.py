"""A trace put together: who caused what, and what is done about clocks that differ."""

from __future__ import annotations

from itertools import count

import pytest

from common.trace import CLIENT, INTERNAL, SERVER, Span
from frontend.control.waterfall import MS, TELLING_NS, Bar, bars, words

T = "a" * 32


def span(
    name: str, node: str, start_ms: float, length_ms: float, parent: str = "",
    kind: str = INTERNAL, **attributes: str,
) -> Span:  # fmt: skip
    """Return a span whose id is its name."""
    named = {key.replace("_", "."): value for key, value in attributes.items()}
    return Span(
        T, name, parent, name, kind, node, node.rpartition("-")[0], int(start_ms * MS),
        int(length_ms * MS), "", named,
    )  # fmt: skip


def purchase(order_ahead_ms: float = 0.0, catalog_ahead_ms: float = 0.0) -> list[Span]:
    """Return a frontend's request that asks an order server, which asks a catalog; each of them
    needs 1 ms on the way, and its date may be ahead.
    """
    order, catalog = 1000 + order_ahead_ms, 1000 + catalog_ahead_ms
    return [
        span("write", "catalog-1", catalog + 5, 1, "serve"),
        span("serve", "catalog-1", catalog + 4, 4, "ask catalog", SERVER),
        span("sell", "order-1", order + 2, 8, "ask order", SERVER),
        span("ask catalog", "order-1", order + 3, 6, "sell", CLIENT),
        span("ask order", "frontend-1", 1001, 10, "buy", CLIENT),
        span("buy", "frontend-1", 1000, 12, "", SERVER, url_path="/purchase/1"),
    ]


def drawn(found: list[Bar]) -> list[tuple[str, int, float]]:
    return [(bar.span.name, bar.depth, bar.starts_ns / MS) for bar in found]


RIGHT = [
    ("buy", 0, 0.0), ("ask order", 1, 1.0), ("sell", 2, 2.0), ("ask catalog", 3, 3.0),
    ("serve", 4, 4.0), ("write", 5, 5.0),
]  # fmt: skip


def test_each_span_stands_below_the_one_that_caused_it() -> None:
    """Whatever the order in which the nodes told of them."""
    found = bars(purchase())
    assert drawn(found) == RIGHT
    assert not any(bar.shifted_ns or bar.lost for bar in found)
    assert drawn(bars(purchase()[::-1])) == RIGHT
    assert bars([]) == []


@pytest.mark.parametrize(
    ("order_ms", "catalog_ms"), [(250, 0), (-250, 0), (0, 3_600_000), (40, -40)]
)
def test_a_clock_that_is_off_is_corrected_and_that_is_told(order_ms: int, catalog_ms: int) -> None:
    """What a node was asked it did between question and answer, by whichever date."""
    found = bars(purchase(order_ms, catalog_ms))
    assert drawn(found) == RIGHT
    for bar in found:
        off = {"order-1": order_ms, "catalog-1": catalog_ms}.get(bar.span.node, 0)
        assert bar.shifted_ns == -off * MS


def test_a_clock_that_is_hardly_off_is_not_worth_a_word() -> None:
    """Two readings of one machine's clocks differ, too."""
    slightly = TELLING_NS / MS
    assert not any(bar.shifted_ns for bar in bars(purchase(1 + slightly, 1 + slightly)))
    assert any(bar.shifted_ns for bar in bars(purchase(1.2 + slightly)))


def test_who_works_on_after_its_caller_gave_up_is_drawn_from_the_question_on() -> None:
    """It took longer than its caller waited: that is the fault to be seen, no matter of clocks."""
    caller = span("ask", "frontend-1", 0, 5, "buy", CLIENT)
    slow = span("sell", "order-1", 1, 90, "ask", SERVER)
    top = span("buy", "frontend-1", 0, 6, "", SERVER, url_path="/")
    assert [bar.starts_ns for bar in bars([top, caller, slow])][2] <= 1 * MS


def test_what_was_caused_by_something_forgotten_stands_by_itself() -> None:
    """And says so; a request from outside with a parent of its caller's is no such thing."""
    spans = [one for one in purchase() if one.name != "sell"]
    found = bars(spans)
    assert [(bar.span.name, bar.depth, bar.lost) for bar in found] == [
        ("buy", 0, False), ("ask order", 1, False), ("ask catalog", 0, True), ("serve", 1, False),
        ("write", 2, False),
    ]  # fmt: skip
    (one,) = bars([span("buy", "frontend-1", 0, 1, "caller", SERVER, url_path="/")])
    assert not one.lost


def test_a_circle_or_a_double_is_no_trap() -> None:
    """No node should tell such things; a page that hangs would be worse."""
    assert bars([span("a", "n-1", 0, 1, "b"), span("b", "n-1", 0, 1, "a")]) == []
    assert len(bars([*purchase(), *purchase()])) == len(RIGHT)


def test_hops_are_called_by_what_they_do() -> None:
    """In the words of the documentation."""
    number = count()

    def named(name: str, kind: str, **attributes: str) -> str:
        return words(span(name, "n-1", next(number), 1, "", kind, **attributes))

    assert named("POST /replication/prepare", CLIENT, server_address="b") == "prepare at b"
    assert named("POST /replication/prepare", SERVER) == "prepare"
    assert named("commit", INTERNAL) == "commit"
    assert named("GET /x", CLIENT, server_address="b") == "GET /x to b"
    assert named("GET /x", SERVER) == "GET /x"
    asked = {"url_path": "/lookup/1", "http_request_method": "GET"}
    assert words(Span(T, "a", "", "GET /lookup/<book>", SERVER, "n", "s", 0, 1, "", {
        name.replace("_", "."): value for name, value in asked.items()
    })) == "GET /lookup/1"  # fmt: skip
