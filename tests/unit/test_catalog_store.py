"""What a catalog reads from its database: lists, text, the log, changesets, digests."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from catalog import store
from catalog.model import Entry, decode_entries
from catalog.store import ChangesetConflict, fts_query
from common.cursor import read_cursor, write_cursor
from common.position import ORIGIN, Position
from tests.support.catalog_fakes import Document, Shop, book, sale, shops, some_operations


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    opened = Shop(tmp_path / "catalog.db")
    yield opened
    opened.close()


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Shop]:
    opened = Shop(tmp_path / "copy.db")
    yield opened
    opened.close()


# --- text search ---

HOSTILE = [
    '"',
    '""',
    '"""',
    "'",
    "AND",
    "OR",
    "NOT",
    "NEAR",
    "NEAR(a b)",
    "a AND",
    "OR OR",
    "NOT a",
    "*",
    "a*",
    "*a",
    "a**",
    "title:",
    "title:a",
    "{title authors}: a",
    "-title:a",
    "^a",
    "a ^ b",
    "+",
    "a + b",
    "(",
    ")",
    "(a",
    "a)",
    "-a",
    "--",
    ";",
    "a;",
    "\\",
    "%",
    "_",
    "a\0b",
    "\0",
    "🙂",
    "🙂 a",
    "a🙂",
    "\u200d",
    "\u0301",
    "𞤀",
    "𞤀 a",
    "a 𞤀",
    "\ufeff",
    "\udcff",
    "…",
    "   ",
    "",
    "a" * 5000,
    "a " * 400,
    '"a" OR "b"',
    "rowid:1",
    "book_text",
    "' OR 1=1 --",
    "\n\t",
    "?",
    "?1",
    ":a",
    "@a",
    "$a",
    "1",
    "１",  # noqa: RUF001
    "Ⅷ",
    "²",
]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_text_is_data_never_syntax(shop: Shop, text: str) -> None:
    """Whatever somebody types: an answer, and no error."""
    shop.add(title="An AND OR NEAR title")
    shop.search(text)


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
@pytest.mark.parametrize("after", [0, 1, 3])
def test_every_page_of_a_search_counts_all_its_books(shop: Shop, limit: int, after: int) -> None:
    """Whether they fit into that page or not."""
    for number in range(3):
        shop.add(title=f"The sea, part {number}")
    shop.add(title="The land")
    assert store.text_page(shop.db, "sea", limit, after, str)["total"] == 3


@given(st.text(max_size=40))
@settings(max_examples=300)
@example("\ud800")
def test_any_text_can_be_searched_for(text: str) -> None:
    """Any characters at all."""
    found = store.text_page(TEXTS.db, text, 10, 0, str)
    assert found["total"] >= len(found["items"])


class _Texts:
    """One database for the property above, made when it is first used."""

    def __init__(self) -> None:
        self._shops: Any = None

    @property
    def db(self) -> Any:
        if self._shops is None:
            self._shops = shops(1)
            self._shop = self._shops.__enter__()[0]
            self._shop.add(title="Systems AND NEAR")
        return self._shop.db


TEXTS = _Texts()


@pytest.fixture(autouse=True, scope="module")
def _close_texts() -> Iterator[None]:
    yield
    if TEXTS._shops is not None:
        TEXTS._shops.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("graph", [1]),
        ("GRAPH", [1]),
        ("graphs", []),
        ("gra", [1]),
        ("raph", []),
        ("theory graph", [1]),
        ("gra theory", []),
        ("graph theo", [1]),
        ("graph knuth", [1]),
        ("graph-theory", [1]),
        ("theory-graph", []),
        ('"graph theory"', [1]),
        ("graph OR cooking", []),
        ("cooking NOT graph", []),
        ("title:graph", []),
        ("NEAR", [2]),
        ("and near", [2]),
        ("c++", [3]),
        ("🙂 graph", [1]),
        ("graph\0theory", [1]),
        ("!!!", []),
        ("🙂", []),
        ("", []),
    ],
)
def test_every_word_must_be_there_the_last_as_a_prefix(
    shop: Shop, text: str, expected: list[int]
) -> None:
    """In the title or among the authors, in any order."""
    shop.add(title="Graph Theory", authors=["D. Knuth"])
    shop.add(title="And near is far", authors=[])
    shop.add(title="C++ for cats", authors=[])
    assert shop.search(text) == expected


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("Café Müller", "cafe muller"),
        ("Cafe Muller", "café müller"),
        ("Việt Nam", "viet nam"),
        ("Ångström", "angstro"),
        ("Война и мир", "ВОЙНА"),
        ("Η Οδύσσεια", "οδυσσεια"),  # noqa: RUF001
        ("كتاب الحيوان", "كتاب"),
        ("ספר הזוהר", "הזוהר"),
        ("三国演义", "三国"),
        ("東京物語", "東京物語"),
        ("हिन्दी साहित्य", "हिन्दी"),
        ("한국어 문법", "한국어"),
        ("ประวัติศาสตร์", "ประวัติศาสตร์"),
    ],
)
def test_words_of_many_scripts_are_found_without_their_accents(
    shop: Shop, title: str, text: str
) -> None:
    """Case and diacritics do not matter where a script has them."""
    shop.add(title=title)
    shop.add(title="Something else", authors=["Someone"])
    assert shop.search(text) == [1]


