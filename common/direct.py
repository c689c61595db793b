"""The signed calls that come most often between services, answered by a worker without Flask.

Law: both ways run the same function after the same checks (`common/web.py`); what a check refuses
is left to Flask, which says why. Flask costs such a call more than what it is about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl

from flask import Flask, Response, g, request

from common.auth import CLUSTER, Signer
from common.clock import Clock
from common.errors import Problem
from common.openspan import NOT_TRACED, AnySpan
from common.peer import TIMEOUT_HEADER
from common.service import Call
from common.trace import TRACEPARENT_HEADER
from common.tracer import Tracer
from common.wsgi import Answer, answer_of, of_problem

JSON = "application/json"


class Asked(NamedTuple):
    """A checked call: who asks, until when it waits, its query, its body."""

    sender: str
    until: float
    query: Mapping[str, str]
    body: bytes


Handler = Callable[[Asked], str]  # returns JSON; raises Problem


class Direct:
    """The calls of one node, by their path."""

    def __init__(
        self, *, clock: Clock, signer: Signer, cluster: Callable[[], str], tracer: Tracer
    ) -> None:
        self._clock = clock
        self._tracer = tracer
        self._signer = signer
        self._cluster = cluster
        self._handlers: dict[bytes, Handler] = {}

    def post(self, app: Flask, path: str) -> Callable[[Handler], Handler]:
        """Make a function the answer to a POST, here and at an app."""

        def add(handler: Handler) -> Handler:
            self._handlers[path.encode()] = handler

            def view() -> Response:
                query = request.args.to_dict()
                asked = Asked(g.sender, g.until, query, request.get_data())
                return Response(handler(asked), content_type=JSON)

            app.add_url_rule(path, path, view, methods=["POST"])
            return handler

        return add

    def answer(self, call: Call) -> Answer | None:
        """Answer a call; None: it is not one of these, or not in order."""
        path = call.target.partition(b"?")[0]
        handler = self._handlers.get(path) if call.method == "POST" else None
        if handler is None:
            return None
        asked = self.asked(call)
        if asked is None:
            return None
        if TRACEPARENT_HEADER not in call.headers:
            return self.answered(lambda: handler(asked))
        with self.continued(call) as span:
            answer = self.answered(lambda: handler(asked))
            span.answered(answer.status)
            return answer

    def continued(self, call: Call) -> AnySpan:
        """Begin the span of a call that has been checked."""
        if TRACEPARENT_HEADER not in call.headers:
            return NOT_TRACED
        path = call.target.partition(b"?")[0].decode("latin-1")
        return self._tracer.continued(f"{call.method} {path}", Headers(call).get)

    def answered(self, text: Callable[[], str]) -> Answer:
        """Return the answer that has a text as its body, or says which problem it raises."""
        try:
            body = text().encode()
        except Problem as problem:
            return of_problem(problem, (CLUSTER, self._cluster()))
        headers = {
            "Content-Type": JSON, "Content-Length": str(len(body)), "Cache-Control": "no-store",
            CLUSTER: self._cluster(),
        }  # fmt: skip
        return answer_of(200, headers.items(), body)

    def asked(self, call: Call) -> Asked | None:
        """Return a call as its handler gets it; None: it is not in order."""
        headers, query = Headers(call), call.target.partition(b"?")[2]
        try:
            target = call.target.decode("ascii")
            sender = self._signer.check(headers, call.method, target, call.body, self._cluster())
            pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")
        except (Problem, ValueError):
            return None
        if len(dict(pairs)) < len(pairs):
            return None
        until = self._clock.now() + seconds_of(headers.get(TIMEOUT_HEADER, ""))
        return Asked(sender, until, dict(pairs), call.body)


class Headers:
    """A call's headers as a signature is checked with them."""

    def __init__(self, call: Call) -> None:
        self._values = call.headers

    def get(self, name: str, default: str, /) -> str:
        """Return a header's value, or the default."""
        value = self._values.get(name.lower().encode())
        return default if value is None else value.decode("latin-1")


def seconds_of(timeout_ms: str) -> float:
    """Return how long a caller waits, from its header."""
    return int(timeout_ms) / 1000 if timeout_ms.isdecimal() and len(timeout_ms) < 9 else 1.0
