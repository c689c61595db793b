"""Recent orders, newest first, and one that is looked for."""

from __future__ import annotations

from flask import Response

from common.clock import Clock
from common.errors import Problem
from common.web import json_answer, query
from frontend import incoming
from frontend.control.room import Room
from frontend.gateway import READ_WHOLE_S, Group


class Orders:
    """The page `/ops/orders` and its data."""

    def __init__(self, orders: Group, clock: Clock) -> None:
        self._orders = orders
        self._clock = clock

    def register(self, room: Room) -> None:
        """Add the tab."""
        room.tab("orders", "Orders")
        room.data("orders", self.newest)
        room.data("orders/<order_id>", self.order)

    def newest(self) -> Response:
        """Answer the latest orders, or those before a number."""
        return self._answer("/newest", query(("limit", "before")))

    def order(self, order_id: str) -> Response:
        """Answer one order."""
        query(())
        if not incoming.may_be_an_order_id(order_id):
            raise Problem("not-found", "there is no such order")
        return self._answer(f"/orders/{order_id}", {})

    def _answer(self, path: str, asked: dict[str, str]) -> Response:
        answered = self._orders.read(path, asked, self._clock.now() + READ_WHOLE_S)
        return json_answer(answered.response.json() | {"served_by": answered.node})
