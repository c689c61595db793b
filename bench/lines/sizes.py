"""What grows: time with the number of books, the import, memory at rest and under load."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

from bench import demand, openloop, ours
from bench.books import catalogue
from bench.demand import Demand
from bench.machine import cpu_s, memory_mb
from bench.ours import Shop
from bench.results import Series
from bench.run import CACHED, DRAWS, Run, in_turn
from bench.stats import slope

SMALL, LARGE = 1_000, 75_000
CASES = {**demand.OPERATIONS, "text": demand.text_search}
IMPORTED = 60_000
UNCACHED = "frontend-2"
SOAK_RATE = 200  # requests a second
SAMPLE_S = 1.0
IDLE_S = 2.0


def growth(run: Run) -> None:
    """One client at a frontend without a cache, at three sizes in turn; nothing is pinned."""
    with ExitStack() as stack:
        shops = {len(run.books): run.shop}
        for count in (SMALL, LARGE):
            folder = run.folder / f"books-{count}"
            started = ours.shop(folder, catalogue(count), CACHED, run.say)
            shops[count] = stack.enter_context(started)
        urls, lines = {}, {}
        for count in sorted(shops):
            urls[count] = stack.enter_context(shops[count].frontend(UNCACHED, capacity=0))
            drawn = Demand(catalogue(count)).spread(DRAWS)
            lines[count] = {name: [make(book) for book in drawn] for name, make in CASES.items()}
        for number in run.rounds("growth"):
            for case in CASES:
                # To and fro: three shops share two cores, and differ by what the scheduler makes of
                # that more than by their size.
                turns = [(turn, count) for turn in (0, 1) for count in in_turn(turn, list(urls))]
                for turn, count in turns:
                    key = "growth", case, str(count)
                    run.closed(
                        key, urls[count], lines[count][case], clients=1, seconds=1,
                        number=2 * number + turn,
                    )  # fmt: skip


def import_books(run: Run) -> None:
    """A file of books into an empty shop, by the importer's command."""
    books = catalogue(IMPORTED)
    for number in run.rounds("import"):
        with Shop(run.folder / f"import-{number}", capacity=CACHED) as shop:
            seconds = shop.load(books)
        run.record("import", str(IMPORTED), "bazar", seconds=seconds)


def memory(run: Run) -> None:
    """Five processes fresh from their start, warmed by a little of the mix."""
    with ours.shop(run.folder / "memory", run.books, CACHED, run.say) as shop:
        for _ in run.rounds("memory and start"):
            run.record("memory", "ready", "bazar", seconds=shop.restart())
            run.warm(shop.main, run.shopping, run.seconds)
            run.record("memory", "idle", "bazar", idle=_idle_percent(shop))
            used = {name: memory_mb(pid) for name, pid in shop.pids().items()}
            for name, mb in used.items():
                run.record("memory", name, "bazar", mb=mb)
            run.record("memory", "all", "bazar", mb=sum(used.values()))


def _idle_percent(shop: Shop) -> float:
    """Return what five nodes cost that nobody asks anything, in per cent of a core."""
    before = sum(map(cpu_s, shop.pids().values()))
    time.sleep(IDLE_S)
    return (sum(map(cpu_s, shop.pids().values())) - before) / IDLE_S * 100


def soak(run: Run) -> None:
    """The mix in an open loop; how fast memory grows over the second half, by least squares."""
    with ours.shop(run.folder / "soak", run.books, CACHED, run.say) as shop:
        for _ in run.rounds("memory under load", 1):
            times, samples = [], []
            for at in _moments(run, shop):
                times.append(at)
                samples.append({name: memory_mb(pid) for name, pid in shop.pids().items()})
    half = len(times) // 2
    for name in samples[0]:
        values = [sample[name] for sample in samples]
        run.record_series(Series("soak", name, times, values))
    totals = [sum(sample.values()) for sample in samples]
    run.record("soak", "all", "bazar", mb_per_minute=slope(times[half:], totals[half:]) * 60)


def _moments(run: Run, shop: Shop) -> Iterator[float]:
    """Yield once a second while the load runs, in seconds from its start."""
    seconds = run.minutes * 60
    with openloop.generating(run.plan(shop.main, run.shopping, SOAK_RATE, seconds)) as load:
        began = time.monotonic()
        while (at := time.monotonic() - began) < seconds:
            yield at
            time.sleep(SAMPLE_S)
        if failed := load().failed:
            run.note(f"{failed} requests failed under the long load")
