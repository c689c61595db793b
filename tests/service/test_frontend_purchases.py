"""Purchases at the frontend: one key for all attempts, and honest words when none is answered."""

import json
from collections.abc import Callable

import pytest
from werkzeug.test import TestResponse

from common.errors import parse
from common.peer import Request, Response
from tests.support.frontend_fakes import (
    ORDER_ID,
    Reply,
    World,
    answer,
    broken,
    dead,
    in_turn,
    order_server,
    refusal,
    sold,
)

BUY = "/purchase/1"
KEY = {"Idempotency-Key": "my-key"}


@pytest.fixture
def world() -> World:
    return World()


def buy(world: World, key: str | None = "my-key") -> TestResponse:
    headers = {"Idempotency-Key": key} if key else {}
    return world.client.post(BUY, headers=headers)


def sales(world: World) -> list[Request]:
    return [request for request in world.http.sent if request.target.startswith("/sales")]


def keys(world: World) -> list[str]:
    return [sale["key"] for request in sales(world) for sale in json.loads(request.body)]


# What is sold


def test_a_purchase_is_answered_with_the_order_and_where_it_is(world: World) -> None:
    """201, Location, the order server's document as it is, and never cached."""
    response = buy(world)
    assert response.status_code == 201
    assert response.headers["Location"] == f"/orders/{ORDER_ID}"
    assert response.get_json()["order_id"] == ORDER_ID
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Idempotency-Key"] == "my-key"


@pytest.mark.parametrize(
    ("path", "body", "lines"),
    [
        ("/purchase/7", None, [{"book_id": 7, "quantity": 1}]),
        ("/purchase/7", "  ", [{"book_id": 7, "quantity": 1}]),
        ("/purchase/7", "{}", [{"book_id": 7, "quantity": 1}]),
        ("/purchase/7", '{"quantity": 3}', [{"book_id": 7, "quantity": 3}]),
        ("/orders", '{"items": [{"book_id": 7}]}', [{"book_id": 7, "quantity": 1}]),
        (
            "/orders",
            '{"items": [{"book_id": 7, "quantity": 2}, {"book_id": 8, "quantity": 1}]}',
            [{"book_id": 7, "quantity": 2}, {"book_id": 8, "quantity": 1}],
        ),
    ],
)
def test_what_the_order_server_is_asked(
    world: World, path: str, body: str | None, lines: list[dict[str, int]]
) -> None:
    """Checked lines with their defaults, whatever Content-Type the client sent, and the key."""
    response = world.client.post(path, data=body, headers=KEY)
    assert response.status_code == 201
    (asked,) = sales(world)
    assert json.loads(asked.body) == [{"key": "my-key", "items": lines}]


def test_a_key_is_made_when_there_is_none(world: World) -> None:
    """A new one each time, the same for every attempt, and the client is told."""
    world.http.nodes["order-1"] = broken
    first, second = buy(world, key=None), buy(world, key=None)
    made = keys(world)
    assert first.headers["Idempotency-Key"] == made[0] == made[1]
    assert second.headers["Idempotency-Key"] == made[-1] != made[0]
    assert len(made[0]) == 32


def test_purchases_take_turns(world: World) -> None:
    """Round robin over the order servers."""
    for _ in range(4):
        buy(world)
    assert [request.to for request in sales(world)] == ["order-1", "order-2"] * 2


# Combinations

well: Reply = order_server
silent = "silent"
running, unknown = refusal("in-progress"), refusal("outcome-unknown", idempotency_key="my-key")
refused, unavailable = refusal("writes-unavailable"), refusal("unavailable")
full, sold_out = refusal("rate-limited"), refusal("sold-out")
no_book, mismatch = refusal("not-found"), refusal("idempotency-mismatch")
invalid, foreign = refusal("invalid-request"), refusal("foreign-cluster")
other_secret = refusal("unauthorized")


def not_ours(request: Request) -> Response:
    """Answer 201 with something that no order server says."""
    return answer([{"status": 201, "answer": {"hello": "world"}}])


def page_of_a_proxy(request: Request) -> Response:
    """Answer as something in between does."""
    return Response(502, {}, b"<html>Bad Gateway</html>")