@pytest.mark.parametrize("name", ["José", "한국어", "Việt"])
def test_decomposed_text_finds_what_is_stored_composed(shop: Shop, name: str) -> None:
    """Some keyboards send accents apart from their letters (NFD); titles are stored NFC."""
    shop.add(title=unicodedata.normalize("NFC", name))
    assert shop.search(unicodedata.normalize("NFD", name)) == [1]


def test_a_changed_title_is_found_and_the_old_one_is_not(shop: Shop) -> None:
    """The index follows each edit; a price does not touch it."""
    shop.add(title="Old words", authors=["Ann"])
    shop.do("edit", {"book_id": 1, "title": "New words"})
    assert (shop.search("old"), shop.search("new"), shop.search("ann")) == ([], [1], [1])
    shop.do("edit", {"book_id": 1, "authors": ["Bob"], "price_cents": 3})
    assert (shop.search("new"), shop.search("ann"), shop.search("bob")) == ([1], [], [1])


def test_text_without_a_word_is_no_query() -> None:
    """Nothing is looked for, and nothing is found."""
    assert [fts_query(text) for text in ("", "  ", '"', "🙂", "...", "\0")] == [None] * 6


# --- pages ---

Page = Callable[[int, int, Callable[[int], str]], Document]


def walk(page: Page, limit: int) -> list[int]:
    """Return the ids of a list, read page by page as a client does."""
    found: list[int] = []
    after = 0
    totals = set()
    for _ in range(1000):
        document = page(limit, after, lambda last: write_cursor("k", "c", last))
        totals.add(document["total"])
        items = [item["id"] for item in document["items"]]
        assert len(items) <= limit
        found += items
        if document["next"] is None:
            assert totals == {len(found)}
            return found
        assert len(items) == limit
        after = read_cursor("k", "c", document["next"])
    raise AssertionError("the list has no end")


@settings(max_examples=25)
@given(st.lists(st.sampled_from(("Go", "Rust", "go")), max_size=25), st.integers(1, 9))
def test_pages_have_no_gaps_and_no_repeats(topics: list[str], limit: int) -> None:
    """Each list, whatever the length of its pages; the total is the same on each."""
    with shops(1) as (shop,):
        for number, topic in enumerate(topics):
            shop.add(title=f"Title {number}", topics=[topic], authors=[topic])
        db, everything = shop.db, list(range(1, len(topics) + 1))
        go = [number for number in everything if topics[number - 1].casefold() == "go"]
        assert walk(lambda *page: store.books_page(db, *page), limit) == everything
        assert walk(lambda *page: store.topic_page(db, "go", "go", *page), limit) == go
        assert walk(lambda *page: store.text_page(db, "title", *page), limit) == everything
        assert walk(lambda *page: store.text_page(db, "go", *page), limit) == go


def test_books_that_come_while_somebody_pages_are_on_later_pages(shop: Shop) -> None:
    """Lists are by id, so nothing moves."""
    shop.add()
    shop.add()
    first = store.books_page(shop.db, 2, 0, str)
    assert first["next"] is None
    shop.add()
    second = store.books_page(shop.db, 2, 2, str)
    assert [item["id"] for item in second["items"]] == [3]


def test_a_page_of_a_topic_has_the_stored_name(shop: Shop) -> None:
    """Or, of a topic nobody knows, what was asked for."""
    shop.add(topics=["Café"])
    assert store.topic_page(shop.db, "café", "CAFÉ", 9, 0, str)["topic"] == "Café"
    unknown = {"topic": "What Ever", "items": [], "total": 0, "next": None}
    assert store.topic_page(shop.db, "what ever", "What Ever", 9, 0, str) == unknown


