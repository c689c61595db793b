"""The public API of a whole shop, from outside: what it is for, what it refuses, what it
survives.
"""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common import bundle
from common.auth import Signer
from common.errors import Problem
from tests.support.processes import ROOT
from tests.support.real import RealShop, at_once, code

SYSTEMS = "/search/distributed%20systems"
UNDERGRADUATE = 3  # of config/catalog.csv: "Xen and the Art of Surviving Undergraduate School"
BUYERS = 200


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealShop]:
    """One shop with the seed that Bazar ships; each test sells books of its own."""
    seed = (ROOT / "config" / "catalog.csv").read_text("utf-8")
    with RealShop(tmp_path_factory.mktemp("shop"), seed=seed) as shop:
        yield shop


def new_book(shop: RealShop, quantity: int = 10, **fields: Any) -> int:
    """Add a book for one test and return its id."""
    book = {"title": "A Test's Own", "authors": ["N. N."], "topics": ["tests"]} | fields
    body = {"price_cents": 700, "quantity": quantity} | book
    added = shop.call("POST", "/books", body, operator=True)
    assert added.status_code == 201, added.text
    return int(added.json()["id"])


# --- what a shop is for ---


def test_a_search_lists_the_books_of_a_topic(shop: RealShop) -> None:
    """By id, with what a customer chooses by, however the topic is spelled."""
    page = shop.get(f"{SYSTEMS}?limit=2").json()
    assert [item["id"] for item in page["items"]] == [1, 2]
    assert page["items"][1] == {
        "id": 2, "title": "RPCs for Noobs", "authors": ["Bazar Press"], "price_cents": 1999,
    }  # fmt: skip
    assert shop.get("/search/%20DISTRIBUTED%20%20systems?limit=2").json() == page
    assert shop.get("/search/nobody%20writes%20of%20this").json()["items"] == []


def test_pages_of_a_list_follow_one_another_without_gap_or_repeat(shop: RealShop) -> None:
    """`next` leads through all books, three at a time."""
    found, after = [], ""
    while after is not None:
        page = shop.get(f"/books?limit=3{after and f'&after={after}'}").json()
        found += [item["id"] for item in page["items"]]
        after = page["next"]
    assert found == list(range(1, page["total"] + 1))


def test_text_finds_titles_and_authors_and_is_never_syntax(shop: RealShop) -> None:
    """Whole words, and the beginning of the last one; operators and quotes are just text."""
    assert [b["id"] for b in shop.get("/books?q=noobs%20rp").json()["items"]] == [2]
    assert shop.get("/books?q=kleppmann").json()["total"] == 1
    for text in ('"', "NEAR(a b)", "title:*", "a AND OR NOT", "' OR 1=1 --", "(((", "*"):
        found = shop.call("GET", f"/books?q={requests_quote(text)}")
        assert found.status_code == 200, found.text


