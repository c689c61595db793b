"""A delivery that comes as a file through the stock desk: some rows at a time, each a restock.

Law: rows have the keys of `common/delivery.py`, so whatever is sent twice, by this page or by
`make import`, is added once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Response, request

from common import delivery, fields
from common.clock import Clock
from common.csvrows import BadRow
from common.delivery import Received
from common.errors import Problem
from common.web import json_answer, query
from frontend.control.room import Room
from frontend.gateway import READ_WHOLE_S, Group
from frontend.writes import Operations

PART_S = 2.0  # then the page sends the rest: it can show how far it is
STOPS = ("writes-unavailable", "outcome-unknown", "unavailable", "rate-limited", "in-progress")


class Arrivals:
    """The action that takes a file."""

    def __init__(self, catalogs: Group, operations: Operations, clock: Clock) -> None:
        self._catalogs = catalogs
        self._operations = operations
        self._clock = clock

    def register(self, room: Room) -> None:
        """Add the action; the page is the stock desk's."""
        room.action("delivery", self.take)

    def take(self) -> Response:
        """Add the rows from line `from` on, for a while; answer what became of them."""
        first = fields.count(query(("from",)), "from", 0)
        rows = list(delivery.read(request.get_data()))
        report: dict[str, Any] = {"rows": len(rows), "added": 0, "copies": 0, "bad": []}
        until = self._clock.now() + PART_S
        for row in _from(first, rows):
            if self._clock.now() >= until:
                return json_answer(report | {"next": row.line})
            try:
                self._add(row, report)
            except Problem as problem:
                if problem.code in STOPS:
                    return json_answer(report | {"next": row.line, "stopped": problem.detail})
                report["bad"].append({"line": row.line, "reason": problem.detail})
        return json_answer(report | {"next": None})

    def _add(self, row: Received | BadRow, report: dict[str, Any]) -> None:
        if isinstance(row, Received):
            asked, until = {"sku": row.sku}, self._clock.now() + READ_WHOLE_S
            found = self._catalogs.read("/books", asked, until).response.json()["items"]
            if found:
                self._operations.run("restock", row.restock(found[0]["id"]), row.key)
                report["added"] += 1
                report["copies"] += row.quantity
                return
            row = delivery.unknown(row)
        report["bad"].append({"line": row.line, "reason": row.reason})


def _from(first: int, rows: list[Received | BadRow]) -> Iterator[Received | BadRow]:
    return (row for row in rows if row.line >= first)
