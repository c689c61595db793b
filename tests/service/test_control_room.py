"""The control room's data and actions: what each shows, what each does, how that is undone."""

from __future__ import annotations

import csv
import io
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from werkzeug.test import TestResponse

from common.errors import Problem
from common.peer import Request, Response
from tests.support.frontend_fakes import (
    ORDER_ID,
    TOKEN,
    World,
    answer,
    broken,
    dead,
    order_server,
    refusal,
)

BOOK = {
    "id": 1, "sku": "s,1", "title": 'A "B"', "authors": ["Ann", "Bob"], "topics": ["Sea", "Art"],
    "price_cents": 500, "quantity": 7,
}  # fmt: skip


@pytest.fixture
def world() -> World:
    """A frontend with a lease, and somebody who has signed in."""
    world = World()
    world.tick()
    assert world.client.post("/ops/login", data={"token": TOKEN}).status_code == 303
    return world


def data(world: World, name: str) -> Any:
    """Return what a tab is shown."""
    found = world.get(f"/ops/data/{name}")
    assert found.status_code == 200, found.text
    return found.get_json()


def do(world: World, name: str, body: Any = None, key: str = "") -> TestResponse:
    """Press a button."""
    headers = {"X-Requested-By": "bazar"} | ({"Idempotency-Key": key} if key else {})
    sent = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
    return world.client.post(f"/ops/do/{name}", data=sent, headers=headers)


def operations(world: World) -> list[dict[str, Any]]:
    """Return what the leader was asked to do."""
    return [json.loads(one.body) for one in world.http.sent if one.target.startswith("/operations")]


# --- overview ---


def test_the_overview_shows_every_node_and_who_answered_how_much(world: World) -> None:
    """Hits are the cache's."""
    for _ in range(3):
        world.get("/lookup/1")
    world.get(f"/orders/{ORDER_ID}")
    seen = data(world, "overview")
    assert [node["node"] for node in seen["nodes"]][:2] == ["frontend-1", "catalog-1"]
    assert seen["lease_s"] == 2.0
    assert sum(seen["answered"][name] for name in ("catalog-1", "catalog-2")) == 1
    assert sum(seen["answered"][name] for name in ("order-1", "order-2")) == 1
    assert seen["answered"]["cache"] == 2


def test_many_rooms_ask_the_nodes_as_often_as_one(world: World) -> None:
    """What was asked half a second ago is not asked again."""
    data(world, "overview")
    asked = len(world.http.asked("/status"))
    for _ in range(5):
        data(world, "overview")
    assert len(world.http.asked("/status")) == asked
    world.clock.advance(0.5)
    data(world, "overview")
    assert len(world.http.asked("/status")) == 2 * asked


# --- the cache ---


def test_the_cache_is_laid_open(world: World) -> None:
    """What it holds, from least to most recently used, as of which entry; what it counted."""
    for path in ("/lookup/1", "/lookup/2", "/search/art?limit=5", "/lookup/1"):
        world.get(path)
    shown = data(world, "cache")
    assert [(row["kind"], row["name"]) for row in shown["least"] + shown["most"]] == [
        ("book", "2"), ("topic", "art"), ("book", "1"),
    ]  # fmt: skip
    assert {row["as_of"] for row in shown["least"]} == {10}
    assert (shown["least"][1]["limit"], shown["least"][1]["later_page"]) == (5, False)
    assert (shown["size"], shown["capacity"], shown["hit_ratio"]) == (3, 64, 0.25)
    assert shown["session"]["id"] == world.held()
    assert 0 < shown["session"]["left_s"] <= 2.0


def test_flush_empties_the_cache_and_the_next_read_fills_it(world: World) -> None:
    """The session stays: nothing has to be asked for anew."""
    world.get("/lookup/1")
    assert do(world, "flush").get_json() == {"flushed": 1}
    assert data(world, "cache")["size"] == 0
    assert world.first.granted == 1
    world.get("/lookup/1")
    assert data(world, "cache")["size"] == 1
    assert world.get("/lookup/1").headers["Cache-Status"] == "bazar; hit"


def test_a_refused_fill_is_shown_with_its_reason(world: World) -> None:
    """One that is older than a write that was told."""
    world.invalidate(99, "book:1")
    world.get("/lookup/1")
    assert data(world, "cache")["refused"] == {"below-floor": 1}


