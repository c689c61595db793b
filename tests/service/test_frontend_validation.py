"""What the public API refuses: every field, parameter, header and path, each with its code."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import PUBLIC
from frontend.app import LANES
from tests.support.frontend_fakes import TOKEN, World

BOOK: dict[str, Any] = {
    "title": "T",
    "authors": ["A"],
    "topics": ["Art"],
    "price_cents": 1,
    "quantity": 2,
}


@pytest.fixture
def world() -> World:
    return World()


def refused(world: World, method: str, path: str, body: Any = None) -> tuple[int, str, str]:
    """Return status, code and detail; nobody may have been asked."""
    data = body if isinstance(body, str | bytes | None) else json.dumps(body)
    response = world.operator(method, path, data=data)
    assert response.content_type == "application/problem+json"
    assert response.headers["Cache-Control"] == "no-store"
    assert world.http.sent == []
    document = response.get_json()
    assert document["status"] == response.status_code
    assert document["title"]
    return response.status_code, document["code"], document["detail"]


BAD_IDS = ["0", "-1", "01", "1.0", "1e3", "+1", "%201", "1%20", "abc", "9223372036854775808",
           "1" * 30, "\u0661", "%00", "None", "1,2"]  # fmt: skip


@pytest.mark.parametrize("book", BAD_IDS)
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/lookup/{}", None),
        ("GET", "/info/{}", None),
        ("POST", "/purchase/{}", {"quantity": 1}),
        ("PATCH", "/books/{}", {"price_cents": 1}),
        ("POST", "/books/{}/restock", {"quantity": 1}),
    ],
)
def test_what_is_no_canonical_id_is_not_found(
    world: World, method: str, path: str, body: Any, book: str
) -> None:
    """Two spellings of one id would be two cache entries."""
    assert refused(world, method, path.format(book), body)[:2] == (404, "not-found")


def test_the_largest_id_is_an_id(world: World) -> None:
    """2^63 - 1."""
    world.get("/lookup/9223372036854775807")
    assert world.http.asked("/books/9223372036854775807")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/lookup/1?x=1", "x"),
        ("/info/1?limit=1", "limit"),
        ("/topics?limit=1", "limit"),
        ("/search/a?q=1", "q"),
        ("/search/a?limit=0", "limit"),
        ("/search/a?limit=201", "limit"),
        ("/search/a?limit=-1", "limit"),
        ("/search/a?limit=", "limit"),
        ("/search/a?limit=1.5", "limit"),
        ("/search/a?limit=%C2%B2", "limit"),
        ("/search/a?limit=99999999999999999999", "limit"),
        ("/search/a?limit=1&limit=2", "limit"),
        ("/search/a?after=", "after"),
        ("/search/a?after=%C3%A9", "after"),
        ("/search/a?after=" + "x" * 501, "after"),
        ("/search/" + "a" * 201, "topic"),
        ("/search/%20%09", "topic"),
        ("/search/a%00b", "topic"),
        ("/books?q=", "q"),
        ("/books?q=%20", "q"),
        ("/books?q=" + "a" * 501, "q"),
        ("/books?q=a&q=b", "q"),
        ("/books?q=a%00", "q"),
        ("/books?topic=a", "topic"),
        ("/books?limit=x", "limit"),
        ("/orders/abc?x=1", "x"),
        ("/orders?q=1", "q"),
        ("/orders?limit=0", "limit"),
        ("/cluster?x=1", "x"),
    ],
)
def test_a_bad_parameter_is_named(world: World, path: str, field: str) -> None:
    """400, and which one it is."""
    status, code, detail = refused(world, "GET", path)
    assert (status, code) == (400, "invalid-request")
    assert detail.startswith(f"{field}:")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"quantity": 0}, "quantity"),
        ({"quantity": 1001}, "quantity"),
        ({"quantity": "1"}, "quantity"),
        ({"quantity": 1.5}, "quantity"),
        ({"quantity": True}, "quantity"),
        ({"quantity": None}, "quantity"),
        ({"quantity": 10**400}, "quantity"),
        ({"quantity": 1, "note": "x"}, "note"),
        ({"book_id": 1}, "book_id"),
    ],
)
def test_a_bad_purchase_is_refused(world: World, body: Any, field: str) -> None:
    """The field is named."""
    text = json.dumps(body)
    assert refused(world, "POST", "/purchase/1", text)[:2] == (400, "invalid-request")
    assert field in refused(world, "POST", "/purchase/1", text)[2]


LINE = {"book_id": 1, "quantity": 1}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "items"),
        ({"items": []}, "items"),
        ({"items": {}}, "items"),
        ({"items": [LINE] * 2}, "items"),
        ({"items": [{"book_id": n} for n in range(1, 102)]}, "items"),
        ({"items": [LINE], "coupon": "x"}, "coupon"),
        ({"items": [7]}, "items[0]"),
        ({"items": [{"quantity": 1}]}, "items[0].book_id"),
        ({"items": [{"book_id": 0}]}, "items[0].book_id"),
        ({"items": [{"book_id": "1"}]}, "items[0].book_id"),
        ({"items": [{"book_id": 2**63}]}, "items[0].book_id"),
        ({"items": [LINE, {"book_id": 2, "quantity": 0}]}, "items[1].quantity"),
        ({"items": [{"book_id": 1, "price_cents": 0}]}, "price_cents"),
    ],
)
def test_a_bad_basket_is_refused(world: World, body: Any, field: str) -> None:
    """The line and the field are named."""
    status, code, detail = refused(world, "POST", "/orders", body)
    assert (status, code) == (400, "invalid-request")
    assert detail.startswith(f"{field}:")


def without(name: str) -> dict[str, Any]:
    return {member: value for member, value in BOOK.items() if member != name}


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        *[("POST", "/books", without(name), name) for name in BOOK],
        ("POST", "/books", BOOK | {"id": 1}, "id"),
        ("POST", "/books", BOOK | {"title": ""}, "title"),
        ("POST", "/books", BOOK | {"title": "x" * 1001}, "title"),
        ("POST", "/books", BOOK | {"title": "a\u0000b"}, "title"),
        ("POST", "/books", BOOK | {"title": "\ud800"}, "title"),
        ("POST", "/books", BOOK | {"authors": "A"}, "authors"),
        ("POST", "/books", BOOK | {"authors": [1]}, "authors[0]"),
        ("POST", "/books", BOOK | {"topics": []}, "topics"),
        ("POST", "/books", BOOK | {"topics": [" "]}, "topics[0]"),
        ("POST", "/books", BOOK | {"price_cents": -1}, "price_cents"),
        ("POST", "/books", BOOK | {"price_cents": 1.5}, "price_cents"),
        ("POST", "/books", BOOK | {"quantity": -1}, "quantity"),
        ("POST", "/books", BOOK | {"sku": ""}, "sku"),
        ("PATCH", "/books/1", {"quantity": 1}, "quantity"),
        ("PATCH", "/books/1", {"sku": "x"}, "sku"),
        ("PATCH", "/books/1", {"title": None}, "title"),
        ("PATCH", "/books/1", {"price_cents": 1, "reason": ""}, "reason"),
        ("POST", "/books/1/restock", {}, "quantity"),
        ("POST", "/books/1/restock", {"quantity": 0}, "quantity"),
        ("POST", "/books/1/restock", {"quantity": 1001}, "quantity"),
        ("POST", "/books/1/restock", {"quantity": 1, "price_cents": 1}, "price_cents"),
    ],
)
def test_a_bad_book_is_refused(world: World, method: str, path: str, body: Any, field: str) -> None:
    """The field is named."""
    status, code, detail = refused(world, method, path, body)
    assert (status, code) == (400, "invalid-request")
    assert detail.startswith(f"{field}:")


@pytest.mark.parametrize("body", [{}, {"reason": "no change"}])
def test_an_edit_that_changes_nothing_is_refused(world: World, body: Any) -> None:
    """It would be a write all the same."""
    assert refused(world, "PATCH", "/books/1", body)[:2] == (400, "invalid-request")


BAD_BODIES = [b"{", b"[]", b'"x"', b"1", b"null", b"NaN", b'{"items": NaN}', b"\xff\xfe{}",
              b'{"a": 1, "a": 2}', b"{'items': 1}", b'{"items": 1e999}', b"[" * 30_000,
              b"\xef\xbb\xbf{}"]  # fmt: skip


@pytest.mark.parametrize("body", BAD_BODIES)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/purchase/1"), ("POST", "/orders"), ("POST", "/books"), ("PATCH", "/books/1"),
     ("POST", "/books/1/restock")],
)  # fmt: skip
def test_a_body_that_is_no_json_object_is_refused(
    world: World, method: str, path: str, body: bytes
) -> None:
    """Strict JSON in UTF-8, each member once."""
    assert refused(world, method, path, body)[:2] == (400, "invalid-request")


@pytest.mark.parametrize("path", ["/orders", "/books", "/books/1/restock"])
def test_a_missing_body_is_refused(world: World, path: str) -> None:
    """Only a purchase may come without."""
    assert refused(world, "POST", path)[:2] == (400, "invalid-request")


def test_a_large_body_is_refused(world: World) -> None:
    """64 KiB, and not a byte more."""
    fits = json.dumps({"quantity": 1}).encode().ljust(64 * 1024)
    assert refused(world, "POST", "/purchase/1", fits + b" ")[:2] == (413, "too-large")
    assert world.client.post("/purchase/1", data=fits).status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\u00e9", "a\tb"])
@pytest.mark.parametrize("path", ["/purchase/1", "/orders", "/books", "/books/1/restock"])
def test_a_bad_key_is_refused(world: World, path: str, key: str) -> None:
    """1 to 255 printable ASCII characters."""
    headers = {"Idempotency-Key": key, "Authorization": f"Bearer {TOKEN}"}
    response = world.client.post(path, json={}, headers=headers)
    assert response.status_code == 400
    assert response.get_json()["field"] == "Idempotency-Key"
    assert world.http.sent == []


@pytest.mark.parametrize("key", ["x", "x" * 255, "a b", '"quoted"', "~!@#$%^&*()"])
def test_a_good_key_is_taken_as_it_is(world: World, key: str) -> None:
    """And returned, with errors too."""
    for path in ("/purchase/1", "/purchase/0", "/purchase/1?x=1"):
        response = world.client.post(path, headers={"Idempotency-Key": key})
        assert response.headers["Idempotency-Key"] == key


@pytest.mark.parametrize("body", [None, b"{", {"quantity": 0}])
def test_a_refused_write_returns_a_key_too(world: World, body: Any) -> None:
    """Every write answer has one."""
    data = body if isinstance(body, bytes | None) else json.dumps(body)
    response = world.client.post("/purchase/x" if body is None else "/purchase/1", data=data)
    assert response.status_code in (400, 404)
    assert len(response.headers["Idempotency-Key"]) == 32


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/lookup/1"), ("DELETE", "/books/1"), ("PUT", "/books"), ("GET", "/purchase/1"),
     ("PATCH", "/orders"), ("GET", "/books/1/restock"), ("GET", "/internal/invalidate"),
     ("POST", "/topics"), ("TRACE", "/topics"), ("POST", "/livez")],
)  # fmt: skip
def test_a_method_an_address_does_not_take(world: World, method: str, path: str) -> None:
    """405 with Allow; what is internal says only that the caller is unknown."""
    response = world.client.open(path, method=method)
    if path.startswith("/internal"):
        assert response.status_code == 401
        return
    assert (response.status_code, response.get_json()["code"]) == (405, "method-not-allowed")
    assert response.headers["Allow"]


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/lookup", "/lookup/", "/lookup/1/", "/lookup//1", "/search", "/search/",
     "/books/1", "/orders/", "/orders/a/b", "/static/x", "/internal/other", "/topics/"],
)  # fmt: skip
def test_addresses_that_are_none(world: World, path: str) -> None:
    """404 as a problem document, no redirects."""
    assert refused(world, "GET", path)[0] in (404, 405)


@pytest.mark.parametrize(
    "topic", ["a/b", "/a", "a/", "a//b", "..", "a?b".replace("?", "%3F"), "%25"]
)
def test_topics_may_hold_any_printable_character(world: World, topic: str) -> None:
    """Slashes too, at the ends too."""
    assert world.get(f"/search/{topic}").status_code == 200


@pytest.mark.parametrize("code", sorted(PUBLIC))
def test_every_public_code_has_its_status(code: str) -> None:
    """The table is the one in the README."""
    status, title = PUBLIC[code]
    assert status in (400, 401, 404, 405, 409, 413, 422, 429, 503)
    assert title


PATHS = ["/lookup/{}", "/search/{}", "/purchase/{}", "/orders/{}", "/books?q={}", "/books?after={}",
         "/search/a?limit={}", "/{}", "/topic/{}", "/find?q={}", "/order/{}"]  # fmt: skip
METHODS = st.sampled_from(["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(METHODS, st.sampled_from(PATHS), st.text(max_size=20), st.binary(max_size=50))
def test_nothing_is_ever_a_500(method: str, path: str, text: str, body: bytes) -> None:
    """Whatever is asked: an answer with a status of ours, from a lane that exists."""
    world = World()
    usable = text.encode("utf-8", "replace").decode().replace("\r", "").replace("\n", "")
    where = path.format("".join(f"%{byte:02x}" for byte in usable.encode()))
    response = world.client.open(where, method=method, data=body)
    assert response.status_code in (200, 201, 400, 401, 404, 405, 409, 413)
    assert world.service.lane_of(method, where.partition("?")[0]) in LANES
