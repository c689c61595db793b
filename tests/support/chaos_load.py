"""Clients that read, buy, restock and change prices at both frontends while the nemesis is at work.

Law: a client does one thing at a time at a bounded rate; it asks for a write again, under its key,
until that is decided. Only one that was refused every time may be given up, and must never happen.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from random import Random
from time import monotonic
from typing import Any, Self

import requests

from tests.support.chaos_history import ANSWERED, OPEN, REFUSALS, Call, History, Write
from tests.support.chaos_shop import FRONTENDS, ChaosShop
from tests.support.checker import Operation
from tests.support.real import SEED_HEADER, code

TOPICS, BOOKS, HOT = ("Sea", "Sky", "Land", "Fire"), 24, 4
STOCK, PRICE = 60, 500
# Apart, so that writes that wait do not keep reads from being asked.
FANS, READERS, WRITERS = 3, 3, 6
PAUSE_S = (0.03, 0.17)
RETRY_S = (0.05, 0.4)
PATIENCE_S = 2.0
PATIENCE_S_OF = {"look": 1.0, "browse": 1.0, "order": 1.0, "stare": 3.0}
AWAY_S = 1.5  # so long most clients leave a frontend alone that did not answer
ADVENTUROUS = 0.1
GIVES_UP = 0.3
DECIDED_WITHIN_S = 60.0
FOLLOWING = {"stare": 1}  # a few hot books, at sleeping frontends, too
READING = {"look": 40, "browse": 7, "order": 7}
WRITING = {"sell": 22, "basket": 6, "restock": 7, "price": 6, "again": 3, "look": 4}


def topic_of(book: int) -> str:
    """Return a book's topic."""
    return TOPICS[book % len(TOPICS)]


def seed_csv() -> str:
    """Return the catalogue the shop opens with."""
    rows = [
        f"CHAOS-{book},Book {book},An Author,{topic_of(book)},{topic_of(book)},{PRICE},{STOCK}"
        for book in range(1, BOOKS + 1)
    ]
    return "\n".join([SEED_HEADER, *rows]) + "\n"


