"""An order, a page of the sales ledger and a sale's outcome as plain values. Pure.

Law: rows are believed only without gaps, and only of a ledger that still holds what it held before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.bundle import Recorded
from common.compact import compact

OVERLAP_ROWS = 1


class Malformed(Exception):
    """An answer is not what docs/wire.md says: it is worth nothing, ask somebody else."""


class Refused(Exception):
    """This log and what a catalog says cannot belong to one history: never mix them."""


@dataclass(frozen=True)
class Order:
    """An order: the public document as JSON text, and its row in the ledger if that is known."""

    order_id: str
    number: int | None
    body: str

    def same(self, other: Order) -> bool:
        """Tell whether two copies of an order agree (an unknown number agrees with any)."""
        numbers = {self.number, other.number} - {None}
        alike = self.body == other.body or json.loads(self.body) == json.loads(other.body)
        return self.order_id == other.order_id and len(numbers) < 2 and alike


@dataclass(frozen=True)
class Page:
    """Rows without gaps, from row `since` + 1 or earlier on, of a ledger that ends at `end`."""

    cluster: str
    since: int
    end: int
    orders: tuple[Order, ...]
    epoch: int | None = None
    as_of: int | None = None

    @property
    def last(self) -> int:
        """Return the last row known once this page is stored."""
        return (self.orders[-1].number if self.orders else None) or self.since


@dataclass(frozen=True)
class Outcome:
    """What the leader decided for a sale, for ever: the public status and document."""

    status: int
    answer: Mapping[str, Any]
    order: Order | None = None  # when sold
    cluster: str = ""


def order_of(document: Any, number: Any) -> Order:
    """Return an order from its public document; raise `Malformed` when it is none."""
    order_id = document.get("order_id") if isinstance(document, dict) else None
    if not isinstance(order_id, str) or not order_id or not isinstance(number, int | None):
        raise Malformed("an order without order_id, or with a number that is none")
    return Order(order_id, number, compact(document))


def ask_after(since: int) -> int:
    """Return the `after` to ask for: the last row taken comes once more, to be compared.

    Log matching as in Raft (section 5.3): no two sales share an order id, so a ledger that was
    rolled back and has grown past the cursor again shows another order there.
    """
    return max(since - OVERLAP_ROWS, 0)


def parse_page(
    document: Any, cluster: str, since: int, *, epoch: int | None = None, as_of: int | None = None
) -> Page:
    """Return a page of the ledger that was asked for when the cursor stood at `since`.

    Raises `Malformed` (gaps, no cluster, no progress) and `Refused` (the ledger became shorter).
    """
    try:
        end, rows = document["end"], document["rows"]
        orders = tuple(order_of(row["order"], row["number"]) for row in rows)
    except (TypeError, KeyError) as error:
        raise Malformed(f"not a page of the ledger: {error!r}") from error
    if not cluster or not isinstance(end, int):
        raise Malformed("a page of the ledger without its cluster or its end")
    if end < since:
        raise Refused(f"the ledger ends at {end}, but {since} rows are here: it has lost sales")
    start = ask_after(since) + 1
    if [order.number for order in orders] != list(range(start, start + len(orders))):
        raise Malformed(f"rows with a gap: asked for {start} and on")
    fewest, most = since - start + 1 + (end > since), end - start + 1
    if not fewest <= len(orders) <= most:
        raise Malformed(f"{len(orders)} rows from {start} on, of a ledger that ends at {end}")
    return Page(cluster, since, end, orders, epoch, as_of)


def outcome_of(told: Recorded, cluster: str) -> Outcome:
    """Return the recorded outcome of a sale; raise `Malformed` when it cannot be one."""
    if told.status == 201:
        answer = dict(told.answer)
        number = answer.pop("number", None)
        return Outcome(201, answer, order_of(answer, number), cluster)
    if not 400 <= told.status < 500:
        raise Malformed("an outcome is 201 or a refusal")
    return Outcome(told.status, told.answer)
