"""Takes purchases ahead of Flask: plain ones, without a thread for each that waits.

Law: a purchase taken here is answered, to the byte, as the views of `api.py` would answer it. One
that is not plainly right, in its target, key or body, is left to them: they say what is wrong.
"""

from __future__ import annotations

import re
from random import Random

from common import fields
from common.clock import Clock
from common.errors import Problem
from common.service import Call, Reply
from common.trace import TRACEPARENT_HEADER
from common.tracer import Tracer
from common.web import strict_json
from common.wsgi import Answer, answer_of, of_problem
from frontend.incoming import location_of
from frontend.metrics import Metrics
from frontend.purchases import Purchases, Sold
from frontend.traced import described, labelled

_PURCHASE = re.compile(rb"/purchase/([0-9]+)")
KEY = "Idempotency-Key"

Lines = list[dict[str, int]]


class Counter:
    """Where purchases are taken; `random` makes keys for those that have none."""

    def __init__(
        self, purchases: Purchases, metrics: Metrics, *, clock: Clock, random: Random,
        tracer: Tracer,
    ) -> None:  # fmt: skip
        self._purchases = purchases
        self._tracer = tracer
        self._metrics = metrics
        self._clock = clock
        self._random = random

    def take(self, call: Call, reply: Reply) -> bool:
        """Take a call if it is a plain purchase; `reply` then gets its answer."""
        if call.method != "POST":
            return False
        try:
            asked = wanted(call)
            key = _key_of(call)
        except (Problem, UnicodeDecodeError):
            return False
        if asked is None:
            return False
        route, lines = asked
        named = key or f"{self._random.getrandbits(128):032x}"
        began_at = self._clock.now()
        traceparent = call.headers.get(TRACEPARENT_HEADER)
        span = self._tracer.received("write", "POST", traceparent)

        def done(result: Sold | Problem) -> None:
            answer = _written(result, named)
            self._metrics.count(route, "POST", answer.status, self._clock.now() - began_at)
            if span and isinstance(result, Sold):
                span.note("bazar.served_by", result.node)
            reply(labelled(answer, span) if span else answer)

        if span:
            described(span, "POST", route, call.target.decode("latin-1"), named)
            self._purchases.begin(lines, named, done, span.contexts)
        else:
            self._purchases.begin(lines, named, done)
        return True


def wanted(call: Call) -> tuple[str, Lines] | None:
    """Return a call's route and what it would buy; None, or a problem: it is not for here."""
    if found := _PURCHASE.fullmatch(call.target):
        number = fields.parse_id(found[1].decode())
        if number is None:
            return None
        body = strict_json(call.body) if call.body.strip() else {}
        if not isinstance(body, dict):
            return None
        return "/purchase/<book>", fields.purchase_lines(number, body)
    if call.target == b"/orders":
        body = strict_json(call.body)
        return ("/orders", fields.basket_lines(body)) if isinstance(body, dict) else None
    return None


def _key_of(call: Call) -> str | None:
    given = call.headers.get(KEY.lower().encode())
    return fields.idempotency_key(None if given is None else given.decode("latin-1"))


def _written(result: Sold | Problem, key: str) -> Answer:
    if isinstance(result, Problem):
        return of_problem(result, (KEY, key))
    headers = {
        "Content-Type": "application/json", "Location": location_of(result.order_id),
        "Content-Length": str(len(result.body)), "Cache-Control": "no-store", KEY: key,
    }  # fmt: skip
    return answer_of(201, headers.items(), result.body)
