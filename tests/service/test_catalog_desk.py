"""What a catalog tells the control room: stock, movements, and what it is checked by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog import store
from catalog.audit import REST_S_MIN, ROWS, digest
from catalog.model import REPLICATED, Entry
from tests.support.catalog_fakes import ONE, TWO, Catalogs, book, sale

STOCKS = (4, 0, 2, 2)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Catalogs]:
    """Two catalogs, open, with four books; a copy of the first sold, one received."""
    catalogs = Catalogs(tmp_path)
    catalogs.open()
    for number, stock in enumerate(STOCKS, 1):
        fields = book(sku=f"s{number}", title=f"Book {number}", quantity=stock)
        assert catalogs.operate(f"new-{number}", "add", fields).status == 200
    assert catalogs.operate("sale", "sell", sale((1, 2), (3, 1))).status == 200
    restock = {"book_id": 1, "quantity": 3, "reason": "delivery"}
    assert catalogs.operate("restock", "restock", restock).status == 200
    assert catalogs.operate("edit", "edit", {"book_id": 1, "price_cents": 5}).status == 200
    catalogs.tick()
    yield catalogs
    catalogs.close()


def both(shop: Catalogs, target: str) -> list[Any]:
    """Return what each catalog answers."""
    return [shop.get(target, to=name).json for name in (ONE, TWO)]


# --- stock ---


def test_low_stock_comes_fewest_first_page_by_page(shop: Catalogs) -> None:
    """Books whole, how many there are in all, and where to go on; from either catalog."""
    for name in (ONE, TWO):
        first = shop.get("/stock?below=5&limit=2", to=name).json
        assert [(one["id"], one["quantity"]) for one in first["items"]] == [(2, 0), (3, 1)]
        assert (first["total"], first["next"]) == (3, "1-3")
        rest = shop.get(f"/stock?below=5&limit=2&after={first['next']}", to=name).json
        assert [(one["id"], one["next"]) for one in [rest["items"][0] | rest]] == [(4, None)]


def test_the_inventory_is_every_book_whole(shop: Catalogs) -> None:
    """By id, with its stock of now."""
    first = shop.get("/inventory?limit=3").json
    assert [one["sku"] for one in first["items"]] == ["s1", "s2", "s3"]
    assert (first["total"], first["next"]) == (4, 3)
    rest = shop.get("/inventory?limit=3&after=3").json
    assert ([one["quantity"] for one in rest["items"]], rest["next"]) == ([2], None)


def test_the_movements_of_a_book_add_up(shop: Catalogs) -> None:
    """Received, sold and edited, the newest first; others' are not among them."""
    found = shop.get("/books/1/movements").json
    assert {one["kind"] for one in found["movements"]} == {"received", "sold", "edited"}
    assert sum(one["quantity"] for one in found["movements"]) == found["book"]["quantity"] == 5
    assert found["received"] == 7
    sold = [one for one in found["movements"] if one["kind"] == "sold"]
    assert [one["quantity"] for one in sold] == [-2]
    assert sold[0]["order_id"] == shop.get("/ledger").json["rows"][0]["order"]["order_id"]
    times = [one["at"] for one in found["movements"]]
    assert times == sorted(times, reverse=True)


def test_what_is_asked_wrongly_is_refused(shop: Catalogs) -> None:
    """400, and it is said what is wrong; a book that is not there is 404, whatever its number."""
    for target in (
        "/stock?below=x", "/stock?after=7", "/stock?after=1-2-3", "/stock?limit=0", "/stock?x=1",
        "/inventory?after=-1", "/inventory?limit=x", "/books/1/movements?x=1",
        "/audit/ledger?upto=x", "/audit?x=1", "/audit/rows?x=1",
    ):  # fmt: skip
        assert (shop.get(target).status, shop.get(target).code) == (400, "invalid-request"), target
    for book_id in (99, 2**63, 10**30):
        assert shop.get(f"/books/{book_id}/movements").status == 404