def requests_quote(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


def test_the_topics_are_listed_with_their_numbers_of_books(shop: RealShop) -> None:
    """A topic's number is the total of its search."""
    topics = {item["topic"]: item["books"] for item in shop.get("/topics").json()["items"]}
    assert topics["distributed systems"] == shop.get(SYSTEMS).json()["total"]


def test_a_lookup_misses_then_hits_and_says_the_same(shop: RealShop) -> None:
    """The first answer is a catalog's, the second the frontend's own; both name who answered."""
    path = f"/lookup/{new_book(shop)}"
    first = shop.get(path)
    assert first.headers["Cache-Status"] == "bazar; fwd=miss"
    assert first.headers["X-Served-By"] in shop.catalogs
    second = shop.hit(path)
    assert second.headers["X-Served-By"] == "frontend-1"
    assert second.content == first.content == shop.get(path.replace("lookup", "info")).content
    assert second.headers["ETag"] == first.headers["ETag"]


def test_a_purchase_takes_a_copy_and_the_next_lookup_shows_it(shop: RealShop) -> None:
    """Also when the lookup before was a hit."""
    book = new_book(shop, quantity=10)
    shop.hit(f"/lookup/{book}")
    sold = shop.buy(book)
    assert sold.status_code == 201
    line = {"book_id": book, "title": "A Test's Own", "quantity": 1, "price_cents": 700}
    assert sold.json()["items"] == [line]
    assert sold.json()["total_cents"] == 700
    assert shop.stock(book) == 9


def test_an_order_is_found_where_its_sale_said(shop: RealShop) -> None:
    """At `Location`, byte for byte as it was answered, in whichever order server's turn it is."""
    sold = shop.buy(new_book(shop))
    for _ in range(4):
        found = shop.get(sold.headers["Location"])
        assert (found.status_code, found.json()) == (200, sold.json())
    for name in shop.orders:
        path = sold.headers["Location"]
        assert shop.peer(name).call("GET", path, timeout_s=5).json() == sold.json()


def test_a_purchase_without_a_body_buys_one(shop: RealShop) -> None:
    """As in the report: `POST /purchase/<id>`."""
    book = new_book(shop, quantity=2)
    assert shop.call("POST", f"/purchase/{book}").status_code == 201
    assert shop.stock(book) == 1


def test_a_basket_is_sold_whole_or_not_at_all(shop: RealShop) -> None:
    """One line that cannot be had refuses the others, too."""
    one, other = new_book(shop, quantity=3), new_book(shop, quantity=1)
    lines = [{"book_id": one, "quantity": 2}, {"book_id": other, "quantity": 2}]
    refused = shop.call("POST", "/orders", {"items": lines})
    assert code(refused) == "sold-out"
    assert (shop.stock(one), shop.stock(other)) == (3, 1)
    lines[1]["quantity"] = 1
    sold = shop.call("POST", "/orders", {"items": lines})
    assert (sold.status_code, sold.json()["total_cents"]) == (201, 2100)
    assert (shop.stock(one), shop.stock(other)) == (1, 0)


# --- the operator ---


def test_an_added_book_is_found_by_id_topic_and_text(shop: RealShop) -> None:
    """At once, though the topic's page was cached."""
    topic = f"topic {uuid4()}"
    new_book(shop, topics=[topic])
    shop.hit(f"/search/{topic}")
    book = new_book(shop, title="Fünf Wörter über Enten", topics=[topic])
    assert shop.look(book)["title"] == "Fünf Wörter über Enten"
    assert shop.get(f"/search/{topic}").json()["items"][-1]["id"] == book
    assert shop.get("/books?q=funf%20enten").json()["items"][0]["id"] == book


def test_an_edit_is_seen_in_cached_book_and_cached_page(shop: RealShop) -> None:
    """Price, title and topics; the answer is the book."""
    topic, other = f"topic {uuid4()}", f"topic {uuid4()}"
    book = new_book(shop, topics=[topic])
    shop.hit(f"/lookup/{book}")
    shop.hit(f"/search/{topic}")
    shop.hit(f"/search/{other}")
    changes = {"price_cents": 1, "title": "Now Another", "topics": [other], "reason": "mistake"}
    edited = shop.call("PATCH", f"/books/{book}", changes, operator=True)
    assert edited.status_code == 200
    assert edited.json() == shop.look(book)
    assert edited.json()["price_cents"] == 1
    assert shop.get(f"/search/{topic}").json()["total"] == 0
    assert [item["title"] for item in shop.get(f"/search/{other}").json()["items"]] == [
        "Now Another"
    ]


def test_a_restock_adds_once_for_its_key(shop: RealShop) -> None:
    """Repeated, it answers what it answered, and adds nothing."""
    book, key = new_book(shop, quantity=1), str(uuid4())
    answers = [shop.restock(book, 5, key=key) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {200}
    assert [answer.json()["quantity"] for answer in answers] == [6, 6, 6]
    assert shop.stock(book) == 6


def test_all_orders_are_listed_in_the_order_of_their_sale(shop: RealShop) -> None:
    """For the operator, page by page."""
    book = new_book(shop)
    sold = [shop.buy(book).json() for _ in range(3)]
    listed: list[Any] = []
    after = ""
    while after is not None:
        path = f"/orders?limit=2{after and f'&after={after}'}"
        page = shop.get(path, operator=True).json()
        listed += page["items"]
        after = page["next"]
    assert listed[-3:] == sold
    assert page["total"] == len(listed)


def test_the_cluster_is_shown_node_by_node(shop: RealShop) -> None:
    """All up, one leader, nobody behind."""
    seen = shop.get("/cluster", operator=True).json()
    nodes = {node["node"]: node for node in seen["nodes"]}
    assert set(nodes) == set(shop.names)
    assert all(node["up"] for node in nodes.values())
    assert [name for name in nodes if nodes[name]["role"] == "leader"] == [seen["leader"]]
    assert nodes["frontend-1"]["lease"] > 0


# --- keys ---


def test_a_key_is_returned_and_made_when_there_is_none(shop: RealShop) -> None:
    """A client that lost the answer can ask again with it."""
    book, key = new_book(shop), f"key {uuid4()}"
    assert shop.buy(book, key=key).headers["Idempotency-Key"] == key
    made = shop.buy(book)
    again = shop.buy(book, key=made.headers["Idempotency-Key"])
    assert again.content == made.content
    assert shop.stock(book) == 8


def test_a_refusal_is_remembered_for_its_key(shop: RealShop) -> None:
    """What was said to be sold out is not sold later by a late duplicate; a new key buys."""
    book, key = new_book(shop, quantity=0), str(uuid4())
    refused = shop.buy(book, key=key)
    assert code(refused) == "sold-out"
    shop.restock(book, 1)
    assert shop.buy(book, key=key).content == refused.content
    assert shop.buy(book).status_code == 201


def sell(shop: RealShop, order_server: str, items: list[dict[str, int]], key: str) -> Any:
    """Sell through one order server with a signed call; return its answer or its problem."""
    try:
        (told,) = bundle.send(
            shop.peer(order_server), "/sales", [{"key": key, "items": items}], 5
        ).told
    except Problem as problem:
        return problem
    return told


def test_one_key_at_both_order_servers_at_once_is_one_sale(shop: RealShop) -> None:
    """Each answers with the same order, many times over."""
    book = new_book(shop, quantity=50)
    items = [{"book_id": book, "quantity": 1}]
    for _ in range(10):
        key = str(uuid4())
        calls = [partial(sell, shop, name, items, key) for name in shop.orders * 4]
        answers = at_once(calls)
        assert {type(answer) for answer in answers} == {bundle.Recorded}, answers
        assert all(answer == answers[0] for answer in answers)
    assert shop.stock(book) == 40


def test_one_key_with_two_bodies_at_once_sells_one_of_them(shop: RealShop) -> None:
    """The other one is told so, wherever it went."""
    book, key = new_book(shop, quantity=50), str(uuid4())
    one, two = ([{"book_id": book, "quantity": n}] for n in (1, 2))
    answers = at_once(
        [partial(sell, shop, "order-1", one, key), partial(sell, shop, "order-2", two, key)]
    )
    sold = [answer.answer for answer in answers if isinstance(answer, bundle.Recorded)]
    refused = [answer.code for answer in answers if isinstance(answer, Problem)]
    assert (len(sold), refused) == (1, ["idempotency-mismatch"])
    assert shop.stock(book) == 50 - sold[0]["items"][0]["quantity"]


def test_the_last_copy_is_sold_to_one_of_two_hundred_buyers(shop: RealShop) -> None:
    """All at once over HTTP: one 201, the others 409, nothing below zero."""
    book = new_book(shop, quantity=1)
    answers = at_once([partial(shop.buy, book)] * BUYERS)
    seen = Counter(answer.status_code if answer.ok else code(answer) for answer in answers)
    assert seen == {201: 1, "sold-out": BUYERS - 1}
    assert shop.stock(book) == 0


# --- conditions ---


@pytest.mark.parametrize("path", ["/lookup/1", SYSTEMS, "/books", "/topics"])
def test_head_and_not_modified_save_the_body(shop: RealShop, path: str) -> None:
    """HEAD has the headers of GET; with the ETag that a client has, GET is a 304 without a body."""
    full = shop.get(path)
    head = shop.call("HEAD", path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("ETag", "Content-Type", "Content-Length", "Cache-Control"):
        assert head.headers[name] == full.headers[name]
    assert full.headers["Cache-Control"] == "no-cache"
    for known in (full.headers["ETag"], f'W/{full.headers["ETag"]}, "x"', "*"):
        unchanged = shop.get(path, headers={"If-None-Match": known})
        assert (unchanged.status_code, unchanged.content) == (304, b""), known
        assert unchanged.headers["ETag"] == full.headers["ETag"]
    assert shop.get(path, headers={"If-None-Match": '"x"'}).status_code == 200


def test_an_etag_changes_with_the_book(shop: RealShop) -> None:
    """Or a client would go on showing the old stock."""
    book = new_book(shop)
    before = shop.get(f"/lookup/{book}").headers["ETag"]
    shop.buy(book)
    after = shop.get(f"/lookup/{book}", headers={"If-None-Match": before})
    assert (after.status_code, after.json()["quantity"]) == (200, 9)


def test_what_is_no_read_of_the_catalogue_is_not_stored(shop: RealShop) -> None:
    """Orders, writes and errors carry `no-store`."""
    sold = shop.buy(new_book(shop))
    answers = [sold, shop.get(sold.headers["Location"]), shop.get("/lookup/999999")]
    assert {answer.headers["Cache-Control"] for answer in answers} == {"no-store"}


# --- refusals ---

REFUSALS: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/books?limit=0", None, 400, "invalid-request"),
    ("GET", "/books?after=nonsense", None, 400, "invalid-request"),
    ("GET", "/lookup/1?x=1", None, 400, "invalid-request"),
    ("POST", "/purchase/1", {"quantity": 0}, 400, "invalid-request"),
    ("POST", "/purchase/1", {"quantity": 1.5}, 400, "invalid-request"),
    ("POST", "/purchase/1", {"copies": 1}, 400, "invalid-request"),
    ("POST", "/orders", {"items": []}, 400, "invalid-request"),
    ("POST", "/orders", {"items": [{"book_id": 1}, {"book_id": 1}]}, 400, "invalid-request"),
    ("POST", "/books", {"title": "x"}, 401, "unauthorized"),
    ("PATCH", "/books/1", {"price_cents": 1}, 401, "unauthorized"),
    ("POST", "/books/1/restock", {"quantity": 1}, 401, "unauthorized"),
    ("GET", "/orders", None, 401, "unauthorized"),
    ("GET", "/cluster", None, 401, "unauthorized"),
    ("POST", "/internal/invalidate", {}, 401, "unauthorized"),
    ("GET", "/status", None, 401, "unauthorized"),
    ("GET", "/lookup/999999", None, 404, "not-found"),
    ("GET", "/nowhere", None, 404, "not-found"),
    ("GET", "/orders/0123456789abcdef", None, 404, "not-found"),
    ("POST", "/purchase/999999", None, 404, "not-found"),
    ("POST", "/lookup/1", None, 405, "method-not-allowed"),
    ("DELETE", "/books/1", None, 405, "method-not-allowed"),
    ("POST", "/purchase/1", b"[" * 65_537, 413, "too-large"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "named"), REFUSALS)
def test_a_refusal_has_its_status_and_its_code(
    shop: RealShop, method: str, path: str, body: Any, status: int, named: str
) -> None:
    """A problem document, and nothing was done."""
    answer = shop.call(method, path, body)
    assert (answer.status_code, code(answer)) == (status, named)
    assert answer.headers["Cache-Control"] == "no-store"
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)
    assert ("Allow" in answer.headers) == (status == 405)


def test_sold_out_names_the_book_and_what_is_left(shop: RealShop) -> None:
    """409, with the numbers a shop's page needs."""
    book = new_book(shop, quantity=1)
    refused = shop.buy(book, 2)
    assert (refused.status_code, code(refused)) == (409, "sold-out")
    assert (refused.json()["book_id"], refused.json()["quantity_left"]) == (book, 1)


def test_a_key_used_for_something_else_is_refused(shop: RealShop) -> None:
    """422, for another quantity, another book, another kind of call."""
    book, key = new_book(shop), str(uuid4())
    assert shop.buy(book, 1, key=key).status_code == 201
    others = [shop.buy(book, 2, key=key), shop.buy(1, 1, key=key), shop.restock(book, 1, key=key)]
    assert [(other.status_code, code(other)) for other in others] == [
        (422, "idempotency-mismatch")
    ] * 3
    assert shop.stock(book) == 9


@pytest.mark.parametrize("given", ["Bearer wrong", "Basic x", "Bearer", "Bearer ", "", "\xff"])
def test_a_wrong_token_is_refused(shop: RealShop, given: str) -> None:
    """However it is wrong."""
    answer = shop.get("/cluster", headers={"Authorization": given.encode("latin-1")})
    assert (answer.status_code, code(answer)) == (401, "unauthorized")


@pytest.mark.parametrize("key", ["", "x" * 256, "schlüssel".encode("latin-1"), "a\tb"])
def test_a_bad_key_is_refused_before_anything_is_sold(shop: RealShop, key: str | bytes) -> None:
    """1 to 255 printable ASCII characters."""
    book = new_book(shop, quantity=1)
    answer = shop.call("POST", f"/purchase/{book}", headers={"Idempotency-Key": key})  # type: ignore[dict-item]
    assert (answer.status_code, code(answer)) == (400, "invalid-request")
    assert shop.stock(book) == 1


INNER = [
    ("catalog-1", "GET", "/books/1"), ("catalog-1", "POST", "/operations"),
    ("catalog-1", "POST", "/sessions"), ("catalog-1", "POST", "/replication/state"),
    ("catalog-2", "GET", "/ledger"), ("catalog-2", "GET", "/replication/entries"),
    ("order-1", "POST", "/sales"), ("order-1", "GET", "/orders"), ("order-2", "GET", "/status"),
    ("frontend-1", "POST", "/internal/invalidate"), ("frontend-1", "GET", "/status"),
]  # fmt: skip


@pytest.mark.parametrize(("node", "method", "path"), INNER)
def test_inner_calls_need_a_signature_made_for_that_node(
    shop: RealShop, node: str, method: str, path: str
) -> None:
    """None is not enough, nor is the operator's token, nor one made for another node."""
    signed_for_another = Signer("tester", shop.settings.cluster_secret).headers(
        "somebody", method, path, "", b"{}"
    )
    for headers in ({}, signed_for_another):
        answer = shop.call(method, path, b"{}", at=node, headers=headers, operator=True)
        assert (answer.status_code, code(answer)) == (401, "unauthorized")


# --- hostile requests ---


class Raw:
    """A whole answer as it came over the wire."""

    def __init__(self, received: bytes) -> None:
        self.received = received
        head, _, self.body = received.partition(b"\r\n\r\n")
        self.status = int(head.split(b" ", 2)[1])
        self.is_problem = b"application/problem+json" in head

    @property
    def code(self) -> str:
        """Return the code of a problem document, or the empty string."""
        return str(json.loads(self.body)["code"]) if self.is_problem else ""


def talk(shop: RealShop, sent: bytes) -> Raw:
    """Send bytes to the frontend over a connection of their own and return the one answer."""
    host, _, port = shop.url("frontend-1").removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=15) as connection:
        received = b""
        try:
            connection.sendall(sent)
            while chunk := connection.recv(65_536):
                received += chunk
        except ConnectionError:
            pass  # it hung up on what was still being sent; what it said before counts
    answer = Raw(received)
    assert answer.status != 500
    assert b"Traceback" not in received
    assert b'File "' not in received
    return answer