def test_a_cache_without_a_lease_shows_none(world: World) -> None:
    """As when no leader can be reached."""
    world.first.over["/sessions"] = world.second.over["/sessions"] = dead
    world.clock.advance(10)
    world.tick()
    shown = data(world, "cache")
    assert (shown["session"], shown["hit_ratio"]) == (None, None)


# --- invariants ---


def told(upto: int = 3, digest: str = "d", **changed: Any) -> dict[str, Any]:
    """Return what a node tells, whichever of its answers is asked for."""
    totals = {"received": 9, "sold": 3, "left": 6, "books": 2, "orders": 3, "counted": 3}
    history = {"history": [[4, "h"]], "position": [1, 4]}
    return totals | history | {"upto": upto, "digest": digest} | changed


def tells(world: World, name: str, document: dict[str, Any]) -> None:
    """Have a node tell this when it is checked."""
    if name.startswith("catalog"):
        catalog = world.first if name == "catalog-1" else world.second
        catalog.over["/audit"] = lambda request: answer(document)
    else:
        world.http.nodes[name] = lambda request: (
            answer(document) if request.target.startswith("/audit") else order_server(request)
        )


def states(world: World) -> dict[str, str]:
    """Return invariant -> its state."""
    return {one["name"]: one["state"] for one in data(world, "invariants")["verdicts"]}


def test_what_must_be_true_is_checked(world: World) -> None:
    """It holds, it is broken, it holds again."""
    for name in ("catalog-1", "catalog-2", "order-1", "order-2"):
        tells(world, name, told())
    assert states(world) == {"stock": "holds", "catalogs": "holds", "orders": "holds"}
    tells(world, "catalog-2", told(left=7))
    tells(world, "order-2", told(digest="other"))
    world.clock.advance(2)
    assert states(world) == {"stock": "broken", "catalogs": "broken", "orders": "broken"}
    verdicts = data(world, "invariants")["verdicts"]
    assert "1 too many" in verdicts[0]["text"]
    assert "order-2 differs" in verdicts[2]["text"]
    tells(world, "catalog-2", told())
    tells(world, "order-2", told())
    world.clock.advance(2)
    assert set(states(world).values()) == {"holds"}


def test_a_dead_node_is_no_breach(world: World) -> None:
    """What cannot be compared is open, and the room goes on."""
    tells(world, "catalog-1", told())
    tells(world, "order-1", told())
    world.http.nodes["catalog-2"] = world.http.nodes["order-2"] = dead
    assert states(world) == {"stock": "holds", "catalogs": "open", "orders": "open"}
    world.http.nodes = dict.fromkeys(world.http.nodes, dead)
    world.clock.advance(2)
    assert set(states(world).values()) == {"open"}


def test_a_node_that_is_asleep_holds_a_check_up_once(world: World) -> None:
    """Two seconds at most, not for each thing it would be asked."""
    for name in ("catalog-1", "order-1", "order-2"):
        tells(world, name, told())
    world.http.nodes["catalog-2"] = world.silent()
    began = world.clock.now()
    assert states(world) == {"stock": "holds", "catalogs": "open", "orders": "holds"}
    assert world.clock.now() - began <= 2


def test_an_answer_that_is_not_ours_is_no_answer(world: World) -> None:
    """A list, say."""
    for name in ("catalog-1", "catalog-2", "order-1", "order-2"):
        tells(world, name, [])  # type: ignore[arg-type]
    assert set(states(world).values()) == {"open"}


def test_the_button_has_every_row_read_again(world: World) -> None:
    """The nodes are told so; without it they are not."""
    for name in ("catalog-1", "catalog-2", "order-1", "order-2"):
        tells(world, name, told())
    data(world, "invariants")
    assert not world.http.asked("/audit?again")
    assert do(world, "audit").get_json()["verdicts"][0]["state"] == "holds"
    assert world.http.asked("/audit?again") == ["catalog-1", "catalog-2", "order-1", "order-2"]


# --- stock ---


def test_low_stock_and_movements_are_the_catalogs_to_tell(world: World) -> None:
    """What is asked for is passed on."""
    world.first.over = world.second.over = {
        "/stock": lambda request: answer({"asked": request.target}),
        "/books/1/movements": lambda request: answer({"book": BOOK}),
    }
    assert data(world, "stock?below=5&after=1-2")["asked"] == "/stock?below=5&after=1-2"
    assert data(world, "books/1")["book"] == BOOK
    assert world.get("/ops/data/books/x").status_code == 404
    assert world.get("/ops/data/stock?x=1").status_code == 400


