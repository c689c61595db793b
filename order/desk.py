"""What an order server answers to the control room: the latest orders, and a digest of all.

Law: neither waits for a catalog; both say up to which order of the ledger they go.
"""

from __future__ import annotations

import json
import threading

from flask import Flask, Response

from common.chain import Chain
from common.clock import Clock
from common.fields import count, limit
from common.web import json_answer, query
from order.store import Store

ORDERS = """
SELECT
    CAST(group_concat(number || ' ' || order_id || ' ' || body, char(10) ORDER BY number) AS BLOB),
    count(*)
FROM orders WHERE number > ? AND number <= ?"""


def add_desk(app: Flask, store: Store, clock: Clock) -> None:
    """Give an app these calls."""
    chain = Chain(ORDERS, clock=clock, lock=threading.Lock())

    @app.get("/newest")
    def newest() -> Response:
        asked = query(("limit", "before"))
        before = count(asked, "before", 0) or None
        orders, end = store.newest(limit(asked.get("limit")), before)
        items = [{"number": order.number, "order": json.loads(order.body)} for order in orders]
        return json_answer({"items": items, "total": end})

    @app.get("/audit")
    def audit() -> Response:
        asked = query(("upto", "again"))
        if "again" in asked:
            chain.forget()
        found, end = store.digest(chain, count(asked, "upto", 0))
        return json_answer({"orders": end, "upto": found.upto, "digest": found.digest})