CASES: list[tuple[Reply | str, Reply | str, int, str]] = [
    # first, second, status, code ("" for an order)
    (dead, well, 201, ""),
    (broken, well, 201, ""),
    (silent, well, 201, ""),
    (unknown, well, 201, ""),
    (unavailable, well, 201, ""),
    (refused, well, 201, ""),
    (full, well, 201, ""),
    (running, well, 201, ""),
    (not_ours, well, 201, ""),
    (page_of_a_proxy, well, 201, ""),
    (sold_out, "never asked", 409, "sold-out"),
    (no_book, "never asked", 404, "not-found"),
    (mismatch, "never asked", 422, "idempotency-mismatch"),
    (invalid, "never asked", 400, "invalid-request"),
    (broken, sold_out, 409, "sold-out"),
    (dead, no_book, 404, "not-found"),
    (broken, mismatch, 422, "idempotency-mismatch"),
    (dead, dead, 503, "writes-unavailable"),
    (refused, refused, 503, "writes-unavailable"),
    (dead, refused, 503, "writes-unavailable"),
    (refused, dead, 503, "writes-unavailable"),
    (full, refused, 503, "writes-unavailable"),
    (full, full, 429, "rate-limited"),
    (foreign, dead, 503, "writes-unavailable"),
    (other_secret, other_secret, 503, "writes-unavailable"),
    (broken, dead, 503, "outcome-unknown"),
    (broken, refused, 503, "outcome-unknown"),
    (silent, refused, 503, "outcome-unknown"),
    (silent, silent, 503, "outcome-unknown"),
    (refused, broken, 503, "outcome-unknown"),
    (refused, silent, 503, "outcome-unknown"),
    (unknown, dead, 503, "outcome-unknown"),
    (unknown, refused, 503, "outcome-unknown"),
    (unavailable, refused, 503, "outcome-unknown"),
    (not_ours, refused, 503, "outcome-unknown"),
    (page_of_a_proxy, dead, 503, "outcome-unknown"),
    (broken, running, 503, "outcome-unknown"),
    (silent, running, 503, "outcome-unknown"),
    (unknown, running, 503, "outcome-unknown"),
    (refused, running, 503, "outcome-unknown"),
    (running, refused, 503, "outcome-unknown"),
    (running, broken, 503, "outcome-unknown"),
    (running, dead, 409, "in-progress"),
    (dead, running, 409, "in-progress"),
    (running, running, 409, "in-progress"),
]


@pytest.mark.parametrize("of_each", [False, True])
@pytest.mark.parametrize(("first", "second", "status", "code"), CASES)
def test_two_attempts_amount_to(
    world: World, first: Reply | str, second: Reply | str, status: int, code: str, of_each: bool
) -> None:
    """Each row: what one order server does, what the other does, what the buyer is told; a refusal
    is one of the message, or `of_each` purchase in it.
    """
    replies: dict[Reply | str, Reply] = {silent: world.silent(), "never asked": _never_asked}
    for name, what in (("order-1", first), ("order-2", second)):
        reply: Reply = replies.get(what, what)  # type: ignore[arg-type]
        world.http.nodes[name] = told_of_each(reply) if of_each else reply
    began = world.clock.now()
    response = buy(world)
    assert (response.status_code, response.get_json().get("code", "")) == (status, code)
    assert world.clock.now() - began <= 5.0
    assert response.headers["Idempotency-Key"] == "my-key"
    if code == "outcome-unknown":
        assert response.get_json()["idempotency_key"] == "my-key"
    if status == 503:
        assert response.headers["Retry-After"] == "1"
        assert response.content_type == "application/problem+json"


def told_of_each(reply: Reply) -> Reply:
    """Say of each purchase what is else said of the message."""

    def node(request: Request) -> Response:
        response = reply(request)
        problem = parse(response.body)
        return response if problem is None else answer([problem.body()])

    return node


def _never_asked(request: Request) -> Response:
    raise AssertionError("nobody else was to be asked")


def test_attempts_fit_into_the_whole_time(world: World) -> None:
    """2.4 s an attempt, 5 s in all: longer than a write that waits for a lease."""
    world.http.nodes["order-1"] = world.http.nodes["order-2"] = world.silent()
    began = world.clock.now()
    buy(world)
    assert [request.timeout_s for request in sales(world)] == pytest.approx([2.4, 2.4])
    assert world.clock.now() - began == pytest.approx(4.8)


def test_the_second_attempt_gets_what_is_left(world: World) -> None:
    """A first one that took long leaves less."""

    def slow(request: Request) -> Response:
        world.clock.advance(4.0)
        return broken(request)

    world.http.nodes["order-1"] = slow
    world.http.nodes["order-2"] = world.silent()
    buy(world)
    assert sales(world)[1].timeout_s == pytest.approx(1.0)


