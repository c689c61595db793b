"""The shopping mix in a closed loop; hits and the mix in an open one."""

from __future__ import annotations

from bench import demand
from bench.machine import cores, pinned
from bench.ours import MAIN
from bench.run import CLIENTS, Run, in_turn

WARM_S = 4  # a cache of a tenth of the books is full after that
HIT_RATES = (1_000, 4_000, 8_000)
MIX_RATES = (200, 500, 1_000)
HOT_BOOKS = 20


def mix(run: Run) -> None:
    """48 % search, 49 % lookup, 3 % purchase."""
    systems = (("bazar", run.shop.main), ("peer", run.rival))
    for _, url in systems:
        run.warm(url, run.shopping, 1 if run.quick else WARM_S)
    for number in run.rounds("the shopping mix"):
        for system, url in in_turn(number, systems):
            run.closed(("mix", str(CLIENTS), system), url, run.shopping, number=number)


def open_loop(run: Run) -> None:
    """Latency from the scheduled time, at rates that do not wait for anybody."""
    _open_hits(run)
    systems = (("bazar", run.shop.main), ("peer", run.rival))
    for _, url in systems:
        run.warm(url, run.shopping)
    for number in run.rounds("the mix in an open loop"):
        for rate in MIX_RATES:
            for system, url in in_turn(number, systems):
                seen = run.open_load(url, run.shopping, rate, number)
                run.record_open("open", f"mix {rate}", system, seen)


def _open_hits(run: Run) -> None:
    server, load = cores()
    lines = [demand.lookup(book) for book in run.books[:HOT_BOOKS]]
    for line in lines:
        run.shop.hit(line.removeprefix("GET "))
    with pinned(run.shop.processes[MAIN].popen.pid, server):
        for number in run.rounds("hits in an open loop"):
            for rate in HIT_RATES:
                seen = run.open_load(run.shop.main, lines, rate, number, load)
                run.record_open("open", f"hits {rate}", "bazar", seen)
