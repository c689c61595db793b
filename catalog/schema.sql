-- catalog.db. Replicated: `books` to `counters`, by changesets (never attach the rest to a session).
CREATE TABLE books (
    id INTEGER PRIMARY KEY NOT NULL,
    sku TEXT UNIQUE,
    title TEXT NOT NULL,
    authors TEXT NOT NULL,                 -- JSON list
    topics TEXT NOT NULL,                  -- JSON list, as displayed
    price_cents INTEGER NOT NULL,
    quantity INTEGER NOT NULL CHECK (quantity >= 0),
    version INTEGER NOT NULL               -- seq of the entry that last changed it
) STRICT;
CREATE TABLE book_topics (
    topic TEXT NOT NULL, book_id INTEGER NOT NULL, PRIMARY KEY (topic, book_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE topics (
    topic TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL  -- the first spelling stored
) STRICT, WITHOUT ROWID;
CREATE TABLE ledger (
    number INTEGER PRIMARY KEY NOT NULL,   -- 1, 2, 3, ... without gaps
    order_id TEXT NOT NULL,
    body TEXT NOT NULL                     -- the public order document
) STRICT;
CREATE TABLE movements (                   -- stock received, and what else was changed by hand
    number INTEGER PRIMARY KEY NOT NULL,
    book_id INTEGER NOT NULL,
    at TEXT NOT NULL,
    kind TEXT NOT NULL,                    -- received | edited
    quantity INTEGER NOT NULL,             -- copies received
    detail TEXT NOT NULL                   -- JSON: reason, fields changed
) STRICT;
CREATE INDEX movements_of_book ON movements (book_id);
CREATE TABLE operations (                  -- what was decided for each idempotency key, for ever
    key TEXT PRIMARY KEY NOT NULL,
    fingerprint TEXT NOT NULL,
    status INTEGER NOT NULL,
    answer TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE counters (
    name TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counters VALUES ('book', 0), ('ledger', 0), ('movement', 0);

-- Each node's own: the log, the prepared entry, and what triggers derive from the tables above.
CREATE TABLE log (
    seq INTEGER PRIMARY KEY NOT NULL, epoch INTEGER NOT NULL, hash TEXT NOT NULL, entry BLOB NOT NULL
) STRICT;
CREATE TABLE prepared (
    seq INTEGER PRIMARY KEY NOT NULL, epoch INTEGER NOT NULL, hash TEXT NOT NULL, entry BLOB NOT NULL
) STRICT;
CREATE TABLE prepared_keys (key TEXT PRIMARY KEY NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE book_count (books INTEGER NOT NULL) STRICT;
INSERT INTO book_count VALUES (0);
CREATE TABLE topic_counts (                -- no row: no books
    topic TEXT PRIMARY KEY NOT NULL, books INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER topic_gains AFTER INSERT ON book_topics BEGIN
    INSERT INTO topic_counts VALUES (new.topic, 1) ON CONFLICT DO UPDATE SET books = books + 1;
END;
CREATE TRIGGER topic_loses AFTER DELETE ON book_topics BEGIN
    UPDATE topic_counts SET books = books - 1 WHERE topic = old.topic;
    DELETE FROM topic_counts WHERE topic = old.topic AND books = 0;
END;

-- `fold` is catalog/store.py's: FTS5's own folding knows Latin accents only.
CREATE VIRTUAL TABLE book_text USING fts5(
    title, authors, content='', contentless_delete=1, tokenize='unicode61 remove_diacritics 0'
);
CREATE TRIGGER text_gains AFTER INSERT ON books BEGIN
    INSERT INTO book_text (rowid, title, authors) VALUES (new.id, fold(new.title), fold(new.authors));
    UPDATE book_count SET books = books + 1;
END;
CREATE TRIGGER text_changes AFTER UPDATE OF title, authors ON books BEGIN
    DELETE FROM book_text WHERE rowid = old.id;
    INSERT INTO book_text (rowid, title, authors) VALUES (new.id, fold(new.title), fold(new.authors));
END;
