"""What a catalog node reads from its database, and how it keeps the log and the prepared entry.

Law: each function works inside a transaction its caller has opened; the answer's documents are the
public ones.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any

import apsw

from catalog.model import EVERY_KEY, REPLICATED, Entry, Outcome, decode_entries
from common.position import ORIGIN, Position

LOG_ENTRIES_MAX = 10_000
ORDER = {"book_topics": "1, 2"}  # of a table's rows in a digest, where one column is not enough
LIST_COLUMNS = "b.id, b.title, b.authors, b.price_cents"

Document = dict[str, Any]


class ChangesetConflict(Exception):
    """A changeset does not fit what is here: the copies differ."""


# --- books, topics, ledger ---


def book(db: apsw.Connection, book_id: int) -> Document | None:
    """Return the public document of a book, or None."""
    row = db.execute(
        "SELECT id, sku, title, authors, topics, price_cents, quantity FROM books WHERE id = ?",
        (book_id,),
    ).get
    return None if row is None else book_document(row)


def book_document(row: tuple[Any, ...]) -> Document:
    """Return the public document of a row (id, sku, title, authors, topics, price_cents,
    quantity).
    """
    book_id, sku, title, authors, topics, price_cents, quantity = row
    return {
        "id": book_id,
        "sku": sku,
        "title": title,
        "authors": json.loads(authors),
        "topics": json.loads(topics),
        "price_cents": price_cents,
        "quantity": quantity,
    }


def _page(
    rows: list[Any], limit: int, cursor: Callable[[int], str]
) -> tuple[list[Document], str | None]:
    items = [
        {"id": book_id, "title": title, "authors": json.loads(authors), "price_cents": cents}
        for book_id, title, authors, cents in rows[:limit]
    ]
    return items, cursor(items[-1]["id"]) if len(rows) > limit else None


def topic_page(
    db: apsw.Connection,
    topic: str,
    spelled: str,
    limit: int,
    after: int,
    cursor: Callable[[int], str],
) -> Document:
    """Return one page of a topic's books by id; `topic` is the topic key, `spelled` what the client
    wrote.
    """
    rows = db.execute(
        f"SELECT {LIST_COLUMNS} FROM book_topics t JOIN books b ON b.id = t.book_id"
        " WHERE t.topic = ? AND t.book_id > ? ORDER BY t.book_id LIMIT ?",
        (topic, after, limit + 1),
    ).fetchall()
    items, following = _page(rows, limit, cursor)
    name = db.execute("SELECT name FROM topics WHERE topic = ?", (topic,)).get
    return {"topic": name or spelled, "items": items, "total": _count(db, topic), "next": following}


def _count(db: apsw.Connection, topic: str) -> int:
    return db.execute("SELECT books FROM topic_counts WHERE topic = ?", (topic,)).get or 0


def books_page(
    db: apsw.Connection, limit: int, after: int, cursor: Callable[[int], str]
) -> Document:
    """Return one page of all books by id."""
    rows = db.execute(
        f"SELECT {LIST_COLUMNS} FROM books b WHERE b.id > ? ORDER BY b.id LIMIT ?",
        (after, limit + 1),
    ).fetchall()
    total = db.execute("SELECT books FROM book_count").get
    items, following = _page(rows, limit, cursor)
    return {"items": items, "total": total, "next": following}


def text_page(
    db: apsw.Connection, text: str, limit: int, after: int, cursor: Callable[[int], str]
) -> Document:
    """Return one page of the books whose title or authors hold every word of `text`, the last one
    as a prefix.
    """
    match = fts_query(text)
    if match is None:
        return {"items": [], "total": 0, "next": None}
    rows = db.execute(
        f"SELECT {LIST_COLUMNS} FROM book_text t JOIN books b ON b.id = t.rowid"
        " WHERE t.book_text MATCH ? AND t.rowid > ? ORDER BY t.rowid LIMIT ?",
        (match, after, limit + 1),
    ).fetchall()
    total = len(rows)  # a page that holds them all needs no second search: 40 % of such a page
    if after or total > limit:
        total = db.execute("SELECT count(*) FROM book_text WHERE book_text MATCH ?", (match,)).get
    items, following = _page(rows, limit, cursor)
    return {"items": items, "total": total, "next": following}


def sku_page(db: apsw.Connection, sku: str) -> Document:
    """Return the one book of a sku as a page, which is empty when there is none."""
    found = f"SELECT {LIST_COLUMNS} FROM books b WHERE b.sku = ?"
    items, following = _page(db.execute(found, (sku,)).fetchall(), 1, str)
    return {"items": items, "total": len(items), "next": following}


def fold(text: str) -> str:
    """Return text as it is indexed and searched: without accents in any script, and casefolded."""
    if text.isascii():
        return text.lower()  # the same, and a twentieth of an import's time
    decomposed = unicodedata.normalize("NFKD", text)
    bare = "".join(char for char in decomposed if not unicodedata.combining(char))
    return unicodedata.normalize("NFKC", bare.casefold())


def fts_query(text: str) -> str | None:
    """Return text as an FTS5 query in which nothing is syntax; None when it holds no word."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    words = fold(printable).split()
    quoted = ['"' + word.replace('"', '""') + '"' for word in words if any(map(str.isalnum, word))]
    return " ".join(quoted) + "*" if quoted else None


