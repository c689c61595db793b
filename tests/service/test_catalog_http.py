"""The catalog's HTTP: who may call, what is refused, and with which code. Never a 500."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from catalog import store
from catalog.model import Entry
from catalog.replication import ALONE, FOLLOWING, LEADING, RECOVERING, REFUSING
from common.auth import SIGNATURE, Signer
from common.errors import MEDIA_TYPE
from common.peer import Request
from tests.support.catalog_fakes import (
    FRONTEND,
    ONE,
    SECRET,
    TWO,
    Answered,
    Catalogs,
    Document,
    book,
    sale,
    silent,
)
from tests.support.network import call_wsgi

SEED = (
    "sku,title,authors,topics,price_cents,stock\n"
    "a,Graphs,Ann,Systems,1000,5\n"
    "b,Trees,Bob,Systems|Go,700,0\n"
)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Catalogs]:
    """Two catalogs, open, with two books."""
    catalogs = Catalogs(tmp_path)
    catalogs.open()
    for key, fields in (
        ("new-1", book(title="Graphs", topics=["Systems"], quantity=5)),
        ("new-2", book(title="Trees", topics=["Systems", "ML/AI"], quantity=0)),
    ):
        assert catalogs.operate(key, "add", fields).status == 200
    catalogs.tick()
    yield catalogs
    catalogs.close()


@pytest.fixture
def lonely(tmp_path: Path) -> Iterator[Catalogs]:
    """One catalog that has just been started, its peer not there."""
    catalogs = Catalogs(tmp_path)
    catalogs.start(ONE)
    yield catalogs
    catalogs.close()


# --- who may call ---

OPEN = ("/livez", "/readyz", "/metrics")


def routes(catalogs: Catalogs) -> list[tuple[str, str]]:
    """Return (method, path) of everything the app serves, with made-up arguments."""
    found = []
    for rule in catalogs.apps[ONE].url_map.iter_rules():
        path = (
            str(rule)
            .replace("<int:book_id>", "1")
            .replace("<session>", "s")
            .replace("<snapshot_id>", "x")
        )
        found += [
            (method, path)
            for method in sorted(rule.methods or ())
            if method not in ("HEAD", "OPTIONS")
        ]
    return found


def send(
    catalogs: Catalogs, method: str, target: str, headers: dict[str, str], body: bytes = b""
) -> Answered:
    answer = call_wsgi(
        catalogs.apps[ONE], Request(ONE, "", method, target, headers, body, timeout_s=1.0)
    )
    return Answered(answer.status, answer.headers, answer.body)


def test_every_route_but_health_refuses_a_call_that_is_not_signed(lonely: Catalogs) -> None:
    """Nothing here is public."""
    guarded = [(method, path) for method, path in routes(lonely) if path not in OPEN]
    assert len(guarded) >= 18
    for method, path in guarded:
        refused = send(lonely, method, path, {}, b"{}")
        assert (refused.status, refused.code) == (401, "unauthorized"), path


def test_every_route_refuses_a_call_that_was_altered(lonely: Catalogs) -> None:
    """Another body, target, method, receiver, sender, cluster or secret than was signed."""
    for method, path in routes(lonely):
        if path in OPEN:
            continue
        signer, body = Signer("order-1", SECRET), b"{}"
        good = signer.headers(ONE, method, path, "", body)
        altered = [
            (good, body + b" ", path),
            (good, body, path + "?x=1"),
            (signer.headers(TWO, method, path, "", body), body, path),
            (signer.headers(ONE, "PUT", path, "", body), body, path),
            (Signer("order-1", SECRET + "x").headers(ONE, method, path, "", body), body, path),
            (good | {"Bazar-From": "order-2"}, body, path),
            (good | {"Bazar-Cluster": "another"}, body, path),
            (good | {SIGNATURE: good[SIGNATURE].upper()}, body, path),
            (good | {SIGNATURE: "é"}, body, path),
        ]
        for headers, sent, target in altered:
            refused = send(lonely, method, target, headers, sent)
            assert (refused.status, refused.code) == (401, "unauthorized"), (path, target)


def test_a_call_of_another_cluster_is_refused(shop: Catalogs) -> None:
    """Signed with the same secret all the same."""
    refused = shop.call("GET", "/books/1", cluster="another")
    assert (refused.status, refused.code) == (409, "foreign-cluster")


def test_every_answer_names_the_cluster(shop: Catalogs) -> None:
    """So that the caller can notice."""
    cluster = shop.node().record.cluster
    assert shop.get("/books/1").headers["bazar-cluster"] == cluster != ""
    assert shop.get("/books/9").headers["bazar-cluster"] == cluster


def test_what_is_not_there_is_a_problem(shop: Catalogs) -> None:
    """Unknown paths and wrong methods too."""
    assert shop.get("/nothing").code == "not-found"
    wrong = shop.call("DELETE", "/operations")
    assert (wrong.status, wrong.code) == (405, "method-not-allowed")
    assert set(wrong.headers["allow"].split(", ")) == {"OPTIONS", "POST"}


# --- reads ---


def test_a_read_says_what_it_is_true_of(shop: Catalogs) -> None:
    """Epoch, seq, node and a strong ETag; the body is what the client gets."""
    answer = shop.get("/books/1")
    assert answer.json == {"id": 1, **book(title="Graphs")}
    assert answer.headers["bazar-epoch"] == "1"
    assert answer.headers["bazar-as-of"] == "3"
    assert answer.headers["bazar-node"] == ONE
    assert answer.headers["etag"].startswith('"')


def test_both_nodes_give_the_same_answers(shop: Catalogs) -> None:
    """Byte for byte, with the same ETag."""
    for target in (
        "/books/1",
        "/search?topic=systems",
        "/books?q=gra",
        "/books?limit=1",
        "/topics",
        "/ledger",
    ):
        one, two = shop.get(target), shop.get(target, to=TWO)
        assert (one.status, one.body, one.headers["etag"]) == (
            200,
            two.body,
            two.headers["etag"],
        ), target
        assert two.headers["bazar-node"] == TWO


def test_a_book_is_found_by_its_sku(shop: Catalogs) -> None:
    """In the shape of a list, at either node; a sku that nobody has is an empty one."""
    sku = "A+B & ü/1"
    added = shop.operate("k1", "add", book(sku=sku, title="Known"))
    shop.tick()
    for node in (ONE, TWO):
        found = shop.get("/books?sku=A%2BB+%26+%C3%BC/1", to=node).json
        assert [item["id"] for item in found["items"]] == [added.json["answer"]["id"]]
        assert (found["total"], found["next"]) == (1, None)
        nobody = shop.get("/books?sku=A", to=node).json
        assert nobody == {"items": [], "total": 0, "next": None}


@pytest.mark.parametrize("target", ["/books?sku=", "/books?sku=A&q=B", "/books?sku=A&limit=1"])
def test_a_look_up_by_sku_takes_a_sku_and_nothing_else(shop: Catalogs, target: str) -> None:
    """`invalid-request`."""
    assert shop.get(target).json["code"] == "invalid-request"


def test_an_etag_changes_with_the_book(shop: Catalogs) -> None:
    """And only then."""
    before = shop.get("/books/1").headers["etag"]
    shop.operate("k1", "restock", {"book_id": 2, "quantity": 1})
    assert shop.get("/books/1").headers["etag"] == before
    shop.operate("k2", "restock", {"book_id": 1, "quantity": 1})
    assert shop.get("/books/1").headers["etag"] != before


@pytest.mark.parametrize(
    "target",
    [
        "/books/3",
        "/books/0",
        "/books/9223372036854775807",
        "/books/9223372036854775808",
        "/books/" + "9" * 400,
    ],
)
def test_a_book_that_is_not_there_is_not_found(shop: Catalogs, target: str) -> None:
    """Also one whose number no database could hold."""
    missing = shop.get(target)
    assert (missing.status, missing.code) == (404, "not-found")


@pytest.mark.parametrize(
    "target", ["/books/x", "/books/-1", "/books/1.0", "/books/", "/books/1/", "/books/%F0%9F%99%82"]
)
def test_a_path_that_names_no_book_is_not_found(shop: Catalogs, target: str) -> None:
    """Ids are decimals."""
    assert shop.get(target).code == "not-found"


@pytest.mark.parametrize("path", ["/books?", "/books?q=a&", "/search?topic=systems&"])
@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=x",
        "limit=",
        "limit=1e1",
        "limit=%D9%A1",
        "limit=1&limit=2",
        "after=x",
        "after=",
        "after=%F0%9F%99%82",
        "after=AAAA",
        "unknown=1",
        "limit=99999999999999999999",
    ],
)
def test_a_bad_limit_cursor_or_parameter_is_refused(shop: Catalogs, path: str, query: str) -> None:
    """400, whatever is wrong with it."""
    refused = shop.get(path + query)
    assert (refused.status, refused.code) == (400, "invalid-request")


@pytest.mark.parametrize(
    "query", ["after=-1", "after=x", "after=9" * 30, "limit=x", "limit=", "x=1", "after=%D9%A1"]
)
def test_a_bad_piece_of_the_ledger_is_refused(shop: Catalogs, query: str) -> None:
    """Counts are decimals."""
    assert shop.get("/ledger?" + query).code == "invalid-request"


def test_topics_take_no_parameters(shop: Catalogs) -> None:
    """An unknown one is a mistake of the caller."""
    assert shop.get("/topics").json == {
        "items": [{"topic": "ML/AI", "books": 1}, {"topic": "Systems", "books": 2}]
    }


def test_a_cursor_leads_on(shop: Catalogs) -> None:
    """On either node, for it names a book and not a place."""
    first = shop.get("/search?topic=SYSTEMS&limit=1").json
    second = shop.get(f"/search?topic=systems&limit=1&after={first['next']}", to=TWO).json
    assert [[item["id"] for item in page["items"]] for page in (first, second)] == [[1], [2]]
    assert (first["total"], second["total"], second["next"]) == (2, 2, None)


def test_a_cursor_of_another_list_is_refused(shop: Catalogs) -> None:
    """It would begin in the middle of nowhere."""
    cursor = shop.get("/search?topic=systems&limit=1").json["next"]
    assert shop.get(f"/books?after={cursor}").code == "invalid-request"


def test_a_cursor_of_another_cluster_is_refused(shop: Catalogs, tmp_path: Path) -> None:
    """A page of one shop never continues in another."""
    other = Catalogs(tmp_path / "other")
    other._random.seed(7)
    other.open()
    for number in range(3):
        other.operate(f"k{number}", "add", book())
    cursor = other.get("/books?limit=1").json["next"]
    other.close()
    assert shop.get(f"/books?after={cursor}").code == "invalid-request"


@pytest.mark.parametrize("topic", ["", "%20", "%09%20"])
def test_a_blank_topic_has_no_books(shop: Catalogs, topic: str) -> None:
    """Empty like any unknown one, whoever may ask for it."""
    page = shop.get(f"/search?topic={topic}").json
    assert (page["items"], page["total"], page["next"]) == ([], 0, None)


def test_an_unknown_topic_is_empty(shop: Catalogs) -> None:
    """It is called as it was spelled, blanks collapsed."""
    page = shop.get(f"/search?topic={quote('  What  ÉVER/ ')}").json
    assert page == {"topic": "What ÉVER/", "items": [], "total": 0, "next": None}


@pytest.mark.parametrize(
    "text", ['"', "a AND", "NEAR(", "*", "\0", "🙂", "'", "title:x", "x" * 3000]
)
def test_any_text_may_be_searched_for(shop: Catalogs, text: str) -> None:
    """Text is data."""
    assert shop.get(f"/books?q={quote(text)}").status == 200


def test_a_dirty_key_is_read_at_the_leader(shop: Catalogs) -> None:
    """The replica sends the reader there; other keys it answers."""
    entry = Entry.build(1, shop.node().end(), ("book:1", "topic:systems"), ("k",), b"")
    with shop.node(TWO).lock:
        shop.node(TWO).write(lambda db: store.prepare(db, entry))
    for target in ("/books/1", "/search?topic=systems"):
        dirty = shop.get(target, to=TWO)
        assert (dirty.status, dirty.code, dirty.json["leader"]) == (409, "dirty", ONE)
    assert shop.get("/books/2", to=TWO).status == 200
    assert shop.get("/books/1").status == 200


# --- operations ---

BAD_ENVELOPES: list[Any] = [
    {},
    {"key": "k"},
    {"key": "k", "kind": "sell"},
    {"kind": "sell", "body": {}},
    {"key": None, "kind": "sell", "body": sale((1, 1))},
    {"key": "", "kind": "sell", "body": sale((1, 1))},
    {"key": "k" * 256, "kind": "sell", "body": sale((1, 1))},
    {"key": "ключ", "kind": "sell", "body": sale((1, 1))},
    {"key": 7, "kind": "sell", "body": sale((1, 1))},
    {"key": ["k"], "kind": "sell", "body": sale((1, 1))},
    {"key": {}, "kind": "sell", "body": sale((1, 1))},
    {"key": "k", "kind": "steal", "body": {}},
    {"key": "k", "kind": "", "body": {}},
    {"key": "k", "kind": None, "body": {}},
    {"key": "k", "kind": 1, "body": {}},
    {"key": "k", "kind": [], "body": {}},
    {"key": "k", "kind": {}, "body": {}},
    {"key": "k", "kind": "sell", "body": []},
    {"key": "k", "kind": "sell", "body": None},
    {"key": "k", "kind": "sell", "body": "x"},
]


@pytest.mark.parametrize("envelope", BAD_ENVELOPES, ids=lambda envelope: json.dumps(envelope)[:60])
def test_an_operation_needs_key_kind_and_body(shop: Catalogs, envelope: Any) -> None:
    """400, and nothing is written."""
    refused = shop.do(lambda: shop.call("POST", "/operations", envelope))
    assert (refused.status, refused.code) == (400, "invalid-request")
    assert shop.node().end().seq == 3


@pytest.mark.parametrize(
    "body",
    [b"", b"x", b"[]", b"null", b'"a"', b"\xff", b"{", b'{"a":1,"a":1}', b'{"a":NaN}', b"[" * 5000],
)
def test_an_operation_is_a_json_object(shop: Catalogs, body: bytes) -> None:
    """UTF-8, no member twice, no NaN, no nesting without end."""
    refused = shop.do(lambda: shop.call("POST", "/operations", body=body))
    assert (refused.status, refused.code) == (400, "invalid-request")


WRONG: list[Any] = [
    None,
    "",
    "x",
    1,
    1.5,
    True,
    -1,
    [],
    {},
    [None],
    [1],
    ["x"],
    [{}],
    [[]],
    {"a": 1},
    "\ud800",
    2**70,
]
BAD_BODIES: list[tuple[str, Any]] = [
    *[("sell", {"items": value}) for value in WRONG],
    ("sell", {}),
    ("sell", {"items": [{"book_id": 1, "quantity": 0}]}),
    ("sell", {"items": [{"book_id": 1, "quantity": 1001}]}),
    ("sell", {"items": [{"book_id": 0}]}),
    ("sell", {"items": [{"book_id": 2**63}]}),
    ("sell", {"items": [{"book_id": "1"}]}),
    ("sell", {"items": [{"book_id": True}]}),
    ("sell", {"items": [{"book_id": 1, "price": 0}]}),
    ("sell", sale((1, 1), (1, 1))),
    ("sell", sale(*((number, 1) for number in range(1, 102)))),
    ("add", {}),
    *[
        ("add", {name: value for name, value in book().items() if name != left_out})
        for left_out in ("title", "authors", "topics", "price_cents", "quantity")
    ],
    *[
        ("add", book(**{name: value}))
        for name in ("title", "authors", "topics", "price_cents", "quantity", "sku")
        for value in (True, 1.5, {}, [None], [[]], -1, "\ud800", "a\0b", [""], "", 2**70)
    ],
    ("add", book(id=1)),
    ("add", book(title="x" * 1001)),
    ("add", book(topics=[])),
    ("add", book(topics=["x"] * 51)),
    ("edit", {"book_id": 1}),
    ("edit", {"title": "T"}),
    ("edit", {"book_id": 1, "quantity": 5}),
    ("edit", {"book_id": 1, "sku": "x"}),
    ("edit", {"book_id": 1, "title": None}),
    ("edit", {"book_id": 1, "topics": []}),
    *[("edit", {"book_id": value, "title": "T"}) for value in (None, 0, "1", 1.5, True, [], 2**63)],
    ("restock", {"book_id": 1}),
    *[
        ("restock", {"book_id": 1, "quantity": value})
        for value in (0, -1, 1001, "1", None, 1.5, True, [])
    ],
    ("restock", {"book_id": 1, "quantity": 1, "x": 1}),
    *[
        ("import", {"rows": value})
        for value in (None, 1, True, "x", {"a": 1}, [None], [[]], [1], ["x"])
    ],
    ("import", {"rows": [book()]}),
    ("import", {"rows": [book(sku="a", title="")]}),
    ("import", {"rows": [book(sku="a"), {}]}),
]


def body_id(drawn: tuple[str, Any]) -> str:
    return f"{drawn[0]} {json.dumps(drawn[1])[:70]}"


@pytest.mark.parametrize("drawn", BAD_BODIES, ids=body_id)
def test_an_operation_with_a_bad_body_is_refused(shop: Catalogs, drawn: tuple[str, Any]) -> None:
    """400, nothing is written, and its key is still free."""
    kind, body = drawn
    refused = shop.operate("key", kind, body)
    assert (refused.status, refused.code) == (400, "invalid-request")
    assert shop.node().end().seq == 3
    assert shop.operate("key", "sell", sale((1, 1))).json["status"] == 201


def test_a_sale_is_answered_with_its_order(shop: Catalogs) -> None:
    """The recorded outcome: status, document, and the number in the ledger."""
    sold = shop.operate("k", "sell", {"items": [{"book_id": 1}]}).json
    assert sold["status"] == 201
    assert sold["answer"]["number"] == 1
    line = {"book_id": 1, "title": "Graphs", "quantity": 1, "price_cents": 1000}
    assert sold["answer"]["items"] == [line]
    assert shop.get("/books/1").json["quantity"] == 4


def test_a_refusal_is_an_outcome(shop: Catalogs) -> None:
    """With its status and problem document inside, and kept for ever."""
    refused = shop.operate("k", "sell", sale((2, 1)))
    assert refused.status == 200
    assert (refused.json["status"], refused.json["answer"]["code"]) == (409, "sold-out")
    shop.operate("more", "restock", {"book_id": 2, "quantity": 5})
    assert shop.operate("k", "sell", sale((2, 1))).body == refused.body
    assert shop.get("/books/2").json["quantity"] == 5


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("sell", sale((1, 1))),
        ("add", book()),
        ("edit", {"book_id": 1, "title": "T"}),
        ("restock", {"book_id": 1, "quantity": 1}),
        ("import", {"rows": [book(sku="z")]}),
    ],
)
def test_a_repeated_operation_happens_once(shop: Catalogs, kind: str, body: Document) -> None:
    """The same key and body: the same answer, and one entry in the log."""
    first, again = shop.operate("k", kind, body), shop.operate("k", kind, body)
    assert first.body == again.body
    assert shop.node().end().seq == 4


def test_defaults_are_part_of_the_body(shop: Catalogs) -> None:
    """A quantity of one, left out or written, is the same request."""
    first = shop.operate("k", "sell", {"items": [{"book_id": 1}]})
    assert shop.operate("k", "sell", sale((1, 1))).body == first.body


def test_another_body_under_a_used_key_is_a_mismatch(shop: Catalogs) -> None:
    """422, whoever sent it, and nothing happens."""
    shop.operate("k", "sell", sale((1, 1)))
    for kind, body in (("sell", sale((1, 2))), ("restock", {"book_id": 1, "quantity": 1})):
        refused = shop.operate("k", kind, body)
        assert (refused.status, refused.code) == (422, "idempotency-mismatch")
    assert shop.get("/books/1").json["quantity"] == 4


def test_the_replica_does_not_write(shop: Catalogs) -> None:
    """It names the leader."""
    refused = shop.operate("k", "sell", sale((1, 1)), to=TWO)
    assert (refused.status, refused.code, refused.json["leader"]) == (421, "not-leader", ONE)
    assert shop.operate("k", "sell", sale((1, 1))).json["status"] == 201


def test_a_node_that_knows_no_leader_says_so(lonely: Catalogs) -> None:
    """`leader` is null then."""
    refused = lonely.operate("k", "sell", sale((1, 1)))
    assert (refused.status, refused.code, refused.json["leader"]) == (421, "not-leader", None)


# --- sessions ---


def register(shop: Catalogs, sender: str = FRONTEND, to: str = ONE) -> Answered:
    return shop.call("POST", "/sessions", {"name": sender}, sender=sender, to=to)


def renew(shop: Catalogs, session: str, to: str = ONE) -> Answered:
    return shop.call("POST", f"/sessions/{session}/renew", {}, sender=FRONTEND, to=to)


def test_a_session_is_granted(shop: Catalogs) -> None:
    """With all that a frontend needs to keep its law."""
    granted = register(shop).json
    assert granted | {"session": ""} == {
        "session": "",
        "epoch": 1,
        "lease_s": 2.0,
        "floors": {},
        "leader": ONE,
    }
    assert renew(shop, granted["session"]).json == {"lease_s": 2.0}


def test_two_sessions_of_one_frontend_have_two_names(shop: Catalogs) -> None:
    """A second process never answers for the first."""
    assert register(shop).json["session"] != register(shop).json["session"]


def test_a_session_ends(shop: Catalogs) -> None:
    """Not renewed in time, it is unknown, and stays so."""
    session = register(shop).json["session"]
    shop.run_for(2.1)
    assert (renew(shop, session).status, renew(shop, session).code) == (410, "unknown-session")


def test_a_surrendered_session_is_unknown(shop: Catalogs) -> None:
    """Twice is no harm."""
    session = register(shop).json["session"]
    for _ in range(2):
        assert shop.call("POST", f"/sessions/{session}/surrender", {}, sender=FRONTEND).json == {}
    assert renew(shop, session).code == "unknown-session"


def test_only_the_leader_grants(shop: Catalogs) -> None:
    """A replica knows nobody and says who does."""
    assert (register(shop, to=TWO).code, register(shop, to=TWO).json["leader"]) == (
        "not-leader",
        ONE,
    )
    assert renew(shop, "any", to=TWO).code == "not-leader"


def test_only_a_frontend_of_the_cluster_gets_a_session(shop: Catalogs) -> None:
    """Nobody else could be told to drop what it caches: each write would wait for its lease."""
    assert register(shop, sender="order-1").status >= 400


# --- health ---


def test_a_node_that_recovers_is_not_ready(lonely: Catalogs) -> None:
    """Alive, but it answers nothing yet."""
    assert send(lonely, "GET", "/livez", {}).json == {"alive": True}
    ready = send(lonely, "GET", "/readyz", {})
    assert (ready.status, ready.json["reads"], ready.json["writes"]) == (503, False, False)
    assert RECOVERING in ready.json["why"]
    assert lonely.get("/books/1").code == "unavailable"


@pytest.mark.parametrize(
    ("status", "reads"),
    [(RECOVERING, False), (ALONE, True), (FOLLOWING, True), (LEADING, True), (REFUSING, False)],
)
def test_readiness_follows_the_status(shop: Catalogs, status: str, reads: bool) -> None:
    """With the reason; what is not ready does not answer either."""
    shop.node().become(status, "the test says so")
    ready = send(shop, "GET", "/readyz", {})
    assert (ready.status == 200, ready.json["reads"]) == (reads, reads)
    assert ready.json["writes"] == (status == LEADING)
    assert ready.json["why"] == f"{status}: the test says so"
    assert (shop.get("/books/1").status == 200) == reads


def test_a_leader_without_its_replica_is_not_ready_to_write(shop: Catalogs) -> None:
    """It reads, and says why it does not write."""
    shop.kill(TWO)
    shop.tick()
    ready = send(shop, "GET", "/readyz", {})
    assert (ready.status, ready.json["reads"], ready.json["writes"]) == (200, True, False)
    assert "catalog-2 is not following" in ready.json["why"]
    assert shop.operate("k", "sell", sale((1, 1))).code == "writes-unavailable"


def test_a_shop_without_its_first_entry_is_not_open(tmp_path: Path) -> None:
    """A cluster has been founded, but nothing can be written yet."""
    catalogs = Catalogs(tmp_path)
    catalogs.start()
    catalogs.line.before.append(lose_prepares)
    for _ in range(3):
        catalogs.tick()
    assert catalogs.node().leads
    assert (catalogs.get("/books").code, catalogs.node().readiness().reads) == (
        "unavailable",
        False,
    )
    catalogs.close()


def lose_prepares(request: Request) -> None:
    if request.target.startswith("/replication/prepare"):
        silent(request.to)(request)


def test_the_seed_is_the_first_entry(tmp_path: Path) -> None:
    """One operation; a shop that has it is never seeded again."""
    seed = tmp_path / "catalog.csv"
    seed.write_text(SEED, "utf-8")
    catalogs = Catalogs(tmp_path, seed_file=seed)
    catalogs.open()
    assert catalogs.node().end().seq == 1
    assert [item["title"] for item in catalogs.get("/books").json["items"]] == ["Graphs", "Trees"]
    catalogs.kill(ONE)
    catalogs.kill(TWO)
    catalogs.open()
    assert catalogs.node().end().seq == 1
    catalogs.close()


def test_the_status_shows_role_epoch_and_position(shop: Catalogs) -> None:
    """What `/cluster` and `make status` are made of."""
    register(shop)
    leader, replica = shop.get("/status").json, shop.get("/status", to=TWO).json
    assert (leader["role"], leader["state"], replica["role"], replica["state"]) == (
        "leader",
        LEADING,
        "replica",
        FOLLOWING,
    )
    assert leader["position"] == replica["position"] == [1, 3]
    assert (leader["leader"], replica["leader"], leader["epoch"]) == (ONE, ONE, 1)
    assert leader["lease"] is replica["lease"] is None  # without a backup server it may always read
    assert [(node["reads"], node["writes"]) for node in (leader, replica)] == [
        (True, True), (True, False),
    ]  # fmt: skip
    assert leader["disk"] != replica["disk"]
    assert leader["voters"] == []


def test_metrics_are_those_of_this_node(shop: Catalogs) -> None:
    """In the format of Prometheus."""
    register(shop)
    text = send(shop, "GET", "/metrics", {}).body.decode()
    for line in (
        "epoch 1.0",
        "seq 3.0",
        "leads 1.0",
        "peer_following 1.0",
        "queued 0.0",
        "sessions 1.0",
    ):
        assert f"\nbazar_catalog_{line}\n" in text


# --- never a 500 ---


def test_no_call_is_answered_with_a_500(shop: Catalogs) -> None:
    """Every route, with nonsense of every kind: a problem document, whatever it is."""
    bodies = [
        b"",
        b"{}",
        b"[]",
        b"x",
        b"\xff\xfe",
        b'{"epoch":"x","candidate":[]}',
        b'{"epoch":1,"position":[1]}',
        b"[1]\n",
    ]
    queries = ["", "?after=x", "?offset=x&after=-1", "?prev_epoch=x", "?limit=%FF&topic=%FF&q=%FF"]
    for method, path in routes(shop):
        if path in ("/operations", "/replication/handover"):
            continue  # in order, they wait
        for body in bodies:
            for query in queries:
                answer = shop.call(method, path + query, body=body, sender=FRONTEND)
                assert answer.status != 500, (path, body, query)
                if answer.status >= 400:
                    assert answer.headers["content-type"] == MEDIA_TYPE
    assert shop.operate("still", "sell", sale((1, 1))).json["status"] == 201


@pytest.mark.parametrize("what", ["promise", "follow", "prepare", "commit"])
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"x", b"[1]\n"])
def test_a_malformed_message_between_catalogs_is_an_invalid_request(
    shop: Catalogs, what: str, body: bytes
) -> None:
    """It says so, instead of `outcome-unknown`: nothing can have come of it."""
    answer = shop.call("POST", f"/replication/{what}", body=body, to=TWO)
    assert (answer.status, answer.code) == (400, "invalid-request")