def ask(method: str, target: str | bytes, *headers: str, body: bytes | None = None) -> bytes:
    """Return a request as bytes, after which the connection closes."""
    raw = target if isinstance(target, bytes) else target.encode("latin-1")
    lines = ["Host: bazar", "Connection: close", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    head = method.encode() + b" " + raw + b" HTTP/1.1\r\n" + "\r\n".join(lines).encode("latin-1")
    return head + b"\r\n\r\n" + (body or b"")


def chunks(size: int, count: int) -> bytes:
    one = f"{size:x}\r\n".encode() + b" " * size + b"\r\n"
    return one * count + b"0\r\n\r\n"


HUGE = 2**63
DIGITS = b"9" * 5_000
PATHS = [
    ("/lookup/0", 404), ("/lookup/01", 404), ("/lookup/-1", 404), ("/lookup/+1", 404),
    ("/lookup/1.0", 404), ("/lookup/1e3", 404), ("/lookup/0x1", 404), ("/lookup/%D9%A3", 404),
    ("/lookup/%EF%BC%91", 404), (f"/lookup/{HUGE}", 404), (f"/lookup/{HUGE - 1}", 404),
    ("/lookup/" + "1" * 9_000, 404), ("/lookup/%FF", 404), ("/lookup/%00", 404),
    ("/lookup/1%00", 404),
    ("/lookup/%0A1", 404), ("/lookup/1%0A", 404), ("/lookup/", 404), ("/lookup//1", 404),
    ("//lookup/1", 200), ("/lookup/../lookup/1", 404), ("/lookup/%2e%2e/1", 404), ("/..", 404),
    ("/lookup/1/", 404), ("/lookup/%31", 200), ("/search/%FF%FE", 200), ("/search/%00", 400),
    ("/search/a%00b", 400), ("/search/%ED%A0%80", 200), ("/search/" + "a" * 201, 400),
    ("/search/" + "%CC%81" * 1_000, 400), ("/search/a/b//c", 200), ("/search//", 200),
    ("/search/%2F", 200), ("/search/", 404), ("/search/%20", 400), ("/search/%E2%80%AE", 200),
    ("/search/nature?limit=1&limit=2", 400), ("/search/nature?limit=%D9%A3", 400),
    ("/search/nature?limit=-1", 400), ("/search/nature?limit=201", 400),
    ("/search/nature?limit=1e2", 400), ("/search/nature?after=", 400),
    ("/search/nature?after=%00", 400), ("/search/nature?after=" + "A" * 600, 400),
    ("/search/nature?after=c2VhcmNoOjpOYU4", 400), ("/search/nature?%FF=1", 400),
    ("/search/nature?limit", 400), ("/search/nature?&&&", 200), ("/books?q=%00", 400),
    ("/books?q=%FF", 200), ("/books?q=", 400), ("/books?q=" + "a%20" * 260, 400),
    ("/books?q=" + "%F0%9F%93%9A" * 100, 200), ("/topics?x", 400), ("/orders/%2e%2e", 404),
    ("/orders/..%2Fledger", 404), ("/orders/a%20b", 404), ("/orders/" + "a" * 101, 404),
    ("/orders/%C3%BC", 404), ("/orders/%00", 404), ("/" + "a/" * 3_000, 404), ("/%", 404),
    ("/%zz", 404), ("/lookup/1?#x", 400), ("*", 404), ("/livez?x=1", 200), ("/metrics/..", 404),
]  # fmt: skip


@pytest.mark.parametrize(("target", "status"), PATHS, ids=lambda value: str(value)[:40])
def test_a_hostile_address_gets_a_plain_answer(shop: RealShop, target: str, status: int) -> None:
    """404 for what cannot be, 400 for what is wrong; as a problem document."""
    answer = talk(shop, ask("GET", target))
    assert answer.status == status, answer.received
    assert answer.is_problem == (status >= 400)


BODIES = [
    b"", b" ", b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe{", b"\xef\xbb\xbf{}", b"{}x",
    b"[" * 60_000, b'{"items":' + b"[" * 30_000, b'{"a":' * 10_000, b'{"items":NaN}',
    b'{"items":Infinity}', b'{"items":[],"items":[]}', b'{"items":[{}]}', b'{"items":[null]}',
    b'{"items":[{"book_id":1,"quantity":' + DIGITS + b"}]}",
    b'{"items":[{"book_id":' + DIGITS + b"}]}",
    b'{"items":[{"book_id":9223372036854775808}]}', b'{"items":[{"book_id":-1}]}',
    b'{"items":[{"book_id":true}]}', b'{"items":[{"book_id":1,"quantity":1e-2}]}',
    b'{"items":[{"book_id":1,"quantity":1001}]}', b'{"items":[{"book_id":1,"book_id":1}]}',
    b'{"items":[{"book_id":"1"}]}', b'{"items":{"book_id":1}}', b'{"\\ud800":1}', b'{"\\u0000":1}',
    b'{"items":[' + b",".join(b'{"book_id":%d}' % n for n in range(1, 102)) + b"]}",
    b'{"items":[{"book_id":1}],"' + b"x" * 60_000 + b'":1}',
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:30]))
def test_a_hostile_basket_is_refused(shop: RealShop, body: bytes) -> None:
    """400 and a reason, whatever it holds and however deep it goes."""
    answer = talk(shop, ask("POST", "/orders", body=body))
    assert (answer.status, answer.code) == (400, "invalid-request"), answer.received
    assert len(answer.received) < 2_000