def topics(db: apsw.Connection) -> Document:
    """Return every topic that has books, by name."""
    rows = db.execute(
        "SELECT t.name, c.books FROM topic_counts c JOIN topics t ON t.topic = c.topic"
        " ORDER BY t.topic"
    )
    return {"items": [{"topic": name, "books": books} for name, books in rows]}


def ledger(db: apsw.Connection, after: int, limit: int) -> Document:
    """Return rows of the sales ledger after a number, and where it ends."""
    rows = db.execute(
        "SELECT number, body FROM ledger WHERE number > ? ORDER BY number LIMIT ?", (after, limit)
    )
    found = [{"number": number, "order": json.loads(body)} for number, body in rows]
    return {"end": counter(db, "ledger"), "rows": found}


def outcome(db: apsw.Connection, key: str) -> Outcome | None:
    """Return what was decided for an idempotency key."""
    row = db.execute("SELECT fingerprint, status, answer FROM operations WHERE key = ?", (key,)).get
    return None if row is None else Outcome(*row)


def counter(db: apsw.Connection, name: str) -> int:
    """Return the last number given out."""
    return int(db.execute("SELECT value FROM counters WHERE name = ?", (name,)).get)


# --- the log ---


def end(db: apsw.Connection) -> Position:
    """Return the position of the last entry applied here."""
    row = db.execute("SELECT epoch, seq, hash FROM log ORDER BY seq DESC LIMIT 1").get
    return ORIGIN if row is None else Position(*row)


def entries_after(db: apsw.Connection, seq: int, bytes_max: int) -> bytes | None:
    """Return encoded entries after `seq`, at least one if there is one; None when the log begins
    later.
    """
    if seq > end(db).seq:
        return None
    found = bytearray()
    expected = seq + 1
    for number, data in db.execute("SELECT seq, entry FROM log WHERE seq > ? ORDER BY seq", (seq,)):
        if number != expected:
            return None
        expected += 1
        found += data
        if len(found) >= bytes_max:
            break
    return bytes(found)


def append(db: apsw.Connection, entry: Entry) -> None:
    """Put an entry at the log's end, drop the prepared one it replaces, and forget the oldest."""
    epoch, seq, digest = entry.position
    db.execute("INSERT INTO log VALUES (?, ?, ?, ?)", (seq, epoch, digest, entry.encode()))
    db.execute("DELETE FROM log WHERE seq <= ?", (seq - LOG_ENTRIES_MAX,))
    discard_prepared(db)


def apply(db: apsw.Connection, entry: Entry) -> None:
    """Apply an entry's changeset and append it; raise `ChangesetConflict` when it does not fit."""
    if entry.changeset:
        try:
            apsw.Changeset.apply(entry.changeset, db, conflict=_abort)
        except apsw.AbortError as error:
            raise ChangesetConflict(
                f"the changeset of entry {entry.position.seq} does not fit"
            ) from error
    append(db, entry)


def _abort(reason: int, change: apsw.TableChange) -> int:
    return apsw.SQLITE_CHANGESET_ABORT


def prepare(db: apsw.Connection, entry: Entry) -> None:
    """Store an entry as the prepared one; its keys are dirty from here on."""
    epoch, seq, digest = entry.position
    db.execute("INSERT INTO prepared VALUES (?, ?, ?, ?)", (seq, epoch, digest, entry.encode()))
    db.executemany("INSERT INTO prepared_keys VALUES (?)", [(key,) for key in entry.keys])


def prepared(db: apsw.Connection) -> Entry | None:
    """Return the prepared entry."""
    data = db.execute("SELECT entry FROM prepared").get
    return None if data is None else next(decode_entries(data))


def discard_prepared(db: apsw.Connection) -> None:
    """Forget the prepared entry; its keys are clean again."""
    db.execute("DELETE FROM prepared")
    db.execute("DELETE FROM prepared_keys")


def is_dirty(db: apsw.Connection, key: str) -> bool:
    """Tell whether a prepared entry touches a key."""
    if key == EVERY_KEY:
        return db.execute("SELECT 1 FROM prepared_keys LIMIT 1").get is not None
    return db.execute("SELECT 1 FROM prepared_keys WHERE key = ?", (key,)).get is not None


# --- comparing copies ---


def digest(db: apsw.Connection) -> str:
    """Return a hash over every replicated row and over what the triggers derive from them (60k
    rows: 0.2 s).
    """
    total = hashlib.blake2b(digest_size=16)
    for table in (*REPLICATED, "topic_counts", "book_count"):
        total.update(table.encode())
        rows = db.execute(f"SELECT * FROM {table} ORDER BY {ORDER.get(table, 1)}")
        try:
            _hash_rows(total.update, rows)
        except UnicodeDecodeError as error:  # bytes flipped inside a row: SQLite cannot see that
            return f"{table} cannot be read: {error}"
    return total.hexdigest()


def _hash_rows(update: Callable[[bytes], None], rows: Iterable[Any]) -> None:
    for row in rows:
        update(repr(row).encode("utf-8", "surrogatepass"))
