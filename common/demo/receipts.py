"""What the shoppers were told they bought, held against the shop's own list. Pure.

Laws: *lost* is an order that a shopper was told of and the shop does not have; *doubled* is one
purchase that became two orders. An order is only missed in a list that was begun after it was told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any


class Receipts:
    """Every purchase of the load: asked for, told, found in the list."""

    def __init__(self) -> None:
        self._order_of: dict[str, str] = {}  # key -> the order its shopper was told of
        self._told: set[str] = set()
        self._open: set[str] = set()  # keys that are not decided
        self._unknown: set[str] = set()  # of those, where a try may have sold something
        self._lost: set[str] = set()
        self._doubled: set[str] = set()  # keys, and orders that stand in the list twice
        self._found = 0
        self._others = 0
        self.resolved = 0  # told in the end, after a try whose outcome was unknown
        self.sold_out = 0
        self.again = 0  # how many times a told purchase was asked for once more
        self.walks = 0

    # --- as the shoppers hear it ---

    def begun(self, key: str) -> None:
        """Note a purchase that is asked for."""
        self._open.add(key)

    def unclear(self, key: str) -> None:
        """Note that nobody could say yet whether it happened."""
        if key in self._open:
            self._unknown.add(key)

    def told(self, key: str, order_id: str) -> None:
        """Note what order it became; the second time, that it is the same one."""
        if key in self._order_of:
            self.again += 1
        if self._order_of.setdefault(key, order_id) != order_id:
            self._doubled.add(key)
        self._told.add(order_id)
        self._decided(key)

    def refused(self, key: str) -> None:
        """Note that it is sold out."""
        if key in self._order_of:
            self._lost.add(self._order_of[key])
        self.sold_out += key in self._open
        self._decided(key)

    def _decided(self, key: str) -> None:
        self._open.discard(key)
        self.resolved += key in self._unknown
        self._unknown.discard(key)

    @property
    def open(self) -> int:
        """Return how many are not decided yet."""
        return len(self._open)

    # --- as the list has it ---

    def told_so_far(self) -> frozenset[str]:
        """Return the orders that a list begun now must have."""
        return frozenset(self._told)

    def walked(self, wanted: Collection[str], listed: Iterable[str]) -> set[str]:
        """Take in a whole list, and what was told before it was begun; return what it lacks."""
        counts = Counter(listed)
        self.walks += 1
        self._doubled.update(order for order, count in counts.items() if count > 1)
        self._found = sum(order in counts for order in self._told)
        self._others = len(counts) - self._found
        missed = {order for order in wanted if order not in counts}
        return missed

    def lost(self, order_id: str) -> None:
        """Note that the shop, asked for an order by name, does not know it."""
        self._lost.add(order_id)

    def shown(self) -> dict[str, Any]:
        """Return the counts."""
        return {
            "sold": len(self._told), "found": self._found, "lost": len(self._lost),
            "doubled": len(self._doubled), "open": len(self._open),
            "unknown": len(self._unknown), "resolved": self.resolved, "again": self.again,
            "sold_out": self.sold_out, "walks": self.walks, "others": self._others,
        }  # fmt: skip