BOOKS = [
    {"title": "x" * 1001}, {"title": "\ud800"}, {"title": "a\x00b"}, {"title": " \n "},
    {"title": 1},
    {"authors": "N. N."}, {"authors": ["x" * 301]}, {"authors": [[]]}, {"topics": []},
    {"topics": ["x" * 201]}, {"topics": [None]}, {"price_cents": -1}, {"price_cents": 1.5},
    {"price_cents": 10**30}, {"quantity": -1}, {"quantity": 10**10}, {"sku": ""},
    {"sku": "x" * 101},
    {"id": 7}, {"version": 1},
]  # fmt: skip


@pytest.mark.parametrize("fields", BOOKS, ids=lambda fields: repr(fields)[:40])
def test_a_hostile_book_is_refused_even_from_the_operator(
    shop: RealShop, fields: dict[str, Any]
) -> None:
    """400, and the field is named."""
    good = {"title": "x", "authors": [], "topics": ["x"], "price_cents": 1, "quantity": 1}
    total = shop.get("/books").json()["total"]
    answer = shop.call("POST", "/books", good | fields, operator=True)
    assert (answer.status_code, code(answer)) == (400, "invalid-request")
    assert next(iter(fields)) in answer.json()["detail"]
    assert shop.get("/books").json()["total"] == total


