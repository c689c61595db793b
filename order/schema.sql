-- orders.db: what this order server keeps. All of it can be had again from the sales ledger.
CREATE TABLE orders (
    order_id TEXT PRIMARY KEY NOT NULL,
    number INTEGER UNIQUE,                 -- its row in the ledger; null when a sale did not tell
    body TEXT NOT NULL                     -- the public order document, JSON
) STRICT;
CREATE TABLE cursor (                      -- up to where the ledger of which cluster is here without gaps
    one INTEGER PRIMARY KEY NOT NULL CHECK (one = 1),
    cluster TEXT NOT NULL,                 -- '' until a catalog has named it
    number INTEGER NOT NULL
) STRICT;
INSERT INTO cursor VALUES (1, '', 0);
