"""What is measured: each line by itself, in the order of the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.lines import faults, pages, reads, shopping, sizes, writes
from bench.run import Run

PEER = frozenset({"initdb", "wrk"})
WRK = frozenset({"wrk"})


@dataclass(frozen=True)
class Line:
    """One line: how it is asked for, what it measures, which programs it needs."""

    name: str
    what: str
    run: Callable[[Run], None]
    needs: frozenset[str] = frozenset()


LINES = (
    Line("hits", "cached lookup and search page, beside nginx", reads.hits, WRK | {"nginx"}),
    Line("stuck", "hits while misses hang on a stopped catalog", reads.stuck),
    Line("purchases", "purchases, beside Flask + PostgreSQL", writes.purchases, PEER),
    Line("uncached", "uncached lookups, beside Flask + PostgreSQL", reads.uncached, PEER),
    Line("mix", "the shopping mix, beside Flask + PostgreSQL", shopping.mix, PEER),
    Line("table", "response time with and without the cache", reads.table, WRK),
    Line("visible", "a write is visible at every frontend", writes.visible),
    Line("growth", "1,000, 12,000 and 75,000 books", sizes.growth, WRK),
    Line("import", "import of 60,000 books", sizes.import_books),
    Line("failover", "reads when a catalog dies", faults.failover),
    Line("takeover", "sales when the leader dies, with a backup server", faults.takeover),
    Line("pages", "the shop's pages in a browser", pages.pages, frozenset({"chromium", "nginx"})),
    Line("memory", "memory, and the time to be ready", sizes.memory, WRK),
    Line("open", "hits and the mix in an open loop", shopping.open_loop, PEER),
    Line("soak", "memory under load", sizes.soak),
)
