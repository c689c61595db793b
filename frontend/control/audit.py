"""Has the shop checked while somebody looks: asks every catalog and order server, and judges.

It costs them next to nothing: `catalog/audit.py` and `common/chain.py` say what they remember.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from flask import Response

from common.clock import Clock, rfc3339
from common.survey import DOWN, Found, Survey
from common.tasks import Tasks
from common.web import json_answer, json_body, query
from frontend.control import invariants
from frontend.control.recent import Recent
from frontend.control.room import Room
from frontend.gateway import Group

CHECKED_FOR_S = 2.0
TOTALS_S, ROWS_S = 1.5, 4.0

Ask = tuple[str, Mapping[str, Any]]  # a path and its query


class Audit:
    """The invariants as data of the overview, and a button that has everything read again."""

    def __init__(self, catalogs: Group, orders: Group, *, clock: Clock, tasks: Tasks) -> None:
        self._catalogs = catalogs
        self._orders = orders
        self._clock = clock
        self._survey = Survey(clock=clock, tasks=tasks, lock=threading.Lock())
        self._recent = Recent(self._check, for_s=CHECKED_FOR_S, clock=clock, lock=threading.Lock())

    def register(self, room: Room) -> None:
        """Add the data and the button."""
        room.data("invariants", self.show)
        room.action("audit", self.check_again)

    def show(self) -> Response:
        """Answer what holds and what does not."""
        query(())
        return json_answer(self._recent.get())

    def check_again(self) -> Response:
        """Have every row read again that is believed from earlier."""
        query(())
        json_body(optional=True)
        return json_answer(self._check({"again": "1"}))

    def _check(self, how: Mapping[str, str] | None = None) -> dict[str, Any]:
        catalogs, logs = self._catalogs.peers, self._orders.peers
        everybody = {name: ("/audit", how or {}) for name in (*catalogs, *logs)}
        told = self._ask(everybody, "orders", TOTALS_S)
        totals = {name: told[name] for name in catalogs if name in told}
        ends = {name: one["orders"] for name, one in told.items()}
        upto = {"upto": min(ends.values(), default=0)}
        ledgers = {name: ("/audit/ledger" if name in catalogs else "/audit", upto) for name in told}
        rows = self._ask({name: ("/audit/rows", {}) for name in totals}, "digest", ROWS_S)
        verdicts = [
            invariants.stock_conserved(catalogs, totals),
            invariants.catalogs_equal(catalogs, totals, rows),
            invariants.orders_equal(catalogs, logs, ends, self._ask(ledgers, "digest", TOTALS_S)),
        ]
        return {"at": rfc3339(self._clock.wall()), "verdicts": list(map(asdict, verdicts))}

    def _ask(self, asks: Mapping[str, Ask], member: str, whole_s: float) -> dict[str, Found]:
        """Return what nodes answer, documents with this member; who does not is left out, and not
        asked again: so one that is asleep holds a check up once.
        """
        peers = {**self._catalogs.peers, **self._orders.peers}

        def ask(name: str) -> Found:
            path, asked = asks[name]
            told = peers[name].call("GET", path, query=asked, timeout_s=whole_s).json()
            if not isinstance(told, dict) or member not in told:
                raise ValueError(f"{name} answered with something that is not ours")
            return told

        found = self._survey.ask(list(asks), ask, whole_s)
        return {name: told for name, told in found.items() if told.get("state") != DOWN}
