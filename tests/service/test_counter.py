"""Purchases ahead of Flask: to the byte what Flask answers, counted alike, and only plain ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.service import Call
from common.wsgi import Answer
from frontend.purchases import WAITING_MAX
from tests.support.frontend_fakes import (
    InlineTasks,
    Reply,
    World,
    broken,
    by_flask,
    call,
    counted,
    dead,
    order_server,
    refusal,
    untraced,
)

PLAIN = (
    ("/purchase/1", b""), ("/purchase/2", b"  "), ("/purchase/1", b"{}"),
    ("/purchase/1", b'{"quantity":3}'), ("/orders", b'{"items":[{"book_id":1}]}'),
    ("/orders", b'{"items":[{"book_id":1,"quantity":2},{"book_id":2}]}'),
)  # fmt: skip
ORDINARY = (
    ("/purchase/01", b""), ("/purchase/+1", b""), ("/purchase/1/", b""), ("//purchase/1", b""),
    ("/purchase/%31", b""), ("/purchase/1?", b""), ("/purchase/1?x=1", b""), ("/purchase/", b""),
    ("/purchase/x", b""), ("/purchase/9223372036854775808", b""), ("/purchase/1", b"[]"),
    ("/purchase/1", b"{"), ("/purchase/1", b"\xff"), ("/purchase/1", b"null"),
    ("/purchase/1", b'{"quantity":0}'), ("/purchase/1", b'{"quantity":1,"quantity":1}'),
    ("/purchase/1", b'{"quantity":NaN}'), ("/purchase/1", b'{"items":[]}'), ("/orders", b""),
    ("/orders", b"{}"), ("/orders", b'{"items":[]}'), ("/orders", b'{"items":[{"book_id":0}]}'),
    ("/orders", b'{"items":[{"book_id":1},{"book_id":1}]}'), ("/orders?x=1", b"{}"),
    ("/Orders", b'{"items":[{"book_id":1}]}'), ("/books", b"{}"), ("/books/1/restock", b"{}"),
    ("http://shop/purchase/1", b""), ("", b""), ("*", b""),
)  # fmt: skip
FATES: dict[str, Reply] = {
    "sold": order_server, "dead": dead, "lost": broken, "sold out": refusal("sold-out", left=0),
    "no such book": refusal("not-found"), "refused": refusal("writes-unavailable"),
    "other basket": refusal("idempotency-mismatch"), "running": refusal("in-progress"),
    "full": refusal("rate-limited"),
}  # fmt: skip


class Later(InlineTasks):
    """Tasks that are never run."""

    def spawn(self, name: str, run: Callable[[], None]) -> None:
        pass


def ahead(world: World, asked: Call) -> Answer | None:
    """Return what is answered ahead of Flask, if anything is."""
    answers: list[Answer] = []
    taken = world.service.later(asked, answers.append)
    assert len(answers) == taken
    return untraced(answers[0]) if answers else None


def a_world(fate: str = "sold") -> World:
    world = World(seed=7)
    world.http.nodes["order-1"] = world.http.nodes["order-2"] = FATES[fate]
    return world


@pytest.mark.parametrize(("target", "body"), PLAIN)
@pytest.mark.parametrize("headers", [{}, {"idempotency_key": "my key/1"}])
@pytest.mark.parametrize("fate", FATES)
def test_a_plain_purchase_is_answered_as_flask_answers_it(
    target: str, body: bytes, headers: dict[str, str], fate: str
) -> None:
    """Status, headers, body; what the order servers were asked; what is counted."""
    asked, one, two = call(target, "POST", body, **headers), a_world(fate), a_world(fate)
    answer, flasks = ahead(one, asked), by_flask(two.app, asked)
    assert answer is not None
    assert (answer.status, answer.body) == (flasks.status, flasks.body)
    assert sorted(answer.headers) == sorted(flasks.headers)
    assert [sent.body for sent in one.http.sent] == [sent.body for sent in two.http.sent]
    assert counted(one) == counted(two)


@pytest.mark.parametrize(("target", "body"), ORDINARY)
def test_what_is_not_plain_is_left_to_flask(target: str, body: bytes) -> None:
    """Nothing is sent; Flask says what is wrong with it, if anything is."""
    world = a_world()
    assert ahead(world, call(target, "POST", body)) is None
    assert world.http.sent == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PATCH", "PUT", "DELETE", "OPTIONS", "post"])
def test_only_a_post_buys(method: str) -> None:
    """Whatever else is done to the address is no purchase."""
    world = a_world()
    assert ahead(world, call("/purchase/1", method)) is None
    assert world.http.sent == []


@pytest.mark.parametrize("key", ["", "k" * 256, "\u00fc", "a\tb"])
def test_a_key_that_is_none_is_left_to_flask(key: str) -> None:
    """400, as everywhere."""
    world = a_world()
    asked = call("/purchase/1", "POST")
    headers = {**asked.headers, b"idempotency-key": key.encode("latin-1")}
    assert ahead(world, asked._replace(headers=headers)) is None
    assert by_flask(world.app, asked._replace(headers=headers)).status == 400


VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from(["", "1", "items"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["items", "book_id", "quantity", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=150)
@given(
    target=st.sampled_from(["/purchase/1", "/orders"]),
    body=VALUES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=12),
)
def test_no_body_is_taken_that_flask_would_refuse(target: str, body: bytes) -> None:
    """And what is taken is answered alike."""
    asked, one, two = call(target, "POST", body), a_world(), a_world()
    answer, flasks = ahead(one, asked), by_flask(two.app, asked)
    if answer is None:
        assert flasks.status == 400
    else:
        assert (answer.status, answer.body) == (flasks.status, flasks.body) == (201, answer.body)


def test_who_comes_when_too_many_wait_is_told_so() -> None:
    """429: nothing was changed."""
    world = World(tasks=Later)
    answers: list[Answer] = []
    for number in range(WAITING_MAX + 1):
        asked = call("/purchase/1", "POST", idempotency_key=f"k{number}")
        assert world.service.later(asked, answers.append)
    (refused,) = answers
    assert (refused.status, json.loads(refused.body)["code"]) == (429, "rate-limited")
