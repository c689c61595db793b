"""Writes: purchases beside Flask + PostgreSQL, and until when a write is visible everywhere."""

from __future__ import annotations

import http.client
import json
import secrets
import time
from contextlib import ExitStack
from random import Random

from bench import demand
from bench.ours import MAIN
from bench.run import CACHED, DRAWS, Run, in_turn
from bench.stats import percentile

CLIENTS = (1, 16, 64)
WRITES = 60  # a round
ANSWER_S = 10


class Stale(Exception):
    """A frontend answered with what was so before a write that had been answered."""


def purchases(run: Run) -> None:
    """One copy of one of all books, each under a key of its own; five nodes, no core pinned."""
    lines = [demand.purchase(book) for book in run.demand.spread(DRAWS)]
    systems = (("bazar", run.shop.main), ("peer", run.rival))
    for _, url in systems:
        run.warm(url, lines)
    for number in run.rounds("purchases"):
        for clients in CLIENTS:
            for system, url in in_turn(number, systems):
                key = "purchases", str(clients), system
                run.closed(key, url, lines, clients=clients, number=number)


class Customer:
    """A connection to one frontend that is kept open."""

    def __init__(self, url: str, token: str) -> None:
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=ANSWER_S)
        self._token = token

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    def look(self, book: int) -> dict[str, int]:
        """Return a book."""
        return self._ask("GET", f"/lookup/{book}")

    def buy(self, book: int) -> None:
        """Buy one copy."""
        self._ask("POST", f"/purchase/{book}", {"quantity": 1})

    def set_price(self, book: int, price_cents: int) -> None:
        """Change a price."""
        self._ask("PATCH", f"/books/{book}", {"price_cents": price_cents})

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, int]:
        sent = None if body is None else json.dumps(body).encode()
        headers = {} if sent is None else {
            "Authorization": f"Bearer {self._token}", "Idempotency-Key": secrets.token_hex(12),
        }  # fmt: skip
        self._connection.request(method, path, sent, headers)
        response = self._connection.getresponse()
        answer: dict[str, int] = json.loads(response.read())
        if response.status not in (200, 201):
            raise RuntimeError(f"{method} {path}: {response.status} {answer}")
        return answer


def visible(run: Run) -> None:
    """From sending a write until it is answered: from then on every read anywhere shows it.

    That last part is checked, not believed: after each write the book, which every frontend had in
    its cache, is read once at each.
    """
    names = run.shop.frontends
    with ExitStack() as stack:
        for more in ([], names[1:]):
            for name in more:
                stack.enter_context(run.shop.frontend(name, CACHED))
            customers = [_customer(run, name, stack) for name in [MAIN, *more]]
            for number in run.rounds(f"visible at {len(customers)}"):
                _write_round(run, customers, Random(number))


def _customer(run: Run, name: str, stack: ExitStack) -> Customer:
    customer = Customer(run.shop.url(name), run.shop.settings.admin_token)
    stack.callback(customer.close)
    return customer


def _write_round(run: Run, customers: list[Customer], random: Random) -> None:
    answered, everywhere = [], []
    for turn in range(WRITES):
        book, writer = random.choice(run.books).id, customers[turn % len(customers)]
        in_every_cache = [customer.look(book) for customer in customers]
        before = in_every_cache[0]
        after = before["quantity"], before["price_cents"]
        began = time.perf_counter()
        if turn % 2:
            writer.buy(book)
            after = after[0] - 1, after[1]
        else:
            writer.set_price(book, after[1] + 1)
            after = after[0], after[1] + 1
        answered.append(time.perf_counter() - began)
        for customer in customers:
            seen = customer.look(book)
            if (seen["quantity"], seen["price_cents"]) != after:
                raise Stale(f"book {book}: {seen}, not {after}")
        everywhere.append(time.perf_counter() - began)
    run.record(
        "visible", str(len(customers)), "bazar",
        p50_ms=percentile(answered, 50) * 1000, p99_ms=percentile(answered, 99) * 1000,
        everywhere_ms=percentile(everywhere, 50) * 1000,
    )  # fmt: skip
