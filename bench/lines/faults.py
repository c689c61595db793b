"""How long a read takes when the server dies that it is sent to, and how long it is until a dead
leader has been replaced.
"""

from __future__ import annotations

import time

from bench import demand, openloop
from bench.run import DRAWS, Run
from tests.support.real import RealShop

UNCACHED = "frontend-2"
RATE = 100  # reads a second
SECONDS = 3.0
STRIKE_S = 1.5  # the generator has begun by then


def failover(run: Run) -> None:
    """The longest of all reads around a death; the leader and the replica in turn.

    Killed: its port refuses at once. Stopped: it stays silent, as a machine that has vanished.
    """
    shop = run.shop
    lines = [demand.lookup(book) for book in run.demand.spread(DRAWS)]
    with shop.frontend(UNCACHED, capacity=0) as url:
        for number in run.rounds("reads when a catalog dies"):
            victim = shop.catalogs[number % len(shop.catalogs)]
            for case, dead in (("killed", shop.killed), ("stopped", shop.paused)):
                plan = run.plan(url, lines, RATE, SECONDS, number)
                with openloop.generating(plan) as reads:
                    time.sleep(STRIKE_S)
                    with dead(victim):
                        seen = reads()
                if seen.failed:
                    run.note(f"failover: {seen.failed} reads failed when {victim} was {case}")
                run.record(
                    "failover", case, "bazar", longest_s=seen.max_ms / 1000, failed=seen.failed
                )


def takeover(run: Run) -> None:
    """From kill -9 of the leader until a purchase is sold, with a backup server; to and fro."""
    folder = run.folder / "takeover"
    folder.mkdir()
    with RealShop(folder, backup=True) as shop:
        for number in run.rounds("a dead leader is replaced"):
            leader = _leader(shop)
            shop.kill(leader)
            began = time.monotonic()
            while not shop.buy(1, key=f"takeover-{number}").ok:
                pass
            run.record("takeover", "leader", "bazar", s=time.monotonic() - began)
            shop.start(leader)
            shop.wait_ready()


def _leader(shop: RealShop) -> str:
    return next(name for name in shop.catalogs if shop.status(name)["state"] == "leading")