def test_who_looks_at_everything_waits_for_any_write(shop: Catalogs) -> None:
    """While an entry is prepared the asker is sent to the leader, as for the book itself."""
    node = shop.node(TWO)
    end = node.end()
    entry = Entry.build(end.epoch, end, ("book:4",), ("k",), b"")
    node.write(lambda db: store.prepare(db, entry))
    for target in ("/stock", "/inventory", "/books/4/movements"):
        refused = shop.get(target, to=TWO)
        assert (refused.code, refused.json["leader"]) == ("dirty", ONE)
    assert shop.get("/books/1/movements", to=TWO).status == 200


# --- what it is checked by ---


def test_totals_are_of_one_moment_and_add_up(shop: Catalogs) -> None:
    """At both catalogs, with the position they are of."""
    one, two = both(shop, "/audit")
    assert one == two
    assert (one["received"], one["sold"], one["left"]) == (11, 3, 8)
    assert (one["books"], one["orders"], one["counted"]) == (4, 1, 1)
    assert one["history"][0][0] == one["position"][1] == shop.node().end().seq


def test_equal_copies_have_equal_digests(shop: Catalogs) -> None:
    """Of the ledger, as far as asked, and of all other rows."""
    one, two = both(shop, "/audit/ledger?upto=99")
    assert one == two
    assert one["upto"] == 1
    assert shop.get("/audit/ledger?upto=0").json == {"upto": 0, "digest": ""}
    one, two = both(shop, "/audit/rows")
    assert one == two


def test_the_digests_leave_no_table_out() -> None:
    """Whatever is replicated, and what is derived from it."""
    assert {rows.table for rows in ROWS} | {"ledger"} == {
        *REPLICATED, "topic_counts", "book_count",
    }  # fmt: skip


CHANGES = (
    "UPDATE books SET title = 'Other' WHERE id = 4",
    "UPDATE books SET sku = NULL WHERE id = 4",
    "UPDATE book_topics SET book_id = 9 WHERE book_id = 4",
    "UPDATE topics SET name = 'other'",
    "UPDATE movements SET at = 'x' WHERE number = 1",
    "DELETE FROM operations WHERE key = 'sale'",
    "UPDATE counters SET value = value + 1 WHERE name = 'book'",
    "UPDATE topic_counts SET books = 0",
    "UPDATE book_count SET books = 0",
)


def test_every_cell_counts(shop: Catalogs) -> None:
    """In whatever table: the digest is another one."""
    db = shop.node(TWO).db.writer
    good = digest(db)
    for change in CHANGES:
        db.execute("BEGIN")
        db.execute(change)
        assert digest(db) != good, change
        db.execute("ROLLBACK")
    assert digest(db) == good


def test_a_row_that_was_changed_behind_our_back_is_seen(shop: Catalogs) -> None:
    """Also at a catalog that gave a digest just now, and at the same position."""
    one, two = both(shop, "/audit/rows")
    assert one == two
    shop.node(TWO).db.writer.execute(CHANGES[0])
    shop.run_for(REST_S_MIN)
    one, two = both(shop, "/audit/rows")
    assert one["position"] == two["position"]
    assert one["digest"] != two["digest"]


def test_an_order_that_was_changed_behind_our_back_is_seen_when_read_again(shop: Catalogs) -> None:
    """`again` believes nothing."""
    before = shop.get("/audit/ledger?upto=1").json
    ledger = shop.node().db.writer
    ledger.execute("UPDATE ledger SET body = replace(body, '\"quantity\":2', '\"quantity\":1')")
    assert shop.get("/audit?again=1").json["sold"] == 2
    assert shop.get("/audit/ledger?upto=1").json != before


def test_rows_are_read_no_more_often_than_costs_little(shop: Catalogs) -> None:
    """Within the rest everybody is given the last digest, with its position; unless told again."""
    first = shop.get("/audit/rows").json
    assert shop.operate("more", "restock", {"book_id": 2, "quantity": 1}).status == 200
    assert shop.get("/audit/rows").json == first
    shop.run_for(1.0)
    shop.get("/audit?again=1")
    assert shop.get("/audit/rows").json["position"] != first["position"]


def test_a_catalog_that_may_not_answer_reads_can_still_be_checked(shop: Catalogs) -> None:
    """One that refuses, above all."""
    shop.node(TWO).become("refusing", "diverged: for a test")
    assert shop.get("/stock", to=TWO).status == 503
    assert shop.get("/audit", to=TWO).json["left"] == 8