def test_no_attempt_is_begun_when_the_time_is_over(world: World) -> None:
    """The buyer has gone; an attempt now could only confuse."""

    def very_slow(request: Request) -> Response:
        world.clock.advance(5.0)
        return broken(request)

    world.http.nodes["order-1"] = very_slow
    assert buy(world).get_json()["code"] == "outcome-unknown"
    assert len(sales(world)) == 1


def test_a_failed_order_server_is_left_alone_for_a_second(world: World) -> None:
    """The next purchases do not wait for it."""
    world.http.nodes["order-1"] = world.silent()
    assert buy(world).status_code == 201
    began = world.clock.now()
    for _ in range(3):
        assert buy(world).status_code == 201
    assert world.clock.now() == began


@pytest.mark.parametrize("refusing", [refused, running, full, sold_out])
def test_an_order_server_that_refuses_is_not_left_alone(world: World, refusing: Reply) -> None:
    """It is well; it is the shop that cannot sell."""
    world.http.nodes["order-1"] = refusing
    for _ in range(4):
        buy(world)
    assert [request.to for request in sales(world)].count("order-1") == 2


def test_the_same_key_again_is_the_order_servers_to_answer(world: World) -> None:
    """The frontend remembers no keys: whichever server is asked, the ledger knows."""
    first, second = buy(world), buy(world)
    assert first.data == second.data
    assert keys(world) == ["my-key"] * 2


def test_a_refusal_is_passed_on_as_it_is(world: World) -> None:
    """With all its members: which book, how many are left."""
    world.http.nodes["order-1"] = refusal("sold-out", "2 left", book_id=1, left=2)
    document = buy(world).get_json()
    assert (document["detail"], document["book_id"], document["left"]) == ("2 left", 1, 2)
    assert document["status"] == 409


# Orders


def test_an_order_is_public(world: World) -> None:
    """Whoever has its id may see it; it is not for caches."""
    response = world.get(f"/orders/{ORDER_ID}")
    assert response.get_json() == {"order_id": ORDER_ID}
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Served-By"] in ("order-1", "order-2")


@pytest.mark.parametrize("how", [dead, broken, unavailable])
def test_an_order_is_found_at_the_other_server(world: World, how: Reply) -> None:
    """Both logs hold every order."""
    world.http.nodes["order-1"] = how
    for _ in range(3):
        assert world.get(f"/orders/{ORDER_ID}").status_code == 200


def test_no_such_order_is_said_only_by_an_order_server(world: World) -> None:
    """One that cannot catch up says `unavailable`, and so do we."""
    assert world.get("/orders/unknown").get_json()["code"] == "not-found"
    world.http.nodes["order-1"] = world.http.nodes["order-2"] = unavailable
    assert world.get("/orders/unknown").get_json()["code"] == "unavailable"
    world.http.nodes["order-1"] = world.http.nodes["order-2"] = dead
    assert world.get("/orders/unknown").get_json()["code"] == "unavailable"


def test_an_order_is_answered_within_900_ms(world: World) -> None:
    """As every read."""
    world.http.nodes["order-1"] = world.http.nodes["order-2"] = world.silent()
    began = world.clock.now()
    assert world.get(f"/orders/{ORDER_ID}").status_code == 503
    assert world.clock.now() - began <= 0.9


@pytest.mark.parametrize("order_id", ["a%20b", "%00", "x" * 101, "%C3%A9", "..", "a%3Fb", "a%25b"])
def test_what_cannot_be_an_order_id_is_not_found(world: World, order_id: str) -> None:
    """Nobody is asked."""
    assert world.get(f"/orders/{order_id}").status_code == 404
    assert world.http.sent == []


def test_a_purchase_that_comes_back_is_sold_once(world: World) -> None:
    """First attempt lost after it sold: the second gets the recorded order."""
    recorded: dict[str, Response] = {}

    def sell(request: Request) -> Response:
        (sale,) = json.loads(request.body)
        return recorded.setdefault(sale["key"], sold({"order_id": f"o{len(recorded)}"}))

    def sell_and_die(request: Request) -> Response:
        sell(request)
        return broken(request)

    handlers: list[Callable[[Request], Response]] = [sell_and_die, sell]
    world.http.nodes["order-1"] = world.http.nodes["order-2"] = in_turn(*handlers)
    assert buy(world).get_json()["order_id"] == "o0"
    assert buy(world).get_json()["order_id"] == "o0"
    assert len(recorded) == 1
