"""Clients that buy one copy after another of one book while things die, each under a key that is
tried until it is sold; and look at the book in between.

Law: what was answered is remembered, and checked against ledger and stock at the end.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from random import Random
from time import monotonic
from typing import Any, Self

import requests

from tests.support.clients import Clients
from tests.support.real import RealShop, code

AGAIN_S = 0.05  # between two attempts, and between two purchases
DECIDED_WITHIN_S = 60.0
OPEN = ("writes-unavailable", "outcome-unknown", "unavailable", "rate-limited", "in-progress")


@dataclass(frozen=True)
class Sale:
    """A purchase that was answered; `asked` is when the attempt began that was."""

    key: str
    asked: float
    told: float
    order: dict[str, Any]


class Buyers:
    """Some clients in threads; `with` starts and stops them, each at the end of its purchase.

    They buy at `frontends` (all of the shop's, unless told) and look at all of the shop's.
    """

    def __init__(
        self, shop: RealShop, book: int, clients: int = 3, frontends: Sequence[str] = ()
    ) -> None:
        self._shop = shop
        self._book = book
        self._frontends = frontends or shop.frontends
        self._start = shop.stock(book)
        self._lock = threading.Lock()
        turns = {
            f"buyer-{number}": partial(self._turn, Random(number)) for number in range(clients)
        }
        self._clients = Clients(turns, DECIDED_WITHIN_S + 10, shop.logs)
        self.sales: list[Sale] = []
        self.attempts: Counter[str] = Counter()  # "sold", or why not
        self.looks: Counter[int] = Counter()  # by status

    def __enter__(self) -> Self:
        self._clients.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._clients.stop()

    # --- while they buy ---

    def wait_for_sales(self, more: int, timeout_s: float = 30) -> None:
        """Wait until some purchases more were answered."""
        enough = len(self.sales) + more
        self._shop.wait_until(lambda: self._count() >= enough, timeout_s, f"{more} sales more")

    def pause_after(self, moment: float, timeout_s: float) -> float:
        """Return the seconds from a moment until a purchase sent after it was answered."""

        def sold() -> float | None:
            self._count()
            later = [sale.told for sale in list(self.sales) if sale.asked > moment]
            return min(later, default=moment) - moment or None

        return self._shop.wait_until(sold, timeout_s, f"a sale within {timeout_s:g} s")

    def longest_gap(self, since: float) -> float:
        """Return the longest time, from a moment until now, in which no purchase was answered."""
        told = sorted(sale.told for sale in list(self.sales) if sale.told > since)
        return max(later - sooner for sooner, later in pairwise([since, *told, monotonic()]))

    def _count(self) -> int:
        self._clients.check()
        return len(self.sales)

    # --- one client ---

    def _turn(self, random: Random) -> None:
        self._buy(random)
        self._look(random)
        self._clients.pause(AGAIN_S)

    def _buy(self, random: Random) -> None:
        key, until = f"{random.getrandbits(64):016x}-{self._book}", monotonic() + DECIDED_WITHIN_S
        while not self._sold(key, random.choice(self._frontends)):
            assert monotonic() < until, f"{key} was never decided"
            self._clients.pause(AGAIN_S)

    def _sold(self, key: str, frontend: str) -> bool:
        asked = monotonic()
        try:
            response = self._shop.buy(self._book, key=key, at=frontend)
        except requests.RequestException as error:
            told = type(error).__name__
        else:
            told = "sold" if response.ok else code(response)
            assert told in ("sold", *OPEN), response.text
        with self._lock:
            self.attempts[told] += 1
            if told == "sold":
                self.sales.append(Sale(key, asked, monotonic(), response.json()))
        return told == "sold"

    def _look(self, random: Random) -> None:
        """See no stock that was out of date when the question was asked."""
        most = self._start - len(self.sales)
        try:
            seen = self._shop.get(f"/lookup/{self._book}", at=random.choice(self._shop.frontends))
        except requests.RequestException:
            return
        with self._lock:
            self.looks[seen.status_code] += 1
        assert seen.status_code in (200, 503), seen.text
        assert seen.status_code == 503 or seen.json()["quantity"] <= most, (seen.text, most)

    # --- the end ---

    def check(self) -> dict[str, int]:
        """Compare what was answered with both ledgers, both order logs and the stock, once all
        clients have stopped; return how much was sold, lost and doubled.
        """
        self._count()
        orders = {order["order_id"]: order for order in self._shop.check_copies()}
        here = [one for one in orders.values() if one["items"][0]["book_id"] == self._book]
        lost = [sale for sale in self.sales if orders.get(sale.order["order_id"]) != sale.order]
        told = {sale.order["order_id"] for sale in self.sales}
        doubled = [one for one in here if one["order_id"] not in told]
        assert len(told) == len(self.sales), "two keys have one order"
        assert self._shop.stock(self._book) == self._start - len(here)
        assert not lost, lost[:3]
        assert not doubled, doubled[:3]
        return {"sold": len(told), "lost": len(lost), "doubled": len(doubled)}
