"""The catalog: books, stock, the sales ledger, and the log that keeps two copies of them equal."""
