"""PURE: what the shop should reach, and the verdict on what it did."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bench.results import Key, Results
from bench.stats import Summary, ratios, summary

MET = "met"
SOAK_MINUTES_MIN = 10  # what grows in less is caches that fill


class Against(Enum):
    """How a value is set against another one."""

    NOTHING = "the value itself"
    RATIO = "value / other, round by round"
    LESS = "how many per cent the value is below the other"


@dataclass(frozen=True)
class Target:
    """A promise about the median of the rounds: at least `bound`, or at most."""

    what: str
    value: Key
    bound: float
    unit: str  # "x" for ratios
    at_least: bool = False
    other: Key | None = None
    against: Against = Against.NOTHING

    @property
    def text(self) -> str:
        """Return the bound as the report writes it."""
        return f"{'≥' if self.at_least else '≤'} {self.bound:g} {self.unit}"

    def measured(self, results: Results) -> Summary | None:
        """Return what it comes to; None when it was not measured."""
        values = results.figures.get(self.value, [])
        if self.other is not None:
            others = results.figures.get(self.other, [])
            if len(others) != len(values):
                return None
            values = ratios(values, others)
            if self.against is Against.LESS:
                values = [100 * (1 - ratio) for ratio in values]
        return summary(values) if values else None

    def verdict(self, results: Results) -> str:
        """Return "met", by how much it is missed, or why nothing can be said."""
        found = self.measured(results)
        if found is None:
            return "not measured"
        failed = sum(results.figures.get(self.value._replace(figure="failed"), []))
        if failed:  # they have no latency, so the others' must not pass for the whole
            return f"{failed:g} requests failed"
        if self.value.line == "soak" and results.about["minutes"] < SOAK_MINUTES_MIN:
            return f"too short to tell ({results.about['minutes']:g} min)"
        return verdict(found.median, self.bound, self.at_least)


def verdict(value: float, bound: float, at_least: bool) -> str:
    """Return "met", or by how many per cent of the bound it is missed."""
    if value >= bound if at_least else value <= bound:
        return MET
    short = abs(bound - value) / bound * 100
    return f"short by {short:.0f} %" if at_least else f"over by {short:.0f} %"


def _ratio(
    what: str, line: str, case: str, peer: str, bound: float, figure: str = "req/s"
) -> Target:
    return Target(
        what, Key(line, case, "bazar", figure), bound, "x", at_least=True,
        other=Key(line, case, peer, figure), against=Against.RATIO,
    )  # fmt: skip


def _value(what: str, line: str, case: str, figure: str, bound: float, unit: str) -> Target:
    return Target(what, Key(line, case, "bazar", figure), bound, unit)


def _less(what: str, case: str) -> Target:
    return Target(
        what, Key("table", case, "with cache", "mean ms"), 90, "% less", at_least=True,
        other=Key("table", case, "without cache", "mean ms"), against=Against.LESS,
    )  # fmt: skip


def _growth(what: str, case: str) -> Target:
    return Target(
        what, Key("growth", case, "75000", "p50 ms"), 1.2, "x",
        other=Key("growth", case, "1000", "p50 ms"), against=Against.RATIO,
    )  # fmt: skip


TARGETS = (
    _ratio("cached lookup, one core, beside nginx", "hits", "lookup", "nginx", 1.3),
    _ratio("cached search page, one core, beside nginx", "hits", "search", "nginx", 1.3),
    _value("hits while misses hang on a stopped catalog, p99", "stuck", "hits", "p99 ms", 5, "ms"),
    _value("purchase, 1 client, p50", "purchases", "1", "p50 ms", 5, "ms"),
    _ratio("purchases, 16 clients, beside Flask + PostgreSQL", "purchases", "16", "peer", 1.0),
    _ratio("purchases, 64 clients, beside Flask + PostgreSQL", "purchases", "64", "peer", 1.0),
    _ratio("uncached lookups, 16 clients, beside the same", "uncached", "lookup", "peer", 1.0),
    _ratio("shopping mix, 16 clients, beside the same", "mix", "16", "peer", 3.0),
    _less("search: average response, by the cache", "search"),
    _less("lookup: average response, by the cache", "lookup"),
    _value("a write is visible everywhere, 1 frontend, p50", "visible", "1", "p50 ms", 5, "ms"),
    _value("the same with 8 frontends subscribed", "visible", "8", "p50 ms", 5, "ms"),
    _growth("lookup among 75,000 books, beside 1,000", "lookup"),
    _growth("search page, the same", "search"),
    _growth("purchase, the same", "purchase"),
    _growth("free-text search, the same", "text"),
    _value("import of 60,000 books", "import", "60000", "s", 15, "s"),
    _value("longest read when a catalog is killed", "failover", "killed", "longest s", 1, "s"),
    _value("longest read when a catalog is stopped", "failover", "stopped", "longest s", 1, "s"),
    _value(
        "sales after the leader is killed, with a backup server", "takeover", "leader", "s", 5, "s"
    ),
    _value("slowest page, loaded on a first visit", "pages", "worst", "first ms", 100, "ms"),
    _value("slowest page, loaded on a later visit", "pages", "worst", "again ms", 100, "ms"),
    _value("heaviest page with all it needs", "pages", "worst", "kB", 60, "kB"),
    _value("memory of all five processes, 12,000 books", "memory", "all", "MB", 350, "MB"),
    _value("ready after start", "memory", "ready", "s", 3, "s"),
    _value("growth of memory under load", "soak", "all", "MB/min", 1, "MB/min"),
)
