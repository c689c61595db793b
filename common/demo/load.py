"""The shoppers of a demo: they look, search and buy at a given rate, whatever the shop does.

Laws: shoppers come at their rate, also while nobody answers (up to a bound on how many wait). A
purchase is asked for again under its key until it is decided, also after the load was stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import count
from random import Random
from typing import Any
from urllib.parse import quote

from common.demo.client import Answer, Client, NoAnswer
from common.demo.diary import NOTE, Diary
from common.demo.figures import PURCHASE, READ, Figures
from common.demo.receipts import Receipts
from common.errors import Problem

RATE_MAX = 300  # shoppers a second
RUN_S_MAX = 3600.0  # then the load ends by itself
WAITING_MAX = 600  # shoppers that have not been answered yet; more do not come
BUYING_MAX = 200  # of those, who buy
BUYERS, AGAIN = 0.2, 0.1
KINDS = {"look": 75, "browse": 15, "search": 10}
READ_S, PURCHASE_S = 2.0, 6.0  # patience for one answer; the shop promises 0.9 and 5
RETRY_S, RETRY_S_MAX = 0.2, 2.0  # twice as long each time, and a bit by chance
LATE_S = 0.5  # who should have come longer ago does not come any more
LOW, RESTOCK = 80, 400
OPEN = (
    "writes-unavailable", "outcome-unknown", "unavailable", "rate-limited", "in-progress",
    "no-answer",
)  # fmt: skip
UNCLEAR = ("outcome-unknown", "no-answer", "in-progress")
NO_ANSWER, DONE, SOLD_OUT = "no-answer", "done", "sold-out"

Asked = tuple[str, Answer | None]  # how a try was answered


class Load:
    """Shoppers at one frontend; `books` is how many there are, from id 1 on."""

    def __init__(
        self, shop: Client, token: str, books: int, *,
        figures: Figures, receipts: Receipts, diary: Diary, random: Random,
    ) -> None:  # fmt: skip
        self._shop = shop
        self._token = token
        self._books = books
        self._figures = figures
        self._receipts = receipts
        self._diary = diary
        self._random = random
        self._run_name = f"{random.getrandbits(32):08x}"
        self._shoppers: set[asyncio.Task[None]] = set()
        self._restocking: set[int] = set()
        self._topics = ["nature"]
        self._number = 0
        self._task: asyncio.Task[None] | None = None
        self.rate = 0

    @property
    def inside(self) -> int:
        """Return how many shoppers have come and not left."""
        return len(self._shoppers)

    def set_rate(self, rate: int) -> None:
        """Have so many shoppers come each second; 0: none."""
        if not 0 <= rate <= RATE_MAX:
            raise Problem("invalid-request", f"rate: a whole number, 0 to {RATE_MAX}")
        if rate != self.rate:
            self._diary.note(NOTE, f"{rate or 'no'} shoppers a second")
        self.rate = rate
        if self._task is not None and not rate:
            self._task.cancel()
            self._task = None
        elif self._task is None and rate:
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Send everybody home, decided or not."""
        self.set_rate(0)
        for task in list(self._shoppers):
            task.cancel()
        await asyncio.gather(*self._shoppers, return_exceptions=True)
        self._shop.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due, until = loop.time(), loop.time() + RUN_S_MAX
        while loop.time() < until:
            due += self._random.expovariate(self.rate)
            if (left_s := due - loop.time()) > 0:
                await asyncio.sleep(left_s)
            elif left_s < -LATE_S:
                due = loop.time()
            self._let_in()
        self._task = None
        self.set_rate(0)

    def _let_in(self) -> None:
        if self.inside >= WAITING_MAX:
            self._figures.answered("not-let-in", self._diary.now(), good=False)
            return
        buys = self._random.random() < BUYERS and self._receipts.open < BUYING_MAX
        self._spawn(self._buy() if buys else self._read())

    def _spawn(self, shopping: Any) -> None:
        task = asyncio.create_task(shopping)
        self._shoppers.add(task)
        task.add_done_callback(self._shoppers.discard)

    # --- reads ---

    async def _read(self) -> None:
        (kind,) = self._random.choices(list(KINDS), list(KINDS.values()))
        book = self._book()
        path = {
            "look": f"/lookup/{book}",
            "browse": f"/search/{quote(self._random.choice(self._topics), safe='')}",
            "search": f"/books?q={self._random.choice('abcdefghijklmnoprstuvw')}&limit=10",
        }[kind]
        began = self._diary.now()
        answered, answer = await self._try("GET", path, READ_S)
        if answered == DONE and answer is not None:
            self._figures.took(READ, self._diary.now() - began, self._diary.now())
            if kind == "look":
                self._look_at_stock(book, int(answer.json()["quantity"]))

    def _look_at_stock(self, book: int, quantity: int) -> None:
        if quantity < LOW and book not in self._restocking:
            self._restocking.add(book)
            self._spawn(self._restock(book))

    async def learn_topics(self) -> None:
        """Ask the shop what topics it has."""
        answered, answer = await self._try("GET", "/topics", READ_S)
        if answered == DONE and answer is not None:
            self._topics = [item["topic"] for item in answer.json()["items"]] or self._topics

    # --- writes ---

    async def _buy(self) -> None:
        key, path = self._key(), f"/purchase/{self._book()}"
        began = self._diary.now()
        self._receipts.begun(key)
        answered, answer = await self._decided(key, path, {"quantity": 1})
        if answered != DONE or answer is None:
            self._receipts.refused(key)
            return
        self._figures.took(PURCHASE, self._diary.now() - began, self._diary.now())
        self._receipts.told(key, str(answer.json()["order_id"]))
        if self._random.random() < AGAIN:
            await self._buy_again(key, path)

    async def _buy_again(self, key: str, path: str) -> None:
        """Send a late duplicate: the same key must become the same order."""
        answered, answer = await self._try("POST", path, PURCHASE_S, key, {"quantity": 1})
        if answered == DONE and answer is not None:
            self._receipts.told(key, str(answer.json()["order_id"]))
        elif answered == SOLD_OUT:
            self._receipts.refused(key)

    async def _restock(self, book: int) -> None:
        document = {"quantity": RESTOCK, "reason": "running low"}
        try:
            await self._decided(self._key(), f"/books/{book}/restock", document)
        finally:
            self._restocking.discard(book)

    async def _decided(self, key: str, path: str, document: Mapping[str, Any]) -> Asked:
        """Ask until the answer says what became of it."""
        for tries in count():
            answered, answer = await self._try("POST", path, PURCHASE_S, key, document)
            if answered not in OPEN:
                return answered, answer
            if answered in UNCLEAR:
                self._receipts.unclear(key)
            pause_s = min(RETRY_S_MAX, RETRY_S * 2 ** min(tries, 8))
            await asyncio.sleep(pause_s * self._random.uniform(0.5, 1.0))
        raise AssertionError("counting has no end")

    async def _try(
        self, method: str, path: str, timeout_s: float, key: str = "", document: Any = None
    ) -> Asked:
        headers = {"Authorization": f"Bearer {self._token}"} if path.endswith("/restock") else {}
        if key:
            headers["Idempotency-Key"] = key
        try:
            answer = await self._shop.ask(method, path, headers, document, timeout_s=timeout_s)
            code = DONE if answer.status < 300 else str(answer.json()["code"])
        except (NoAnswer, KeyError, TypeError):
            answer, code = None, NO_ANSWER
        self._figures.answered(code, self._diary.now(), good=code in (DONE, SOLD_OUT))
        return code, answer

    def _book(self) -> int:
        """Choose a book: half of the time one of the few that everybody wants."""
        few = self._random.random() < 0.5
        return self._random.randint(1, max(1, self._books // 5) if few else self._books)

    def _key(self) -> str:
        self._number += 1
        return f"demo-{self._run_name}-{self._number}"