def test_a_book_is_found_by_sku_by_number_and_by_words(world: World) -> None:
    """In this order."""

    def books(request: Request) -> Response:
        asked = parse_qs(urlsplit(request.target).query)
        found = "q" in asked or asked.get("sku") == ["s,1"]
        return answer({"items": [BOOK | {"by": sorted(asked)}] if found else []})

    world.first.over = world.second.over = {"/books": books}
    assert "sku" in data(world, "books?q=s%2C1")["items"][0]["by"]
    world.first.over = world.second.over = {"/books": lambda request: (
        answer(BOOK) if request.target == "/books/1" else books(request)
    )}  # fmt: skip
    assert data(world, "books?q=1")["items"] == [BOOK]
    assert "q" in data(world, "books?q=words")["items"][0]["by"]
    assert world.get("/ops/data/books?q=").status_code == 400
    assert world.get("/ops/data/books").status_code == 400


@pytest.mark.parametrize(
    ("button", "body", "kind"),
    [
        ("restock", {"book_id": 1, "quantity": 5, "reason": "delivery"}, "restock"),
        ("restock", {"book_id": 1, "quantity": 5}, "restock"),
        ("price", {"book_id": 1, "price_cents": 99, "reason": "sale"}, "edit"),
    ],
)
def test_stock_and_price_change_under_the_forms_key(
    world: World, button: str, body: dict[str, Any], kind: str
) -> None:
    """An ordinary operation: sent twice it is one, for the leader knows the key."""
    for _ in range(2):
        assert do(world, button, body, key="the form's").status_code == 200
    (one, two) = operations(world)
    assert one == two
    assert (one["key"], one["kind"]) == ("the form's", kind)
    assert one["body"].items() >= body.items()


@pytest.mark.parametrize(
    ("button", "body"),
    [
        ("restock", {}), ("restock", {"book_id": 1}), ("restock", {"book_id": 1, "quantity": 0}),
        ("restock", {"book_id": "1", "quantity": 1}), ("price", {"book_id": 1}),
        ("restock", {"book_id": 1, "quantity": 1001}), ("price", {"book_id": 1, "price_cents": -1}),
        ("price", {"book_id": 1, "price_cents": 1, "x": 1}), ("restock", b"no json"),
    ],
)  # fmt: skip
def test_a_form_filled_in_wrongly_changes_nothing(world: World, button: str, body: Any) -> None:
    """400, and it is said what is wrong."""
    found = do(world, button, body)
    assert (found.status_code, found.get_json()["code"]) == (400, "invalid-request")
    assert not operations(world)


def test_a_change_that_nobody_can_make_now_says_so(world: World) -> None:
    """503, with the key, so that the button may be pressed again."""
    world.http.nodes["catalog-1"] = world.http.nodes["catalog-2"] = broken
    found = do(world, "restock", {"book_id": 1, "quantity": 1}, key="k")
    assert (found.status_code, found.get_json()["code"]) == (503, "outcome-unknown")
    assert found.headers["Idempotency-Key"] == "k"


def test_all_books_come_out_as_csv_that_can_be_loaded(world: World) -> None:
    """Part by part; the first has the header, and what is quoted stays quoted."""
    world.first.over = world.second.over = {
        "/inventory": lambda request: answer({"items": [BOOK], "total": 2, "next": 1})
    }
    first, second = data(world, "inventory"), data(world, "inventory?after=1")
    assert (first["books"], first["total"], first["next"]) == (1, 2, 1)
    header, row = csv.reader(io.StringIO(first["csv"]))
    assert header == ["sku", "title", "authors", "topics", "price_cents", "stock"]
    assert row == ["s,1", 'A "B"', "Ann; Bob", "Sea|Art", "500", "7"]
    assert list(csv.reader(io.StringIO(second["csv"]))) == [row]


# --- deliveries ---

DELIVERY = b"sku,received\na,3\nunknown,1\nb,x\nb,2\n"


