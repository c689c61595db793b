"""What each kind of write does, refuses, and makes dirty, on a real database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog import store
from tests.support.catalog_fakes import AT, Document, Shop, book, sale, shops, some_operations


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    opened = Shop(tmp_path / "catalog.db")
    yield opened
    opened.close()


def numbers(shop: Shop) -> list[int]:
    """Return the numbers in the ledger."""
    return [row["number"] for row in store.ledger(shop.db, 0, 1000)["rows"]]


def changes(shop: Shop, **changed: Any) -> Document:
    """Return the body of an edit of book 1."""
    return {"book_id": 1, **changed}


# --- sell ---


def test_a_sale_takes_stock_and_is_in_the_ledger(shop: Shop) -> None:
    """One transaction decides and records it."""
    first, second = shop.add(quantity=5, price_cents=700), shop.add(quantity=2, price_cents=150)
    sold = shop.do("sell", sale((first, 2), (second, 1)))
    assert (shop.left(first), shop.left(second)) == (3, 1)
    assert sold.status == 201
    assert sold.answer["total_cents"] == 2 * 700 + 150
    assert sold.answer["created_at"] == AT
    order = {name: value for name, value in sold.answer.items() if name != "number"}
    assert store.ledger(shop.db, 0, 10) == {
        "end": 1,
        "rows": [{"number": sold.answer["number"], "order": order}],
    }


def test_a_sale_keeps_the_title_and_price_of_its_moment(shop: Shop) -> None:
    """What changes afterwards does not change an order."""
    shop.add(title="Old", price_cents=100)
    sold = shop.do("sell", sale((1, 2)))
    shop.do("edit", changes(shop, title="New", price_cents=900))
    line = {"book_id": 1, "title": "Old", "quantity": 2, "price_cents": 100}
    assert sold.answer["items"] == [line]
    assert store.ledger(shop.db, 0, 1)["rows"][0]["order"]["items"] == [line]


def test_the_last_copies_can_be_sold(shop: Shop) -> None:
    """Stock may become zero, and no less."""
    shop.add(quantity=3)
    assert shop.do("sell", sale((1, 3))).status == 201
    assert shop.left(1) == 0
    assert shop.do("sell", sale((1, 1))).status == 409


def test_more_than_is_left_is_refused(shop: Shop) -> None:
    """The refusal says what is left, and changes nothing."""
    shop.add(quantity=3)
    refused = shop.do("sell", sale((1, 4)))
    assert refused.status == 409
    assert refused.answer["code"] == "sold-out"
    assert (refused.answer["book_id"], refused.answer["quantity_left"]) == (1, 3)
    assert shop.left(1) == 3
    assert numbers(shop) == []


def test_a_basket_with_an_unknown_book_is_refused(shop: Shop) -> None:
    """It names the book."""
    shop.add()
    refused = shop.do("sell", sale((1, 1), (2, 1)))
    assert (refused.status, refused.answer["code"], refused.answer["book_id"]) == (
        404,
        "not-found",
        2,
    )


@pytest.mark.parametrize("last", [(2, 9), (3, 1)], ids=["sold out", "unknown"])
def test_a_basket_is_sold_whole_or_not_at_all(shop: Shop, last: tuple[int, int]) -> None:
    """A line that cannot be sold gives the stock of the lines before it back."""
    shop.add(quantity=5)
    shop.add(quantity=5)
    before = shop.digest_of_books()
    refused = shop.do("sell", sale((1, 2), last))
    assert refused.status in (404, 409)
    assert refused.keys == frozenset()
    assert shop.digest_of_books() == before


def test_ledger_numbers_have_no_gaps_after_refusals(shop: Shop) -> None:
    """A number is given out only to a sale."""
    shop.add(quantity=2)
    statuses = [shop.do("sell", sale((1, quantity))).status for quantity in (1, 9, 1, 1, 1)]
    shop.do("restock", {"book_id": 1, "quantity": 1, "reason": None})
    shop.do("sell", sale((1, 1)))
    assert statuses == [201, 409, 201, 409, 409]
    assert numbers(shop) == [1, 2, 3]


def test_the_schema_itself_keeps_stock_from_becoming_negative(shop: Shop) -> None:
    """Should a check ever be missing in the code."""
    shop.add(quantity=1)
    with pytest.raises(apsw.ConstraintError), shop.db as db:
        db.execute("UPDATE books SET quantity = quantity - 2")


# --- add ---


def test_a_new_book_is_answered_as_it_will_be_shown(shop: Shop) -> None:
    """With its id; ids count up from one."""
    fields = book(sku="X-1", title="T", authors=["A", "B"], topics=["Systems", "Go"])
    added = shop.do("add", fields)
    assert (added.status, added.answer) == (201, {"id": 1, **fields})
    assert shop.book(1) == added.answer
    assert shop.add() == 2


def test_a_taken_sku_is_refused(shop: Shop) -> None:
    """And says whose it is; no id is lost."""
    shop.add(sku="X-1")
    refused = shop.do("add", book(sku="X-1", topics=["Other"]))
    assert (refused.status, refused.answer["code"]) == (400, "invalid-request")
    assert (refused.answer["field"], refused.answer["book_id"]) == ("sku", 1)
    assert shop.topics() == {"Systems": 1}
    assert shop.add() == 2


def test_books_without_a_sku_are_no_duplicates(shop: Shop) -> None:
    """There may be any number of them."""
    assert [shop.add(sku=None), shop.add(sku=None)] == [1, 2]


def test_the_first_copies_are_received(shop: Shop) -> None:
    """Stock sold + left = received, from the first day on."""
    shop.add(quantity=7)
    assert movements(shop) == [(1, "received", 7, {"reason": "new"})]


def movements(shop: Shop) -> list[tuple[int, str, int, Any]]:
    rows = shop.db.execute("SELECT book_id, kind, quantity, detail FROM movements ORDER BY number")
    return [
        (book_id, kind, quantity, json.loads(detail)) for book_id, kind, quantity, detail in rows
    ]


# --- edit ---


@pytest.mark.parametrize(
    "change",
    [
        {"title": "Another"},
        {"authors": ["X", "Y"]},
        {"authors": []},
        {"topics": ["Go"]},
        {"price_cents": 1},
        {"title": "Another", "price_cents": 0, "topics": ["Systems", "Go"], "authors": ["Z"]},
    ],
    ids=str,
)
def test_an_edit_changes_what_it_names_and_nothing_else(shop: Shop, change: Document) -> None:
    """The answer is the whole book."""
    fields = book(sku="X")
    shop.do("add", fields)
    edited = shop.do("edit", changes(shop, **change))
    assert (edited.status, edited.answer) == (200, {"id": 1, **fields, **change})
    assert shop.book(1) == edited.answer


def test_an_edit_is_written_down_with_its_reason(shop: Shop) -> None:
    """Which fields, and why."""
    shop.add()
    shop.do("edit", changes(shop, price_cents=5, title="T", reason="typo"))
    assert movements(shop)[1:] == [
        (1, "edited", 0, {"reason": "typo", "fields": ["price_cents", "title"]})
    ]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("edit", {"book_id": 9, "title": "T"}),
        ("restock", {"book_id": 9, "quantity": 1, "reason": None}),
        ("sell", sale((9, 1))),
    ],
)
def test_an_unknown_book_is_refused(shop: Shop, kind: str, body: Document) -> None:
    """Whatever is to be done with it."""
    shop.add()
    before = shop.digest_of_books()
    refused = shop.do(kind, body)
    assert (refused.status, refused.answer["code"], refused.keys) == (404, "not-found", frozenset())
    assert shop.digest_of_books() == before


def test_a_book_moves_between_topics(shop: Shop) -> None:
    """It leaves the lists of the topics it had and is in those of the new ones."""
    shop.add(topics=["A", "B"])
    shop.add(topics=["B"])
    shop.do("edit", changes(shop, topics=["B", "C"]))
    assert shop.topics() == {"B": 2, "C": 1}
    assert [ids(shop, topic) for topic in ("a", "b", "c")] == [[], [1, 2], [1]]


def ids(shop: Shop, topic: str) -> list[int]:
    page = store.topic_page(shop.db, topic, topic, 200, 0, str)
    assert page["total"] == len(page["items"])
    return [item["id"] for item in page["items"]]


def test_the_first_spelling_of_a_topic_wins(shop: Shop) -> None:
    """However it is written later, it is one topic under its first name."""
    shop.add(topics=["Größe  und Maß".replace("  ", " ")])
    added = shop.do("add", book(topics=["GRÖSSE UND MASS"]))
    edited = shop.do("edit", {"book_id": 2, "topics": ["größe UND maß", "New"]})
    assert added.answer["topics"] == ["Größe und Maß"]
    assert edited.answer["topics"] == ["Größe und Maß", "New"]
    assert shop.topics() == {"Größe und Maß": 2, "New": 1}


def test_a_topic_keeps_its_name_while_no_book_has_it(shop: Shop) -> None:
    """It is not listed then, and comes back as it was."""
    shop.add(topics=["Go"])
    shop.do("edit", changes(shop, topics=["Rust"]))
    assert shop.topics() == {"Rust": 1}
    shop.do("edit", changes(shop, topics=["GO"]))
    assert shop.topics() == {"Go": 1}


# --- restock ---


def test_a_restock_adds_copies(shop: Shop) -> None:
    """And is written down."""
    shop.add(quantity=0)
    stocked = shop.do("restock", {"book_id": 1, "quantity": 4, "reason": "found a box"})
    assert (stocked.status, stocked.answer["quantity"]) == (200, 4)
    assert movements(shop)[1:] == [(1, "received", 4, {"reason": "found a box"})]


# --- import ---


def load(shop: Shop, *rows: Document) -> Document:
    """Import rows; return the counts."""
    done = shop.do("import", {"rows": list(rows)})
    assert done.status == 200
    return done.answer


def test_an_import_adds_what_is_new(shop: Shop) -> None:
    """By sku, with its stock."""
    assert load(shop, book(sku="a", quantity=3), book(sku="b")) == {
        "added": 2,
        "changed": 0,
        "unchanged": 0,
    }
    assert shop.left(1) == 3


def test_an_import_changes_what_is_here_but_not_its_stock(shop: Shop) -> None:
    """Afterwards only a restock changes stock, or sold + left = received would break."""
    load(shop, book(sku="a", quantity=3))
    counts = load(shop, book(sku="a", quantity=9, title="Other", topics=["Go"]))
    assert counts == {"added": 0, "changed": 1, "unchanged": 0}
    assert shop.book(1) == {"id": 1, **book(sku="a", quantity=3, title="Other", topics=["Go"])}
    assert movements(shop)[1:] == [
        (1, "edited", 0, {"reason": "import", "fields": ["title", "topics"]})
    ]


def test_a_second_import_of_the_same_file_changes_nothing(shop: Shop) -> None:
    """Neither a book, nor a key, nor a movement."""
    rows = [book(sku="a", topics=["Go", "C"]), book(sku="b", authors=[])]
    load(shop, *rows)
    before, written = shop.digest_of_books(), movements(shop)
    again = shop.do("import", {"rows": rows})
    assert again.answer == {"added": 0, "changed": 0, "unchanged": 2}
    assert again.keys == frozenset()
    assert (shop.digest_of_books(), movements(shop)) == (before, written)


def test_another_spelling_of_a_topic_is_no_change(shop: Shop) -> None:
    """The first spelling stands for all."""
    load(shop, book(sku="a", topics=["Go"]))
    assert load(shop, book(sku="a", topics=["GO"]))["unchanged"] == 1


def test_a_sku_twice_in_one_import_is_one_book(shop: Shop) -> None:
    """The later row changes what the earlier one added."""
    counts = load(shop, book(sku="a", quantity=2), book(sku="a", quantity=5, title="Later"))
    assert counts == {"added": 1, "changed": 1, "unchanged": 0}
    assert shop.book(1) == {"id": 1, **book(sku="a", quantity=2, title="Later")}


# --- keys ---

HERE = ("text", "topics", "topic:systems")


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        pytest.param("sell", sale((1, 1), (2, 1)), ("book:1", "book:2", "ledger"), id="sale"),
        pytest.param(
            "restock", {"book_id": 1, "quantity": 1, "reason": None}, ("book:1",), id="restock"
        ),
        pytest.param(
            "edit", {"book_id": 1, "title": "T"}, ("book:1", "text", "topic:systems"), id="title"
        ),
        pytest.param(
            "edit", {"book_id": 1, "authors": []}, ("book:1", "text", "topic:systems"), id="authors"
        ),
        pytest.param(
            "edit",
            {"book_id": 1, "price_cents": 1},
            ("book:1", "text", "topic:systems"),
            id="price",
        ),
        pytest.param(
            "edit",
            {"book_id": 1, "topics": ["Go", "ML/AI"]},
            ("book:1", *HERE, "topic:go", "topic:ml/ai"),
            id="topics before and after",
        ),
        pytest.param(
            "edit", {"book_id": 1, "topics": ["SYSTEMS"]}, ("book:1", *HERE), id="the same topics"
        ),
        pytest.param(
            "add", book(topics=["Systems", "Go"]), ("book:3", *HERE, "topic:go"), id="new book"
        ),
        pytest.param(
            "import",
            {"rows": [book(sku="a", price_cents=1), book(sku="n", topics=["Go"])]},
            ("book:1", "text", "topic:systems", "book:3", "topics", "topic:go"),
            id="import",
        ),
        pytest.param("import", {"rows": [book(sku="a")]}, (), id="import without a change"),
        pytest.param("sell", sale((1, 1), (2, 99)), (), id="refused sale"),
        pytest.param("add", book(sku="a"), (), id="refused book"),
    ],
)
def test_a_write_makes_exactly_its_keys_dirty(
    shop: Shop, kind: str, body: Document, expected: tuple[str, ...]
) -> None:
    """As PROTOCOL.md, Keys, has it: no more, or caches suffer; no less, or they go stale."""
    shop.add(sku="a")
    shop.add(sku="b")
    assert shop.do(kind, body).keys == set(expected)


@settings(max_examples=60)
@given(some_operations(max_size=6), some_operations(max_size=1))
def test_every_page_that_a_write_changes_is_among_its_keys(
    before: list[tuple[str, Document]], write: list[tuple[str, Document]]
) -> None:
    """Whatever is done: an answer that differs afterwards was made dirty."""
    with shops(1) as (shop,):
        for kind, body in before:
            shop.do(kind, body)
        old = pages(shop)
        dirty = shop.do(*write[0]).keys
        new = pages(shop)
        assert {key for key in old | new if old.get(key) != new.get(key)} <= dirty


def pages(shop: Shop) -> dict[str, Any]:
    """Return every answer a client can get, under the key it is read by."""
    found: dict[str, Any] = {
        "topics": store.topics(shop.db),
        "ledger": store.ledger(shop.db, 0, 1000),
        "text": [store.books_page(shop.db, 200, 0, str), [shop.search(word) for word in "aetд東c"]],
    }
    for (book_id,) in shop.db.execute("SELECT id FROM books").fetchall():
        found[f"book:{book_id}"] = shop.book(book_id)
    for (topic,) in shop.db.execute("SELECT topic FROM topics").fetchall():
        found[f"topic:{topic}"] = ids_and_prices(shop, topic)
    return found


def ids_and_prices(shop: Shop, topic: str) -> list[Document] | None:
    items = store.topic_page(shop.db, topic, "", 200, 0, str)["items"]
    return items or None  # an empty list is what an unknown topic has


# --- for any history ---


@settings(max_examples=60)
@given(some_operations(max_size=20))
def test_stock_received_is_stock_sold_and_stock_left(drawn: list[tuple[str, Document]]) -> None:
    """For every book, after whatever was done, and never below zero; the ledger has no gaps."""
    with shops(1) as (shop,):
        for kind, body in drawn:
            shop.do(kind, body)
        received: dict[int, int] = {}
        for book_id, _, quantity, _ in movements(shop):
            received[book_id] = received.get(book_id, 0) + quantity
        rows = store.ledger(shop.db, 0, 1000)["rows"]
        for row in rows:
            for line in row["order"]["items"]:
                received[line["book_id"]] -= line["quantity"]
        left = dict(shop.db.execute("SELECT id, quantity FROM books").fetchall())
        assert received == left
        assert all(quantity >= 0 for quantity in left.values())
        assert [row["number"] for row in rows] == list(range(1, len(rows) + 1))


@settings(max_examples=60)
@given(some_operations(max_size=12))
def test_what_triggers_count_is_what_is_there(drawn: list[tuple[str, Document]]) -> None:
    """The number of books of each topic, and of all."""
    with shops(1) as (shop,):
        for kind, body in drawn:
            shop.do(kind, body)
        counted = shop.db.execute(
            "SELECT topic, count(*) FROM book_topics GROUP BY topic"
        ).fetchall()
        by_trigger = shop.db.execute(
            "SELECT topic, books FROM topic_counts WHERE topic <> '' AND books <> 0"
        ).fetchall()
        assert sorted(by_trigger) == sorted(counted)
        books = shop.db.execute("SELECT count(*) FROM books").get
        assert store.books_page(shop.db, 1, 0, str)["total"] == books
        filed = {
            (book_id, key)
            for key, book_id in shop.db.execute("SELECT topic, book_id FROM book_topics")
        }
        shown = {
            (book_id, topic.casefold())
            for (book_id, topics) in shop.db.execute("SELECT id, topics FROM books").fetchall()
            for topic in json.loads(topics)
        }
        assert filed == shown


@settings(max_examples=40)
@given(some_operations(max_size=10))
def test_a_refused_operation_leaves_only_its_outcome(drawn: list[tuple[str, Document]]) -> None:
    """Nothing else of it is ever seen: no counter, no topic, no stock."""
    with shops(1) as (shop,):
        for kind, body in drawn:
            before = shop.digest_of_books()
            if shop.do(kind, body).status >= 400:
                assert shop.digest_of_books() == before


@given(st.integers(1, 30), st.lists(st.integers(1, 6), max_size=20))
@settings(max_examples=30)
def test_buyers_of_the_last_copies_get_no_more_than_there_are(
    stock: int, wishes: list[int]
) -> None:
    """Each gets all that was asked for, or nothing."""
    with shops(1) as (shop,):
        shop.add(quantity=stock)
        sold = 0
        for wish in wishes:
            done = shop.do("sell", sale((1, wish)))
            assert done.status == (201 if sold + wish <= stock else 409)
            sold += wish if done.status == 201 else 0
        assert shop.left(1) == stock - sold