def test_a_cursor_of_another_list_is_refused(shop: RealShop) -> None:
    """Each list knows its own, wherever it is handed in."""
    paths = [f"{SYSTEMS}?limit=1", "/books?limit=1", "/orders?limit=1"]
    sold = [shop.buy(new_book(shop)) for _ in range(2)]
    assert {answer.status_code for answer in sold} == {201}
    cursors = {path: shop.get(path, operator=True).json()["next"] for path in paths}
    for path, cursor in cursors.items():
        for other in paths:
            answer = shop.get(f"{other}&after={cursor}", operator=True)
            assert answer.status_code == (200 if other == path else 400), (path, other)


LINE = "X-Filler: " + "a" * 1_000
MALFORMED = [
    (b"\0\0\0\0\r\n\r\n", {400}),
    (b"GET\r\n\r\n", {400}),
    (b"GET / HTTP/9.9\r\nConnection: close\r\n\r\n", {400, 404, 505}),
    (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", {400}),
    (b"GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", {400}),
    (b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", {400}),
    (b"GET /livez HTTP/1.1\r\n\r\n", {400}),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", {400}),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 404, 505}),
    (ask("POST", "/orders", "Content-Length: x"), {400}),
    (ask("POST", "/orders", "Content-Length: -1"), {400}),
    (ask("POST", "/orders", "Content-Length: 1", "Content-Length: 2") + b"{}", {400}),
    (ask("POST", "/orders", "Transfer-Encoding: gzip") + b"{}", {400, 501}),
    (ask("POST", "/orders", "Transfer-Encoding: chunked") + b"zz\r\n", {400}),
    (ask("POST", "/orders", "Transfer-Encoding: chunked") + chunks(10, 2), {400}),
    (ask("POST", "/orders", "Transfer-Encoding: chunked") + chunks(60_000, 2), {413}),
    (ask("POST", "/orders", body=b" " * 65_536), {400}),
    (ask("POST", "/orders", body=b" " * 65_537), {413}),
    (ask("POST", "/orders", body=b" " * 3_000_000), {413}),
    (ask("GET", "/livez", *[LINE] * 20), {400, 413}),
    (ask("GET", "/livez?" + "a" * 20_000), {400, 413}),
    (ask("GET", "/livez", "X: " + "a" * 200_000), {400, 413}),
    (ask("BREW", "/lookup/1"), {400, 405}),
    (ask("GET", "/lookup/1", body=b"{"), {200}),
    (ask("OPTIONS", "/lookup/1"), {200, 405}),
    (ask("TRACE", "/lookup/1"), {405}),
    (ask("CONNECT", "bazar:80"), {400, 404, 405}),
    (ask("GET", "http://elsewhere/lookup/1"), {200}),
]


@pytest.mark.parametrize(("sent", "statuses"), MALFORMED, ids=lambda value: repr(value)[:50])
def test_malformed_http_is_refused(shop: RealShop, sent: bytes, statuses: set[int]) -> None:
    """With a 4xx, and the server lives on."""
    answer = talk(shop, sent)
    assert answer.status in statuses, answer.received
    assert shop.get("/livez").json() == {"alive": True}


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)


json_leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
json_values = st.recursive(json_leaves, nested, max_leaves=8)
names = st.sampled_from(
    ["items", "book_id", "quantity", "title", "topics", "price_cents", "reason"]
)
bodies = st.dictionaries(names, json_values, max_size=4) | json_values
targets = st.builds(
    lambda head, tail, query: head + "".join(f"%{byte:02X}" for byte in tail) + query,
    st.sampled_from(["/lookup/", "/search/", "/orders/", "/books", "/books?q=", "/purchase/", "/"]),
    st.binary(max_size=12),
    st.sampled_from(["", "?", "?limit=2", "?limit=%00", "?after=eA", "?x=1", "?q=%22"]),
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PATCH", "PUT"]),
    target=targets,
    body=bodies.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40),
    operator=st.booleans(),
)
def test_no_request_at_all_is_an_internal_error(
    shop: RealShop, method: str, target: str, body: bytes, operator: bool
) -> None:
    """Whatever is sent: an answer below 500, a problem document where it refuses."""
    token = [f"Authorization: Bearer {shop.settings.admin_token}"] if operator else []
    answer = talk(shop, ask(method, target, *token, body=None if method == "GET" else body))
    assert answer.status < 500, answer.received
    assert answer.is_problem == (answer.status >= 400)


def test_after_all_this_every_node_lives_and_nothing_was_unforeseen(shop: RealShop) -> None:
    """Last in this file: no node has died, no log holds a traceback or a secret, the copies are
    equal.
    """
    assert shop.alive() == shop.names
    for name in shop.names:
        assert "Traceback" not in shop.processes[name].logs(), name
        assert "unexpected error" not in shop.processes[name].logs(), name
        assert shop.settings.admin_token not in shop.processes[name].logs(), name
        assert shop.settings.cluster_secret not in shop.processes[name].logs(), name
    shop.check_copies()
