"""Clients that buy, restock and change prices at a real shop while things die, and remember it all.

Law: a write is asked for again under its key, at any frontend, until it is decided; one that was
refused every time with `writes-unavailable` may be given up, and must then never happen.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from math import inf
from random import Random
from time import monotonic
from typing import Any, Self

import requests

from tests.support.clients import Clients
from tests.support.real import RealShop, code

DECIDED_WITHIN_S = 60.0
PAUSE_S = 0.1
PATIENCE_S = 2.0  # of a client for one answer: its frontend may be asleep
REFUSED = "writes-unavailable"
OPEN = (REFUSED, "outcome-unknown", "unavailable", "rate-limited", "in-progress")
GIVES_UP = 0.3


@dataclass
class Write:
    """A write as its client knows it; `answer` stays None when it was given up."""

    key: str
    kind: str  # sell | restock | price
    lines: dict[int, int]  # book -> copies, or -> price
    called: float
    returned: float = inf
    answer: tuple[int, Any] | None = None

    @property
    def done(self) -> bool:
        """Tell whether it happened."""
        return self.answer is not None and self.answer[0] < 300


@dataclass(frozen=True)
class Read:
    """A look at a book."""

    called: float
    returned: float
    price: int
    quantity: int


class Traffic:
    """Some clients in threads; `with` starts and stops them, each at the end of its write."""

    def __init__(self, shop: RealShop, seed: int, clients: int) -> None:
        self._shop = shop
        self._seed = seed
        self._start = {book: shop.look(book) for book in range(1, clients + 1)}
        self._writes: list[Write] = []
        self._reads: dict[int, list[Read]] = {book: [] for book in self._start}
        self._lock = threading.Lock()
        self._news = threading.Event()
        turns = {
            f"client-{number}": partial(self._turn, Random(f"{seed} {number}"), number)
            for number in self._start
        }
        self._clients = Clients(turns, DECIDED_WITHIN_S + 10, shop.logs)
        self._numbers = 0
        self.answers: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._clients.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._clients.stop()

    def decided(self) -> int:
        """Return how many writes are decided; raise what a client has failed with."""
        self._clients.check()
        return len(self._writes)

    def tell_news(self) -> None:
        """Have the clients that wait try again."""
        self._news.set()
        self._news.clear()

    # --- one client ---

    def _turn(self, random: Random, number: int) -> None:
        write = self._new_write(random, number)
        self._decide(write, random)
        with self._lock:
            self._writes.append(write)
        for _ in range(3):
            self._look(random)

    def _new_write(self, random: Random, number: int) -> Write:
        kind = random.choice(("sell", "sell", "basket", "restock", "price"))
        books = random.sample(sorted(self._start), 2 if kind == "basket" else 1)
        if kind == "price":  # one client alone changes a book's price, upwards only
            books, amounts = [number], [10_000 + self._next()]
        else:
            amounts = [random.randint(1, 4 if kind == "restock" else 2) for _ in books]
        kind = "sell" if kind == "basket" else kind
        key = f"{random.getrandbits(64):016x}"
        return Write(key, kind, dict(zip(books, amounts, strict=True)), monotonic())

    def _decide(self, write: Write, random: Random) -> None:
        until = write.called + DECIDED_WITHIN_S
        refused_only = True
        while monotonic() < until:
            told = self._ask(write, random)
            if not isinstance(told, str):
                write.answer, write.returned = told, monotonic()
                return
            refused_only = refused_only and told == REFUSED
            if refused_only and random.random() < GIVES_UP:
                return
            self._news.wait(PAUSE_S)
        raise AssertionError(f"{write} was never decided")

    def _ask(self, write: Write, random: Random) -> str | tuple[int, Any]:
        """Return what the write was answered with for good, or the code that leaves it open."""
        try:
            response = self._send(write, random.choice(self._shop.frontends))
        except requests.RequestException:
            told = "no answer"
        else:
            told = "done" if response.ok else code(response)
            if told not in OPEN:
                assert told in ("done", "sold-out"), (write, response.text)
                self._count(told)
                return response.status_code, response.json()
        self._count(told)
        return told

    def _send(self, write: Write, frontend: str) -> requests.Response:
        (book, amount), *more = write.lines.items()
        options: dict[str, Any] = {"key": write.key, "at": frontend, "timeout_s": PATIENCE_S}
        if write.kind == "restock":
            return self._shop.restock(book, amount, **options)
        if write.kind == "price":
            return self._shop.price(book, amount, **options)
        if not more:
            return self._shop.buy(book, amount, **options)
        items = [{"book_id": book, "quantity": copies} for book, copies in write.lines.items()]
        return self._shop.call("POST", "/orders", {"items": items}, **options)

    def _next(self) -> int:
        with self._lock:
            self._numbers += 1
            return self._numbers

    def _count(self, told: str) -> None:
        with self._lock:
            self.answers[told] += 1

    def _look(self, random: Random) -> None:
        book, frontend = random.choice(sorted(self._start)), random.choice(self._shop.frontends)
        called = monotonic()
        try:
            response = self._shop.get(f"/lookup/{book}", at=frontend, timeout_s=PATIENCE_S)
        except requests.RequestException:
            return
        if response.status_code == 503:
            return
        assert response.status_code == 200, response.text
        seen = response.json()
        read = Read(called, monotonic(), seen["price_cents"], seen["quantity"])
        with self._lock:
            self._reads[book].append(read)

    # --- the end ---

    def check(self) -> None:
        """Check every promise, once all clients have stopped and the shop is whole again."""
        self.decided()
        self._check_orders(self._shop.check_copies())
        self._check_books()
        for book, start in self._start.items():
            before = (start["price_cents"], start["quantity"])
            check_reads(before, self._reads[book], self._writes, book)
        for write in Random(self._seed).sample(self._writes, min(30, len(self._writes))):
            if write.answer is not None:
                assert self._ask(write, Random(0)) == write.answer, f"another answer to {write}"

    def _check_orders(self, orders: list[dict[str, Any]]) -> None:
        """Nothing lost, nothing doubled, nothing that was refused."""
        told = [write.answer[1] for write in self._writes if write.kind == "sell" and write.done]  # type: ignore[index]
        by_id = {order["order_id"]: order for order in orders}
        assert len(by_id) == len(orders)
        lost = [order for order in told if by_id.get(order["order_id"]) != order]
        assert not lost, f"{len(lost)} orders that were answered are not in the logs: {lost[:3]}"
        ids = Counter(order["order_id"] for order in told)
        assert set(ids.values()) <= {1}, "two keys have one order"
        assert len(told) == len(orders), f"{len(orders)} in the ledger, {len(told)} keys sold"

    def _check_books(self) -> None:
        """Sold + left = received; restocks and price changes happened once."""
        for book, start in self._start.items():
            done = [write for write in self._writes if write.done and book in write.lines]
            left = start["quantity"]
            left += sum(write.lines[book] for write in done if write.kind == "restock")
            left -= sum(write.lines[book] for write in done if write.kind == "sell")
            prices = [write.lines[book] for write in done if write.kind == "price"]
            price = max(prices, default=start["price_cents"])
            for catalog in self._shop.catalogs:
                answer = self._shop.peer(catalog).call("GET", f"/books/{book}", timeout_s=5)
                seen = answer.json()
                assert (seen["quantity"], seen["price_cents"]) == (left, price), (book, catalog)


def check_reads(
    start: tuple[int, int], reads: Sequence[Read], writes: Sequence[Write], book: int
) -> None:
    """Raise unless no read of a book is older than what was answered before it began, nor newer
    than what had been asked for when it ended.

    `start` is (price, quantity). Prices only rise, so each is known by its amount; quantities are
    bounded by what had surely and what may have come and gone.
    """
    done = [write for write in writes if write.done and book in write.lines]

    def amounts(kind: str, end: str) -> list[tuple[float, int]]:
        return [(getattr(w, end), w.lines[book]) for w in done if w.kind == kind]

    told = _Sums([*amounts("price", "returned"), *((r.returned, r.price) for r in reads)], max)
    asked = _Sums(amounts("price", "called"), max)
    came, may_have_come = (_Sums(amounts("restock", end)) for end in ("returned", "called"))
    went, may_have_gone = (_Sums(amounts("sell", end)) for end in ("returned", "called"))
    price, quantity = start
    for read in reads:
        low = max(price, told.before(read.called))
        high = max(price, asked.before(read.returned))
        assert low <= read.price <= high, f"book {book}: {read}, but {low} <= price <= {high}"
        low = quantity + came.before(read.called) - may_have_gone.before(read.returned)
        high = quantity + may_have_come.before(read.returned) - went.before(read.called)
        assert low <= read.quantity <= high, f"book {book}: {read}, but {low} .. {high} copies"


class _Sums:
    """Running sums (or maxima) of amounts over time."""

    def __init__(
        self, amounts: list[tuple[float, int]], add: Callable[[int, int], int] | None = None
    ) -> None:
        amounts.sort()
        self._times = [moment for moment, _ in amounts]
        self._sums: list[int] = [0, *accumulate((amount for _, amount in amounts), add)]

    def before(self, moment: float) -> int:
        """Return the sum of all that was before a moment."""
        return self._sums[bisect_left(self._times, moment)]