def test_the_blank_topic_is_unknown(shop: Shop) -> None:
    """It has no books, whatever the counter of all books is filed under."""
    shop.add()
    assert store.topic_page(shop.db, "", "", 9, 0, str)["total"] == 0


def test_a_list_item_is_short(shop: Shop) -> None:
    """Id, title, authors and price."""
    shop.add(title="T", authors=["A"], price_cents=5)
    items = store.books_page(shop.db, 9, 0, str)["items"]
    assert items == [{"id": 1, "title": "T", "authors": ["A"], "price_cents": 5}]


def test_the_ledger_is_read_in_pieces(shop: Shop) -> None:
    """Each with the end, so a follower knows how far it is."""
    shop.add(quantity=9)
    for _ in range(5):
        shop.do("sell", sale((1, 1)))
    read = [store.ledger(shop.db, after, 2) for after in (0, 2, 4, 5, 99)]
    assert [[row["number"] for row in piece["rows"]] for piece in read] == [
        [1, 2],
        [3, 4],
        [5],
        [],
        [],
    ]
    assert {piece["end"] for piece in read} == {5}


# --- the log ---


def test_an_empty_log_ends_at_the_origin(shop: Shop) -> None:
    """Nothing has been written."""
    assert store.end(shop.db) == ORIGIN
    assert store.entries_after(shop.db, 0, 100) == b""


def test_the_log_gives_entries_after_a_seq(shop: Shop) -> None:
    """All of them, or as many as fit, but at least one."""
    for _ in range(3):
        shop.add()
    assert [list(decode_entries(read(shop, seq))) for seq in (0, 1, 3)] == [
        shop.log,
        shop.log[1:],
        [],
    ]
    assert list(decode_entries(read(shop, 0, bytes_max=1))) == shop.log[:1]


def read(shop: Shop, seq: int, bytes_max: int = 10**6) -> bytes:
    found = store.entries_after(shop.db, seq, bytes_max)
    assert found is not None
    return found


def append_many(shop: Shop, count: int) -> None:
    with shop.db as db:
        for seq in range(1, count + 1):
            store.append(db, Entry(Position(1, seq, f"h{seq}"), (), (), b""))


def test_the_log_forgets_all_but_the_last_entries(shop: Shop) -> None:
    """10,000 stay; outcomes and the ledger are kept elsewhere, for ever."""
    append_many(shop, store.LOG_ENTRIES_MAX + 3)
    oldest, count = shop.db.execute("SELECT min(seq), count(*) FROM log").get
    assert (oldest, count) == (4, store.LOG_ENTRIES_MAX)
    assert store.end(shop.db).seq == store.LOG_ENTRIES_MAX + 3


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_log_that_begins_later_says_so(shop: Shop, after: int) -> None:
    """A peer that far behind needs a snapshot, not entries with a gap before them."""
    append_many(shop, store.LOG_ENTRIES_MAX + 3)
    assert store.entries_after(shop.db, after, 100) is None


def test_a_peer_ahead_of_the_log_gets_nothing_it_could_use(shop: Shop) -> None:
    """There is no such entry here."""
    shop.add()
    assert store.entries_after(shop.db, 7, 100) is None


# --- prepared ---


def test_a_prepared_entry_makes_its_keys_dirty(shop: Shop, copy: Shop) -> None:
    """Until it is applied."""
    shop.add()
    with copy.db as db:
        store.prepare(db, shop.log[0])
    assert store.prepared(copy.db) == shop.log[0]
    dirty = {"book:1", "text", "topics", "topic:systems"}
    assert {
        key for key in (*dirty, "book:2", "ledger", "topic:") if store.is_dirty(copy.db, key)
    } == dirty
    assert copy.book(1) is None
    copy.apply(shop.log[0])
    assert store.prepared(copy.db) is None
    assert not any(store.is_dirty(copy.db, key) for key in dirty)


def test_a_discarded_entry_leaves_nothing_dirty(shop: Shop, copy: Shop) -> None:
    """As if it had never come."""
    shop.add()
    with copy.db as db:
        store.prepare(db, shop.log[0])
        store.discard_prepared(db)
    assert (store.prepared(copy.db), store.is_dirty(copy.db, "book:1")) == (None, False)


# --- changesets ---


