"""Order history: sells through the catalog leader and follows its sales ledger."""
