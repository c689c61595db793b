"""Clients that shop at a simulated cluster, remember what they saw, and check it all at the end."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from common.peer import PeerDown, Response
from tests.support.checker import Operation, linearizable
from tests.support.cluster import Cluster

BOOKS, TOPIC, STOCK, PRICE = 2, "Sea", 4, 500
NOTHING_DONE = {"writes-unavailable", "rate-limited"}
UNDECIDED = NOTHING_DONE | {"outcome-unknown", "unavailable", "in-progress"}
SEED_HEADER = "sku,title,authors,topic,topics,price_cents,stock"


def write_seed(folder: Path) -> Path:
    """Write a seed catalogue of a few books, all of one topic."""
    rows = [
        f"SIM-{n},Book {n},An Author,{TOPIC},{TOPIC},{PRICE},{STOCK}" for n in range(1, BOOKS + 1)
    ]
    path = folder / "catalog.csv"
    path.write_text("\n".join([SEED_HEADER, *rows]) + "\n", encoding="utf-8")
    return path


@dataclass
class Write:
    """A write with its key, and one history operation for each book it touches."""

    key: str
    method: str
    target: str
    body: Any
    operations: dict[int, Operation]
    answer: tuple[int, Any] | None = None
    refused: bool = True  # every answer so far said that nothing was done


@dataclass
class Shop:
    """The clients' memory."""

    cluster: Cluster
    random: Random
    histories: dict[int, list[Operation]] = field(default_factory=dict)
    writes: list[Write] = field(default_factory=list)
    orders: dict[str, Any] = field(default_factory=dict)  # order id -> document, as answered
    answered: int = 0
    unanswered: int = 0

    def __post_init__(self) -> None:
        self.histories = {book: [] for book in range(1, BOOKS + 1)}

    @property
    def now(self) -> float:
        return self.cluster.scheduler.now

    def _frontend(self) -> str:
        return self.random.choice(self.cluster.names["frontend"])

    def _ask(self, *args: Any, **options: Any) -> Response | None:
        try:
            response = self.cluster.ask(self._frontend(), *args, **options)
        except PeerDown:
            self.unanswered += 1
            return None
        self.answered += 1
        assert response.status != 500, response
        return response

    # --- reads ---

    def look(self, book: int, by: str) -> None:
        """Look a book up."""
        called = self.now
        response = self._ask("GET", f"/lookup/{book}")
        if response is None or response.status == 503:
            return
        assert response.status == 200, response
        seen = response.json()
        served = by + " " + response.header("x-served-by")
        result = (seen["quantity"], seen["price_cents"])
        self.histories[book].append(Operation("read", 0, called, result, self.now, served))

    def watch(self, number: int, over: list[bool]) -> None:
        """Look at one book again and again, mostly from the cache, at one frontend or at both."""
        while not over:
            self.look(1, f"reader-{number}")
            if self.random.random() < 0.2:
                self.browse(f"reader-{number}")
            self.cluster.scheduler.sleep(self.random.choice((0.003, 0.02, 0.1, 0.3)))

    def browse(self, by: str) -> None:
        """Read the topic's page; it shows every book's price."""
        called = self.now
        response = self._ask("GET", f"/search/{TOPIC}")
        if response is None or response.status == 503:
            return
        page = response.json()
        assert page["total"] == len(page["items"]) == BOOKS, page
        for item in page["items"]:
            operation = Operation("price-seen", 0, called, item["price_cents"], self.now, by)
            self.histories[item["id"]].append(operation)

    def look_up_order(self) -> None:
        """Read an order that was sold: it is found, or nobody can say; never "no such order"."""
        if not self.orders:
            return
        order_id, known = self.random.choice(sorted(self.orders.items()))
        response = self._ask("GET", f"/orders/{order_id}")
        if response is not None and response.status != 503:
            assert response.status == 200, f"order {order_id} was sold but: {response}"
            assert response.json() == known

    # --- writes ---

    def new_write(self, by: str) -> Write:
        """Make up a purchase, a restock or a price change."""
        key = f"{by}-{len(self.writes)}"
        kind = self.random.choice(("sell", "sell", "sell", "basket", "restock", "price"))
        book = self.random.randint(1, BOOKS)
        if kind == "basket":
            lines = {
                b: self.random.randint(1, 2) for b in self.random.sample(range(1, BOOKS + 1), 2)
            }
            body = {"items": [{"book_id": b, "quantity": n} for b, n in lines.items()]}
            return Write(key, "POST", "/orders", body, self._called("sell", lines, by))
        if kind == "sell":
            copies = self.random.randint(1, 2)
            called = self._called("sell", {book: copies}, by)
            return Write(key, "POST", f"/purchase/{book}", {"quantity": copies}, called)
        if kind == "restock":
            copies = self.random.randint(1, 3)
            called = self._called("restock", {book: copies}, by)
            return Write(key, "POST", f"/books/{book}/restock", {"quantity": copies}, called)
        price = self.random.randint(100, 999)
        called = self._called("price", {book: price}, by)
        return Write(key, "PATCH", f"/books/{book}", {"price_cents": price}, called)

    def _called(self, what: str, arguments: dict[int, int], by: str) -> dict[int, Operation]:
        return {
            book: Operation(what, argument, self.now, by=by) for book, argument in arguments.items()
        }

    def write(self, write: Write, tries: int) -> None:
        """Do a write, and again with its key while its outcome is not known."""
        if write not in self.writes:
            self.writes.append(write)
            for book, operation in write.operations.items():
                self.histories[book].append(operation)
        for _ in range(tries):
            response = self._ask(
                write.method, write.target, write.body, key=write.key, operator=True
            )
            if response is not None and not self._undecided(response):
                self._decided(write, response)
                return
            write.refused &= response is not None and response.json()["code"] in NOTHING_DONE
            self.cluster.scheduler.sleep(self.random.uniform(0.05, 0.5))

    def _undecided(self, response: Response) -> bool:
        return response.status >= 400 and response.json().get("code") in UNDECIDED

    def _decided(self, write: Write, response: Response) -> None:
        answer = (response.status, response.json())
        assert write.answer in (None, answer), f"{write.key}: {write.answer}, then {answer}"
        assert response.status in (200, 201, 409), answer
        write.answer = answer
        if response.status == 201:
            self.orders[answer[1]["order_id"]] = answer[1]
        for book, operation in write.operations.items():
            operation.returned = min(operation.returned, self.now)
            operation.result = self._result(book, operation, answer)

    def _result(self, book: int, operation: Operation, answer: tuple[int, Any]) -> Any:
        status, document = answer
        if status == 409:
            return "sold-out"
        if status == 201:
            line = next(line for line in document["items"] if line["book_id"] == book)
            assert line["quantity"] == operation.argument
            return line["price_cents"]
        return (document["quantity"], document["price_cents"])

    def shop(self, by: str, calls: int) -> None:
        """Be one client."""
        for _ in range(calls):
            act = self.random.random()
            if act < 0.4:
                self.look(self.random.randint(1, BOOKS), by)
            elif act < 0.55:
                self.browse(by)
            elif act < 0.65:
                self.look_up_order()
            else:
                self.write(self.new_write(by), tries=self.random.randint(1, 3))
            self.cluster.scheduler.sleep(self.random.choice((0.0, 0.0, 0.01, 0.1)))

    # --- the end ---

    def settle(self) -> None:
        """After healing: decide every unknown write with its key, and look at everything once
        more.
        """
        for write in self.writes:
            if write.answer is None and write.refused:
                self._forget(write)
            elif write.answer is None:
                self.write(write, tries=60)
                assert write.answer is not None, f"{write.key} is never decided"
        for write in [write for write in self.writes if write.answer][-5:]:
            self.write(write, tries=60)  # the same key: the same answer
        for book in self.histories:
            self.look(book, "end")
            self.look(book, "end")

    def _forget(self, write: Write) -> None:
        """Take the shop at its word: nothing came of a write that was refused each time."""
        for book, operation in write.operations.items():
            self.histories[book].remove(operation)

    def check(self) -> None:
        """Check every promise; raise AssertionError with what was seen."""
        for book, history in self.histories.items():
            self._check_history(book, [op for op in history if op.what != "sell-refused"])
        self._check_stock()
        self._check_copies()

    def _check_history(self, book: int, history: list[Operation]) -> None:
        # A refused basket says nothing about this book: another line may have been the short one.
        baskets = {
            id(write.operations[book])
            for write in self.writes
            if book in write.operations and len(write.operations) > 1 and write.answer
            and write.answer[0] == 409 and write.answer[1].get("book_id") != book
        }  # fmt: skip
        told = [operation for operation in history if id(operation) not in baskets]
        if not linearizable(told, (STOCK, PRICE)):
            lines = "\n".join(map(str, sorted(told, key=lambda op: op.called)))
            raise AssertionError(f"book {book} is not linearizable:\n{lines}")

    def _check_stock(self) -> None:
        sold = dict.fromkeys(self.histories, 0)
        for order in self.orders.values():
            for line in order["items"]:
                sold[line["book_id"]] += line["quantity"]
        for name in self.cluster.names["catalog"]:
            with self.cluster.node(name).db.read() as db:
                for book, copies in sold.items():
                    left = db.execute("SELECT quantity FROM books WHERE id = ?", (book,)).get
                    received = db.execute(
                        "SELECT sum(quantity) FROM movements WHERE book_id = ?", (book,)
                    ).get
                    assert left >= 0
                    assert copies + left == received, (name, book, copies, left, received)
                count = db.execute("SELECT count(*), max(number) FROM ledger").get
                assert count in ((len(self.orders), len(self.orders)), (0, None)), count

    def _check_copies(self) -> None:
        nodes = [self.cluster.node(name) for name in self.cluster.names["catalog"]]
        assert nodes[0].digest() == nodes[1].digest(), "the catalogs differ"
        listings = []
        for name in self.cluster.names["order"]:
            answer = self.cluster.do(
                lambda name=name: self.cluster.peer(name).call(
                    "GET", "/orders?limit=200", timeout_s=5
                )
            )
            listings.append(answer.json())
        assert listings[0] == listings[1], "the order logs differ"
        sold = sorted(json.dumps(order, sort_keys=True) for order in self.orders.values())
        listed = sorted(json.dumps(order, sort_keys=True) for order in listings[0]["items"])
        assert listed == sold, "the order log is not what was sold"