def derived(shop: Shop) -> list[Any]:
    """Return what no changeset carries: what the triggers made of it."""
    counts = shop.db.execute(
        "SELECT topic, books FROM topic_counts WHERE books > 0 ORDER BY 1"
    ).fetchall()
    words = ("graph", "год", "λογος", "東京", "cafe", "كتاب", "a", "and", "an")
    found = [store.text_page(shop.db, word, 200, 0, str) for word in words]
    return [counts, store.topics(shop.db), found]


@settings(max_examples=60)
@given(st.lists(some_operations(max_size=6), max_size=5))
def test_a_copy_that_applies_the_log_is_equal(batches: list[list[tuple[str, Document]]]) -> None:
    """Any batches: equal digests, equal lists, equal text search."""
    with shops(2) as (shop, copy):
        for batch in batches:
            shop.batch(*batch)
        for entry in shop.log:
            copy.apply(entry)
        assert derived(copy) == derived(shop)
        assert copy.digest() == shop.digest()
        assert store.end(copy.db) == store.end(shop.db)


def test_a_topic_gained_and_lost_in_one_batch_leaves_the_copies_equal(
    shop: Shop, copy: Shop
) -> None:
    """The copy never saw it: digests must not tell a difference that is none."""
    shop.add(topics=["Go"])
    shop.batch(
        ("edit", {"book_id": 1, "topics": ["Rust"]}), ("edit", {"book_id": 1, "topics": ["Go"]})
    )
    for entry in shop.log:
        copy.apply(entry)
    assert copy.digest() == shop.digest()


def test_a_sku_twice_in_an_import_leaves_the_copies_equal(shop: Shop, copy: Shop) -> None:
    """The second row moves the book before anybody saw where the first one had put it."""
    rows = [book(sku="a", topics=["Go"]), book(sku="a", topics=["Rust"])]
    shop.do("import", {"rows": rows})
    copy.apply(shop.log[0])
    assert copy.digest() == shop.digest()


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param("UPDATE books SET quantity = 99 WHERE id = 1", id="another value"),
        pytest.param("DELETE FROM books WHERE id = 1", id="a row missing"),
        pytest.param("INSERT INTO ledger VALUES (1, 'x', '{}')", id="a row too many"),
        pytest.param("UPDATE counters SET value = 7 WHERE name = 'ledger'", id="another count"),
        pytest.param(
            "INSERT INTO operations VALUES ('op-2', 'f', 200, '{}')", id="a key decided twice"
        ),
    ],
)
def test_a_changeset_that_does_not_fit_changes_nothing(shop: Shop, copy: Shop, harm: str) -> None:
    """The copies differ: it is told, not patched over."""
    shop.add()
    shop.do("sell", sale((1, 2)))
    copy.apply(shop.log[0])
    copy.db.execute(harm)
    before = copy.digest(), store.end(copy.db), derived(copy)
    with pytest.raises(ChangesetConflict):
        copy.apply(shop.log[1])
    assert (copy.digest(), store.end(copy.db), derived(copy)) == before


def test_an_entry_without_changes_is_applied_too(copy: Shop) -> None:
    """It is a place in the log."""
    entry = Entry.build(1, ORIGIN, (), (), b"")
    copy.apply(entry)
    assert store.end(copy.db) == entry.position


# --- digests ---


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE books SET price_cents = price_cents + 1 WHERE id = 2",
        "UPDATE books SET version = version + 1 WHERE id = 1",
        "UPDATE books SET title = title || ' '",
        "DELETE FROM book_topics WHERE book_id = 2",
        "UPDATE topics SET name = 'systems'",
        "UPDATE ledger SET body = '{}'",
        "UPDATE movements SET quantity = 1 WHERE number = 1",
        "UPDATE operations SET status = 404 WHERE key = 'op-1'",
        "UPDATE counters SET value = 9 WHERE name = 'book'",
        "UPDATE topic_counts SET books = 9 WHERE topic = 'systems'",
    ],
)
def test_a_digest_notices_a_difference(shop: Shop, harm: str) -> None:
    """In any replicated row, and in what the triggers count."""
    shop.add()
    shop.add()
    shop.do("sell", sale((1, 1)))
    before = shop.digest()
    shop.db.execute(harm)
    assert shop.digest() != before


def test_a_digest_does_not_depend_on_what_is_each_nodes_own(shop: Shop) -> None:
    """The log may be trimmed and an entry prepared."""
    shop.add()
    before = shop.digest()
    with shop.db as db:
        store.prepare(db, Entry.build(1, store.end(db), ("book:1",), (), b""))
        db.execute("DELETE FROM log")
    assert shop.digest() == before
