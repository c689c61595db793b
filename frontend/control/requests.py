"""The tab of requests: the last ones that came, and all that one of them caused, at every node.

Law: who does not answer is named as missing; what is known without it is shown.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from flask import Response

from common.clock import rfc3339
from common.errors import Problem
from common.peer import Peer
from common.spanned import SPANS
from common.survey import DOWN, Found, Survey
from common.trace import Span, is_trace_id
from common.tracer import Tracer
from common.web import json_answer, query
from frontend.control.room import Room
from frontend.control.waterfall import MS, bars

WHOLE_S = 1.0
SHOWN_MAX = 100
NOTED = {
    "method": "http.request.method", "target": "url.path", "status": "http.response.status_code",
    "served_by": "bazar.served_by", "cache": "bazar.cache", "key": "bazar.key",
}  # fmt: skip


class Traces:
    """What all nodes know of requests: this one by itself, the others when they are asked."""

    def __init__(
        self, tracer: Tracer, peers: Mapping[str, Peer], frontends: Collection[str], survey: Survey
    ) -> None:
        self._tracer = tracer
        self._peers = peers
        self._others = [name for name in frontends if name != tracer.node]
        self._survey = survey

    def last(self, count: int) -> tuple[list[Span], list[str]]:
        """Return the last requests at all frontends, the newest first, and who did not answer."""
        own = self._tracer.spans.last(count)
        found, missing = self._ask(self._others, {"last": count})
        newest = sorted(own + found, key=lambda span: span.started_ns, reverse=True)
        return newest[:count], missing

    def of(self, trace_id: str) -> tuple[list[Span], list[str]]:
        """Return what all nodes know of a trace, and who did not answer."""
        found, missing = self._ask(list(self._peers), {"trace": trace_id})
        return self._tracer.spans.of(trace_id) + found, missing

    def _ask(self, names: Collection[str], asked: Found) -> tuple[list[Span], list[str]]:
        answers = self._survey.ask(names, partial(self._ask_one, asked), WHOLE_S) if names else {}
        spans = [span for answer in answers.values() for span in answer.get("spans", ())]
        return spans, [name for name, answer in answers.items() if answer.get("state") == DOWN]

    def _ask_one(self, asked: Found, name: str) -> Found:
        answer = self._peers[name].call("GET", SPANS, query=asked, timeout_s=WHOLE_S).json()
        return {"spans": [Span.of(document) for document in answer["spans"]]}


class Requests:
    """The page `/ops/requests` and its data."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    def register(self, room: Room) -> None:
        """Add the tab."""
        room.tab("requests", "Requests")
        room.data("requests", self.requests)
        room.data("trace", self.trace)

    def requests(self) -> Response:
        """Answer the last requests, the newest first."""
        query(())
        spans, missing = self._traces.last(SHOWN_MAX)
        return json_answer({"requests": list(map(_row, spans)), "missing": missing})

    def trace(self) -> Response:
        """Answer all that one request caused, from its beginning; nothing, if nobody knows."""
        trace_id = query(("id",)).get("id", "")
        if not is_trace_id(trace_id):
            raise Problem("invalid-request", "id: must be 32 digits of 0-9, a-f")
        spans, missing = self._traces.of(trace_id)
        drawn = bars(spans)
        ends_ns = (bar.starts_ns + bar.span.duration_ns for bar in drawn)
        return json_answer({
            "request": _row(drawn[0].span) if drawn else None,
            "spans": [bar.document() for bar in drawn],
            "length_ms": max(ends_ns, default=0) / MS,
            "missing": missing,
        })  # fmt: skip


def _row(span: Span) -> dict[str, Any]:
    noted = {name: span.attributes.get(attribute) for name, attribute in NOTED.items()}
    at = datetime.fromtimestamp(span.started_ns / 1e9, UTC)
    cache = str(noted["cache"] or "")
    return noted | {
        "trace": span.trace_id, "span": span.span_id, "node": span.node, "at": rfc3339(at),
        "ms": span.duration_ns / MS, "error": span.error, "name": span.name,
        "cache": ("hit" if cache.endswith("hit") else "miss") if cache else None,
    }  # fmt: skip