def shelves(request: Request) -> Response:
    """Know the books a and b."""
    sku = parse_qs(urlsplit(request.target).query)["sku"][0]
    return answer({"items": [{"id": "ab".index(sku) + 1}] if sku in "ab" else []})


def test_a_delivery_is_received_row_by_row(world: World) -> None:
    """Bad rows are named, the others are received; each has the key of its file and line."""
    world.first.over["/books"] = world.second.over["/books"] = shelves
    report = do(world, "delivery", DELIVERY).get_json()
    assert (report["rows"], report["added"], report["copies"], report["next"]) == (4, 2, 5, None)
    assert [row["line"] for row in report["bad"]] == [3, 4]
    assert "unknown" in report["bad"][0]["reason"]
    again = do(world, "delivery", DELIVERY).get_json()
    assert again["added"] == 2
    done = operations(world)
    assert done[:2] == done[2:]
    assert [one["body"] for one in done[:2]] == [
        {"book_id": 1, "quantity": 3, "reason": "delivery"},
        {"book_id": 2, "quantity": 2, "reason": "delivery"},
    ]
    assert done[0]["key"].startswith("delivery-")
    assert done[0]["key"].endswith("-2")


def test_a_long_delivery_is_taken_part_by_part(world: World) -> None:
    """The page sends it again from where it is told."""

    def slowly(request: Request) -> Response:
        world.clock.advance(1.5)
        return shelves(request)

    world.first.over["/books"] = world.second.over["/books"] = slowly
    file = b"sku,received\n" + b"a,1\n" * 5
    report, lines = do(world, "delivery", file).get_json(), []
    while report["next"] is not None:
        lines.append(report["next"])
        world.clock.advance(60)
        report = do(world, f"delivery?from={report['next']}", file).get_json()
    assert lines == [4, 6]
    assert len({one["key"] for one in operations(world)}) == 5


def test_a_delivery_stops_where_the_shop_cannot_write(world: World) -> None:
    """And says at which line, so that it can go on there."""
    world.first.over = world.second.over = {
        "/books": shelves, "/operations": refusal("writes-unavailable", "the replica is away"),
    }  # fmt: skip
    report = do(world, "delivery", DELIVERY).get_json()
    assert (report["added"], report["next"]) == (0, 2)
    assert "replica is away" in report["stopped"]


@pytest.mark.parametrize("file", [b"", b"title,x\n", b"\xff\xfe\x00"])
def test_what_is_no_delivery_is_refused(world: World, file: bytes) -> None:
    """With the columns it should have."""
    found = do(world, "delivery", file)
    assert found.status_code == 400
    assert "sku" in found.get_json()["detail"]


def test_a_file_that_is_too_large_is_refused(world: World) -> None:
    """As everything public is, beyond 64 KiB."""
    found = do(world, "delivery", b"sku,received\n" + b"a,1\n" * 20_000)
    assert (found.status_code, found.get_json()["code"]) == (413, "too-large")
    assert not operations(world)


# --- orders ---


def test_recent_orders_and_one_of_them(world: World) -> None:
    """With the order server that told them."""

    def server(request: Request) -> Response:
        if request.target.startswith("/newest"):
            return answer({"items": [], "total": 0, "asked": request.target})
        return order_server(request)

    world.http.nodes["order-1"] = world.http.nodes["order-2"] = server
    found = data(world, "orders?limit=5&before=9")
    assert found["asked"] == "/newest?limit=5&before=9"
    assert found["served_by"] in ("order-1", "order-2")
    assert data(world, f"orders/{ORDER_ID}")["order_id"] == ORDER_ID
    assert world.get("/ops/data/orders/none").status_code == 404
    assert world.get("/ops/data/orders/%20").status_code == 404
    assert world.get("/ops/data/orders?x=1").status_code == 400


def test_with_everybody_down_the_data_says_so(world: World) -> None:
    """503 and a problem document; the pages stay up (see test_control_login.py)."""
    world.http.nodes = dict.fromkeys(world.http.nodes, dead)
    for name in ("stock", "books?q=x", "books/1", "inventory", "orders", f"orders/{ORDER_ID}"):
        found = world.get(f"/ops/data/{name}")
        assert (found.status_code, found.get_json()["code"]) == (503, "unavailable")
        assert Problem("unavailable", "").title == found.get_json()["title"]
    assert data(world, "overview")["nodes"][1]["up"] is False
