"""Sends spans to a collector, if there is one: OTLP over HTTP, JSON encoding.

Laws: nothing waits for a collector, and nothing fails because of it: what it does not take in time
is dropped and counted. Ids are hex, times and whole numbers strings, enums numbers
(https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding).
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Counter

from common.peer import Http, PeerDown, Request
from common.service import Ticker
from common.trace import CLIENT, INTERNAL, SERVER, Span, Spans, Value

WAITING_MAX = 2048  # spans; more are dropped
BATCH_MAX = 512
EVERY_S = 2.0
TIMEOUT_S = 2.0
KINDS = {INTERNAL: 1, SERVER: 2, CLIENT: 3}
ERROR = 2
PATH = "/v1/traces"

log = logging.getLogger("bazar")


class Exporter:
    """Takes spans as they end, and sends them on in batches, from its ticker."""

    def __init__(self, endpoint: str, http: Http, registry: CollectorRegistry) -> None:
        parts = urlsplit(endpoint)
        self._url = f"{parts.scheme}://{parts.netloc}"
        self._target = parts.path.rstrip("/") + PATH
        self._http = http
        self._waiting: deque[Span] = deque()
        self._is_well = True
        self._count = Counter(
            "bazar_spans", "Spans for the collector", ["end"], registry=registry
        ).labels

    def take(self, span: Span) -> None:
        """Let a span wait for the next batch, if there is room."""
        if len(self._waiting) < WAITING_MAX:
            self._waiting.append(span)
        else:
            self._count("dropped").inc()

    def tick(self) -> None:
        """Send what waits, as far as the collector takes it."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH_MAX))]
            why = self._send(batch)
            self._count("failed" if why else "exported").inc(len(batch))
            if bool(why) == self._is_well:
                self._tell(why)
            if why:
                return

    def _send(self, batch: list[Span]) -> str:
        """Send a batch; return why the collector does not have it."""
        body = json.dumps(document(batch), separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json"}
        request = Request(
            "the collector", self._url, "POST", self._target, headers, body, TIMEOUT_S
        )
        try:
            status = self._http.send(request).status
        except PeerDown as error:
            return str(error)
        return "" if status < 300 else f"the collector answered {status}"

    def _tell(self, why: str) -> None:
        """Log that it stopped working, or works again: once, not every two seconds."""
        self._is_well = not why
        if why:
            log.warning("spans are not exported: %s", why)
        else:
            log.info("spans are exported to %s%s", self._url, self._target)


def export_tickers(
    endpoint: str, spans: Spans, http: Http, registry: CollectorRegistry
) -> list[Ticker]:
    """Return what exports a node's spans; nothing without an endpoint."""
    if not endpoint:
        return []
    exporter = Exporter(endpoint, http, registry)
    spans.watch(exporter.take)
    return [Ticker("spans", EVERY_S, exporter.tick)]


def document(spans: Iterable[Span]) -> dict[str, Any]:
    """Return an ExportTraceServiceRequest; all spans are of one node."""
    found = list(spans)
    return {"resourceSpans": [{
        "resource": {"attributes": _attributes({
            "service.namespace": "bazar", "service.name": found[0].service,
            "service.instance.id": found[0].node,
        })},
        "scopeSpans": [{"scope": {"name": "bazar"}, "spans": list(map(_span, found))}],
    }]}  # fmt: skip


def _span(span: Span) -> dict[str, Any]:
    written = {
        "traceId": span.trace_id, "spanId": span.span_id, "name": span.name,
        "kind": KINDS[span.kind], "startTimeUnixNano": str(span.started_ns),
        "endTimeUnixNano": str(span.started_ns + span.duration_ns),
        "attributes": _attributes(span.attributes),
        "status": {"code": ERROR, "message": span.error} if span.error else {},
    }  # fmt: skip
    return written | ({"parentSpanId": span.parent_id} if span.parent_id else {})


def _attributes(values: Mapping[str, Value]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: Value) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
    return {"stringValue": value}
