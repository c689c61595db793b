"""One run: its folder, its rounds, its results, and the shops, started when a line first asks.

Law: what was started ends with the run's `with` block, in the opposite order.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from bench import demand, openloop, ours, peer
from bench.books import Book, catalogue
from bench.demand import Demand
from bench.results import Key, Results, Series
from bench.wrk import Load, Void, Wrk

T = TypeVar("T")

BOOKS = 12_000
CACHED = BOOKS // 10
DRAWS = 50_000
ATTEMPTS_MAX = 3
TRIAL_S = 1
CLIENTS = 16


@dataclass
class Run:
    """What the lines work with; `seconds` is how long each of their samples takes."""

    folder: Path
    results: Results
    stack: ExitStack
    rounds_wanted: int
    seconds: int
    minutes: float
    quick: bool
    say: Callable[[str], None]

    # --- what is measured ---

    @cached_property
    def books(self) -> list[Book]:
        """The 12,000 books that most lines use."""
        return catalogue(BOOKS)

    @cached_property
    def demand(self) -> Demand:
        """Who asks for which of them."""
        return Demand(self.books)

    @cached_property
    def shopping(self) -> list[str]:
        """The shopping mix."""
        return demand.shopping(self.demand, DRAWS)

    @cached_property
    def shop(self) -> ours.Shop:
        """Our shop, with a cache for a tenth of its books."""
        return self.stack.enter_context(
            ours.shop(self.folder / "shop", self.books, CACHED, self.say)
        )

    @cached_property
    def rival(self) -> str:
        """The URL of Flask + PostgreSQL with the same books."""
        from bench import postgres  # its driver is installed by `make bench`, not for the tests

        self.say("starting PostgreSQL and its standby")
        dsn = self.stack.enter_context(postgres.postgres(self._made("postgres"), self.books))
        workers = self._best_workers(dsn)
        self.results.about["gunicorn"] = str(workers)
        return self.stack.enter_context(peer.shop(dsn, workers, self.folder))

    def _best_workers(self, dsn: str) -> peer.Workers:
        if self.quick:
            return peer.CHOICES[0]
        buy = [demand.purchase(book) for book in self.demand.spread(DRAWS)]
        look = [demand.lookup(book) for book in self.demand.spread(DRAWS)]
        scores: dict[peer.Workers, float] = {}
        for choice in peer.CHOICES:
            self.say(f"trying gunicorn with {choice}")
            with peer.shop(dsn, choice, self.folder) as url:
                self.warm(url, look)
                bought, looked = (self._rate(url, lines) for lines in (buy, look))
            scores[choice] = bought * looked
        self.results.about["gunicorn_tried"] = [str(choice) for choice in peer.CHOICES]
        return max(scores, key=lambda choice: scores[choice])

    def _rate(self, url: str, lines: Sequence[str]) -> float:
        """Return requests a second in a short trial; 0 when it is void."""
        with suppress(Void):
            return self.wrk.requests(url, lines, clients=CLIENTS, seconds=TRIAL_S).rate
        return 0.0

    # --- how ---

    def rounds(self, what: str, wanted: int | None = None) -> Iterator[int]:
        """Yield the number of each round, and say which it is; at most `wanted`."""
        count = min(wanted or self.rounds_wanted, self.rounds_wanted)
        for number in range(count):
            self.say(f"{what}, round {number + 1} of {count}")
            yield number

    def closed(
        self,
        key: tuple[str, str, str],
        url: str,
        lines: Sequence[str],
        *,
        clients: int = CLIENTS,
        seconds: int | None = None,
        number: int = 0,
    ) -> None:
        """Send requests in a closed loop and record it under (line, case, system).

        Each round begins elsewhere in the list. A void sample is noted and taken again.
        """
        skip = number * len(lines) // 7
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                found = self.wrk.requests(
                    url, lines, clients=clients, seconds=seconds or self.seconds, skip=skip
                )
            except Void as void:
                self.note(f"{', '.join(key)}: a sample was void ({void})")
                if attempt == ATTEMPTS_MAX:
                    raise
            else:
                self.record_load(*key, found)
                return

    def warm(self, url: str, lines: Sequence[str], seconds: int = 1) -> None:
        """Send requests that do not count."""
        with suppress(Void):
            self.wrk.requests(url, lines, clients=CLIENTS, seconds=seconds)

    def open_load(
        self, url: str, lines: Sequence[str], rate: float, number: int = 0, core: int | None = None
    ) -> openloop.Seen:
        """Send requests in an open loop."""
        return openloop.measure(self.plan(url, lines, rate, self.seconds, number, core))

    def plan(
        self,
        url: str,
        lines: Sequence[str],
        rate: float,
        seconds: float,
        number: int = 0,
        core: int | None = None,
    ) -> openloop.Plan:
        """Return what an open-loop generator is to do."""
        count = int(rate * seconds * 1.2) + 100
        skip = number * count % len(lines)
        wanted = [*lines[skip:], *lines[:skip]][:count]
        return openloop.Plan(
            url, wanted, rate, seconds, run=secrets.token_hex(8), core=core, seed=number + 1
        )

    @cached_property
    def wrk(self) -> Wrk:
        """The closed loop."""
        return Wrk(self._made("wrk"))

    # --- what came of it ---

    def record(self, line: str, case: str, system: str, **figures: float) -> None:
        """Record one round's values; `p50_ms=..` is the figure "p50 ms"."""
        for name, value in figures.items():
            self.results.add(Key(line, case, system, FIGURES.get(name, name)), value)

    def record_load(self, line: str, case: str, system: str, load: Load) -> None:
        """Record what wrk saw."""
        self.record(
            line, case, system, rate=load.rate, mean_ms=load.mean_ms, p50_ms=load.p50_ms,
            p99_ms=load.p99_ms,
        )  # fmt: skip

    def record_open(self, line: str, case: str, system: str, seen: openloop.Seen) -> None:
        """Record what an open loop saw, and note failures."""
        self.record(
            line, case, system, p50_ms=seen.p50_ms, p99_ms=seen.p99_ms,
            late_ms=seen.late_p99_ms, failed=seen.failed,
        )  # fmt: skip
        if seen.failed:
            self.note(f"{line}, {case}, {system}: {seen.failed} requests failed")

    def record_series(self, series: Series) -> None:
        """Record how something went over time."""
        self.results.series.append(series)

    def note(self, text: str) -> None:
        """Have the report say something about this run."""
        self.results.notes.append(text)

    def _made(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir()
        path.chmod(0o755)
        return path


FIGURES = {
    "rate": "req/s", "mean_ms": "mean ms", "p50_ms": "p50 ms", "p99_ms": "p99 ms",
    "late_ms": "late p99 ms", "longest_s": "longest s", "seconds": "s", "mb": "MB",
    "first_ms": "first ms", "again_ms": "again ms", "kb": "kB",
    "idle": "% of a core", "mb_per_minute": "MB/min", "everywhere_ms": "seen everywhere p50 ms",
}  # fmt: skip


def in_turn(number: int, systems: Sequence[T]) -> Sequence[T]:
    """Return systems in the order of a round: forwards, then backwards, so that drift cancels."""
    return systems if number % 2 == 0 else systems[::-1]
