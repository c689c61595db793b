"""Reads: hits beside nginx, hits while misses hang, misses, and the table of the first report."""

from __future__ import annotations

import requests

from bench import demand, openloop
from bench.machine import cores, pinned
from bench.nginx import nginx
from bench.ours import MAIN
from bench.run import CLIENTS, DRAWS, Run, in_turn

UNCACHED = "frontend-2"
STUCK = "catalog-2"  # the replica: without the leader there would soon be no lease, hence no hits
HIT_RATE, MISS_RATE = 1_000, 100  # a second
STUCK_S = 3
HOT_BOOKS = 20
WARM_S = HITS_S = 1  # tens of thousands of answers


def paths(run: Run) -> dict[str, str]:
    """Return case -> path of a book, and of the first page of its topic."""
    book = run.books[0]
    return {
        name: demand.OPERATIONS[name](book).removeprefix("GET ") for name in ("lookup", "search")
    }


def hits(run: Run) -> None:
    """One book and one page, asked for again and again: a frontend and nginx on the same core."""
    shop, (server, load) = run.shop, cores()
    frontend = shop.processes[MAIN].popen.pid
    with nginx(shop.main, run.folder) as cache:
        systems = (("bazar", shop.main), ("nginx", cache.url))
        with pinned(frontend, server), pinned(cache.worker, server):
            for path in paths(run).values():
                shop.hit(path)
                for _, url in systems:
                    requests.get(url + path, timeout=5).raise_for_status()
                    run.wrk.url(url + path, clients=CLIENTS, seconds=WARM_S, core=load)
            for number in run.rounds("hits"):
                for case, path in paths(run).items():
                    for system, url in in_turn(number, systems):
                        found = run.wrk.url(url + path, clients=CLIENTS, seconds=HITS_S, core=load)
                        run.record_load("hits", case, system, found)


def stuck(run: Run) -> None:
    """Hits in an open loop, while misses flow at a catalog that is stopped."""
    shop, (_, load) = run.shop, cores()
    hot, cold = run.books[:HOT_BOOKS], run.books[HOT_BOOKS:]
    lines = [demand.lookup(book) for book in hot]
    misses = [demand.lookup(book) for book in cold]
    for number in run.rounds("hits while misses hang"):
        for line in lines:
            shop.hit(line.removeprefix("GET "))
        hit_plan = run.plan(shop.main, lines, HIT_RATE, STUCK_S, number, load)
        miss_plan = run.plan(shop.main, misses, MISS_RATE, STUCK_S + 1, number, load)
        with shop.paused(STUCK), openloop.generating(miss_plan) as missed:
            run.record_open("stuck", "hits", "bazar", openloop.measure(hit_plan))
            run.record_open("stuck", "misses", "bazar", missed())


def uncached(run: Run) -> None:
    """Lookups of any book at a frontend without a cache."""
    lines = [demand.lookup(book) for book in run.demand.spread(DRAWS)]
    with run.shop.frontend(UNCACHED, capacity=0) as url:
        systems = (("bazar", url), ("peer", run.rival))
        for _, where in systems:
            run.warm(where, lines)
        for number in run.rounds("uncached lookups"):
            for system, where in in_turn(number, systems):
                run.closed(("uncached", "lookup", system), where, lines, number=number)


def table(run: Run) -> None:
    """The average response to one client, with the cache and without."""
    with run.shop.frontend(UNCACHED, capacity=0) as url:
        systems = (("with cache", run.shop.main), ("without cache", url))
        for path in paths(run).values():
            run.shop.hit(path)
        for number in run.rounds("with and without the cache"):
            for case, path in paths(run).items():
                for system, where in in_turn(number, systems):
                    found = run.wrk.url(where + path, clients=1, seconds=1)
                    run.record_load("table", case, system, found)
