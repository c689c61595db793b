"""Checks a whole chaos run at its end: histories, copies, orders, files.

Law: every check returns what it found, and goes on; "could not decide" is a violation as well.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw

from tests.support.chaos_history import History
from tests.support.chaos_load import BOOKS, PRICE, STOCK
from tests.support.chaos_shop import CATALOGS, ChaosShop
from tests.support.checker import Operation, State, TooHard, linearizable

STEPS_MAX = 5_000_000
SHOWN = 60


def pieces(history: Sequence[Operation], start: State) -> Iterator[tuple[list[Operation], State]]:
    """Yield parts of a book's history, each with the state it began in.

    A part ends with a read that nothing overlaps: what it saw is the state then. The history is
    linearizable if and only if every part is.
    """
    part: list[Operation] = []
    latest = float("-inf")
    ordered = sorted(history, key=lambda operation: operation.called)
    for at, operation in enumerate(ordered):
        part.append(operation)
        quiet_before = latest < operation.called
        latest = max(latest, operation.returned)
        quiet_after = at + 1 == len(ordered) or operation.returned < ordered[at + 1].called
        if operation.what == "read" and quiet_before and quiet_after:
            yield part, start
            part, start = [], operation.result
    yield part, start


def check_history(book: int, history: Sequence[Operation], start: State) -> list[str]:
    """Tell what is wrong with the history of one book."""
    for part, state in pieces(history, start):
        try:
            if linearizable(part, state, steps_max=STEPS_MAX):
                continue
            why = "is not linearizable"
        except TooHard:
            why = f"is too hard to judge ({len(part)} operations)"
        lines = [str(op) for op in sorted(part, key=lambda op: op.called)]
        told = "\n".join(lines[-SHOWN:])
        return [f"book {book} {why}, from (quantity, price) {state} on:\n{told}"]
    return []


def check_histories(history: History) -> list[str]:
    """Check every book's history."""
    found: list[str] = []
    for book, operations in sorted(history.operations.items()):
        found += check_history(book, operations, (STOCK, PRICE))
    return found


def check_decided(history: History) -> list[str]:
    """No write is left whose outcome nobody knows."""
    return [
        f"never decided: {write}"
        for write in history.writes
        if write.answer is None and not write.given_up
    ]


def check_copies(shop: ChaosShop, history: History) -> list[str]:
    """Both catalogs, both ledgers and both order logs are the same, and are what was answered."""
    try:
        orders = shop.check_copies()
    except AssertionError as error:
        return [f"the copies differ: {error}"]
    found = [f"sold twice: {i}" for i, n in Counter(o["order_id"] for o in orders).items() if n > 1]
    by_id = {order["order_id"]: order for order in orders}
    for order_id, told in history.orders.items():
        if by_id.get(order_id) != told:
            found.append(f"answered {told}, but the order logs have {by_id.get(order_id)}")
    sales = [write for write in history.writes if write.answer and write.answer[0] == 201]
    if not len(orders) == len(history.orders) == len(sales):
        found.append(f"{len(orders)} orders for {len(sales)} keys: {_strange(by_id, history)}")
    return found


def _strange(by_id: dict[str, Any], history: History) -> list[Any]:
    return [order for order_id, order in by_id.items() if order_id not in history.orders][:3]


def check_files(shop: ChaosShop, history: History) -> list[str]:
    """Once all nodes have ended: what their files hold of stock, refusals and outcomes."""
    found: list[str] = []
    checks: list[Callable[[apsw.Connection, History], list[str]]] = [
        _stock_is_conserved, _nothing_came_of_refusals, _outcomes_are_as_answered,
    ]  # fmt: skip
    for name in CATALOGS:
        db = _open(shop.data(name) / "catalog.db")
        found += [f"{name}: {wrong}" for check in checks for wrong in check(db, history)]
        db.close()
    return found


def _open(path: Path) -> apsw.Connection:
    return apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)


def _stock_is_conserved(db: apsw.Connection, history: History) -> list[str]:
    """Sold + left = received, for every book; the ledger has no gaps."""
    sold: Counter[int] = Counter()
    for (body,) in db.execute("SELECT body FROM ledger"):
        for line in json.loads(body)["items"]:
            sold[line["book_id"]] += line["quantity"]
    received = dict(db.execute("SELECT book_id, sum(quantity) FROM movements GROUP BY book_id"))
    left = dict(db.execute("SELECT id, quantity FROM books"))
    found = [
        f"book {book}: {sold[book]} sold + {left[book]} left, but {received[book]} received"
        for book in range(1, BOOKS + 1)
        if sold[book] + left[book] != received[book] or left[book] < 0
    ]
    rows, last = db.execute("SELECT count(*), coalesce(max(number), 0) FROM ledger").fetchone()
    return found if rows == last else [*found, f"the ledger has {rows} rows up to number {last}"]


def _nothing_came_of_refusals(db: apsw.Connection, history: History) -> list[str]:
    """A write that was refused with `writes-unavailable` each time is nowhere."""
    return [
        f"{write.key} was refused each time, and happened: {outcome}"
        for write in history.writes
        if write.given_up and (outcome := _outcome(db, write.key))
    ]


def _outcomes_are_as_answered(db: apsw.Connection, history: History) -> list[str]:
    """A write that was answered is recorded with that status."""
    return [
        f"{write.key} was answered {write.answer}, but recorded is {_outcome(db, write.key)}"
        for write in history.writes
        if write.answer and (_outcome(db, write.key) or (None,))[0] != write.answer[0]
    ]


def _outcome(db: apsw.Connection, key: str) -> tuple[Any, ...] | None:
    return db.execute("SELECT status, answer FROM operations WHERE key = ?", (key,)).fetchone()