class Load:
    """The clients; `with` starts them, and stops them after their writes unless it failed."""

    def __init__(self, shop: ChaosShop, history: History, seed: int) -> None:
        self._shop = shop
        self._history = history
        self._away_until: dict[str, float] = {}
        self._prices = count(PRICE + 1)  # each price is asked for once
        self._stopping = threading.Event()
        self._leaving = threading.Event()  # without a decision, too
        self._threads = [
            threading.Thread(target=self._client, args=(Random(f"{seed} {by}"), by, kinds))
            for by, kinds in _clients()
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stopping.set()
        if kind is not None:
            self._leaving.set()
        for thread in self._threads:
            thread.join(DECIDED_WITHIN_S + 2 * PATIENCE_S)

    def _client(self, random: Random, by: str, kinds: Mapping[str, int]) -> None:
        acts: dict[str, Callable[[Random, str], None]] = {
            "look": self._look, "stare": self._stare, "browse": self._browse, "order": self._order,
            "again": self._again,
        }  # fmt: skip
        while not self._stopping.is_set():
            (kind,) = random.choices(list(kinds), list(kinds.values()))
            try:
                acts[kind](random, by) if kind in acts else self._write(kind, random, by)
            except Exception as error:
                self._history.violated(f"client {by}, {kind}: {error!r}")
            self._stopping.wait(random.uniform(*PAUSE_S))

    def _frontend(self, random: Random) -> str:
        """Choose as clients behind a load balancer do, or, now and then, without asking it."""
        well = [name for name in FRONTENDS if self._away_until.get(name, 0.0) < monotonic()]
        return random.choice(FRONTENDS if not well or random.random() < ADVENTUROUS else well)

    def _ask(self, kind: str, frontend: str, **asked: Any) -> tuple[str, requests.Response | None]:
        """Make a call and note it; return how it ended, and its answer if there was one."""
        called, response, why = monotonic(), None, ""
        try:
            patience_s = PATIENCE_S_OF.get(kind, PATIENCE_S)
            response = self._shop.call(at=frontend, timeout_s=patience_s, **asked)
            hit = "hit" in response.headers.get("Cache-Status", "")
            answer = ("hit" if hit else "ok") if response.ok else code(response)
            why = "" if response.ok else response.json()["detail"]
        except requests.RequestException as error:
            answer, why = "no-answer", type(error).__name__
            self._away_until[frontend] = monotonic() + AWAY_S
        self._history.call(Call(kind, frontend, called, monotonic(), answer, why))
        return answer, response

    def _read(self, kind: str, frontend: str, path: str) -> Any:
        """Return a read's document; None when nobody could say."""
        answer, response = self._ask(kind, frontend, method="GET", path=path)
        if answer in OPEN or response is None:
            return None
        if answer not in ANSWERED:
            self._history.violated(f"{path} at {frontend}: {response.text}")
            return None
        return response.json()

    # --- reads ---

    def _look(self, random: Random, by: str) -> None:
        self.look(_some_book(random), self._frontend(random), by)

    def _stare(self, random: Random, by: str) -> None:
        """Look at a hot book, also at a frontend that does not answer: it may wake up."""
        self.look(random.randint(1, HOT), random.choice(FRONTENDS), by, "stare")

    def look(self, book: int, frontend: str, by: str, kind: str = "look") -> None:
        """Look a book up."""
        called = monotonic()
        seen = self._read(kind, frontend, f"/lookup/{book}")
        if seen is not None:
            state, by = (seen["quantity"], seen["price_cents"]), f"{by} {frontend}"
            operation = Operation("read", 0, called, state, monotonic(), by)
            self._history.observed(book, operation)

    def _browse(self, random: Random, by: str) -> None:
        frontend, topic = self._frontend(random), random.choice(TOPICS)
        called = monotonic()
        page = self._read("browse", frontend, f"/search/{topic}")
        ended = monotonic()
        for item in page["items"] if page else ():
            seen = item["price_cents"]
            operation = Operation("price-seen", 0, called, seen, ended, f"{by} {frontend}")
            self._history.observed(item["id"], operation)

    def _order(self, random: Random, by: str) -> None:
        known = list(self._history.orders.items())
        if not known:
            return self._look(random, by)
        # The last ones more often: they may not have reached the other order server yet.
        order_id, document = random.choice(known[-10:] if random.random() < 0.5 else known)
        found = self._read("order", self._frontend(random), f"/orders/{order_id}")
        if found not in (None, document):
            self._history.violated(f"order {order_id} was {document} and is {found}")

    # --- writes ---

    def _write(self, kind: str, random: Random, by: str) -> None:
        books = _two_books(random) if kind == "basket" else [_some_book(random)]
        lines = {book: self._amount(kind, random) for book in books}
        what = "sell" if kind == "basket" else kind
        write = Write(f"{by}-{random.getrandbits(64):016x}", kind, lines, {})
        called = monotonic()
        write.operations = {
            book: Operation(what, amount, called, by=by) for book, amount in lines.items()
        }
        self._history.begun(write)
        self._decide(write, random)

    def _amount(self, kind: str, random: Random) -> int:
        if kind == "price":
            return next(self._prices)
        return random.randint(1, 8) if kind == "restock" else random.randint(1, 2)

    def _decide(self, write: Write, random: Random) -> None:
        until = monotonic() + DECIDED_WITHIN_S
        while monotonic() < until and not self._leaving.is_set():
            self.send(write, self._frontend(random))
            if write.answer is not None:
                return
            if write.refused and random.random() < GIVES_UP:
                return self._history.give_up(write)
            self._leaving.wait(random.uniform(*RETRY_S))

    def send(self, write: Write, frontend: str) -> None:
        """Ask for a write once."""
        answer, response = self._ask(
            write.kind, frontend, key=write.key, operator=True, **_request(write)
        )
        if answer in OPEN or response is None:
            write.refused &= answer in REFUSALS
        elif answer in ANSWERED:
            self._history.decided(write, (response.status_code, response.json()))
        else:
            self._history.violated(f"{write.key} at {frontend}: {response.text}")

    def _again(self, random: Random, by: str) -> None:
        """A late duplicate: the same key must be answered the same."""
        done = [write for write in self._history.writes[-200:] if write.answer is not None]
        if done:
            self.send(random.choice(done), self._frontend(random))


def _clients() -> Iterator[tuple[str, Mapping[str, int]]]:
    """Yield each client's name and what it does how often."""
    yield from ((f"fan-{number}", FOLLOWING) for number in range(FANS))
    yield from ((f"reader-{number}", READING) for number in range(READERS))
    yield from ((f"writer-{number}", WRITING) for number in range(WRITERS))


def _some_book(random: Random) -> int:
    """Return a book; half of the time one of a few that everybody wants."""
    return random.randint(1, HOT if random.random() < 0.5 else BOOKS)


def _two_books(random: Random) -> list[int]:
    return random.sample(range(1, BOOKS + 1), 2)


def _request(write: Write) -> dict[str, Any]:
    """Return a write's method, path and body."""
    (book, amount), *more = write.lines.items()
    if write.kind == "restock":
        return {"method": "POST", "path": f"/books/{book}/restock", "body": {"quantity": amount}}
    if write.kind == "price":
        return {"method": "PATCH", "path": f"/books/{book}", "body": {"price_cents": amount}}
    if not more:
        return {"method": "POST", "path": f"/purchase/{book}", "body": {"quantity": amount}}
    items = [{"book_id": book, "quantity": copies} for book, copies in write.lines.items()]
    return {"method": "POST", "path": "/orders", "body": {"items": items}}
